"""Random displacement of positions in training."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from liere_cli.config.files import load_recipe
from liere_cli.positions.augment import Displacement
from liere_cli.positions.grid import Grid
from liere_cli.runs.build import RunSpec, assemble
from liere_cli.training.run import train_run
from liere_cli.utils.seeding import stream

CPU = torch.device("cpu")
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)
SEEDS = st.integers(0, 1000)


def moved(shape: tuple[int, ...], seed: int, **parts: float) -> torch.Tensor:
    return Grid(shape).positions("index", move=Displacement(**parts).draw(shape, stream(seed, "x")))


@settings(max_examples=40, deadline=None)
@given(SHAPES, SEEDS)
def test_jitter_keeps_each_token_within_its_patch(shape: tuple[int, ...], seed: int) -> None:
    distance = (moved(shape, seed, jitter=1.0) - Grid(shape).positions("index")).abs()
    assert distance.max() <= 0.5 + 1e-5
    if len(shape) == 3:
        assert distance[:, 0].max() == 0
    assert distance[:, -1].max() > 0


@settings(max_examples=40, deadline=None)
@given(SHAPES, SEEDS, st.floats(0.01, 1), st.floats(1.01, 3))
def test_the_grid_as_a_whole_moves_and_stretches_within_its_limits(
    shape: tuple[int, ...], seed: int, shift: float, stretch: float
) -> None:
    grid, extent = Grid(shape).positions("index"), torch.tensor(shape, dtype=torch.float32)
    shifted = moved(shape, seed, shift=shift) - grid
    assert (shifted.abs() <= shift * extent / 2 + 1e-4).all()
    torch.testing.assert_close(shifted, shifted[:1].expand_as(shifted), rtol=0, atol=1e-4)
    centred = grid - (extent - 1) / 2
    for parts in ({"stretch": stretch}, {"rescale": stretch}):
        factors = (moved(shape, seed, **parts) - (extent - 1) / 2) / centred
        actual = factors[centred.abs().amin(1) > 0]
        if len(actual):
            torch.testing.assert_close(actual, actual[:1].expand_as(actual), rtol=1e-3, atol=1e-3)
            assert actual.max() <= stretch + 1e-2
            assert actual.min() >= 1 / stretch - 1e-2
            if "rescale" in parts:
                assert actual.max() - actual.min() < 1e-2


@settings(max_examples=40, deadline=None)
@given(SHAPES, SEEDS)
def test_nothing_moves_by_default(shape: tuple[int, ...], seed: int) -> None:
    torch.testing.assert_close(
        moved(shape, seed), Grid(shape).positions("index"), rtol=0, atol=1e-5
    )


def test_half_of_the_jitter_is_normal_with_half_a_patch() -> None:
    noise = moved((10_000,), 0, jitter=0.5) - Grid((10_000,)).positions("index")
    assert noise.std() == pytest.approx(0.24, abs=0.01)  # 0.25, clamped at 0.5


def run_spec_of(encoding: str = "liere", **training: Any) -> RunSpec:
    flags = {
        "encoding": encoding,
        "data": "pointing:train=40,val=20,test=20",
        "model": {"layers": 1, "dim": 16, "heads": 2},
        "training": {"batch": 4, "budget": "6steps", "log_every": 2, "validations": 1, **training},
    }
    return assemble(load_recipe(flags=flags), device=CPU)


@pytest.mark.parametrize("part", [{"jitter": 1.0}, {"shift": 0.5}, {"stretch": 2}, {"rescale": 2}])
def test_displacement_is_another_run_with_other_losses(part: Any, tmp_path: Path) -> None:
    plain, noisy = run_spec_of(), run_spec_of(positions=part)
    assert plain.run_id != noisy.run_id
    first, second = (train_run(cell, outputs=tmp_path, device=CPU) for cell in (plain, noisy))
    assert first.val_loss != second.val_loss
    # an encoding without positions is unaffected: no other stream changes
    none = [
        train_run(run_spec_of("none", **extra), outputs=tmp_path, device=CPU).val_loss
        for extra in ({}, {"positions": part})
    ]
    assert none[0] == none[1]


def test_disabled_displacement_does_not_change_the_identity() -> None:
    assert run_spec_of().run_id == run_spec_of(positions={"jitter": 0}).run_id
