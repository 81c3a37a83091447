"""Rotation of channel pairs: exact, in float32 at least, with exact gradients."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from liere_cli.errors import UsageError
from liere_cli.rotations import Layout, linear_angles, phases, rotate_planes, rotate_projected

LAYOUTS = get_args(Layout)


def by_definition(x: Tensor, angles: Tensor, layout: Layout) -> Tensor:
    """One 2 x 2 rotation for every pair, in float64."""
    x, angles = x.double(), angles.double()
    prefix = x.shape[2] - angles.shape[1]
    index = torch.arange(x.shape[-1])
    pairs = index.view(-1, 2) if layout == "interleaved" else index.view(2, -1).T
    out = x.clone()
    first, second = x[:, :, prefix:, pairs[:, 0]], x[:, :, prefix:, pairs[:, 1]]
    out[:, :, prefix:, pairs[:, 0]] = first * angles.cos() - second * angles.sin()
    out[:, :, prefix:, pairs[:, 1]] = first * angles.sin() + second * angles.cos()
    return out


@given(
    layout=st.sampled_from(LAYOUTS),
    heads=st.sampled_from((1, 3)),
    prefix=st.integers(0, 2),
    fused=st.booleans(),
    dtype=st.sampled_from((torch.float64, torch.float32, torch.bfloat16, torch.float16)),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None)
def test_equals_definition(
    layout: Layout, heads: int, prefix: int, fused: bool, dtype: torch.dtype, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    angle_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    angles = (torch.rand(heads, 5, 4, generator=generator) * 100).to(angle_dtype)
    x = torch.randn(2, 5 + prefix, 3, 3, 8, generator=generator).to(dtype)
    # a view of a fused projection, or a tensor of its own
    q = x.permute(2, 0, 3, 1, 4)[0] if fused else x[:, :, 0].transpose(1, 2).contiguous()
    rotated = rotate_planes(q, phases(angles), layout)
    assert rotated.dtype == dtype
    assert torch.equal(rotated[:, :, :prefix], q[:, :, :prefix])
    # float32 arithmetic, then one rounding to the dtype: half a unit in the last place
    unit = torch.finfo(dtype).eps / 2 + (2e-7 if angle_dtype == torch.float32 else 0)
    error = rotated.double() - by_definition(q, angles, layout)
    assert error.abs().max() <= 2 * unit * q.double().norm(dim=-1).max()


@given(
    layout=st.sampled_from(LAYOUTS),
    heads=st.sampled_from((1, 3)),
    prefix=st.integers(0, 2),
    dtype=st.sampled_from((torch.float64, torch.float32, torch.bfloat16)),
    learned=st.booleans(),
    contiguous=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None)
def test_projection_equals_its_parts(
    layout: Layout,
    heads: int,
    prefix: int,
    dtype: torch.dtype,
    learned: bool,
    contiguous: bool,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    angles = torch.rand(heads, 5, 4, generator=generator) * 100
    table = phases(angles.to(torch.float64 if dtype == torch.float64 else torch.float32))
    qkv = torch.randn(2, 5 + prefix, 3, 3, 8, generator=generator).to(dtype)
    cotangents = torch.randn(3, 2, 3, 5 + prefix, 8, generator=generator).to(dtype)
    if not contiguous:  # as attention may return them
        cotangents = cotangents.transpose(2, 3).contiguous().transpose(2, 3)

    def apart(qkv: Tensor, table: Tensor) -> tuple[Tensor, ...]:
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return rotate_planes(q, table, layout), rotate_planes(k, table, layout), v

    results = []
    for function in (lambda *args: rotate_projected(*args, layout), apart):
        leaves = (qkv.clone().requires_grad_(), table.clone().requires_grad_(learned))
        outs = function(*leaves)
        differentiated = leaves if learned else leaves[:1]
        results.append((*outs, *torch.autograd.grad(outs, differentiated, tuple(cotangents))))
    for ours, theirs in zip(*results, strict=True):
        # loops over other strides round differently
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("prefix", [0, 1])
def test_gradients(layout: Layout, heads: int, prefix: int) -> None:
    x = torch.randn(2, 2, 3 + prefix, 4, dtype=torch.float64, requires_grad=True)
    angles = torch.randn(heads, 3, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x, angles: rotate_planes(x, phases(angles), layout), (x, angles))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradient_of_half_precision(layout: Layout) -> None:
    x = torch.randn(4, 2, 3, 8)
    angles = torch.randn(2, 3, 4)
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        leaf, leaf_angles = (
            x.detach().to(dtype, copy=True).requires_grad_(),
            angles.clone().requires_grad_(),
        )
        rotate_planes(leaf, phases(leaf_angles), layout).float().tanh().sum().backward()
        assert leaf.grad is not None
        assert leaf_angles.grad is not None
        assert leaf.grad.dtype == dtype
        gradients.append((leaf.grad.float(), leaf_angles.grad))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0.1, atol=0.3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_odd_strides_and_offsets(layout: Layout) -> None:
    storage = torch.randn(2 * 2 * 3 * 9 + 1)
    x = storage[1:].view(2, 2, 3, 9)[..., :8]
    angles = torch.randn(1, 3, 4)
    expected = by_definition(x, angles, layout).float()
    torch.testing.assert_close(rotate_planes(x, phases(angles), layout), expected)


def test_angles_are_not_rounded_by_autocast() -> None:
    positions = torch.arange(4000.0)[:, None]
    frequencies = torch.rand(1, 8)
    exact = positions.double() * frequencies.double()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        angles = linear_angles(positions, frequencies)
    assert (angles.double() - exact).abs().max() < 3e-4


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_graph(layout: Layout) -> None:
    x = torch.randn(2, 2, 5, 8, requires_grad=True)
    angles = torch.randn(2, 4, 4, requires_grad=True)

    def run(x: Tensor, angles: Tensor) -> Tensor:
        return rotate_planes(x, phases(angles), layout)

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    results = []
    for f in (run, compiled):
        rotated = f(x, angles)
        results.append((rotated, *torch.autograd.grad(rotated.sin().sum(), (x, angles))))
    torch.testing.assert_close(results[0], results[1])


def test_invalid_arguments() -> None:
    table = phases(torch.zeros(1, 5, 4))
    with pytest.raises(UsageError, match="don't fit"):
        rotate_planes(torch.zeros(1, 1, 5, 6), table)
    with pytest.raises(UsageError, match="don't fit"):
        rotate_planes(torch.zeros(1, 1, 4, 8), table)
    with pytest.raises(UsageError, match="interleaved"):
        rotate_planes(torch.zeros(1, 1, 5, 8), table, "interleave")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="bfloat16"):
        phases(torch.zeros(1, 5, 4, dtype=torch.bfloat16))
    with pytest.raises(UsageError, match="floating"):
        rotate_planes(torch.zeros(1, 1, 5, 8, dtype=torch.int64), table)
    with pytest.raises(UsageError, match="positions"):
        linear_angles(torch.zeros(5, 2), torch.zeros(1, 4))
