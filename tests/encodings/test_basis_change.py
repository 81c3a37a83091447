"""STRING and HARoPE: rotary in another basis, against the matrices of their papers."""

import math

import pytest
import torch
from torch import Tensor

from liere_cli.encodings import Grid, build_encoding
from liere_cli.encodings.base import PositionEncoding
from liere_cli.encodings.basis.base import BasisChange
from liere_cli.errors import UsageError
from support.slow_rotary import SHAPES, built, positions_of, random_qk, scores

SPECS = [
    "cayley-string",
    "cayley-string:start=mixed,layout=half-split",
    "circulant-string",
    "harope",
]
CASES = [(spec, axes) for spec in SPECS for axes in SHAPES]


def skew_of(upper: Tensor, rows: int) -> Tensor:
    matrix = torch.zeros(rows, rows, dtype=upper.dtype)
    number = 0
    for i in range(rows):
        for j in range(i + 1, rows):
            matrix[i, j] = upper[number]
            matrix[j, i] = -upper[number]
            number += 1
    return matrix


def rope_matrix(angles: list[float], layout: str) -> Tensor:
    planes = len(angles)
    matrix = torch.zeros(2 * planes, 2 * planes, dtype=torch.float64)
    for i, angle in enumerate(angles):
        a, b = (2 * i, 2 * i + 1) if layout == "interleaved" else (i, i + planes)
        matrix[a, a] = matrix[b, b] = math.cos(angle)
        matrix[b, a] = math.sin(angle)
        matrix[a, b] = -math.sin(angle)
    return matrix


def cayley(encoding: PositionEncoding, head: int, position: Tensor) -> tuple[Tensor, Tensor]:
    parameters = {name: p.detach()[1, head] for name, p in encoding.named_parameters()}
    s = skew_of(parameters["upper"], 16)
    one = torch.eye(16, dtype=torch.float64)
    p = (one - s) @ torch.linalg.inv(one + s)
    angles = (position.double() @ parameters["frequencies"]).tolist()
    rotation = p.T @ rope_matrix(angles, encoding.options.layout) @ p
    return rotation, rotation


def circulant(encoding: PositionEncoding, head: int, position: Tensor) -> tuple[Tensor, Tensor]:
    exponent = torch.zeros(16, 16, dtype=torch.float64)
    for axis, entries in enumerate(encoding.entries.detach()[1, head]):  # type: ignore[union-attr]
        c = torch.stack(
            [torch.stack([entries[(i - j) % 16] for j in range(16)]) for i in range(16)]
        )
        exponent += position[axis] * (c - c.T)
    rotation = torch.linalg.matrix_exp(exponent)
    return rotation, rotation


def harope(encoding: PositionEncoding, head: int, position: Tensor) -> tuple[Tensor, Tensor]:
    parameters = {name: p.detach()[1, head] for name, p in encoding.named_parameters()}
    u, v = (torch.linalg.matrix_exp(skew_of(parameters[side], 16)) for side in ("left", "right"))
    s = torch.diag((1 + parameters["stretch"].exp()).log() + 1e-6)
    m = u @ s @ v.T
    planes, angles = 8, []
    for axis in range(len(position)):
        count = planes // len(position) + (axis < planes % len(position))
        angles += [float(position[axis]) * 1e4 ** (-i / count) for i in range(count)]
    rotation = rope_matrix(angles, "interleaved")
    return rotation @ m, rotation @ torch.linalg.inv(m).T


FORMULAS = {"cayley-string": cayley, "circulant-string": circulant, "harope": harope}


@pytest.mark.parametrize(("spec", "axes"), CASES)
@pytest.mark.parametrize("prefix", [0, 2])
def test_scores_equal_those_of_the_papers_matrices(spec: str, axes: int, prefix: int) -> None:
    encoding = built(spec, axes)
    q, k = random_qk(encoding, prefix)
    positions = positions_of(encoding)
    turned = [q.clone(), k.clone()]
    for head in range(2):
        matrices = [FORMULAS[encoding.name](encoding, head, position) for position in positions]
        if encoding.name == "harope":  # its code applies M to tokens without a position too
            still = FORMULAS["harope"](encoding, head, torch.zeros(axes))
            matrices = [still] * prefix + matrices
        for x, side in zip(turned, (0, 1), strict=True):
            tail = x[:, head, -len(matrices) :]
            tail.copy_(
                torch.stack(
                    [(m[side] @ y.mT).mT for m, y in zip(matrices, tail.unbind(1), strict=True)], 1
                )
            )
    expected = scores(*turned)
    state = encoding.prepare(positions)
    count = {"prefix_tokens": prefix}
    one_sided = encoding(q, k, positions, layer=1, **count)
    apart = encoding.encode_q(q, state, 1, **count), encoding.encode_k(k, state, 1, **count)
    for ours in (one_sided, apart):
        torch.testing.assert_close(scores(*ours), expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("axes", list(SHAPES))
@pytest.mark.parametrize(
    ("spec", "like"),
    [
        ("cayley-string", "axial"),
        ("cayley-string:start=mixed", "rope-mixed"),
        ("harope", "axial:theta=10000"),
    ],
)
def test_starts_as_rotary(spec: str, like: str, axes: int) -> None:
    if axes == 1 and "mixed" in spec:
        return  # one axis starts at RoFormer's theta
    shape = {"axes": axes, "heads": 2, "head_dim": 16, "depth": 2, "seed": 0}
    q, k = torch.randn(2, 1, 2, math.prod(SHAPES[axes]), 16)
    positions = Grid(SHAPES[axes]).positions("index")
    ours, theirs = (build_encoding(name, **shape)(q, k, positions, 1) for name in (spec, like))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("axes", list(SHAPES))
def test_circulant_string_starts_at_the_frequencies_of_axial(axes: int) -> None:
    shape = {"axes": axes, "heads": 2, "depth": 2, "seed": 0}
    circulant = build_encoding("circulant-string", head_dim=18, **shape)
    axial = build_encoding("axial", head_dim=16, **shape)
    assert isinstance(circulant, BasisChange)
    rates = circulant.frequencies_of(1)
    torch.testing.assert_close(rates[0, :, :8], axial.frequencies, rtol=0, atol=1e-6)
    assert rates[..., 8].abs().max() == 0


def test_one_axis_is_rotary_with_learned_frequencies() -> None:
    """With P applied to the weights, the scores of learned rope."""
    encoding = built("cayley-string", 1)
    assert isinstance(encoding, BasisChange)
    rope = build_encoding("rope:learned=true", axes=1, heads=2, head_dim=16, depth=2).double()
    with torch.no_grad():
        rope.frequencies.copy_(encoding.frequencies)
    q, k = random_qk(encoding)
    positions = positions_of(encoding)
    to, _ = encoding.bases()
    changed = [torch.einsum("nij,bntj->bnti", to[1], x) for x in (q, k)]
    torch.testing.assert_close(
        scores(*encoding(q, k, positions, 1)), scores(*rope(*changed, positions, 1))
    )


def test_a_head_that_is_too_small_is_refused_with_the_smallest_possible() -> None:
    with pytest.raises(
        UsageError, match="head_dim=6 has 2, and the smallest possible is head_dim=8"
    ):
        build_encoding("circulant-string", axes=3, heads=1, head_dim=6)
