"""Rotations of whole grids: equal to single exponentials, in bounded memory."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from liere_cli.errors import UsageError
from liere_cli.rotations import grid_exp, rotate_blocks, rotate_on_grid
from liere_cli.rotations.exponential import chunks, shared_taylor
from liere_cli.rotations.kernels.compiler import without_kernels
from support.skew_matrices import WAYS, as_on_a_gpu, both_ways, random_skew

way = pytest.fixture(both_ways, scope="module", autouse=True, params=WAYS)


def single_exponentials(generators: Tensor, positions: Tensor) -> Tensor:
    exponents = torch.einsum("ta,...aij->...tij", positions, generators)
    return torch.linalg.matrix_exp(exponents.contiguous())


@given(
    axes=st.integers(1, 3),
    block=st.sampled_from((2, 3, 4, 7)),
    norm=st.sampled_from((0.0, 1e-6, 1.0, 40.0)),
    tokens=st.sampled_from((1, 9, 40)),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=40, deadline=None)
def test_equals_single_exponentials(
    axes: int, block: int, norm: float, tokens: int, seed: int
) -> None:
    generators = random_skew(2, axes, block, block, norm=norm, seed=seed).requires_grad_()
    positions = torch.rand(tokens, axes, dtype=torch.float64) * 3 - 1
    rotations, expected = (f(generators, positions) for f in (grid_exp, single_exponentials))
    torch.testing.assert_close(rotations, expected, rtol=0, atol=1e-11 * (1 + norm))
    weight = torch.randn_like(expected)
    ours, theirs = (
        torch.autograd.grad((result * weight).sum(), generators)[0]
        for result in (rotations, expected)
    )
    # only the skew part of a gradient changes skew-symmetric generators
    torch.testing.assert_close(ours - ours.mT, theirs - theirs.mT, rtol=0, atol=1e-9 * (1 + norm))


def test_cancelling_generators() -> None:
    a = random_skew(1, 8, 8, norm=300.0)
    generators = torch.stack((a, -a + random_skew(1, 8, 8, norm=2.0, seed=1)), 1)
    positions = torch.rand(60, 1, dtype=torch.float64).expand(60, 2)
    torch.testing.assert_close(
        grid_exp(generators, positions),
        single_exponentials(generators, positions),
        rtol=0,
        atol=1e-10,
    )


def test_float32_at_the_scale_of_the_paper() -> None:
    entries = torch.rand(2, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    upper = torch.triu(entries * 2 * math.pi, 1)
    generators = upper - upper.mT
    line = torch.linspace(0, 1, 8)
    positions = torch.cartesian_prod(line, line)
    exact = single_exponentials(generators.double(), positions.double())
    error = (grid_exp(generators, positions) - exact).abs().max()
    assert error < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reach", [1.0, 30.0, 3e3, 1e5])
def test_large_norms_as_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, reach: float
) -> None:
    """Far positions, and one that is not a number, change nothing for others."""
    as_on_a_gpu(monkeypatch)
    generators = random_skew(2, 2, 8, 8, norm=20.0, dtype=dtype).requires_grad_()
    line = torch.linspace(0, 1, 6, dtype=dtype)
    positions = torch.cartesian_prod(line, line)
    positions[20:] *= reach
    positions[7] = math.nan
    with without_kernels():
        rotations = grid_exp(generators, positions)
    assert rotations[:, 7].isnan().all()
    others = [i for i in range(36) if i != 7]
    leaf = generators.detach().double().requires_grad_()
    expected = single_exponentials(leaf, positions[others].double())
    error = (rotations[:, others] - expected).abs().amax((0, 2, 3))
    norms = 20 * positions[others].double().abs().sum(1)
    assert (error < 3 * torch.finfo(dtype).eps * (20 + norms)).all()
    weight = random_skew(2, 35, 8, 8)
    with without_kernels():
        ours = (grid_exp(generators, positions[others]) * weight.to(dtype)).sum()
    pairs = (ours, generators), ((expected * weight).sum(), leaf)
    grad, exact = (torch.autograd.grad(loss, leaves)[0].double() for loss, leaves in pairs)
    allowed = 10 * torch.finfo(dtype).eps * float(norms.max()) * reach
    torch.testing.assert_close(grad - grad.mT, exact - exact.mT, rtol=0, atol=allowed)


def test_training_after_a_first_call_in_inference_mode() -> None:
    shared_taylor._cached_term_index.cache_clear()
    generators = random_skew(1, 2, 4, 4).requires_grad_()
    line = torch.arange(5, dtype=torch.float64)
    positions = torch.cartesian_prod(line, line)
    with torch.inference_mode():
        expected = grid_exp(generators, positions).clone()
    rotations = grid_exp(generators, positions)
    rotations.sum().backward()
    assert generators.grad is not None
    torch.testing.assert_close(rotations.detach(), expected)


def apply(rotations: Tensor, x: Tensor) -> Tensor:
    """R(p) x as a matrix-vector product for every token."""
    *_, blocks, tokens, block, _ = rotations.shape
    prefix = x.shape[2] - tokens
    tail = x[:, :, prefix:].unflatten(-1, (blocks, block))
    rotated = torch.einsum("nktij,bntkj->bntki", rotations.expand(x.shape[1], -1, -1, -1, -1), tail)
    return torch.cat((x[:, :, :prefix], rotated.flatten(-2)), 2)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize(("blocks", "block"), [(1, 6), (3, 4)])
@pytest.mark.parametrize("fused", [False, True])
def test_application(heads: int, prefix: int, blocks: int, block: int, fused: bool) -> None:
    generators = random_skew(heads, blocks, 2, block, block, norm=3.0).requires_grad_()
    positions = torch.rand(20, 2, dtype=torch.float64)
    # queries and keys as views of one fused projection
    shape = (2, 20 + prefix, 3, 3, blocks * block)
    qkv = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    q, k, _ = qkv.permute(2, 0, 3, 1, 4)
    if fused:
        ours = rotate_on_grid(generators, positions, q, k)
    else:
        ours = rotate_blocks(grid_exp(generators, positions), q, k)
    expected = [apply(single_exponentials(generators, positions), x) for x in (q, k)]
    weights = [torch.randn_like(x) for x in expected]
    results = []
    for pair in (ours, expected):
        loss = sum((x * weight).sum() for x, weight in zip(pair, weights, strict=True))
        grad_generators, grad_qkv = torch.autograd.grad(loss, (generators, qkv))
        results.append((*pair, grad_generators - grad_generators.mT, grad_qkv))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-10)


def test_application_gradcheck() -> None:
    u = torch.randn(2, 1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, 2, 17, 4, dtype=torch.float64, requires_grad=True)
    positions = torch.rand(16, 2, dtype=torch.float64)
    assert gradcheck(lambda u, x: rotate_on_grid(u - u.mT, positions, x), (u, x))


def test_chunks_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    generators = random_skew(2, 3, 2, 4, 4, norm=30.0)
    positions = torch.rand(25, 2, dtype=torch.float64)
    x = torch.randn(2, 2, 25, 12, dtype=torch.float64)
    results = []
    for entries in (1 << 20, 100):
        monkeypatch.setattr(chunks, "CHUNK_ENTRIES", entries)
        leaf = generators.clone().requires_grad_()
        (rotated,) = rotate_on_grid(leaf, positions, x)
        rotated.sin().sum().backward()
        results.append((grid_exp(generators, positions), rotated.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-11)


def test_video_positions_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor of size tokens x heads x block^2 is allocated."""
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                largest = max(largest, result.untyped_storage().nbytes())
            return result

    monkeypatch.setattr(chunks, "CHUNK_ENTRIES", 1 << 13)
    heads, block = 3, 16
    line = torch.linspace(0, 1, 8)
    positions = torch.cartesian_prod(line, line, line)
    generators = random_skew(heads, 1, 3, block, block, norm=20.0, dtype=torch.float32)
    generators.requires_grad_()
    x = torch.randn(1, heads, 512, block, requires_grad=True)
    with Watch():
        (rotated,) = rotate_on_grid(generators, positions, x)
        rotated.sum().backward()
    assert largest < heads * 512 * block**2 * 4 / 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_error(dtype: torch.dtype) -> None:
    """Rotations are built in float32 and rounded once, then the result: at most two units."""
    generators = random_skew(2, 1, 2, 16, 16, norm=60.0, dtype=torch.float32)
    positions = torch.rand(40, 2)
    x = torch.randn(4, 2, 40, 16).to(dtype)
    exact = apply(single_exponentials(generators.double(), positions.double()), x.double())
    for rotated in (
        rotate_blocks(grid_exp(generators, positions), x)[0],
        rotate_on_grid(generators, positions, x)[0],
    ):
        assert rotated.dtype == dtype
        error = (rotated.double() - exact).norm() / exact.norm()
        assert error < 2 * torch.finfo(dtype).eps / 2


@pytest.mark.parametrize("fused", [False, True])
def test_one_graph(fused: bool) -> None:
    def run(generators: Tensor, x: Tensor) -> Tensor:
        if fused:
            return rotate_on_grid(generators, positions, x)[0]
        return rotate_blocks(grid_exp(generators, positions), x)[0]

    generators = random_skew(2, 1, 2, 4, 4, norm=3.0, dtype=torch.float32).requires_grad_()
    positions = torch.rand(20, 2)
    x = torch.randn(2, 2, 21, 4, requires_grad=True)
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    results = []
    for f in (run, compiled):
        rotated = f(generators, x)
        grad, grad_x = torch.autograd.grad(rotated.sin().sum(), (generators, x))
        results.append((rotated, grad - grad.mT, grad_x))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-4)


def test_invalid_arguments() -> None:
    generators, positions = torch.zeros(1, 2, 4, 4), torch.zeros(5, 2)
    with pytest.raises(UsageError, match=r"positions must be \[tokens, 2\]"):
        grid_exp(generators, torch.zeros(5, 3))
    with pytest.raises(UsageError, match="axes, b, b"):
        grid_exp(torch.zeros(4, 4), positions)
    with pytest.raises(UsageError, match="don't fit"):
        rotate_blocks(torch.zeros(1, 1, 5, 4, 4), torch.zeros(1, 2, 5, 6))
    with pytest.raises(UsageError, match="one shape and dtype"):
        rotate_on_grid(
            generators[None], positions, torch.zeros(1, 1, 5, 4), torch.zeros(1, 2, 5, 4)
        )
    with pytest.raises(UsageError, match="batch, heads, tokens"):
        rotate_blocks(torch.zeros(1, 1, 5, 4, 4), torch.zeros(5, 4))
