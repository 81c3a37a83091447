"""Triton's kernels in its interpreter, against float64, torch's own operations and those in C.

Run with TRITON_INTERPRET=1, in a process of its own: Triton reads the variable when it is imported.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from liere_cli.model import ModelShape, Transformer
from liere_cli.rotations import (
    grid_exp,
    one_axis_table,
    real_schur,
    rotate_blocks,
    rotate_one_axis,
    rotate_projected_by_angles,
    schur,
    skew,
    skew_exp,
)
from liere_cli.rotations.apply import blocks as apply_blocks
from liere_cli.rotations.apply import planes as apply_planes
from liere_cli.rotations.apply.blocks import compose_blocks, split_projection
from liere_cli.rotations.exponential import scaling_squaring
from liere_cli.rotations.kernels import blocks as c_blocks
from liere_cli.rotations.kernels import exponential as c_exponential
from liere_cli.rotations.kernels import planes as c_planes
from liere_cli.rotations.kernels.compiler import without_kernels
from liere_cli.rotations.kernels.triton import blocks, exponential, planes, support
from liere_cli.rotations.kernels.triton import schur as triton_schur
from liere_cli.rotations.schur import to_quasi_diagonal
from support.skew_matrices import random_skew

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(not support.INSTALLED, reason="Triton is not installed"),
    pytest.mark.skipif(
        support.INSTALLED and not support.INTERPRETED, reason="TRITON_INTERPRET is not 1"
    ),
    # numpy's, which computes in the interpreter
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]
EPS = torch.finfo(torch.float32).eps
POLYNOMIAL = (
    *scaling_squaring.POLYNOMIALS[torch.float32],
    scaling_squaring.RADIUS[torch.float32],
)


@pytest.fixture
def without_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU tensors are served by Triton alone."""
    for module, name in (
        (scaling_squaring, "exponential_kernel"),
        (apply_blocks, "block_kernel"),
        (apply_planes, "plane_kernel"),
    ):
        monkeypatch.setattr(module, name, lambda *args: None)


def deviation(x: Tensor, exact: Tensor) -> float:
    assert x.shape == exact.shape
    return float((x.double() - exact).abs().max()) if x.numel() else 0.0


@pytest.mark.parametrize("precision", ["ieee", "emulated"])
@pytest.mark.parametrize(
    ("rows", "norm", "count"),
    [(4, 0.5, 9), (5, 20.0, 3), (8, 20.0, 5), (12, 3.0, 1), (24, 500.0, 2), (64, 130.0, 2)],
)
def test_exponential_in_every_form(
    rows: int, norm: float, count: int, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No less accurate than torch's operations and C, forward and backward; ``emulated`` is the
    arithmetic of tensor cores in three products of TF32.
    """
    monkeypatch.setattr(exponential, "PRECISION", precision)
    a = random_skew(count, rows, rows, norm=norm) * torch.linspace(0, 1, count)[:, None, None]
    cotangent = torch.randn_like(a)
    leaf = a.clone().requires_grad_()
    exact = torch.linalg.matrix_exp(leaf)
    (grad,) = torch.autograd.grad(exact, leaf, cotangent)
    grad, exact = (grad - grad.mT) / 2, exact.detach()

    single = a.float().requires_grad_()
    with without_kernels():
        by_torch = skew_exp(single)
        (torch_grad,) = torch.autograd.grad(by_torch, single, cotangent.float())
    forms = {"torch": (by_torch.detach(), torch_grad)}
    kernels: dict[str, Any] = {
        "C": c_exponential.exponential_kernel(a.float(), POLYNOMIAL),
        "Triton": exponential.exponential_kernel(a.float(), POLYNOMIAL),
    }
    assert kernels["Triton"] is not None
    for name, kernel in kernels.items():
        if kernel is not None:
            rotations = torch.empty_like(a, dtype=torch.float32)
            result = kernel.exponential_backward(a.float(), cotangent.float(), rotations)
            forward = kernel.exponential(a.float())
            torch.testing.assert_close(rotations, forward, rtol=0, atol=20 * EPS * (1 + norm))
            forms[name] = forward, result
    errors = {
        name: (deviation(forward, exact), deviation(result, grad))
        for name, (forward, result) in forms.items()
    }
    ours = errors.pop("Triton")
    for error, others in zip(ours, zip(*errors.values(), strict=True), strict=True):
        assert error <= 2 * max(others) + 2 * EPS, (ours, errors)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e30])
def test_matrix_without_an_exponential_affects_no_other(bad: float) -> None:
    """Also in the same tile."""
    a = random_skew(3, 8, 8, norm=3.0, dtype=torch.float32)
    a[1, 0, 1], a[1, 1, 0] = bad, -bad
    kernel = exponential.exponential_kernel(a, POLYNOMIAL)
    assert kernel is not None
    results = [
        (kernel.exponential(x), kernel.exponential_backward(x, torch.ones_like(x)))
        for x in (a, a[[0, 2]])
    ]
    for whole, part in zip(*results, strict=True):
        assert whole[1].isnan().all()
        assert torch.equal(whole[[0, 2]], part)


def rotated_blocks(
    rotations: Tensor, xs: tuple[Tensor, ...], grads: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Rotated tensors, and gradients to rotations and tensors."""
    leaves = [x.detach().clone().requires_grad_() for x in (rotations, *xs)]
    out = rotate_blocks(leaves[0], *leaves[1:])
    return (*(x.detach() for x in out), *torch.autograd.grad(out, leaves, grads))


BLOCKS = [
    # rows, blocks, batch, heads, tokens, prefix
    (4, 5, 9, 3, 2, 1),
    (8, 3, 5, 2, 3, 1),
    (12, 2, 70, 1, 2, 0),
    (20, 2, 3, 2, 1, 0),
    (64, 1, 3, 2, 2, 0),
]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("rows", "count", "batch", "heads", "tokens", "prefix"), BLOCKS)
def test_blocks_in_every_form(
    rows: int,
    count: int,
    batch: int,
    heads: int,
    tokens: int,
    prefix: int,
    dtype: torch.dtype,
    shared: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blocks, "PRECISION", "emulated")
    size = 1 if shared else heads, count, tokens, rows, rows
    rotations = torch.linalg.matrix_exp(random_skew(*size, norm=3.0)).float()
    qkv = torch.randn(batch, tokens + prefix, 3, heads, rows * count).to(dtype)
    q, k, _ = split_projection(qkv)
    grads = tuple(torch.randn(*q.shape).to(dtype).mT.contiguous().mT for _ in range(3))
    leaves = [x.detach().double().requires_grad_() for x in (rotations, q, k)]
    out = compose_blocks(*leaves)
    exact = *out, *torch.autograd.grad(out, leaves, [g.double() for g in grads[:2]])
    exact = tuple(x.detach() for x in exact)
    forms = {}
    with without_kernels():
        forms["torch"] = rotated_blocks(rotations, (q, k), grads[:2])
    if dtype == torch.float32 and c_blocks.block_kernel(rotations, q) is not None:
        forms["C"] = rotated_blocks(rotations, (q, k), grads[:2])
    monkeypatch.setattr(apply_blocks, "block_kernel", lambda *args: None)
    assert blocks.block_kernel(rotations, q) is not None
    forms["Triton"] = rotated_blocks(rotations, (q, k), grads[:2])
    errors = {
        name: [deviation(x, y) for x, y in zip(results, exact, strict=True)]
        for name, results in forms.items()
    }
    ours = errors.pop("Triton")
    for error, others in zip(ours, zip(*errors.values(), strict=True), strict=True):
        assert error <= 2 * max(others) + 4 * EPS, (ours, errors)

    # in place on the projection, whose gradient is computed from what was rotated
    leaf = qkv.clone().requires_grad_()
    turned = leaf * 1
    rotated = apply_blocks.rotate_projected_blocks(rotations.requires_grad_(), turned)
    assert rotated[0].data_ptr() == turned.data_ptr()
    to_rotations, to_qkv = torch.autograd.grad(rotated, (rotations, leaf), grads)
    eps = torch.finfo(dtype).eps
    parts = *rotated[:2], *split_projection(to_qkv)
    for part, expected in zip(parts, (*exact[:2], *exact[3:], grads[2].double()), strict=True):
        torch.testing.assert_close(part.double(), expected, rtol=4 * eps, atol=8 * eps)
    spread = eps * (batch * rows * heads) ** 0.5
    torch.testing.assert_close(to_rotations.double(), exact[2], rtol=spread, atol=9 * spread)


@pytest.mark.parametrize("layout", ["interleaved", "half-split"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("batch", "heads", "tokens", "prefix", "channels", "shared"),
    [(3, 2, 4, 1, 12, False), (70, 2, 2, 0, 64, True), (1, 1, 1, 0, 2, False)],
)
def test_planes_in_every_form(
    batch: int,
    heads: int,
    tokens: int,
    prefix: int,
    channels: int,
    shared: bool,
    layout: apply_planes.Layout,
    dtype: torch.dtype,
) -> None:
    angles = torch.randn(1 if shared else heads, tokens, channels // 2, dtype=torch.float64)
    qkv = torch.randn(batch, tokens + prefix, 3, heads, channels).to(dtype)
    grads = torch.randn(4, batch, heads, tokens + prefix, channels).to(dtype)[1:]
    leaf, projection = angles.clone().requires_grad_(), qkv.double().requires_grad_()
    out = apply_planes.rotate_projected(projection * 1, apply_planes.phases(leaf), layout)
    grad, to_angles = torch.autograd.grad(out, (projection, leaf), list(grads.double()))
    exact = torch.stack(out).detach(), grad, to_angles
    table = apply_planes.phases(angles.float())
    kernels: dict[str, Any] = {
        "Triton": planes.plane_kernel(qkv, table, half_split=layout == "half-split")
    }
    assert kernels["Triton"] is not None
    if layout == "interleaved" and dtype == torch.float32:
        kernels["C"] = c_planes.plane_kernel(qkv, table)
    errors = {}
    with without_kernels():
        leaf, projection = angles.float().requires_grad_(), qkv.clone().requires_grad_()
        out = apply_planes.rotate_projected(projection * 1, apply_planes.phases(leaf), layout)
        results = (*torch.autograd.grad(out, (projection, leaf), list(grads)),)
        found = torch.stack(out).detach(), *results
        errors["torch"] = [deviation(x, y) for x, y in zip(found, exact, strict=True)]
    for name, kernel in kernels.items():
        if kernel is None:
            continue
        rotated = qkv.clone()
        kernel.rotate(rotated, table)
        back, cross = kernel.rotate_backward(list(grads), table, rotated, "cross")
        assert torch.equal(back, kernel.rotate_backward(list(grads), table, None)[0])
        found = torch.stack(split_projection(rotated)), back, cross.sum_to_size(angles.shape)
        errors[name] = [deviation(x, y) for x, y in zip(found, exact, strict=True)]
    ours = errors.pop("Triton")
    for error, others in zip(ours[:2], zip(*errors.values(), strict=True), strict=False):
        assert error <= 1.01 * max(others) + 4 * EPS, (ours, errors)
    # from rotated values, of which each has been rounded
    spread = torch.finfo(dtype).eps * (batch * heads) ** 0.5
    assert ours[2] <= 10 * spread, (ours, errors)


@pytest.mark.usefixtures("without_c")
def test_empty_tensors() -> None:
    generators = torch.zeros(2, 1, 2, 8, 8, requires_grad=True)
    for batch, tokens in ((0, 3), (2, 0)):
        positions = torch.zeros(tokens, 2)
        rotations = grid_exp(generators, positions)
        qkv = torch.randn(batch, tokens + 1, 3, 2, 8, requires_grad=True)
        q, k, _ = apply_blocks.rotate_projected_blocks(rotations, qkv * 1)
        q.sum().backward()
        assert q.shape == (batch, 2, tokens + 1, 8)
        table = torch.ones(1, tokens, 4, 2)
        q, k, _ = apply_planes.rotate_projected(qkv * 1, table)
        (q + k).sum().backward()


SPECS = (
    "axial",
    "axial:layout=half-split",
    "rope-mixed",
    "liere:block=8",
    "liere:block=16,share=layers",
    "cayley-string",
)


def model_of(spec: str, pooling: Any = "mean") -> Transformer:
    shape = ModelShape(
        layers=2,
        dim=32,
        heads=2,
        mlp_ratio=2.0,
        dropout=0.0,
        pooling=pooling,
        causal=False,
        grid=(8, 4),
        patch=(4, 4),
        channels=3,
        classes=5,
    )
    model = Transformer(shape, spec)
    model.initialise(0)
    with torch.no_grad():
        model.head.weight.normal_()
    return model


def step(model: Any, source: Transformer) -> list[Tensor]:
    torch.manual_seed(0)
    pixels, targets = torch.randn(3, 3, 8, 4), torch.tensor([0, 3, 4])
    loss = F.cross_entropy(model(pixels), targets)
    return [loss, *torch.autograd.grad(loss, list(source.parameters()))]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("spec", SPECS)
def test_step_of_a_model(spec: str, pooling: str, request: pytest.FixtureRequest) -> None:
    model = model_of(spec, pooling)
    expected = step(model, model)
    request.getfixturevalue("without_c")
    for x, y in zip(step(model, model), expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("without_c")
@pytest.mark.parametrize("function", ["by_angles", "planes", "blocks"])
def test_second_derivatives(function: str) -> None:
    """Are computed by compositions, from what the kernels have overwritten."""

    def rotated(angles: Tensor, qkv: Tensor) -> tuple[Tensor, ...]:
        if function == "by_angles":
            table = apply_planes.phases(angles.detach())
            return rotate_projected_by_angles(qkv, angles, table, "half-split")
        if function == "planes":
            return apply_planes.rotate_projected(qkv, apply_planes.phases(angles), "half-split")
        rotations = skew_exp(angles[..., None] * skew(torch.ones(4, 4, dtype=angles.dtype).triu()))
        return apply_blocks.rotate_projected_blocks(rotations.permute(0, 2, 1, 3, 4), qkv)

    results = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        leaves = [torch.randn(size, dtype=torch.float32) for size in ((1, 2, 2), (2, 2, 3, 2, 8))]
        angles, qkv = (x[..., :2].to(dtype) if x.ndim == 3 else x.to(dtype) for x in leaves)
        angles = angles[..., None] if function == "blocks" else angles.repeat(1, 1, 2)
        leaves = [angles.requires_grad_(), qkv.requires_grad_()]
        q, k, v = rotated(angles, qkv * 1)
        loss = (q.sum(2) * k.sum(2)).sum().square() + v.square().sum()
        grads = torch.autograd.grad(loss, leaves, create_graph=True)
        total = sum(grad.square().sum() for grad in grads)
        results.append((*grads, *torch.autograd.grad(total, leaves)))
    for single, exact in zip(*results, strict=True):
        scale = float(exact.detach().abs().max())
        assert deviation(single.detach(), exact.detach()) < 1e-5 * scale


@pytest.mark.usefixtures("without_c")
@pytest.mark.parametrize("spec", ["liere:block=8", "rope-mixed"])
def test_compiles_to_one_graph(spec: str) -> None:
    model = model_of(spec)
    expected = step(model, model)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for x, y in zip(step(compiled, model), expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rows", [2, 4, 12])
def test_real_schur_form_of_any_frequencies(rows: int) -> None:
    """Orthogonal vectors, also where frequencies are zero, equal, or nearly so."""
    planes = rows // 2
    frequencies = torch.rand(4, planes, dtype=torch.float64) * 20
    frequencies[1], frequencies[2], frequencies[2, 0] = 2.0, 0.0, 1e-9
    frequencies[3] = 3 + 1e-12 * torch.arange(planes)
    frame, _ = torch.linalg.qr(torch.randn(4, rows, rows, dtype=torch.float64))
    a = skew((frame @ to_quasi_diagonal(frequencies) @ frame.mT) / 2)
    for x in (a, a.float(), torch.zeros(0, rows, rows), torch.zeros(1, rows, rows)):
        form = triton_schur.real_schur(x)
        assert form is not None
        basis, found = form
        identity = torch.eye(rows, dtype=torch.float64)
        torch.testing.assert_close(basis.mT @ basis, identity.expand(x.shape), rtol=0, atol=1e-13)
        again = basis @ to_quasi_diagonal(found) @ basis.mT
        torch.testing.assert_close(again, x.double(), rtol=0, atol=1e-12 * 20)


@pytest.mark.usefixtures("without_c")
def test_one_axis_without_eigenvectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores and gradients of rotations on one axis, without LAPACK, whose calls wait on a GPU."""

    def scores_and_gradient(a: Tensor) -> tuple[Tensor, Tensor]:
        positions = torch.arange(5, dtype=a.dtype)
        form = real_schur(a[None, None], positions)
        table = one_axis_table(form, positions)
        q, k = rotate_one_axis(form, table, positions, *x.to(a.dtype))
        scores = q @ k.mT
        return scores, torch.autograd.grad((scores * weight.to(a.dtype)).sum(), a)[0]

    x, weight = torch.randn(2, 1, 1, 5, 8), torch.randn(1, 1, 5, 5)
    a = random_skew(8, 8, norm=3.0)
    exact = scores_and_gradient(a.requires_grad_())
    monkeypatch.setattr(schur, "schur_kernel", lambda *args: None)
    for name in ("eigh", "svd"):
        monkeypatch.delattr(torch.linalg, name)
    single = scores_and_gradient(a.detach().float().requires_grad_())
    for found, expected in zip(single, exact, strict=True):
        torch.testing.assert_close(found.double(), expected.detach(), rtol=1e-4, atol=1e-4)


def test_operators_agree_with_their_schemas() -> None:
    """What they overwrite, and the shapes and strides of what they return."""
    a = random_skew(3, 8, 8, norm=3.0, dtype=torch.float32)
    polynomial, checks = list(POLYNOMIAL), ("test_schema", "test_faketensor")
    torch.library.opcheck(exponential._exponential, (a, polynomial), test_utils=checks)
    for rotations in (None, torch.empty_like(a)):
        torch.library.opcheck(
            exponential._backward,
            (a, torch.randn_like(a), polynomial, rotations),
            test_utils=checks,
        )
    rotations, x = a[None, None], torch.randn(2, 2, 3, 8)
    target = torch.empty_like(x)
    torch.library.opcheck(blocks._rotate, (rotations, x, target, False), test_utils=checks)
    torch.library.opcheck(blocks._rotate_in_place, (rotations, x), test_utils=checks)
    torch.library.opcheck(
        blocks._rotate_backward,
        (rotations, x, target, x.clone(), torch.empty_like(rotations), False),
        test_utils=checks,
    )
    qkv, table = torch.randn(2, 3, 3, 2, 8), torch.randn(1, 3, 4, 2)
    torch.library.opcheck(planes._rotate, (qkv, table, False), test_utils=checks)
    for saved in (None, qkv):
        torch.library.opcheck(
            planes._rotate_backward, (x, x, x, table, saved, False), test_utils=checks
        )
