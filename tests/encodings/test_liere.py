"""LieRE: its special cases, and what its scores depend on."""

import math

import pytest
import torch
from torch import Tensor

from liere_cli.encodings import Grid, PositionEncoding, build_encoding
from liere_cli.encodings.matrix import liere
from liere_cli.encodings.matrix.liere import LieRE
from liere_cli.errors import UsageError
from liere_cli.rotations import real_schur
from liere_cli.rotations.kernels.compiler import without_kernels
from support.skew_matrices import as_on_a_gpu

SHAPES: dict[int, tuple[int, ...]] = {1: (12,), 2: (3, 4), 3: (2, 3, 4)}
EVERY_AXES = pytest.mark.parametrize("axes", list(SHAPES))


def build(options: str, axes: int, head_dim: int = 16, depth: int = 2, heads: int = 2) -> LieRE:
    encoding = build_encoding(
        f"liere:{options}", axes=axes, heads=heads, head_dim=head_dim, depth=depth, seed=0
    )
    assert isinstance(encoding, LieRE)
    return encoding


def grid_positions(axes: int) -> Tensor:
    return Grid(SHAPES[axes]).positions("unit")


def random_qk(axes: int, head_dim: int = 16, prefix: int = 0) -> tuple[Tensor, Tensor]:
    q, k = torch.randn(2, 3, 2, math.prod(SHAPES[axes]) + prefix, head_dim)
    return q, k


def scores(encoding: LieRE, q: Tensor, k: Tensor, positions: Tensor, layer: int = 0) -> Tensor:
    prefix = q.shape[2] - len(positions)
    turned_q, turned_k = encoding(q, k, positions, layer, prefix_tokens=prefix)
    return turned_q @ turned_k.mT


@EVERY_AXES
@pytest.mark.parametrize("block", [2, 4, 16])
def test_rotations_equal_those_of_the_paper(axes: int, block: int) -> None:
    encoding = build(f"block={block}", axes)
    positions = grid_positions(axes)
    rotations = encoding.rotations(positions).double()
    identity = torch.eye(block, dtype=torch.float64).expand_as(rotations)
    torch.testing.assert_close(rotations @ rotations.mT, identity, rtol=0, atol=1e-5)
    upper = torch.triu(encoding.generators().double(), 1)
    exponents = torch.einsum("ta,...aij->...tij", positions.double(), upper - upper.mT)
    expected = torch.linalg.matrix_exp(exponents.contiguous())
    torch.testing.assert_close(rotations, expected, rtol=0, atol=1e-5)


@EVERY_AXES
@pytest.mark.parametrize("block", [2, 4, 8, 16])
@pytest.mark.parametrize("prefix", [0, 1])
def test_scores_equal_those_of_the_matrices(axes: int, block: int, prefix: int) -> None:
    encoding = build(f"block={block}", axes)
    q, k = random_qk(axes, prefix=prefix)
    positions = grid_positions(axes)
    rotations = encoding.rotations(positions)[1]
    tails = (x[:, :, prefix:].unflatten(-1, (-1, block)) for x in (q, k))
    turned = [torch.einsum("nctij,bntcj->bntci", rotations, x).flatten(-2) for x in tails]
    full = [torch.cat((x[:, :, :prefix], y), 2) for x, y in zip((q, k), turned, strict=True)]
    ours = scores(encoding, q, k, positions, layer=1)
    torch.testing.assert_close(ours, full[0] @ full[1].mT, rtol=0, atol=1e-3)


@EVERY_AXES
def test_block_2_is_rope_mixed_at_the_same_angles(axes: int) -> None:
    encoding = build("block=2", axes)
    mixed = build_encoding("rope-mixed", axes=axes, heads=2, head_dim=16, depth=2, seed=0)
    with torch.no_grad():
        # U - U^T rotates a plane from its second channel to its first
        mixed.frequencies.copy_(-encoding.upper.squeeze(-1).mT)
    q, k = random_qk(axes, prefix=1)
    positions = grid_positions(axes)
    for layer in range(2):
        results = [e(q, k, positions, layer, prefix_tokens=1) for e in (encoding, mixed)]
        torch.testing.assert_close(*results, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "train", "grid"),
    [("top=255", 14, 14), ("scaling=index", 14, 14), ("block=8", 4, 28), ("block=16", 8, 14)],
)
@pytest.mark.parametrize("kept_bytes", [liere.KEPT_BYTES, 0])
def test_fast_rotations_on_a_gpu_are_those_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, options: str, train: int, grid: int, kept_bytes: int
) -> None:
    """Whatever frequencies, units and grids make of the norms."""
    monkeypatch.setattr(liere, "KEPT_BYTES", kept_bytes)
    encoding = build(options, 2, depth=1)
    positions = Grid((grid, grid), (train, train)).positions(encoding.scaling)
    q, k = torch.randn(2, 1, 2, len(positions), 16)
    expected = scores(encoding, q, k, positions)
    as_on_a_gpu(monkeypatch)
    with without_kernels():
        ours = scores(encoding, q, k, positions)
    error = 1e-5 + 1e-6 * float(encoding.upper.detach().max() * positions.max() * 16)
    torch.testing.assert_close(ours, expected, rtol=0, atol=10 * error)


@EVERY_AXES
@pytest.mark.parametrize("block", [2, 4, 16])
def test_zero_generators_have_no_effect(axes: int, block: int) -> None:
    encoding = build(f"block={block},scale=0", axes)
    q, k = random_qk(axes, prefix=1)
    ours = scores(encoding, q, k, grid_positions(axes))
    torch.testing.assert_close(ours, q @ k.mT, rtol=0, atol=1e-5)


@pytest.mark.parametrize("block", [2, 4, 16])
def test_scores_on_one_axis_depend_only_on_distance(block: int) -> None:
    encoding = build(f"block={block}", 1)
    q, k = random_qk(1)
    positions = grid_positions(1)
    shifted = scores(encoding, q, k, positions + 0.7)
    torch.testing.assert_close(shifted, scores(encoding, q, k, positions), rtol=0, atol=1e-3)


@pytest.mark.parametrize("axes", [2, 3])
def test_scores_on_more_axes_depend_on_absolute_positions(axes: int) -> None:
    encoding = build("block=8", axes)
    q, k = random_qk(axes)
    positions = grid_positions(axes)
    ours = scores(encoding, q, k, positions)
    assert (scores(encoding, q, k, positions + 0.7) - ours).abs().mean() > 0.5


def test_one_axis_is_learned_rope_after_a_change_of_basis() -> None:
    encoding = build("block=16", 1)
    rope = build_encoding("rope:learned=true", axes=1, heads=2, head_dim=16, depth=2, seed=0)
    positions = grid_positions(1)
    lines = real_schur(encoding.generators().squeeze(3).double(), positions[:, 0].double())
    rates = lines.quasi_diagonal.diagonal(-1, -2, -1)[..., ::2]  # [L, N, 1, P]
    with torch.no_grad():
        rope.frequencies.copy_(rates)
    q, k = random_qk(1)
    basis = lines.basis[0].squeeze(1).float()  # [N, H, H]
    turned_q, turned_k = rope(q @ basis, k @ basis, positions)
    ours = scores(encoding, q, k, positions)
    torch.testing.assert_close(turned_q @ turned_k.mT, ours, rtol=0, atol=1e-4)


@EVERY_AXES
@pytest.mark.parametrize(
    ("share", "layers", "heads"),
    [("none", 3, 2), ("layers", 1, 2), ("heads", 3, 1), ("all", 1, 1)],
)
def test_sharing(axes: int, share: str, layers: int, heads: int) -> None:
    encoding = build(f"share={share}", axes, depth=3)
    assert encoding.upper.shape == (layers, heads, 2, axes, 28)
    q, k = random_qk(axes)
    positions = grid_positions(axes)
    first, last = (scores(encoding, q, k, positions, layer) for layer in (0, 2))
    assert torch.equal(first, last) == (layers == 1)
    last.square().sum().backward()
    assert encoding.upper.grad is not None
    by_layer = encoding.upper.grad.abs().flatten(1).amax(1)
    assert by_layer[-1] > 0
    assert layers == 1 or by_layer[0] == 0


def test_the_number_of_parameters_of_the_paper() -> None:
    encoding = build_encoding("liere:block=64", axes=2, heads=12, head_dim=64, depth=12, seed=0)
    # 2 axes, 144 heads, 64 * 63 / 2 entries each: Table 8 of the paper
    assert sum(p.numel() for p in encoding.parameters()) == 580_608
    entries = encoding.upper.detach()
    assert 0 <= float(entries.min()) < 0.1
    assert 2 * math.pi - 0.1 < float(entries.max()) < 2 * math.pi


@pytest.mark.parametrize(("head_dim", "block"), [(64, 8), (32, 8), (4, 4), (12, 6), (10, 5)])
def test_default_block_fits(head_dim: int, block: int) -> None:
    assert build_encoding("liere", axes=2, heads=1, head_dim=head_dim).block == block


@pytest.mark.parametrize("share", ["none", "heads"])
def test_rotations_too_large_to_keep_have_the_same_gradients(
    share: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding = build(f"block=8,share={share}", 3)
    q, k = random_qk(3, prefix=1)
    q.requires_grad_()
    results = []
    for kept in (liere.KEPT_BYTES, 0):
        monkeypatch.setattr(liere, "KEPT_BYTES", kept)
        state = encoding.prepare(grid_positions(3))
        assert bool(state.generators) == (kept == 0)
        turned_q, turned_k = encoding.encode_qk(q, k, state, 1, prefix_tokens=1)
        weights = (q, encoding.upper)
        results.append(torch.autograd.grad((turned_q @ turned_k.mT).tanh().sum(), weights))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-3)


@EVERY_AXES
def test_coordinates_of_the_training_grid_are_kept_on_larger_ones(axes: int) -> None:
    encoding = build("block=8", axes)
    trained = SHAPES[axes]
    larger = tuple(2 * n for n in trained)
    whole = encoding.rotations(Grid(larger, trained).positions(encoding.scaling))
    small = encoding.rotations(Grid(trained).positions(encoding.scaling))
    corner = (..., *(slice(n) for n in trained), slice(None), slice(None))
    torch.testing.assert_close(
        whole.unflatten(3, larger)[corner].flatten(3, -3), small, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(("axes", "block"), [(1, 3), (1, 8), (2, 2), (2, 8)])
def test_one_graph(axes: int, block: int) -> None:
    head_dim = 12 if block == 3 else 16
    encoding = build(f"block={block}", axes, head_dim)
    positions = grid_positions(axes)
    q, k = random_qk(axes, head_dim, prefix=1)

    def run(q: Tensor, k: Tensor) -> Tensor:
        state = encoding.prepare(positions)
        for layer in range(2):
            q, k = encoding.encode_qk(q, k, state, layer, prefix_tokens=1)
        return q @ k.mT

    torch._dynamo.reset()
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    results = []
    for f in (run, compiled):
        attention = f(q, k)
        (gradient,) = torch.autograd.grad(attention.tanh().sum(), encoding.upper)
        results.append((attention, gradient))
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-3)


@EVERY_AXES
def test_autocast_does_not_change_the_rotations(axes: int) -> None:
    encoding = build("block=8", axes)
    q, k = (x.bfloat16() for x in random_qk(axes))
    positions = grid_positions(axes)
    plain = encoding(q, k, positions)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = encoding(q, k, positions)
    torch.testing.assert_close(cast, plain, rtol=0, atol=0)
    assert cast[0].dtype == torch.bfloat16


def test_refuses() -> None:
    with pytest.raises(UsageError, match="not divisible into blocks of 6"):
        build("block=6", 2)
    with pytest.raises(UsageError, match="block"):
        build("block=1", 2)
    with pytest.raises(UsageError, match="share"):
        build("share=both", 2)
    encoding = build("block=4", 2)
    with pytest.raises(UsageError, match=r"positions must be \[tokens, 2\]"):
        encoding.rotations(torch.zeros(4, 3))


@pytest.mark.parametrize("block", [4, 8, 16])
@pytest.mark.parametrize("share", ["none", "heads"])
def test_folding_the_basis_into_the_projection_keeps_scores_and_gradients(
    block: int, share: str
) -> None:
    spec = f"liere:block={block},share={share}"
    encoding = build_encoding(spec, axes=1, heads=2, head_dim=16, depth=2, seed=0)
    positions = Grid((12,)).positions(encoding.scaling)
    x = torch.randn(3, 12, 32, requires_grad=True)
    weight = torch.randn(96, 32, requires_grad=True)
    mixing = torch.randn(12, 12)
    results = []
    for project in (encoding.project, PositionEncoding.project.__get__(encoding)):
        q, k, v = project(x, weight, encoding.prepare(positions), 1)
        scores = q @ k.mT / 16
        loss = (scores.tanh() * mixing).sum() + v.square().sum()
        leaves = (x, weight, *encoding.parameters())
        results.append((scores, v, *torch.autograd.grad(loss, leaves)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-3)
