"""The rotary family: parity with other packages, initialisations and common behaviour."""

import math

import pytest
import torch
from rotary_embedding_torch import RotaryEmbedding, apply_rotary_emb
from torch import Tensor

from liere_cli.encodings import Grid, build_encoding
from liere_cli.encodings.rotary.base import Rotary
from liere_cli.errors import UsageError

SHAPES: dict[int, tuple[int, ...]] = {1: (12,), 2: (3, 4), 3: (2, 3, 4)}
CASES = [
    ("rope", 1),
    ("rope:learned=true", 1),
    *((name, axes) for name in ("axial", "rope-mixed") for axes in SHAPES),
]


def build(spec: str, axes: int, head_dim: int = 16, heads: int = 2, depth: int = 2) -> Rotary:
    encoding = build_encoding(
        spec, axes=axes, heads=heads, head_dim=head_dim, depth=depth, grid=SHAPES[axes], seed=0
    )
    assert isinstance(encoding, Rotary)
    return encoding


def random_qk(axes: int, head_dim: int = 16, prefix: int = 0) -> tuple[Tensor, Tensor]:
    q, k = torch.randn(2, 3, 2, math.prod(SHAPES[axes]) + prefix, head_dim)
    return q, k


def test_rope_equals_rotary_embedding_torch() -> None:
    q, _ = random_qk(1)
    encoding = build("rope", 1)
    turned, _ = encoding(q, q, Grid(SHAPES[1]).positions("index"))
    expected = RotaryEmbedding(dim=16).rotate_queries_or_keys(q)
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("axes", [2, 3])
def test_axial_equals_rotary_embedding_torch(axes: int) -> None:
    head_dim = 8 * axes
    q, _ = random_qk(axes, head_dim)
    encoding = build("axial", axes, head_dim)
    turned, _ = encoding(q, q, Grid(SHAPES[axes]).positions("index"))
    frequencies = RotaryEmbedding(dim=8, theta=100).get_axial_freqs(*SHAPES[axes])
    expected = apply_rotary_emb(frequencies, q.unflatten(2, SHAPES[axes])).flatten(2, -2)
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layout", ["interleaved", "half-split"])
def test_axial_of_one_axis_is_rope(layout: str) -> None:
    q, k = random_qk(1)
    positions = Grid(SHAPES[1]).positions("index")
    results = [build(f"{n}:layout={layout}", 1)(q, k, positions) for n in ("axial", "rope")]
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_learned_rope_starts_as_rope() -> None:
    q, k = random_qk(1)
    positions = Grid(SHAPES[1]).positions("index")
    results = [build(spec, 1)(q, k, positions) for spec in ("rope", "rope:learned=true")]
    torch.testing.assert_close(*results, rtol=0, atol=0)


@pytest.mark.parametrize(("spec", "axes"), [case for case in CASES if "rope-mixed" in case[0]])
def test_learned_frequencies_get_a_gradient_of_their_layer(spec: str, axes: int) -> None:
    encoding = build(spec, axes)
    q, k = random_qk(axes)
    turned_q, turned_k = encoding(q, k, Grid(SHAPES[axes]).positions("index"), layer=1)
    (turned_q @ turned_k.mT).square().sum().backward()
    gradient = encoding.frequencies.grad
    assert gradient is not None
    assert gradient[0].abs().max() == 0
    assert gradient[1].abs().min() > 0


def test_leftover_planes_go_to_the_first_axes() -> None:
    frequencies = build("axial", 3, head_dim=64).frequencies
    assert [int((axis > 0).sum()) for axis in frequencies] == [11, 11, 10]
    assert bool(((frequencies > 0).sum(0) == 1).all())


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_mixed_frequencies_start_in_orthonormal_directions(axes: int) -> None:
    encoding = build("rope-mixed", axes, head_dim=8 * axes)
    frequencies = encoding.frequencies.detach()  # [L, N, A, P]
    magnitudes = frequencies.norm(dim=2)
    expected = 10.0 ** (-torch.arange(4) / 4)
    torch.testing.assert_close(magnitudes, expected.repeat(axes).expand_as(magnitudes))
    directions = (frequencies / magnitudes[:, :, None])[..., ::4]
    gram = directions.mT @ directions
    torch.testing.assert_close(gram, torch.eye(axes).expand_as(gram), rtol=0, atol=1e-5)
    if axes > 1:
        assert len({round(float(x), 4) for x in frequencies[:, :, 0, 0].flatten()}) == 4
        assert frequencies.abs().min() > 0


def test_mixed_directions_are_uniform() -> None:
    frequencies = build("rope-mixed", 2, head_dim=4, heads=500, depth=4).frequencies.detach()
    angles = torch.atan2(frequencies[:, :, 1, 0], frequencies[:, :, 0, 0]).flatten()
    counts = torch.histc(angles, bins=8, min=-math.pi, max=math.pi)
    # eight bins of 250, whose standard deviation is 15
    assert (counts - 250).abs().max() < 75


def test_initialisation_depends_only_on_the_seed() -> None:
    shape = {"axes": 2, "heads": 2, "head_dim": 16, "depth": 2}
    first = build_encoding("rope-mixed", **shape, seed=1).frequencies
    torch.manual_seed(7)
    assert torch.equal(build_encoding("rope-mixed", **shape, seed=1).frequencies, first)
    assert not torch.equal(build_encoding("rope-mixed", **shape, seed=2).frequencies, first)


@pytest.mark.parametrize(
    ("spec", "axes", "head_dim", "message"),
    [
        ("rope", 2, 16, "1 axis only, not 2"),
        ("axial", 3, 4, "at least one plane"),
        ("rope-mixed", 3, 4, "at least one plane"),
        ("axial", 2, 7, "must be even"),
    ],
)
def test_refuses(spec: str, axes: int, head_dim: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(spec, axes, head_dim)


def test_refuses_positions_of_other_axes() -> None:
    q, k = random_qk(1)
    with pytest.raises(UsageError, match=r"positions must be \[tokens, 1\]"):
        build("rope", 1)(q, k, torch.zeros(12, 2))
