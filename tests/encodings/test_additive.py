"""Encodings that add to the embedding, each equal to its source."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from liere_cli.encodings import Grid, build_encoding

EXTENTS = st.integers(1, 7)
MODES = {"linear": {1: "linear", 2: "bilinear", 3: "trilinear"}, "cubic": {2: "bicubic"}}


def built(spec: Any, axes: int = 1, **shape: Any) -> Any:
    return build_encoding(spec, axes=axes, heads=2, head_dim=6, seed=0, **shape).double()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(EXTENTS, EXTENTS), min_size=1, max_size=3),
    st.sampled_from(["linear", "cubic"]),
)
def test_tables_are_resized_as_torch_resizes_images(
    extents: list[tuple[int, int]], resize: str
) -> None:
    trained, target = (tuple(part) for part in zip(*extents, strict=True))
    axes = len(trained)
    if axes not in MODES[resize]:
        return
    if axes == 1:
        target = (max(trained[0], target[0]),)  # shorter text keeps its positions
    encoding = built(f"absolute:resize={resize}", axes, grid=trained)
    table = encoding.table.detach()
    picture = table.T.view(1, -1, *trained)
    expected = F.interpolate(picture, target, mode=MODES[resize][axes], align_corners=False)
    actual = encoding.at(Grid(target, trained).positions("resized").double())
    # positions are float32
    torch.testing.assert_close(actual, expected[0].flatten(1).T, rtol=0, atol=1e-6)
    same = encoding.at(Grid(trained).positions("resized"))
    assert torch.equal(same, table)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9))
def test_shorter_text_keeps_its_positions(trained: int, less: int) -> None:
    encoding = built("absolute", grid=(trained,))
    shorter = max(trained - less, 1)
    actual = encoding.at(Grid((shorter,), (trained,)).positions("resized"))
    assert torch.equal(actual, encoding.table[:shorter])


@pytest.mark.parametrize(("axes", "mode"), [(1, False), (2, True), (3, False)])
def test_images_are_resized_cubically_and_others_linearly(axes: int, mode: bool) -> None:
    assert built("absolute", axes, grid=(3,) * axes).cubic == mode


def slow_sinusoid(position: list[float], dim: int, scale: float) -> Tensor:
    """arXiv 1706.03762, section 3.5, channel by channel; axes side by side."""
    waves = dim // (2 * len(position))
    vector = [0.0] * dim
    for axis, p in enumerate(position):
        for i in range(waves):
            angle = p / 10_000 ** (i / waves)
            vector[axis * 2 * waves + i] = scale * math.sin(angle)
            vector[axis * 2 * waves + waves + i] = scale * math.cos(angle)
    return torch.tensor(vector, dtype=torch.float64)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_sinusoids_are_those_of_the_paper(axes: int) -> None:
    encoding = built("sinusoidal:scale=0.7", axes)
    grid = Grid((4, 3, 2)[:axes]).positions("index")
    expected = torch.stack([slow_sinusoid(p, 12, 0.7) for p in grid.tolist()])
    # positions and angles are float32
    torch.testing.assert_close(encoding.at(grid).double(), expected, rtol=0, atol=1e-6)


def test_sinusoids_are_those_of_x_transformers() -> None:
    package = pytest.importorskip("x_transformers.x_transformers")
    theirs = package.ScaledSinusoidalEmbedding(12)
    ours = build_encoding("sinusoidal", axes=1, heads=2, head_dim=6)
    x = torch.zeros(1, 300, 12)
    torch.testing.assert_close(ours.embed(x, Grid((300,)).positions("index"))[0], theirs(x))


def test_a_fixed_scale_is_not_trained() -> None:
    assert not built("sinusoidal:learned=false").scale.requires_grad
    assert built("sinusoidal").scale.requires_grad


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_fourier_features_are_those_of_the_paper(axes: int) -> None:
    encoding = built("fourier:features=10,hidden=7", axes)
    with torch.no_grad():
        for parameter in encoding.parameters():
            parameter.normal_()
    positions = torch.rand(5, axes, dtype=torch.float64)
    for p, actual in zip(positions, encoding.at(positions), strict=True):
        # arXiv 2106.02795, equations 4 and 5, for one position
        angles = [sum(w * c for w, c in zip(row, p, strict=True)) for row in encoding.directions]
        r = torch.stack([torch.cos(a) for a in angles] + [torch.sin(a) for a in angles]) / 10**0.5
        inner = encoding.hidden @ r + encoding.hidden_bias
        gelu = inner * (1 + torch.erf(inner / 2**0.5)) / 2
        torch.testing.assert_close(actual, encoding.out @ gelu + encoding.out_bias)


def test_fourier_directions_have_standard_deviation_one_over_gamma() -> None:
    encoding = build_encoding("fourier:gamma=0.25,features=4000", axes=2, heads=2, head_dim=6)
    assert float(encoding.directions.detach().std()) == pytest.approx(4, rel=0.05)
