"""Rotations of one axis: scores equal those of exponentials, without a matrix per position."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from liere_cli.errors import UsageError
from liere_cli.rotations import (
    fold_basis,
    one_axis_table,
    real_schur,
    rotate_on_grid,
    rotate_one_axis,
    rotate_projected_one_axis,
)
from liere_cli.rotations.kernels.schur import schur_kernel
from support.skew_matrices import WAYS, both_ways, random_skew

way = pytest.fixture(both_ways, scope="module", autouse=True, params=WAYS)


def rotate_on_one_axis(a: Tensor, positions: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
    schur = real_schur(a, positions)
    return rotate_one_axis(schur, one_axis_table(schur, positions), positions, *xs)


def rotate_by_folding(a: Tensor, positions: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
    """As ``rotate_on_one_axis``, with the change of basis folded into an identity projection."""
    schur = real_schur(a, positions)
    _, heads, _, channels = xs[0].shape
    identity = torch.eye(channels, dtype=a.dtype).repeat(3 * heads, 1)
    weights = fold_basis(schur, identity).view(3, heads, channels, channels)
    assert torch.equal(weights[2], identity.view_as(weights)[2])
    parts = [x @ matrix.mT for x, matrix in zip((*xs, xs[1]), weights, strict=True)]
    qkv = torch.stack(parts, 2).permute(0, 3, 2, 1, 4).contiguous()  # [B, T, 3, N, H]
    return rotate_projected_one_axis(schur, one_axis_table(schur, positions), positions, qkv)[:2]


def rotate_by_exponential(a: Tensor, positions: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
    return rotate_on_grid(a[:, :, None], positions[:, None], *xs)


def degenerate(kind: str, block: int) -> Tensor:
    """Generators with frequencies that coincide or are 0."""
    if kind == "zero":
        return torch.zeros(2, 1, block, block, dtype=torch.float64)
    u = torch.zeros(block, block, dtype=torch.float64)
    planes = block // 2 if kind == "equal" else 1
    for plane in range(planes):
        u[2 * plane, 2 * plane + 1] = 1.5
    basis, _ = torch.linalg.qr(random_skew(block, block) + torch.eye(block, dtype=torch.float64))
    return (basis @ (u - u.mT) @ basis.mT).expand(2, 1, block, block).contiguous()


def compare(a: Tensor, blocks: int, prefix: int, tolerance: float) -> None:
    heads, rows = 2, a.shape[-1]
    positions = torch.linspace(-1, 2, 12, dtype=a.dtype)
    x = torch.randn(2, 3, heads, 12 + prefix, blocks * rows, dtype=a.dtype, requires_grad=True)
    weight = torch.randn(3, heads, 12 + prefix, 12 + prefix, dtype=a.dtype)
    results = []
    functions = [rotate_by_exponential, rotate_on_one_axis]
    if not prefix:
        functions.append(rotate_by_folding)
    for rotate in functions:
        leaf = a.clone().requires_grad_()
        q, k = rotate((leaf - leaf.mT) / 2, positions, x[0], x[1])
        scores = q @ k.mT / rows**0.5
        results.append((scores, *torch.autograd.grad((scores.tanh() * weight).sum(), (leaf, x))))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=tolerance, atol=tolerance)


@given(
    heads=st.sampled_from((1, 2)),
    blocks=st.sampled_from((1, 3)),
    block=st.sampled_from((2, 4, 8)),
    norm=st.sampled_from((1e-9, 0.1, 30.0)),
    prefix=st.integers(0, 2),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=30, deadline=None)
def test_scores_and_gradients_equal_those_of_the_exponential(
    heads: int, blocks: int, block: int, norm: float, prefix: int, seed: int
) -> None:
    compare(random_skew(heads, blocks, block, block, norm=norm, seed=seed), blocks, prefix, 1e-5)


@pytest.mark.parametrize("kind", ["zero", "equal", "one"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_frequencies_that_coincide(kind: str, dtype: torch.dtype) -> None:
    compare(degenerate(kind, 8).to(dtype), 1, 0, 1e-5 if dtype == torch.float64 else 1e-4)


def test_prefix_is_unchanged() -> None:
    x = torch.randn(2, 1, 7, 8)
    positions = torch.arange(5.0)
    (rotated,) = rotate_on_one_axis(random_skew(1, 2, 4, 4, dtype=torch.float32), positions, x)
    assert torch.equal(rotated[:, :, :2], x[:, :, :2])


@pytest.mark.parametrize("kind", ["zero", "equal", "one", "distinct"])
@pytest.mark.parametrize("block", [2, 4, 8, 64])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_schur_form_is_as_accurate_as_its_dtype(kind: str, block: int, dtype: torch.dtype) -> None:
    a = random_skew(3, block, block, norm=20.0) if kind == "distinct" else degenerate(kind, block)
    schur = real_schur(a.to(dtype), torch.arange(3.0))
    basis, diagonal = schur.basis.double(), schur.quasi_diagonal.double()
    tolerance = 100 * torch.finfo(dtype).eps
    rebuilt = basis @ diagonal @ basis.mT
    torch.testing.assert_close(rebuilt, a, rtol=0, atol=tolerance * (1 + float(a.abs().max())))
    identity = torch.eye(block, dtype=a.dtype).expand_as(a)
    torch.testing.assert_close(basis @ basis.mT, identity, rtol=0, atol=tolerance)


@pytest.mark.parametrize("block", [8, 64])
def test_gradients_at_equal_frequencies(block: int) -> None:
    a = degenerate("equal", block)[:1, 0]
    positions = torch.linspace(0, 2, 3, dtype=torch.float64)
    x = torch.randn(2, 1, 1, 3, block, dtype=torch.float64)

    def scores(u: Tensor) -> Tensor:
        q, k = rotate_on_one_axis((u - u.mT)[:, None] / 2, positions, *x)
        return q @ k.mT

    assert torch.autograd.gradcheck(scores, (a.requires_grad_(),), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_matrices_that_are_not_finite_affect_no_other(dtype: torch.dtype) -> None:
    a = random_skew(3, 8, 8, dtype=dtype)
    expected = real_schur(a, torch.arange(3.0))
    a[1, 0, 1] = torch.inf
    schur = real_schur(a, torch.arange(3.0))
    for part, other in ((schur.basis, expected.basis), (schur.frequencies, expected.frequencies)):
        assert part[1].isnan().all()
        assert torch.equal(part[[0, 2]], other[[0, 2]])


@pytest.mark.parametrize("kind", ["zero", "equal", "one"])
def test_frequencies_too_close_for_any_position_are_not_distinct(kind: str) -> None:
    a = degenerate(kind, 8)
    compiled = schur_kernel(a) is not None
    near = a + 1e-10 * random_skew(*a.shape)
    for matrix, positions, distinct in (
        (random_skew(*a.shape), torch.arange(3.0), True),
        (a, torch.arange(3.0), False),
        (near, torch.arange(3.0), False),
        (near, torch.arange(3.0) * 1e6, True),
        (near, torch.zeros(3), False),
    ):
        assert real_schur(matrix, positions).distinct == (distinct and compiled)


@pytest.mark.parametrize("kind", ["zero", "equal", "one"])
@pytest.mark.parametrize("block", [2, 8, 12])
def test_basis_is_orthonormal_at_frequency_zero(kind: str, block: int) -> None:
    a = degenerate(kind, block)
    schur = real_schur(a, torch.arange(3.0))
    identity = torch.eye(block, dtype=a.dtype).expand_as(a)
    torch.testing.assert_close(schur.basis @ schur.basis.mT, identity, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        schur.basis @ schur.quasi_diagonal @ schur.basis.mT, a, rtol=0, atol=1e-6
    )


def test_gradient_of_each_matrix_is_independent_of_the_batch() -> None:
    """Each matrix of a batch has the gradient that it has alone, and it is skew-symmetric."""
    a = random_skew(5, 12, 12, norm=9.0)
    a[2] = 0
    grads = torch.randn(2, 5, 12, 12, dtype=a.dtype)

    def gradient(a: Tensor, *grads: Tensor) -> Tensor:
        leaf = a.clone().requires_grad_()
        schur = real_schur(leaf, torch.arange(3.0))
        return torch.autograd.grad((schur.basis, schur.quasi_diagonal), leaf, grads)[0]

    whole = gradient(a, *grads)
    alone = torch.cat([gradient(a[i : i + 1], *grads[:, i : i + 1]) for i in range(5)])
    torch.testing.assert_close(whole, alone)
    torch.testing.assert_close(whole, -whole.mT)


def test_no_tensor_of_positions_times_matrices() -> None:
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                largest = max(largest, result.numel())
            return result

    tokens, block = 8192, 16
    a = random_skew(1, 1, block, block, dtype=torch.float32).requires_grad_()
    x = torch.randn(1, 1, tokens, block, requires_grad=True)
    with Watch():
        q, k = rotate_on_one_axis(a, torch.linspace(0, 1, tokens), x, x)
        (q * k.roll(1, 2)).sum().backward()
    assert largest <= 2 * tokens * block


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_error(dtype: torch.dtype) -> None:
    a = random_skew(2, 1, 16, 16, norm=60.0)
    positions = torch.linspace(0, 1, 40, dtype=torch.float64)
    q, k = torch.randn(2, 4, 2, 40, 16).to(dtype)
    exact_q, exact_k = rotate_by_exponential(a, positions, q.double(), k.double())
    rotated_q, rotated_k = rotate_on_one_axis(a.float(), positions.float(), q, k)
    exact = exact_q @ exact_k.mT
    error = (rotated_q.double() @ rotated_k.double().mT - exact).norm() / exact.norm()
    # the change of basis and the rotation round once each, queries and keys alike
    assert error < 4 * torch.finfo(dtype).eps / 2


def test_one_graph() -> None:
    a = random_skew(2, 1, 4, 4, norm=3.0, dtype=torch.float32).requires_grad_()
    x = torch.randn(2, 2, 2, 6, 4, requires_grad=True)

    def run(a: Tensor, x: Tensor) -> Tensor:
        q, k = rotate_on_one_axis(a, torch.arange(6.0), x[0], x[1])
        return q @ k.mT

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    results = []
    for f in (run, compiled):
        scores = f(a, x)
        results.append((scores, *torch.autograd.grad(scores.sin().sum(), (a, x))))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-4)


def test_odd_number_of_rows_is_invalid() -> None:
    with pytest.raises(UsageError, match="even number"):
        real_schur(torch.zeros(1, 1, 3, 3), torch.arange(3.0))
