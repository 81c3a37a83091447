"""exp of skew-symmetric matrices: rotations, equal to torch.matrix_exp, with exact gradients."""

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from liere_cli.errors import UsageError
from liere_cli.rotations import check_generators, skew_exp
from liere_cli.rotations.exponential import scaling_squaring
from liere_cli.rotations.exponential import skew_exp as skew_exp_module
from liere_cli.rotations.kernels.compiler import without_kernels
from liere_cli.rotations.precision import full_precision
from support.skew_matrices import WAYS, as_on_a_gpu, both_ways, random_skew

BLOCKS = (1, 2, 3, 4, 5, 8)
way = pytest.fixture(both_ways, scope="module", autouse=True, params=WAYS)


@given(
    block=st.sampled_from((2, 3, 4, 5, 8, 16)),
    norm=st.sampled_from((0.0, 1e-12, 1e-3, 0.7, 20.0, 500.0)),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=40, deadline=None)
def test_equals_matrix_exp_and_is_orthogonal(block: int, norm: float, seed: int) -> None:
    a = random_skew(3, block, block, norm=norm, seed=seed)
    rotation = skew_exp(a)
    tolerance = 1e-12 * (1 + norm)
    torch.testing.assert_close(rotation, torch.linalg.matrix_exp(a), rtol=0, atol=tolerance)
    identity = torch.eye(block, dtype=a.dtype).expand_as(a)
    torch.testing.assert_close(rotation @ rotation.mT, identity, rtol=0, atol=tolerance)
    torch.testing.assert_close(skew_exp(-a), rotation.mT, rtol=0, atol=tolerance)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("norm", [0.0, 1e-9, 0.5, 30.0])
def test_gradient(block: int, norm: float) -> None:
    u = (random_skew(2, block, block, norm=norm) / 2).requires_grad_()
    assert gradcheck(lambda u: skew_exp(u - u.mT), (u,), atol=1e-6)


@pytest.mark.parametrize(("block", "norm"), [(8, 17.0), (64, 130.0)])
def test_float32_is_as_accurate_as_torch(block: int, norm: float) -> None:
    a = random_skew(12, block, block, norm=norm, dtype=torch.float32)
    exact = torch.linalg.matrix_exp(a.double())
    ours, theirs = (
        (rotation.double() - exact).abs().max().item()
        for rotation in (skew_exp(a), torch.linalg.matrix_exp(a))
    )
    assert ours < max(3 * theirs, 1e-6)
    assert ours < 6e-8 * norm


@pytest.mark.parametrize("dtype", list(scaling_squaring.RADIUS))
def test_polynomial_is_as_accurate_as_its_dtype_up_to_its_radius(dtype: torch.dtype) -> None:
    radius = scaling_squaring.RADIUS[dtype]
    x = 1j * torch.linspace(-radius, radius, 200, dtype=torch.float64)
    exact = x.exp() - 1
    c = scaling_squaring.COEFFICIENTS[dtype]
    poly = scaling_squaring.in_three_products(c)
    p = x**2 * (poly.x3 + poly.x1 * x + x**2)
    ours = poly.y1 * x + poly.y2 * x**2 + p * (poly.x4 + poly.x5 * x + poly.x6 * x**2 + poly.x7 * p)
    rounding = 5e-16
    assert ((sum(c[k] * x**k for k in range(9)) - ours).abs() < rounding).all()
    assert ((ours - exact).abs() < 0.4 * torch.finfo(dtype).eps * x.abs() + rounding).all()


def test_float32_gradient_against_float64() -> None:
    a = random_skew(6, 32, 32, norm=60.0)
    weight = torch.randn(6, 32, 32, dtype=torch.float64)
    gradients = []
    for dtype in (torch.float64, torch.float32):
        leaf = a.to(dtype).detach().requires_grad_()
        (skew_exp(leaf) * weight.to(dtype)).sum().backward()
        gradients.append(leaf.grad.double())
    torch.testing.assert_close(
        gradients[1], gradients[0], rtol=0, atol=1e-5 * gradients[0].abs().max().item()
    )


def test_chunks_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    a = (
        random_skew(20, 4, 4, norm=40.0)
        * torch.linspace(0, 1, 20, dtype=torch.float64)[:, None, None]
    )
    results = []
    for entries in (1 << 20, 16 * 3):
        monkeypatch.setattr(skew_exp_module, "cached_entries", lambda entries=entries: entries)
        leaf = a.clone().requires_grad_()
        rotation = skew_exp(leaf)
        (rotation * a.sin()).sum().backward()
        results.append((rotation.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-11)


@pytest.mark.parametrize("dtype", list(scaling_squaring.RADIUS))
@pytest.mark.parametrize("block", [4, 24])
def test_as_many_squarings_on_a_gpu_as_norms_need(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, block: int
) -> None:
    """Numbers wherever the CPU has numbers, each matrix by itself, and no gradient differs."""
    sizes = torch.tensor([0.0, 1.0, 0.9, 1.1, 100.0, 1e3, 1e30, math.nan], dtype=torch.float64)
    base = random_skew(len(sizes), block, block, norm=0.999, seed=1)
    limit = scaling_squaring.NORM_PER_ROW * block
    norms = torch.cat((sizes[:2], limit * sizes[2:6], sizes[6:]))
    a = (base / torch.linalg.matrix_norm(base, 2)[:, None, None] * norms[:, None, None]).to(dtype)
    assert (a[1:6] != 0).any((1, 2)).all()
    cotangent = random_skew(len(a), block, block).to(dtype)
    results = []
    for on_gpu in (False, True):
        with monkeypatch.context() as patch, without_kernels() if on_gpu else nullcontext():
            if on_gpu:
                as_on_a_gpu(patch)
            leaf = a.clone().requires_grad_()
            parts = [leaf] if on_gpu else leaf.split(1)
            rotation = torch.cat([skew_exp(part) for part in parts])
            results.append((rotation.detach(), *torch.autograd.grad(rotation, leaf, cotangent)))
    for ours, expected in zip(results[1], results[0], strict=True):
        assert torch.equal(ours.isnan().all((1, 2)), torch.isnan(norms) | (norms > 1e20))
        for x, y, norm in zip(ours[:6], expected[:6], norms[:6].tolist(), strict=True):
            # a fixed number of squarings rounds small norms more often
            allowed = 20 * torch.finfo(dtype).eps * (8 + norm)
            torch.testing.assert_close(x, y, rtol=0, atol=allowed * max(1.0, float(y.abs().max())))


def test_autocast_does_not_reduce_precision() -> None:
    a = random_skew(3, 16, 16, norm=40.0, dtype=torch.float32).requires_grad_()
    plain = skew_exp(a)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = skew_exp(a)
        cast.square().sum().backward()
    assert cast.dtype == torch.float32
    torch.testing.assert_close(cast, plain)


@pytest.fixture
def products() -> Iterator[tuple[Any, Any]]:
    """Torch's settings for products of float32 matrices, restored at the end."""
    yield torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    torch.set_float32_matmul_precision("highest")


def set_mkldnn_only(value: str) -> None:
    torch.backends.mkldnn.matmul.fp32_precision = "bf16" if value == "medium" else "tf32"


@pytest.mark.parametrize("allow", [torch.set_float32_matmul_precision, set_mkldnn_only])
@pytest.mark.parametrize("value", ["high", "medium"])
def test_reduced_precision_of_products_has_no_effect(
    allow: Callable[[str], None], value: str, products: tuple[Any, Any]
) -> None:
    a = random_skew(12, 64, 64, norm=30.0, dtype=torch.float32)
    cotangent = torch.randn_like(a)

    def results() -> tuple[Tensor, Tensor]:
        leaf = a.clone().requires_grad_()
        rotation = skew_exp(leaf)
        return rotation, torch.autograd.grad(rotation, leaf, cotangent)[0]

    expected = results()
    allow(value)
    before = [setting.fp32_precision for setting in products]
    # TF32 or bfloat16 would be off by 0.01
    torch.testing.assert_close(results(), expected, rtol=1e-4, atol=1e-4)
    assert [setting.fp32_precision for setting in products] == before
    with full_precision(a):
        assert not {setting.fp32_precision for setting in products} & {"tf32", "bf16"}
    if allow is not set_mkldnn_only:
        assert torch.get_float32_matmul_precision() == value


@pytest.mark.parametrize("block", [2, 3, 8])
def test_one_graph(block: int) -> None:
    a = random_skew(3, block, block, norm=5.0, dtype=torch.float32).requires_grad_()
    compiled = torch.compile(skew_exp, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(a), skew_exp(a), rtol=0, atol=1e-6)
    gradients = [torch.autograd.grad(f(a).sin().sum(), a)[0] for f in (compiled, skew_exp)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-5)


def test_nan_is_propagated() -> None:
    a = random_skew(2, 8, 8)
    a[0, 0, 1] = torch.nan
    assert skew_exp(a)[0].isnan().any()


@pytest.mark.parametrize(
    ("a", "message"),
    [
        (torch.zeros(3), "square"),
        (torch.zeros(2, 3, 4), "square"),
        (torch.zeros(2, 3, 3, dtype=torch.bfloat16), "bfloat16"),
        (torch.zeros(2, 3, 3, dtype=torch.int64), "int64"),
    ],
)
def test_invalid_arguments(a: Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        skew_exp(a)


def test_check_generators() -> None:
    check_generators(random_skew(2, 4, 4))
    with pytest.raises(UsageError, match="skew-symmetric"):
        check_generators(torch.ones(2, 2))
    with pytest.raises(UsageError, match="finite"):
        check_generators(torch.full((2, 2), torch.inf))
