"""Compiled kernels: equal to torch's own operations, which replace them if compilation fails."""

import ctypes
import math
import os
import re
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
from liere_cli.rotations.exponential.scaling_squaring import compiled_exponential
from liere_cli.rotations.kernels import (
    blocks,
    compiler,
    planes,
    schur,
    shared_library,
    threads,
)
from support.skew_matrices import random_skew

with_compiler = pytest.mark.skipif(compiler.find_compiler() is None, reason="no C compiler works")


@pytest.fixture
def uncached(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Compiler and kernels are searched for again, in this test and after it."""
    compiler.forget()
    yield monkeypatch
    monkeypatch.undo()
    compiler.forget()


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
    assert compiled_exponential(a.to(dtype)) is not None
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
def test_plane_rotation_and_sums_of_its_gradient(
    batch: int, tokens: int, prefix: int, heads: int, shared: bool, dtype: torch.dtype, seed: int
) -> None:
    """As complex numbers: y = z x, its gradient z* g, and sums of y* g."""
    torch.manual_seed(seed)
    length = tokens + prefix
    x = torch.randn(batch, length, 3, heads, 5, dtype=torch.complex128)
    z = torch.randn(1 if shared else heads, tokens, 5, dtype=torch.complex128)
    grads = torch.randn(3, batch, heads, length, 5, dtype=torch.complex128)
    rotated, back = x.clone(), grads.permute(1, 3, 0, 2, 4).clone()
    rotated[:, prefix:, :2] *= z.transpose(0, 1)[:, None]
    back[:, prefix:, :2] *= z.conj().transpose(0, 1)[:, None]
    sums = (rotated.conj() * grads.permute(1, 3, 0, 2, 4))[:, prefix:, :2].sum((0, 2))

    qkv = torch.view_as_real(x).flatten(-2).to(dtype)
    table = torch.view_as_real(z).to(dtype)
    kernel = planes.plane_kernel(qkv, table)
    assert kernel is not None
    kernel.rotate(qkv, table)
    real_grads = [torch.view_as_real(grad).flatten(-2).to(dtype) for grad in grads]
    real_grads[1] = real_grads[1].transpose(1, 2).contiguous().transpose(1, 2)
    real_grads[2] = torch.stack((real_grads[2],) * 2, -1)[..., 0]
    grad, dot, cross = kernel.rotate_backward(real_grads, table, qkv, "dot", "cross")
    tolerance = 50 * torch.finfo(dtype).eps
    for ours, exact in (
        (qkv, torch.view_as_real(rotated).flatten(-2)),
        (grad, torch.view_as_real(back).flatten(-2)),
        (dot, sums.real.transpose(0, 1)),
        (cross, sums.imag.transpose(0, 1)),
    ):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.double(), exact, rtol=tolerance, atol=10 * tolerance)
    torch.testing.assert_close(kernel.rotate_backward(real_grads, table, None)[0], grad)


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
    """As a product for every token, with separate queries and keys or in a projection."""
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
        rotated = torch.einsum("nctij,bntcj->bntci", per_head, tail).flatten(-2)
        expected.append(torch.cat((x[:, :, :prefix], rotated), 2))
    loss = sum((x * c).sum() for x, c in zip((*expected, v), cotangent, strict=True))
    exact = (*expected, *torch.autograd.grad(loss, (rotations, qkv)))

    leaves = [x.detach().to(dtype).requires_grad_() for x in (rotations, qkv)]
    assert blocks.block_kernel(leaves[0], leaves[1]) is not None
    # times one, as a leaf must not be overwritten
    parts = leaves[1] * 1
    if projected:
        ours = rotate_projected_blocks(leaves[0], parts)
        assert ours[0].data_ptr() == parts.data_ptr()
    else:
        ours = (*rotate_blocks(leaves[0], *split_projection(parts)[:2]), split_projection(parts)[2])
    loss = sum((x * c.to(dtype)).sum() for x, c in zip(ours, cotangent, strict=True))
    results = (*ours[:2], *torch.autograd.grad(loss, leaves))
    tolerance = 100 * torch.finfo(dtype).eps * (rows * batch) ** 0.5
    for result, expected_result in zip(results, exact, strict=True):
        torch.testing.assert_close(result.double(), expected_result, rtol=tolerance, atol=tolerance)


@with_compiler
def test_bits_are_independent_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of their number, and of whose they are."""
    a = random_skew(700, 8, 8, norm=30.0, dtype=torch.float32)
    cotangent, before = torch.randn_like(a), torch.get_num_threads()
    qkv, table = torch.randn(2, 600, 3, 4, 32), torch.randn(4, 600, 16, 2)
    grads = torch.randn(3, 2, 4, 600, 32)
    plane_kernel = planes.plane_kernel(qkv, table)
    schur_kernel = schur.schur_kernel(a)
    rotations = skew_exp(a[:600]).view(1, 1, 600, 8, 8)
    block_kernel = blocks.block_kernel(rotations, grads[0])
    assert plane_kernel is not None
    assert schur_kernel is not None
    assert block_kernel is not None

    def results_of_all_kernels() -> list[Tensor]:
        *form, _ = schur_kernel.real_schur(a, 1e-3)
        cotangents = cotangent, cotangent, form[2]
        grad_a = schur_kernel.real_schur_backward(*form[:2], cotangents, 1e-3)
        target = torch.empty(2, 4, 600, 8)
        parts = grads[0][..., :8], grads[1][..., :8]
        grad_rotations = block_kernel.rotate_backward(
            rotations, parts[:1], (target,), parts[1:], saved_output=True
        )
        return [
            *exponentiate(a, cotangent),
            *plane_kernel.rotate_backward(list(grads), table, qkv, "dot", "cross"),
            *(*form, grad_a, target, grad_rotations),
        ]

    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(results_of_all_kernels())
        monkeypatch.setattr(threads, "gomp_parallel", lambda: None)
        results.append(results_of_all_kernels())
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@with_compiler
def test_schur_form_of_matrices_that_are_not_finite_is_nan() -> None:
    a = random_skew(3, 8, 8, norm=3.0)
    kernel = schur.schur_kernel(a)
    assert kernel is not None
    expected = kernel.real_schur(a[[0, 2]], 1e-6)[:3]
    a[1, 0, 1], a[1, 1, 0] = math.inf, -math.inf
    for whole, part in zip(kernel.real_schur(a, 1e-6)[:3], expected, strict=True):
        assert whole[1].isnan().all()
        assert torch.equal(whole[[0, 2]], part)


@with_compiler
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_matrix_without_an_exponential_affects_no_other(bad: float) -> None:
    a = random_skew(3, 8, 8, norm=3.0, dtype=torch.float32)
    a[1, 0, 1], a[1, 1, 0] = bad, -bad
    rotation, grad = exponentiate(a, torch.ones_like(a))
    good = exponentiate(a[[0, 2]], torch.ones_like(a[:2]))
    for whole, part in zip((rotation, grad), good, strict=True):
        assert whole[1].isnan().all()
        assert torch.equal(whole[[0, 2]], part)


@with_compiler
@pytest.mark.parametrize("rows", [8, 64])
def test_transposed_gradients(rows: int) -> None:
    a = random_skew(3, rows, rows, norm=20.0)
    kernel = compiled_exponential(a)
    assert kernel is not None
    grad = torch.randn_like(a)
    contiguous, transposed, neither = (
        kernel.exponential_backward(a, x)
        for x in (grad, grad.mT.contiguous().mT, torch.stack((grad, grad), -1)[..., 0])
    )
    assert torch.equal(contiguous, transposed)
    assert torch.equal(contiguous, neither)


@with_compiler
@pytest.mark.parametrize("rows", [8, 24, 64])
@pytest.mark.parametrize("size", [1e5, 1e12, 1e30, math.inf, math.nan])
def test_rotations_of_diverging_generators_are_nan(rows: int, size: float) -> None:
    """Nothing is written beyond the space for squarings, and no position affects another."""
    generators = random_skew(1, 2, rows, rows, norm=1.0, dtype=torch.float32) * size
    positions = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0))
    rotations = grid_exp(generators, positions)
    is_nan = rotations.isnan().flatten(2).all(-1)
    assert is_nan.any() == (size > 1e6 or math.isnan(size))
    assert rotations[~is_nan].isfinite().all()


#: a program that passes calls on to the compiler, and fails or makes nothing at one stage
STAGES = {
    "preprocess": "-E) echo 'error: no processor' >&2; exit 1;;",
    "compile": "-o) echo 'error: no code generator' >&2; exit 1;;",
    "killed": "-o) kill -9 $$;;",
    "no file": "-o) exit 0;;",
    "empty file": '-o) : > "$2"; exit 0;;',
    "no library": '-o) echo text > "$2"; exit 0;;',
}


def fails_at(stage: str, folder: Path) -> str:
    program = folder / "compiler"
    program.write_text(
        '#!/bin/sh\nall="$*"\nwhile [ $# -gt 0 ]; do\n'
        f'case "$1" in {STAGES[stage]} esac; shift; done\nexec cc $all\n'
    )
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("none", "CC is none"),
        ("false", "no C compiler works: false fails: exit code 1"),
        ("no-such-compiler", "no C compiler works: no-such-compiler fails: No such file"),
        ("/", "no C compiler works: / fails: Permission denied"),
        ("cc 'x", "is not a command: No closing quotation"),
        ("preprocess", "no C compiler works: .* fails: error: no processor"),
        ("compile", "fails: error: no code generator"),
        ("killed", "fails: exit code -9"),
        ("no file", "makes no file"),
        ("empty file", "makes an empty file"),
        ("no library", "can't be loaded from .* or from "),
    ],
)
def test_without_a_compiler_torch_is_used(
    uncached: pytest.MonkeyPatch, tmp_path: Path, command: str, reason: str
) -> None:
    """Whatever stage fails, and the reason is given."""
    a = random_skew(3, 8, 8, norm=3.0)
    before = exponentiate(a, torch.ones_like(a))
    uncached.setenv("CC", fails_at(command, tmp_path) if command in STAGES else command)
    uncached.setenv("LIERE_CACHE", str(tmp_path / "cache"))
    compiler.forget()
    assert compiled_exponential(a) is None
    assert schur.schur_kernel(a) is None
    assert planes.plane_kernel(a[None, None], a[:, :, :4]) is None
    assert blocks.block_kernel(a[None, None], a[None]) is None
    said = compiler.describe(torch.device("cpu"))
    assert re.match(f"torch's own operations, as .*{reason}", said), said
    after = exponentiate(a, torch.ones_like(a))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-13)


def refuse_folders(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Libraries in these folders can't be loaded, as on a file system mounted with noexec."""
    real = ctypes.CDLL

    def load(name: str | None) -> ctypes.CDLL:
        if any(name is not None and str(folder) in name for folder in folders):
            raise OSError(f"{name}: failed to map segment from shared object")
        return real(name)

    monkeypatch.setattr(shared_library.ctypes, "CDLL", load)


@with_compiler
@pytest.mark.parametrize("written", ["cache", "nowhere"])
@pytest.mark.parametrize("refused", [("temporary",), ("cache",), ("cache", "temporary")])
def test_every_folder_is_tried(
    uncached: pytest.MonkeyPatch, tmp_path: Path, refused: tuple[str, ...], written: str
) -> None:
    """On file systems without the right to execute, torch's operations come last."""
    cache, temporary = tmp_path / "cache", tmp_path / "temporary"
    temporary.mkdir()
    uncached.setenv("LIERE_CACHE", str(cache))
    uncached.setattr("tempfile.tempdir", str(temporary))
    a = random_skew(3, 8, 8, norm=3.0)
    expected = exponentiate(a, torch.ones_like(a))
    if written == "cache":
        compiler.forget()
        assert compiled_exponential(a) is not None
        assert "loaded" not in compiler.describe(torch.device("cpu"))
    compiler.forget()
    refuse_folders(uncached, *(tmp_path / name for name in refused))
    assert (compiled_exponential(a) is None) == (len(refused) == 2)
    torch.testing.assert_close(exponentiate(a, torch.ones_like(a)), expected, rtol=0, atol=1e-13)
    said = compiler.describe(torch.device("cpu"))
    assert ("compiled by" in said) == (len(refused) == 1)
    assert (f"loaded from {temporary}" in said) == (refused == ("cache",))
    segment = "(failed to map segment from shared object)"
    both = f"can't be loaded from {cache}/kernels {segment}, or from {temporary} {segment}"
    assert (both in said) == (len(refused) == 2)
    assert not list(temporary.iterdir())


@with_compiler
def test_part_of_the_kernels_fails(uncached: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for source in compiler._SOURCES.glob("*.[ch]"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / "exponential.c").write_text("no C at all")
    uncached.setattr(compiler, "_SOURCES", tmp_path)
    uncached.setenv("LIERE_CACHE", str(tmp_path / "cache"))
    assert compiled_exponential(random_skew(1, 8, 8)) is None
    said = compiler.describe(torch.device("cpu"))
    assert re.search(r"compiled by .*; in part torch's own, as .*exponential.c.*error", said), said


@with_compiler
def test_another_header_makes_another_cached_file(
    uncached: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    uncached.setenv("LIERE_CACHE", str(tmp_path / "cache"))
    uncached.setattr(compiler, "_SOURCES", tmp_path)
    (tmp_path / "five.c").write_text('#include "five.h"\nint five(void) { return FIVE; }\n')
    results = []
    for header in ("#define FIVE 5", "#define FIVE 6"):
        (tmp_path / "five.h").write_text(header)
        compiler.forget()
        made = compiler.library("five", torch.float32)
        assert made is not None
        results.append(made.five())
    assert results == [5, 6]
    assert len(list((tmp_path / "cache" / "kernels").iterdir())) == 2


DAMAGE = """
import torch
from pathlib import Path
from liere_cli.rotations.exponential.scaling_squaring import compiled_exponential
from liere_cli.rotations.kernels import compiler

def use():
    compiler.forget()
    a = torch.zeros(1, 8, 8)
    kernel = compiled_exponential(a)
    assert torch.equal(kernel.exponential(a), torch.eye(8)[None])
    (cached,) = compiler._cache().iterdir()
    return cached

cached = use()
made = cached.stat().st_mtime_ns
assert use().stat().st_mtime_ns == made
content = cached.read_bytes()
middle = len(content) // 2
zeros = content[: middle - 2000] + bytes(4000) + content[middle + 2000 :]
# of a file that is cut short the system maps what is there, and kills the process
for damaged in (b"", content[:100], content[:-100], zeros):
    cached.unlink()
    cached.write_bytes(damaged)
    assert use().read_bytes() == content
"""


@with_compiler
def test_cached_file_is_reused_and_replaced_if_damaged(
    uncached: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    uncached.setenv("LIERE_CACHE", str(tmp_path))
    # a process of its own: loading a damaged file would kill this one
    subprocess.run([sys.executable, "-c", DAMAGE], check=True, env=dict(os.environ))


@with_compiler
def test_compiles_without_a_writable_cache(uncached: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    uncached.setenv("LIERE_CACHE", str(tmp_path / "file"))
    assert compiled_exponential(random_skew(1, 8, 8)) is not None


@with_compiler
def test_fake_tensors_use_torch() -> None:
    with FakeTensorMode():
        rotations, x = torch.empty(2, 1, 5, 8, 8), torch.empty(3, 2, 5, 8)
        qkv, table = torch.empty(3, 5, 3, 2, 8), torch.empty(1, 5, 4, 2)
        assert rotate_blocks(rotations, x)[0].shape == x.shape
        assert rotate_projected(qkv, table)[0].shape == x.shape


@with_compiler
@pytest.mark.parametrize(
    "change",
    [
        ("REAL *qkv;", "REAL *qkv, *more;"),
        ("ptrdiff_t batch, head, token;", "ptrdiff_t head, batch, token;"),
        ("REAL *cross, *dot;", "REAL *dot, *cross;"),
        ("ptrdiff_t chunk, next;", "ptrdiff_t chunk, next, last;"),
        ("AT(dot), ", ""),
        ("task_layout", "other_layout"),
    ],
)
def test_struct_that_differs_in_c_raises(
    uncached: pytest.MonkeyPatch, tmp_path: Path, change: tuple[str, str]
) -> None:
    uncached.setenv("LIERE_CACHE", str(tmp_path / "cache"))
    changed = 0
    for source in (compiler._SOURCES / "planes.c", compiler._SOURCES / "structs.h"):
        text = source.read_text()
        changed += change[0] in text
        (tmp_path / source.name).write_text(text.replace(*change))
    assert changed == 1
    uncached.setattr(compiler, "_SOURCES", tmp_path)
    with pytest.raises(RuntimeError, match="struct"):
        planes.plane_kernel(torch.zeros(1, 5, 3, 2, 8), torch.zeros(1, 5, 4, 2))
