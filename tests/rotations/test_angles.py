"""Angles that are sums of products: large ones keep their digits."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from liere_cli.encodings import build_encoding
from liere_cli.rotations import angles as module
from liere_cli.rotations import linear_angles, projections


def exact(positions: Tensor, frequencies: Tensor) -> Tensor:
    return positions.double() @ frequencies.double()


@given(
    axes=st.integers(1, 3),
    reach=st.sampled_from((1.0, 500.0, 5e3, 1e6, 1e8)),
    readable=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_large_angles_are_exact_but_for_a_rounding(
    axes: int, reach: float, readable: bool, seed: int
) -> None:
    """Wherever they are computed; those below the bound have the bits of a plain product."""
    torch.manual_seed(seed)
    positions, frequencies = reach * torch.rand(9, axes), torch.randn(2, axes, 5)
    with pytest.MonkeyPatch.context() as patch:
        if not readable:
            patch.setattr(module, "can_read", lambda *tensors: False)
        angles = linear_angles(positions, frequencies)
    plain, expected = projections(positions, frequencies), exact(positions, frequencies)
    small = projections(positions.abs(), frequencies.abs()) < module.LARGE
    assert torch.equal(angles[small], plain[small])
    error = (angles.double() - expected) / (2 * math.pi)
    error = (error - error.round()) * 2 * math.pi
    assert (error.abs() < 2.5e-4 * axes).all()
    assert (error[~small].abs() < 1e-6 + 1e-15 * reach).all()


def test_gradients_are_those_of_the_product() -> None:
    positions = torch.tensor([[1.0, 2.0], [1e5, -3e4], [9e5, 1e6]], requires_grad=True)
    frequencies = torch.randn(2, 2, 5, requires_grad=True)
    weight = torch.randn(2, 3, 5)
    grads = [
        torch.autograd.grad((f(positions, frequencies) * weight).sum(), (positions, frequencies))
        for f in (linear_angles, projections)
    ]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-5, atol=1e-4)


def test_transforms_and_graphs_compute_the_same() -> None:
    positions = torch.tensor([[1.0], [1e5], [1e6]])
    frequencies = torch.rand(4, 1, 5)
    expected = linear_angles(positions, frequencies)
    mapped = torch.func.vmap(lambda f: linear_angles(positions, f))(frequencies)
    assert torch.equal(mapped, expected)
    compiled = torch.compile(linear_angles, fullgraph=True, backend="eager")
    assert torch.equal(compiled(positions, frequencies), expected)


def test_learned_frequencies_in_training_cost_nothing_more_where_values_cant_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "can_read", lambda *tensors: False)
    positions, frequencies = torch.tensor([[1e6]]), torch.rand(1, 5, requires_grad=True)
    plain = projections(positions, frequencies)
    assert torch.equal(linear_angles(positions, frequencies), plain)
    with torch.no_grad():
        assert not torch.equal(linear_angles(positions, frequencies), plain)


#: at units in which the fastest frequency is 1 to 30
PRECISE = [
    *("sinusoidal", "rope", "rope-mixed", "golden-gate", "dinov3", "spiral", "grape"),
    *("cayley-string", "harope", "lrpe", "pope", "golden-gate-pope", "liere:block=2"),
    *("liere", "liere:block=16", "comrope-ap", "comrope-ld"),
]


@pytest.mark.parametrize("spec", PRECISE)
@pytest.mark.parametrize("start", [1e3, 1e5, 1e6])
def test_scores_at_a_million_positions(spec: str, start: float) -> None:
    """The table in docs/encodings.md."""
    encoding = build_encoding(spec, axes=1, heads=2, head_dim=16, dim=32, grid=(16,), seed=0)
    positions = start + torch.arange(8.0)[:, None]
    q, k = torch.randn(2, 1, 2, 8, 16, generator=torch.Generator().manual_seed(0))
    results = []
    for dtype in (torch.float32, torch.float64):
        encoding = encoding.to(dtype)
        at = positions.to(dtype)
        if "embed" in encoding.places:
            results.append(encoding.embed(torch.zeros(1, 8, 32, dtype=dtype), at))
        else:
            q, k = encoding(q.to(dtype), k.to(dtype), at)
            results.append(q @ k.mT)
            q, k = torch.randn(2, 1, 2, 8, 16, generator=torch.Generator().manual_seed(0))
    error = (results[0].double() - results[1]).abs().max() / results[1].abs().max()
    assert error < 3e-4
