"""Rotations of one axis: scores of the exponential, without a matrix for each position."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from liere_cli.errors import UsageError
from liere_cli.rotations import (
    fold_line,
    line_table,
    rotate_line,
    rotate_on_grid,
    spectrum,
    turn_line,
)
from liere_cli.rotations import schur as spectra
from support.skew_matrices import WAYS, both_ways, random_skew

way = pytest.fixture(both_ways, scope="module", autouse=True, params=WAYS)


def turn_by_line(a: Tensor, positions: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
    lines = spectrum(a, positions)
    return rotate_line(lines, line_table(lines, positions), positions, *xs)


def turn_by_folding(a: Tensor, positions: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
    """As ``turn_by_line``, of the projection that does nothing, changed to the eigenbasis."""
    lines = spectrum(a, positions)
    _, heads, _, channels = xs[0].shape
    identity = torch.eye(channels, dtype=a.dtype).repeat(3 * heads, 1)
    weights = fold_line(lines, identity).view(3, heads, channels, channels)
    assert torch.equal(weights[2], identity.view_as(weights)[2])
    parts = [x @ matrix.mT for x, matrix in zip((*xs, xs[1]), weights, strict=True)]
    qkv = torch.stack(parts, 2).permute(0, 3, 2, 1, 4).contiguous()  # [B, T, 3, N, H]
    return turn_line(lines, line_table(lines, positions), positions, qkv)[:2]


def turn_by_exponential(a: Tensor, positions: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
    return rotate_on_grid(a[:, :, None], positions[:, None], *xs)


def degenerate(kind: str, block: int) -> Tensor:
    """Generators whose rates coincide or vanish."""
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
    turns = [turn_by_exponential, turn_by_line]
    if not prefix:
        turns.append(turn_by_folding)
    for turn in turns:
        leaf = a.clone().requires_grad_()
        q, k = turn((leaf - leaf.mT) / 2, positions, x[0], x[1])
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
def test_rates_that_coincide(kind: str, dtype: torch.dtype) -> None:
    compare(degenerate(kind, 8).to(dtype), 1, 0, 1e-5 if dtype == torch.float64 else 1e-4)


def test_prefix_passes_unchanged() -> None:
    x = torch.randn(2, 1, 7, 8)
    positions = torch.arange(5.0)
    (turned,) = turn_by_line(random_skew(1, 2, 4, 4, dtype=torch.float32), positions, x)
    assert torch.equal(turned[:, :, :2], x[:, :, :2])


def test_spectrum_rebuilds_the_matrix() -> None:
    a = random_skew(3, 8, 8, norm=20.0)
    lines = spectrum(a, torch.arange(3.0))
    rebuilt = lines.basis @ lines.rates @ lines.basis.mT
    torch.testing.assert_close(rebuilt, a, rtol=0, atol=1e-6)
    identity = torch.eye(8, dtype=a.dtype).expand_as(a)
    torch.testing.assert_close(lines.basis @ lines.basis.mT, identity, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", ["zero", "equal", "one"])
def test_rates_that_no_position_tells_apart_are_not_distinct(kind: str) -> None:
    a = degenerate(kind, 8)
    compiled = spectra.spectrum_for(a) is not None
    near = a + 1e-10 * random_skew(*a.shape)
    for matrix, positions, distinct in (
        (random_skew(*a.shape), torch.arange(3.0), True),
        (a, torch.arange(3.0), False),
        (near, torch.arange(3.0), False),
        (near, torch.arange(3.0) * 1e6, True),
        (near, torch.zeros(3), False),
    ):
        assert spectrum(matrix, positions).distinct == (distinct and compiled)


@pytest.mark.parametrize("kind", ["zero", "equal", "one"])
@pytest.mark.parametrize("block", [2, 8, 12])
def test_planes_are_orthonormal_where_nothing_turns_them(kind: str, block: int) -> None:
    a = degenerate(kind, block)
    lines = spectrum(a, torch.arange(3.0))
    identity = torch.eye(block, dtype=a.dtype).expand_as(a)
    torch.testing.assert_close(lines.basis @ lines.basis.mT, identity, rtol=0, atol=1e-6)
    torch.testing.assert_close(lines.basis @ lines.rates @ lines.basis.mT, a, rtol=0, atol=1e-6)


def test_gradient_of_a_spectrum_of_its_own_matrix_only() -> None:
    """Of a batch, each matrix gets the gradient that it gets alone, and it is skew."""
    a = random_skew(5, 12, 12, norm=9.0)
    a[2] = 0
    grads = torch.randn(2, 5, 12, 12, dtype=a.dtype)

    def gradient(a: Tensor, *grads: Tensor) -> Tensor:
        leaf = a.clone().requires_grad_()
        lines = spectrum(leaf, torch.arange(3.0))
        return torch.autograd.grad((lines.basis, lines.rates), leaf, grads)[0]

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
        q, k = turn_by_line(a, torch.linspace(0, 1, tokens), x, x)
        (q * k.roll(1, 2)).sum().backward()
    assert largest <= 2 * tokens * block


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_error(dtype: torch.dtype) -> None:
    a = random_skew(2, 1, 16, 16, norm=60.0)
    positions = torch.linspace(0, 1, 40, dtype=torch.float64)
    q, k = torch.randn(2, 4, 2, 40, 16).to(dtype)
    exact_q, exact_k = turn_by_exponential(a, positions, q.double(), k.double())
    turned_q, turned_k = turn_by_line(a.float(), positions.float(), q, k)
    exact = exact_q @ exact_k.mT
    error = (turned_q.double() @ turned_k.double().mT - exact).norm() / exact.norm()
    # the change of basis and the rotation round once each, queries and keys alike
    assert error < 4 * torch.finfo(dtype).eps / 2


def test_one_graph() -> None:
    a = random_skew(2, 1, 4, 4, norm=3.0, dtype=torch.float32).requires_grad_()
    x = torch.randn(2, 2, 2, 6, 4, requires_grad=True)

    def run(a: Tensor, x: Tensor) -> Tensor:
        q, k = turn_by_line(a, torch.arange(6.0), x[0], x[1])
        return q @ k.mT

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    results = []
    for f in (run, compiled):
        scores = f(a, x)
        results.append((scores, *torch.autograd.grad(scores.sin().sum(), (a, x))))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-4)


def test_refuses_an_odd_number_of_rows() -> None:
    with pytest.raises(UsageError, match="odd number"):
        spectrum(torch.zeros(1, 1, 3, 3), torch.arange(3.0))
