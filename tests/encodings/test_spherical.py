"""Spherical RoPE against the matrices of its paper."""

import math

import pytest
import torch
from torch import Tensor

from liere_cli.encodings import Grid, PositionEncoding, build_encoding
from liere_cli.errors import UsageError
from support.slow_rotary import SHAPES, built, positions_of, random_qk


def rotation(encoding: PositionEncoding, head: int, row: float, column: float) -> Tensor:
    """The rotation of layer 1, [H, H] float64."""
    size = encoding.shape.head_dim
    triples = size // 3
    whole = torch.eye(size, dtype=torch.float64)
    for d in range(triples):
        fx = fy = encoding.options.theta ** (-2 * d / (3 * triples))
        if encoding.options.learned:
            fy, fx = encoding.frequencies.detach()[1, head, :, d].tolist()  # type: ignore[index]
        (cx, sx), (cy, sy) = ((math.cos(a), math.sin(a)) for a in (fx * column, fy * row))
        yaw = torch.tensor([[cx, 0, -sx], [0, 1, 0], [sx, 0, cx]], dtype=torch.float64)
        roll = torch.tensor([[1, 0, 0], [0, cy, -sy], [0, sy, cy]], dtype=torch.float64)
        whole[3 * d : 3 * d + 3, 3 * d : 3 * d + 3] = roll @ yaw
    return whole


@pytest.mark.parametrize("spec", ["spherical", "spherical:theta=9", "spherical:learned=true"])
@pytest.mark.parametrize("head_dim", [12, 16, 17])
@pytest.mark.parametrize("prefix", [0, 2])
def test_channels_are_rotated_as_in_the_paper(spec: str, head_dim: int, prefix: int) -> None:
    encoding = built(spec, 2, head_dim)
    positions = positions_of(encoding)
    q, k = random_qk(encoding, prefix)
    expected = [q.clone(), k.clone()]
    for head in range(2):
        for token, (row, column) in enumerate(positions.tolist(), start=prefix):
            matrix = rotation(encoding, head, row, column)
            for x, y in zip((q, k), expected, strict=True):
                y[:, head, token] = x[:, head, token] @ matrix.T
    state = encoding.prepare(positions)
    count = {"prefix_tokens": prefix}
    apart = encoding.encode_q(q, state, 1, **count), encoding.encode_k(k, state, 1, **count)
    for ours in (encoding(q, k, positions, layer=1, **count), apart):
        torch.testing.assert_close(ours, tuple(expected), rtol=0, atol=2e-6)


def test_units_and_initial_frequencies_of_the_paper() -> None:
    shape = {"axes": 2, "heads": 6, "head_dim": 63, "depth": 12, "seed": 0}
    fixed = build_encoding("spherical", **shape)
    ends = Grid((4, 4)).positions(fixed.scaling)[[0, -1]]
    torch.testing.assert_close(ends, torch.tensor([[-math.pi] * 2, [math.pi] * 2]))
    assert fixed.frequencies[0, 0, -1] == pytest.approx(100 ** (-40 / 63))  # type: ignore[index]
    learned = build_encoding("spherical:learned=true", **shape).frequencies.detach()  # type: ignore
    assert learned.shape == (12, 6, 2, 21)
    assert 0 <= float(learned.min()) < 0.01
    assert 0.99 < float(learned.max()) < 1


def test_half_precision_is_rounded_once() -> None:
    encoding = build_encoding("spherical", axes=2, heads=2, head_dim=16)
    positions = Grid(SHAPES[2]).positions(encoding.scaling)
    q = torch.randn(1, 2, 12, 16)
    narrow, _ = encoding(q.bfloat16(), q.bfloat16(), positions)
    wide, _ = encoding(q.bfloat16().float(), q, positions)
    assert torch.equal(narrow, wide.bfloat16())


def test_refuses() -> None:
    with pytest.raises(UsageError, match="head_dim must be at least 3, not 2"):
        build_encoding("spherical", axes=2, heads=1, head_dim=2)
    with pytest.raises(UsageError, match="'spherical' is defined for 2 axes only, not 3"):
        build_encoding("spherical", axes=3, heads=1, head_dim=12)
