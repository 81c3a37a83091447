"""ComRoPE against the exponentials of its paper, and which rotations commute."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from liere_cli.encodings import Grid, PositionEncoding, build_encoding
from liere_cli.errors import UsageError
from liere_cli.rotations import real_schur
from support.slow_rotary import SHAPES, built, positions_of, random_qk, scores

SPECS = ["comrope-ap:block=4", "comrope-ld:block=4", "comrope-ld:block=2", "comrope-ld:block=16"]
CASES = [(spec, axes) for spec in SPECS for axes in SHAPES]
PREFIX = 2


def exponents(encoding: PositionEncoding, position: Tensor) -> Tensor:
    """The exponent of the paper at a position in layer 1, [N, H, H], differentiable."""
    base = encoding.base[1]  # type: ignore[index]
    whole = base.new_zeros(len(base), encoding.shape.head_dim, encoding.shape.head_dim)
    for head in range(len(base)):
        for j, p in enumerate(base[head]):
            if encoding.name == "comrope-ap":
                step = position[j % len(position)].to(p.dtype)
            else:
                theta = encoding.directions[1, :, j]  # type: ignore[index]
                step = sum(x * t for x, t in zip(position, theta, strict=True))  # type: ignore
            rows = slice(j * len(p), (j + 1) * len(p))
            whole[head, rows, rows] = step * (p - p.T)
    return whole


def slow_scores(
    encoding: PositionEncoding, q: Tensor, k: Tensor, positions: Tensor, cls: float
) -> Tensor:
    prefix = q.shape[2] - len(positions)
    every = [torch.full_like(positions[0], cls)] * prefix + list(positions)
    rotations = [torch.linalg.matrix_exp(exponents(encoding, p.double())) for p in every]
    turned = [
        torch.stack(
            [torch.einsum("nij,bnj->bni", r, x[:, :, t]) for t, r in enumerate(rotations)], 2
        )
        for x in (q, k)
    ]
    return scores(*turned)


@pytest.mark.parametrize(("spec", "axes"), CASES)
@pytest.mark.parametrize("prefix", [0, PREFIX])
def test_scores_equal_those_of_the_papers_exponentials(spec: str, axes: int, prefix: int) -> None:
    encoding = built(spec, axes)
    q, k = random_qk(encoding, prefix)
    positions = positions_of(encoding)
    expected = slow_scores(encoding, q, k, positions, 0.5)
    state = encoding.prepare(positions)
    count = {"prefix_tokens": prefix}
    apart = encoding.encode_q(q, state, 1, **count), encoding.encode_k(k, state, 1, **count)
    for ours in (encoding(q, k, positions, layer=1, **count), apart):
        torch.testing.assert_close(scores(*ours), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "axes"), [("comrope-ap", 2), ("comrope-ld", 2), ("comrope-ld", 3)]
)
@pytest.mark.parametrize("zero", [False, True])
def test_gradients_equal_those_of_the_papers_exponentials(spec: str, axes: int, zero: bool) -> None:
    """At P = 0 too, where all frequencies of a block coincide and no eigenvector is determined."""
    encoding = built(f"{spec}:block=4", axes)
    if zero:
        torch.nn.init.zeros_(encoding.base)  # type: ignore[arg-type]
    q, k = random_qk(encoding, 1)
    q.requires_grad_()
    positions = positions_of(encoding)
    leaves = (q, *encoding.parameters())
    results = []
    for logits in (
        scores(*encoding(q, k, positions, layer=1, prefix_tokens=1)),
        slow_scores(encoding, q, k, positions, 0.5),
    ):
        results.append(torch.autograd.grad((logits / 16).tanh().sum(), leaves))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)
    assert results[0][1].abs().max() > 0


@pytest.mark.parametrize(("spec", "axes"), CASES)
@pytest.mark.parametrize("prefix", [0, PREFIX])
def test_folding_into_the_projection_keeps_scores(spec: str, axes: int, prefix: int) -> None:
    encoding = built(spec, axes)
    x = torch.randn(2, math.prod(SHAPES[axes]) + prefix, 32, dtype=torch.float64)
    weight = torch.randn(3 * 32, 32, dtype=torch.float64) / 6
    state = encoding.prepare(positions_of(encoding))
    q, k, v = encoding.split(x, weight)
    folded_q, folded_k, folded_v = encoding.project(x, weight, state, 1, prefix_tokens=prefix)
    expected = scores(*encoding.encode_qk(q, k, state, 1, prefix_tokens=prefix))
    torch.testing.assert_close(scores(folded_q, folded_k), expected, rtol=1e-8, atol=1e-8)
    assert torch.equal(folded_v, v)


@pytest.mark.parametrize("spec", SPECS)
def test_prefix_tokens_have_the_position_of_the_option(spec: str) -> None:
    positions = torch.tensor([[0.1, 0.7], [0.25, 0.5]])
    for cls, still in (("0.25", False), ("null", True)):
        encoding = built(f"{spec},prefix={cls}", 2)
        q, k = random_qk(encoding)
        q, k = q[:, :, :3], k[:, :, :3]
        ours = scores(*encoding(q, k, positions, layer=1, prefix_tokens=1))
        expected = slow_scores(encoding, q, k, positions, 0.0 if still else 0.25)
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)
        # with prefix=null they are unchanged themselves, not only their scores
        state = encoding.prepare(positions)
        encoded = encoding.encode_q(q, state, 1, prefix_tokens=1)
        assert torch.allclose(encoded[:, :, 0], q[:, :, 0]) == still


def test_initial_values_of_the_public_code() -> None:
    shape = {"axes": 2, "heads": 12, "head_dim": 64, "depth": 12, "seed": 0}
    for name in ("comrope-ap", "comrope-ld"):
        encoding = build_encoding(name, **shape)
        base = encoding.base.detach()  # type: ignore[union-attr]
        assert base.shape == (12, 12, 8, 8, 8)
        assert float(base.std()) == pytest.approx(1, abs=0.01)
    directions = encoding.directions.detach()  # type: ignore[union-attr]
    assert directions.shape == (12, 2, 8)  # of all heads
    assert float(directions.std()) == pytest.approx(1, abs=0.15)
    positions = Grid((4, 4)).positions(encoding.scaling)
    assert positions[:4, 1].tolist() == [0.125, 0.375, 0.625, 0.875]


@pytest.mark.parametrize(
    ("spec", "axes", "head_dim", "message"),
    [
        ("comrope-ld:block=6", 2, 16, "blocks of 6 rows; block can be 2, 4, 8, 16"),
        ("comrope-ap:block=8", 3, 16, "at least one block for each of 3 axes; block can be 2, 4"),
        ("comrope-ap", 3, 4, "an even number of rows, at least one block for each of 3 axes"),
        ("comrope-ld", 1, 5, "an even number of rows"),
        ("comrope-ld:block=3", 1, 6, "multiple of 2"),
    ],
)
def test_heads_that_do_not_divide_are_refused_with_those_that_do(
    spec: str, axes: int, head_dim: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build_encoding(spec, axes=axes, heads=1, head_dim=head_dim)


COMMUTING = ["comrope-ap", "comrope-ld", "liere:block=2", "rope-mixed:preset=liere-repository"]
NOT_COMMUTING = ["spherical", "spherical:learned=true", "liere:block=3", "liere:block=4"]
PLACE = st.tuples(st.floats(-2, 2), st.floats(-2, 2))


def rotations(encoding: PositionEncoding, places: Tensor) -> Tensor:
    """Rotations of layer 1, [T, N, H, H]."""
    size = encoding.shape.head_dim
    channels = torch.eye(size, dtype=torch.float64)[:, None, None]
    channels = channels.expand(size, encoding.shape.heads, len(places), size)
    turned = encoding.encode_q(channels, encoding.prepare(places), 1)
    return turned.detach().permute(2, 1, 3, 0)


def departs(spec: str, p: tuple[float, float], q: tuple[float, float]) -> tuple[float, float]:
    """How far two rotations are from commuting, and from depending only on the difference."""
    encoding = built(spec, 2, head_dim=24)
    x, y = torch.tensor([p, q], dtype=torch.float64)
    a, b, c, zero = rotations(encoding, torch.stack((x, y, y - x, torch.zeros(2))))
    torch.testing.assert_close(a @ a.mT, torch.eye(24).double().expand_as(a), rtol=0, atol=1e-6)
    relative = float((a.mT @ b - c).abs().max())
    assert torch.allclose(zero, torch.eye(24).double(), atol=1e-6)
    return float((a @ b - b @ a).abs().max()), relative


@pytest.mark.parametrize("spec", COMMUTING)
@given(PLACE, PLACE)
@settings(max_examples=15, deadline=None)
def test_commuting_rotations_depend_only_on_differences(
    spec: str, p: tuple[float, float], q: tuple[float, float]
) -> None:
    assert max(departs(spec, p, q)) < 2e-6
    assert built(spec, 2, head_dim=24).relative


@pytest.mark.parametrize("spec", NOT_COMMUTING)
def test_other_rotations_depend_on_absolute_positions(spec: str) -> None:
    assert min(departs(spec, (0.3, 1.1), (0.9, -0.4))) > 0.05
    assert not built(spec, 2, head_dim=24).relative


@pytest.mark.parametrize("block", [4, 16])
def test_on_one_axis_four_encodings_have_the_same_scores(block: int) -> None:
    """LieRE, ComRoPE-LD and Cayley-STRING with the same weights, learned rope with changed ones."""
    liere, comrope = built(f"liere:block={block}", 1), built(f"comrope-ld:block={block}", 1)
    cayley, rope = built("cayley-string", 1), built("rope:learned=true", 1)
    generators = liere.generators().detach().squeeze(3)  # type: ignore[operator]
    positions = torch.linspace(-1, 2, 6).double()
    lines = real_schur(generators, positions)
    rates = lines.quasi_diagonal.diagonal(-1, -2, -1)[..., ::2]  # [L, N, n, b/2]
    # a Cayley transform has determinant 1: where a basis has not, one plane turns the other way
    mirrored = torch.linalg.det(lines.basis) < 0
    swapped = lines.basis[..., [1, 0, *range(2, block)]]
    blocks = torch.where(mirrored[..., None, None], swapped, lines.basis)
    rates[..., 0] = torch.where(mirrored, -rates[..., 0], rates[..., 0])
    basis = torch.stack(
        [torch.stack([torch.block_diag(*head) for head in layer]) for layer in blocks]
    )
    one = torch.eye(16).double()
    s = torch.linalg.solve(one + basis.mT, one - basis.mT)
    i, j = torch.triu_indices(16, 16, 1).unbind()
    with torch.no_grad():
        comrope.base.copy_(torch.triu(generators))  # type: ignore[union-attr,operator]
        comrope.directions.fill_(1)  # type: ignore[union-attr,operator]
        cayley.upper.copy_(s[..., i, j])  # type: ignore[union-attr,operator]
        for encoding in (cayley, rope):
            encoding.frequencies.copy_(rates.flatten(2)[:, :, None])  # type: ignore[union-attr,operator]
    q, k = random_qk(liere)
    actual = [scores(*e(q, k, positions[:, None], 1)) for e in (liere, comrope, cayley)]
    changed = [torch.einsum("nij,bnti->bntj", basis[1], x) for x in (q, k)]
    actual.append(scores(*rope(*changed, positions[:, None], 1)))
    for other in actual[1:]:
        torch.testing.assert_close(other, actual[0], rtol=1e-5, atol=1e-5)
