"""Grids and random streams."""

import math
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from liere_cli.errors import UsageError
from liere_cli.positions.augment import Displacement
from liere_cli.positions.grid import Grid, Scaling
from liere_cli.utils.seeding import stream, stream_seed

SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple)
SCALINGS = st.sampled_from(["index", "unit", "centered"])


@given(SHAPES, SCALINGS)
def test_positions_cover_the_grid_once(shape: tuple[int, ...], scaling: Scaling) -> None:
    positions = Grid(shape).positions(scaling)
    assert positions.shape == (math.prod(shape), len(shape))
    assert positions.dtype == torch.float32
    if scaling == "index":
        assert len(positions.unique(dim=0)) == math.prod(shape)


@given(SHAPES, SHAPES, SCALINGS)
def test_a_larger_grid_keeps_the_coordinates_of_the_training_grid(
    trained: tuple[int, ...], extra: tuple[int, ...], scaling: Scaling
) -> None:
    if len(trained) != len(extra):
        return
    larger = tuple(a + b for a, b in zip(trained, extra, strict=True))
    positions = Grid(larger, trained).positions(scaling).view(*larger, len(trained))
    corner = positions[tuple(slice(n) for n in trained)].reshape(-1, len(trained))
    assert torch.equal(corner, Grid(trained).positions(scaling))


def test_units() -> None:
    assert Grid((3,)).positions("index").flatten().tolist() == [0, 1, 2]
    assert Grid((3,)).positions("unit").flatten().tolist() == [0, 0.5, 1]
    assert Grid((3,)).positions("centered").flatten().tolist() == [-1, 0, 1]
    assert Grid((5,), (3,)).positions("unit").flatten().tolist() == [0, 0.5, 1, 1.5, 2]


@pytest.mark.parametrize(
    ("shape", "trained"), [((0,), ()), ((), ()), ((3,), (3, 3)), ((3, -1), ())]
)
def test_impossible_grids_are_refused(shape: tuple[int, ...], trained: tuple[int, ...]) -> None:
    with pytest.raises(UsageError):
        Grid(shape, trained)


@pytest.mark.parametrize("extents", [5, (2.0,), ("3",), (True,), [4, 4]])
def test_a_grid_is_a_tuple_of_whole_numbers(extents: Any) -> None:
    for make in (lambda: Grid(extents), lambda: Grid((4, 4), extents)):
        with pytest.raises(UsageError, match="must be a tuple of whole numbers"):
            make()


@given(st.integers(0, 2**31), NAMES := st.text(max_size=10), NAMES)
def test_streams_are_repeatable_and_independent(seed: int, one: str, other: str) -> None:
    assert torch.equal(
        torch.rand(4, generator=stream(seed, one)), torch.rand(4, generator=stream(seed, one))
    )
    if one != other:
        assert stream_seed(seed, one) != stream_seed(seed, other)
    assert stream_seed(seed, one) != stream_seed(seed + 1, one)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("scaling", get_args(Scaling))
def test_units_do_not_depend_on_the_default_dtype(scaling: Scaling, dtype: torch.dtype) -> None:
    def displaced() -> torch.Tensor:
        move = Displacement(1.0, 0.1, 1.2, 1.2).draw((3, 5), torch.Generator().manual_seed(0))
        return Grid((3, 5), (2, 4)).positions(scaling, move=move)

    expected = displaced()
    torch.set_default_dtype(dtype)
    try:
        actual = displaced()
    finally:
        torch.set_default_dtype(torch.float32)
    assert actual.dtype == torch.float32
    assert torch.equal(actual, expected)
