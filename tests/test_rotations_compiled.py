"""What a C compiler makes of exponential.c: equal to torch.matrix_exp, and never in the way."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skew_matrices import random_skew
from torch import Tensor

from liere_cli.rotations import compiled, grid_exp, skew_exp
from liere_cli.rotations.series import compiled_for

with_compiler = pytest.mark.skipif(compiled.find_compiler() is None, reason="no C compiler answers")


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Compilers and kernels are looked for anew, in this test and after it."""
    for remembered in (compiled.find_compiler, compiled._kernel):
        remembered.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    for remembered in (compiled.find_compiler, compiled._kernel):
        remembered.cache_clear()


def exponential(a: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
    leaf = a.clone().requires_grad_()
    rotation = skew_exp(leaf)
    return rotation.detach(), torch.autograd.grad(rotation, leaf, cotangent)[0]


@with_compiler
@given(
    rows=st.sampled_from(compiled.ROWS),
    dtype=st.sampled_from((torch.float32, torch.float64)),
    norm=st.sampled_from((0.0, 1e-12, 1e-3, 0.7, 20.0, 500.0)),
    count=st.integers(1, 5),
    seed=st.integers(0, 2**16),
)
def test_equals_torch_forward_and_backward(
    rows: int, dtype: torch.dtype, norm: float, count: int, seed: int
) -> None:
    a = random_skew(count, rows, rows, norm=norm, seed=seed)
    cotangent = torch.randn_like(a)
    assert compiled_for(a.to(dtype)) is not None
    leaf = a.clone().requires_grad_()
    exact = torch.linalg.matrix_exp(leaf)
    (grad,) = torch.autograd.grad(exact, leaf, cotangent)
    rotation, ours = exponential(a.to(dtype), cotangent.to(dtype))
    tolerance = 40 * torch.finfo(dtype).eps * (1 + norm)
    torch.testing.assert_close(rotation.double(), exact.detach(), rtol=0, atol=tolerance)
    torch.testing.assert_close(ours.double(), (grad - grad.mT) / 2, rtol=0, atol=tolerance * rows)


@with_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (3, 20), (2, 700)])
def test_moments_equal_the_products_that_they_replace(
    batch: int, tokens: int, dtype: torch.dtype
) -> None:
    qkv, grad = torch.randn(2, batch, tokens, 3, 4, 6, dtype=torch.float64)
    positions = torch.linspace(-1, 2, tokens, dtype=torch.float64)
    pairs, others = (x[:, :, :2].unflatten(-1, (3, 2)) for x in (qkv, grad))
    turns = pairs[..., 0] * others[..., 1] - pairs[..., 1] * others[..., 0]
    expected = torch.einsum("btsnh,t->nh", turns, positions)
    moments = compiled.moments_for(qkv.to(dtype))
    assert moments is not None
    ours = moments(qkv.to(dtype), grad.to(dtype), positions)
    assert ours.dtype == dtype
    tolerance = 20 * torch.finfo(dtype).eps * tokens**0.5
    torch.testing.assert_close(ours.double(), expected, rtol=tolerance, atol=tolerance)


@with_compiler
def test_threads_change_no_bit() -> None:
    a = random_skew(700, 8, 8, norm=30.0, dtype=torch.float32)
    cotangent, before = torch.randn_like(a), torch.get_num_threads()
    qkv, grad = torch.randn(2, 1, 1000, 3, 4, 32)
    moments = compiled.moments_for(qkv)
    assert moments is not None
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            sums = moments(qkv, grad, torch.arange(1000.0))
            results.append((*exponential(a, cotangent), sums))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@with_compiler
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_what_has_no_exponential_spoils_no_other(bad: float) -> None:
    a = random_skew(3, 8, 8, norm=3.0, dtype=torch.float32)
    a[1, 0, 1], a[1, 1, 0] = bad, -bad
    rotation, grad = exponential(a, torch.ones_like(a))
    good = exponential(a[[0, 2]], torch.ones_like(a[:2]))
    for whole, part in zip((rotation, grad), good, strict=True):
        assert whole[1].isnan().all()
        assert torch.equal(whole[[0, 2]], part)


@with_compiler
@pytest.mark.parametrize("rows", [8, 64])
def test_gradients_may_come_transposed(rows: int) -> None:
    a = random_skew(3, rows, rows, norm=20.0)
    kernel = compiled_for(a)
    assert kernel is not None
    grad = torch.randn_like(a)
    as_it_lies, transposed, neither = (
        kernel.exponential_back(a, x)
        for x in (grad, grad.mT.contiguous().mT, torch.stack((grad, grad), -1)[..., 0])
    )
    assert torch.equal(as_it_lies, transposed)
    assert torch.equal(as_it_lies, neither)


@with_compiler
@pytest.mark.parametrize("rows", [8, 24, 64])
@pytest.mark.parametrize("size", [1e5, 1e12, 1e30, math.inf, math.nan])
def test_generators_that_diverge_give_nothing_but_at_the_origin(rows: int, size: float) -> None:
    """Nothing is written beyond the room for squarings, and no position spoils another."""
    generators = random_skew(1, 2, rows, rows, norm=1.0, dtype=torch.float32) * size
    positions = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0))
    rotations = grid_exp(generators, positions)
    spoilt = rotations.isnan().flatten(2).all(-1)
    assert spoilt.any() == (size > 1e6 or math.isnan(size))
    assert rotations[~spoilt].isfinite().all()


@with_compiler
def test_without_openmp_threads_of_our_own_do(monkeypatch: pytest.MonkeyPatch) -> None:
    a, before = random_skew(700, 8, 8, norm=30.0), torch.get_num_threads()
    cotangent = torch.randn_like(a)
    torch.set_num_threads(3)
    try:
        with_openmp = exponential(a, cotangent)
        monkeypatch.setattr(compiled, "_openmp", lambda: None)
        without = exponential(a, cotangent)
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, with_openmp, without))


@pytest.mark.parametrize("command", ["none", "false", "no-such-compiler", "/"])
def test_without_a_compiler_batched_products_do(
    forgetful: pytest.MonkeyPatch, command: str
) -> None:
    a = random_skew(3, 8, 8, norm=3.0)
    before = exponential(a, torch.ones_like(a))
    forgetful.setenv("CC", command)
    compiled.find_compiler.cache_clear()
    compiled._kernel.cache_clear()
    assert compiled_for(a) is None
    expected = "batched products, as no C compiler answers"
    assert compiled.describe(torch.device("cpu")) == expected
    after = exponential(a, torch.ones_like(a))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-13)


@with_compiler
def test_a_compiler_that_fails_at_the_file_is_none(
    forgetful: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "exponential.c").write_text("no C at all")
    forgetful.setattr(compiled, "_SOURCES", tmp_path)
    assert compiled_for(random_skew(1, 8, 8)) is None


@with_compiler
def test_the_file_is_kept_and_made_again_where_damaged(
    forgetful: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forgetful.setenv("LIERE_CACHE", str(tmp_path))
    script = (
        "import torch\n"
        "from liere_cli.rotations import skew_exp\n"
        "from liere_cli.rotations.series import compiled_for\n"
        "a = torch.zeros(1, 8, 8)\n"
        "assert compiled_for(a) is not None\n"
        "assert torch.equal(skew_exp(a), torch.eye(8)[None])"
    )

    def run() -> None:
        # a process of its own: a damaged file that is mapped already would bring it down
        subprocess.run([sys.executable, "-c", script], check=True, env=dict(os.environ))

    run()
    (kept,) = (tmp_path / "kernels").iterdir()
    made = kept.stat().st_mtime_ns
    run()
    assert kept.stat().st_mtime_ns == made
    content = kept.read_bytes()
    kept.unlink()
    kept.write_bytes(content[:100])
    run()
    assert len(kept.read_bytes()) == len(content)


@with_compiler
def test_a_cache_that_cannot_be_written_is_no_obstacle(
    forgetful: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    forgetful.setenv("LIERE_CACHE", str(tmp_path / "file"))
    assert compiled_for(random_skew(1, 8, 8)) is not None
