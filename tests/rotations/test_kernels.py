"""What a C compiler makes: equal to torch's own operations, and never in the way."""

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
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from liere_cli.rotations import (
    grid_exp,
    rotate_blocks,
    rotate_projected,
    rotate_projected_blocks,
    skew_exp,
)
from liere_cli.rotations.apply.blocks import split_projection
from liere_cli.rotations.exponential.scaling_squaring import compiled_for
from liere_cli.rotations.kernels import blocks, compiler, exponential, threads
from liere_cli.rotations.kernels import planes as turning
from liere_cli.rotations.kernels import schur as spectrum
from support.skew_matrices import random_skew

with_compiler = pytest.mark.skipif(compiler.find_compiler() is None, reason="no C compiler answers")
REMEMBERED = (
    compiler.find_compiler,
    exponential._exponentials,
    spectrum._spectra,
    turning._turning,
    blocks._blocks,
)


def forget() -> None:
    for remembered in REMEMBERED:
        remembered.cache_clear()


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Compilers and kernels are looked for anew, in this test and after it."""
    forget()
    yield monkeypatch
    monkeypatch.undo()
    forget()


def exponentiate(a: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
    leaf = a.clone().requires_grad_()
    rotation = skew_exp(leaf)
    return rotation.detach(), torch.autograd.grad(rotation, leaf, cotangent)[0]


@with_compiler
@given(
    rows=st.sampled_from(compiler.ROWS),
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
    rotation, ours = exponentiate(a.to(dtype), cotangent.to(dtype))
    tolerance = 40 * torch.finfo(dtype).eps * (1 + norm)
    torch.testing.assert_close(rotation.double(), exact.detach(), rtol=0, atol=tolerance)
    torch.testing.assert_close(ours.double(), (grad - grad.mT) / 2, rtol=0, atol=tolerance * rows)


@with_compiler
@given(
    batch=st.integers(1, 3),
    tokens=st.sampled_from((1, 20, 300)),
    prefix=st.integers(0, 2),
    heads=st.sampled_from((1, 3)),
    shared=st.booleans(),
    dtype=st.sampled_from((torch.float32, torch.float64)),
    seed=st.integers(0, 2**16),
)
def test_turning_and_its_sums(
    batch: int, tokens: int, prefix: int, heads: int, shared: bool, dtype: torch.dtype, seed: int
) -> None:
    """As complex numbers: y = z x, its way back z* g, and sums of y* g."""
    torch.manual_seed(seed)
    length = tokens + prefix
    x = torch.randn(batch, length, 3, heads, 5, dtype=torch.complex128)
    z = torch.randn(1 if shared else heads, tokens, 5, dtype=torch.complex128)
    grads = torch.randn(3, batch, heads, length, 5, dtype=torch.complex128)
    turned, back = x.clone(), grads.permute(1, 3, 0, 2, 4).clone()
    turned[:, prefix:, :2] *= z.transpose(0, 1)[:, None]
    back[:, prefix:, :2] *= z.conj().transpose(0, 1)[:, None]
    sums = (turned.conj() * grads.permute(1, 3, 0, 2, 4))[:, prefix:, :2].sum((0, 2))

    qkv = torch.view_as_real(x).flatten(-2).to(dtype)
    table = torch.view_as_real(z).to(dtype)
    compiled = turning.turning_for(qkv, table)
    assert compiled is not None
    compiled.turn(qkv, table)
    real_grads = [torch.view_as_real(grad).flatten(-2).to(dtype) for grad in grads]
    real_grads[1] = real_grads[1].transpose(1, 2).contiguous().transpose(1, 2)
    real_grads[2] = torch.stack((real_grads[2],) * 2, -1)[..., 0]
    grad, along, across = compiled.turn_back(real_grads, table, qkv, "along", "across")
    tolerance = 50 * torch.finfo(dtype).eps
    for ours, exact in (
        (qkv, torch.view_as_real(turned).flatten(-2)),
        (grad, torch.view_as_real(back).flatten(-2)),
        (along, sums.real.transpose(0, 1)),
        (across, sums.imag.transpose(0, 1)),
    ):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.double(), exact, rtol=tolerance, atol=10 * tolerance)
    assert torch.equal(compiled.turn_back(real_grads, table, None)[0], grad)


@with_compiler
@given(
    rows=st.sampled_from((4, 8, 12, 20, 64)),
    count=st.integers(1, 2),
    batch=st.sampled_from((1, 7, 70)),
    tokens=st.sampled_from((1, 5)),
    prefix=st.integers(0, 2),
    shared=st.booleans(),
    projected=st.booleans(),
    dtype=st.sampled_from((torch.float32, torch.float64)),
    seed=st.integers(0, 2**16),
)
def test_blocks_and_their_gradients(
    rows: int,
    count: int,
    batch: int,
    tokens: int,
    prefix: int,
    shared: bool,
    projected: bool,
    dtype: torch.dtype,
    seed: int,
) -> None:
    """As a product for every token, wherever queries and keys lie."""
    torch.manual_seed(seed)
    heads, length = 2, tokens + prefix
    angles = random_skew(1 if shared else heads, count, tokens, rows, rows, norm=3.0, seed=seed)
    rotations = torch.linalg.matrix_exp(angles).requires_grad_()
    qkv = torch.randn(batch, length, 3, heads, count * rows, dtype=torch.float64)
    qkv.requires_grad_()
    q, k, v = split_projection(qkv)
    cotangent = torch.randn(3, *q.shape, dtype=torch.float64)
    per_head = rotations.expand(heads, -1, -1, -1, -1)
    expected = []
    for x in (q, k):
        tail = x[:, :, prefix:].unflatten(-1, (count, rows))
        turned = torch.einsum("nctij,bntcj->bntci", per_head, tail).flatten(-2)
        expected.append(torch.cat((x[:, :, :prefix], turned), 2))
    loss = sum((x * c).sum() for x, c in zip((*expected, v), cotangent, strict=True))
    exact = (*expected, *torch.autograd.grad(loss, (rotations, qkv)))

    leaves = [x.detach().to(dtype).requires_grad_() for x in (rotations, qkv)]
    assert blocks.blocks_for(leaves[0], leaves[1]) is not None
    # times one: what is overwritten is not the leaf
    parts = leaves[1] * 1
    if projected:
        ours = rotate_projected_blocks(leaves[0], parts)
        assert ours[0].data_ptr() == parts.data_ptr()
    else:
        ours = (*rotate_blocks(leaves[0], *split_projection(parts)[:2]), split_projection(parts)[2])
    loss = sum((x * c.to(dtype)).sum() for x, c in zip(ours, cotangent, strict=True))
    results = (*ours[:2], *torch.autograd.grad(loss, leaves))
    tolerance = 100 * torch.finfo(dtype).eps * (rows * batch) ** 0.5
    for result, wanted in zip(results, exact, strict=True):
        torch.testing.assert_close(result.double(), wanted, rtol=tolerance, atol=tolerance)


@with_compiler
def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither how many there are, nor whose."""
    a = random_skew(700, 8, 8, norm=30.0, dtype=torch.float32)
    cotangent, before = torch.randn_like(a), torch.get_num_threads()
    qkv, table = torch.randn(2, 600, 3, 4, 32), torch.randn(4, 600, 16, 2)
    grads = torch.randn(3, 2, 4, 600, 32)
    turned = turning.turning_for(qkv, table)
    planes = spectrum.spectrum_for(a)
    rotations = skew_exp(a[:600]).view(1, 1, 600, 8, 8)
    applied = blocks.blocks_for(rotations, grads[0])
    assert turned is not None
    assert planes is not None
    assert applied is not None

    def everything() -> list[Tensor]:
        basis, rates, speeds, _ = planes.spectrum(a, 1e-3)
        to_a = planes.spectrum_back(basis, rates, (cotangent, cotangent, speeds), 1e-3)
        to = torch.empty(2, 4, 600, 8)
        parts = grads[0][..., :8], grads[1][..., :8]
        to_rotations = applied.turn_back(rotations, parts[:1], (to,), parts[1:], after=True)
        return [
            *exponentiate(a, cotangent),
            *turned.turn_back(list(grads), table, qkv, "along", "across"),
            *(basis, rates, speeds, to_a, to, to_rotations),
        ]

    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(everything())
        monkeypatch.setattr(threads, "openmp", lambda: None)
        results.append(everything())
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@with_compiler
def test_planes_of_what_is_not_finite_are_nothing() -> None:
    a = random_skew(3, 8, 8, norm=3.0)
    planes = spectrum.spectrum_for(a)
    assert planes is not None
    expected = planes.spectrum(a[[0, 2]], 1e-6)[:3]
    a[1, 0, 1], a[1, 1, 0] = math.inf, -math.inf
    for whole, part in zip(planes.spectrum(a, 1e-6)[:3], expected, strict=True):
        assert whole[1].isnan().all()
        assert torch.equal(whole[[0, 2]], part)


@with_compiler
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_what_has_no_exponential_spoils_no_other(bad: float) -> None:
    a = random_skew(3, 8, 8, norm=3.0, dtype=torch.float32)
    a[1, 0, 1], a[1, 1, 0] = bad, -bad
    rotation, grad = exponentiate(a, torch.ones_like(a))
    good = exponentiate(a[[0, 2]], torch.ones_like(a[:2]))
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


@pytest.mark.parametrize("command", ["none", "false", "no-such-compiler", "/"])
def test_without_a_compiler_batched_products_do(
    forgetful: pytest.MonkeyPatch, command: str
) -> None:
    a = random_skew(3, 8, 8, norm=3.0)
    before = exponentiate(a, torch.ones_like(a))
    forgetful.setenv("CC", command)
    forget()
    assert compiled_for(a) is None
    assert spectrum.spectrum_for(a) is None
    assert turning.turning_for(a[None, None], a[:, :, :4]) is None
    assert blocks.blocks_for(a[None, None], a[None]) is None
    expected = "torch's own operations, as no C compiler answers"
    assert compiler.describe(torch.device("cpu")) == expected
    after = exponentiate(a, torch.ones_like(a))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-13)


@with_compiler
def test_a_compiler_that_fails_at_the_file_is_none(
    forgetful: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "exponential.c").write_text("no C at all")
    forgetful.setattr(compiler, "_SOURCES", tmp_path)
    assert compiled_for(random_skew(1, 8, 8)) is None


@with_compiler
def test_another_header_makes_another_file(forgetful: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forgetful.setenv("LIERE_CACHE", str(tmp_path / "cache"))
    forgetful.setattr(compiler, "_SOURCES", tmp_path)
    (tmp_path / "five.c").write_text('#include "five.h"\nint five(void) { return FIVE; }\n')
    answers = []
    for header in ("#define FIVE 5", "#define FIVE 6"):
        (tmp_path / "five.h").write_text(header)
        made = compiler.library("five", torch.float32)
        assert made is not None
        answers.append(made.five())
    assert answers == [5, 6]
    assert len(list((tmp_path / "cache" / "kernels").iterdir())) == 2


@with_compiler
def test_the_file_is_kept_and_made_again_where_damaged(
    forgetful: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forgetful.setenv("LIERE_CACHE", str(tmp_path))
    script = (
        "import torch\n"
        "from liere_cli.rotations import skew_exp\n"
        "from liere_cli.rotations.exponential.scaling_squaring import compiled_for\n"
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


@with_compiler
def test_tensors_without_memory_are_left_to_torch() -> None:
    with FakeTensorMode():
        rotations, x = torch.empty(2, 1, 5, 8, 8), torch.empty(3, 2, 5, 8)
        qkv, table = torch.empty(3, 5, 3, 2, 8), torch.empty(1, 5, 4, 2)
        assert rotate_blocks(rotations, x)[0].shape == x.shape
        assert rotate_projected(qkv, table)[0].shape == x.shape
