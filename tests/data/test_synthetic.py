"""The generated probes: balanced, so that a bag of patches has no information on the label."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from typer.testing import CliRunner

from liere_cli.cli.app import app
from liere_cli.data import Examples, build_dataset
from liere_cli.errors import UsageError


def patches(examples: Examples, patch: tuple[int, ...]) -> Tensor:
    """[N, tokens, pixels of a patch], for one channel."""
    x = examples.inputs[:, 0]
    for axis, size in enumerate(patch):
        x = x.unfold(axis + 1, size, size)
    return x.flatten(1, len(patch)).flatten(2)


def bag(tokens: Tensor) -> Counter[bytes]:
    """The patches of one item without their positions."""
    return Counter(token.contiguous().numpy().tobytes() for token in tokens)


def load(
    spec: dict[str, Any], split: str = "test", grid: tuple[int, ...] | None = None
) -> Examples:
    loaded = build_dataset(spec).load(split, grid)  # type: ignore[arg-type]
    assert isinstance(loaded, Examples)
    return loaded


pointing_options = st.fixed_dictionaries(
    {
        "cells": st.integers(4, 9),
        "arrows": st.sampled_from([4, 8]),
        "letters": st.integers(1, 6),
        "seed": st.integers(0, 1000),
    }
)


@given(pointing_options)
@settings(max_examples=25, deadline=None)
def test_the_label_is_the_arrow_below_the_y(options: dict[str, Any]) -> None:
    dataset = build_dataset({"name": "pointing", "test": 40, **options})
    codes, labels = dataset.scenes("test")  # type: ignore[attr-defined]
    for scene, label in zip(codes, labels.tolist(), strict=True):
        ((row, column),) = (scene == 5).nonzero().tolist()
        assert scene[row + 1, column] == 1 + label
        counts = scene.flatten().bincount(minlength=14)
        assert counts[1:5].tolist() == [options["arrows"] // 4] * 4
        assert counts[5:].sum() == options["letters"]
        assert counts[5:].max() == 1
    assert labels.bincount(minlength=4).tolist() == [10] * 4


@pytest.mark.parametrize(("grid", "patch"), [(72, 8), (72, 4), (36, 4)])
def test_a_bag_of_pointing_patches_has_no_information(grid: int, patch: int) -> None:
    # with one letter the bag is the same for every image, whatever its label
    examples = load({"name": "pointing", "letters": 1, "test": 60, "grid": grid})
    bags = [bag(tokens) for tokens in patches(examples, (patch, patch))]
    assert all(other == bags[0] for other in bags)


def test_pointing_patches_that_straddle_cells_reveal_the_label() -> None:
    examples = load({"name": "pointing", "letters": 1, "test": 60, "grid": 72})
    bags = [bag(tokens) for tokens in patches(examples, (24, 24))]
    assert any(other != bags[0] for other in bags)


def test_other_letters_are_independent_of_the_label() -> None:
    codes, labels = build_dataset("pointing:test=8000").scenes("test")  # type: ignore[attr-defined]
    shares = torch.stack(
        [(codes[labels == label] == letter).flatten(1).any(1).float().mean()
         for label in range(4) for letter in range(6, 14)]
    )  # fmt: skip
    # 5 of 8 other letters; the standard error of each share is 0.011
    assert float((shares - 5 / 8).abs().max()) < 0.05


motion_options = st.fixed_dictionaries(
    {
        "cells": st.integers(3, 6),
        "speed": st.integers(1, 5),
        "shapes": st.integers(1, 3),
        "classes": st.sampled_from([4, 8]),
        "seed": st.integers(0, 1000),
    }
).filter(lambda options: 2 * options["speed"] % options["cells"] != 0)


@given(motion_options, st.integers(2, 7))
@settings(max_examples=25, deadline=None)
def test_shapes_move_by_the_label_on_a_torus(options: dict[str, Any], frames: int) -> None:
    dataset = build_dataset({"name": "motion", "test": 40, **options})
    codes, labels = dataset.scenes("test", frames)  # type: ignore[attr-defined]
    steps = [(-1, 0), (0, 1), (1, 0), (0, -1), (-1, 1), (1, 1), (1, -1), (-1, -1)]
    for scene, label in zip(codes, labels.tolist(), strict=True):
        down, right = (options["speed"] * step for step in steps[label])
        for before, after in pairwise(scene):
            assert torch.equal(before.roll((down, right), (0, 1)), after)
        assert int((scene[0] > 0).sum()) == options["shapes"]
        # no other label explains the same clip
        others = [step for step in steps[: options["classes"]] if step != steps[label]]
        for step in others:
            moved = scene[0].roll([options["speed"] * part for part in step], (0, 1))
            assert options["shapes"] > 1 or not torch.equal(moved, scene[1])
    assert labels.bincount().tolist() == [40 // options["classes"]] * options["classes"]


@pytest.mark.parametrize("frames", [1, 2, 4])
@pytest.mark.parametrize("classes", [4, 8])
@pytest.mark.parametrize("cells", [3, 4, 5])
def test_a_bag_of_motion_patches_has_no_information(cells: int, classes: int, frames: int) -> None:
    grid = (8, 32, 32) if cells == 4 else (4, 4 * cells, 4 * cells)
    spec = {"name": "motion", "cells": cells, "classes": classes, "test": 400, "grid": grid}
    examples = load(spec)
    tokens = patches(examples, (frames, 4, 4))
    # one bag for each of the four shapes, for every label
    kinds: dict[int, set[frozenset[tuple[bytes, int]]]] = {}
    for item, label in zip(tokens, examples.labels.tolist(), strict=True):
        kinds.setdefault(label, set()).add(frozenset(bag(item).items()))
    assert all(len(bags) == 4 for bags in kinds.values())
    assert len({frozenset(bags) for bags in kinds.values()}) == 1


def test_bags_of_several_shapes_have_the_same_distribution() -> None:
    spec = {"name": "motion", "shapes": 2, "cells": 3, "test": 16_000}
    examples = load(spec)
    tokens = patches(examples, (2, 4, 4))
    # a patch that shows two shapes one after the other: its share is the same for every label
    both = ((tokens[..., :16].amax(-1) > 0) & (tokens[..., 16:].amax(-1) > 0)).any(1).float()
    shares = torch.stack([both[examples.labels == label].mean() for label in range(4)])
    # two of eight neighbours lie along the motion; the standard error is 0.007
    assert float((shares - 2 / 8).abs().max()) < 0.03


crowded_options = st.fixed_dictionaries(
    {
        "cells": st.integers(5, 9),
        "speed": st.integers(1, 4),
        "speeds": st.integers(1, 3),
        "distractors": st.integers(1, 6),
        "seed": st.integers(0, 1000),
    }
).filter(
    lambda options: all(
        (one + other) % options["cells"]
        for one in range(options["speed"], options["speed"] + options["speeds"])
        for other in range(options["speed"], options["speed"] + options["speeds"])
    )
)


@given(crowded_options, st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_the_disc_moves_by_the_label_among_distractors(
    options: dict[str, Any], frames: int
) -> None:
    dataset = build_dataset({"name": "motion", "test": 40, **options})
    codes, labels = dataset.scenes("test", frames)  # type: ignore[attr-defined]
    steps = [(-1, 0), (0, 1), (1, 0), (0, -1)]
    speeds = range(options["speed"], options["speed"] + options["speeds"])
    for scene, label in zip(codes, labels.tolist(), strict=True):
        disc = scene == 1
        assert disc.flatten(1).sum(1).tolist() == [1] * frames
        explained = [
            (direction, speed)
            for direction, step in enumerate(steps)
            for speed in speeds
            if all(
                torch.equal(before.roll([speed * part for part in step], (0, 1)), after)
                for before, after in pairwise(disc)
            )
        ]
        assert {direction for direction, _ in explained} == {label}
        assert 1 <= int((scene[0] > 1).sum()) <= options["distractors"]


def test_bags_of_a_crowd_have_the_same_distribution() -> None:
    examples = load("motion:cells=5,speeds=2,distractors=3,test=16000,grid=4x20x20")
    tokens = patches(examples, (2, 4, 4)) > 0
    shown = tokens.float().mean(-1)
    for statistic in (shown.mean(1), (shown**2).mean(1), (shown > 0).float().mean(1)):
        means = torch.stack([statistic[examples.labels == label].mean() for label in range(4)])
        error = float(statistic.std()) / 4000**0.5
        assert float(means.max() - means.min()) < 5 * error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("cells=5,speeds=3", "the sum of two speeds must not be a multiple of cells"),
        ("distractors=2,classes=8", "distractors need shapes=1 and classes=4"),
        ("distractors=2,shapes=2", "distractors need shapes=1 and classes=4"),
        ("cells=3,distractors=9", "must fit into cells x cells"),
    ],
)
def test_crowds_that_would_be_ambiguous_are_refused(options: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_dataset(f"motion:{options}")


def test_earlier_options_of_motion_keep_their_fingerprints() -> None:
    assert build_dataset("motion").fingerprint == "d85b786a26718d4e"
    spec = "motion:shapes=2,classes=8,cells=5,noise=3"
    assert build_dataset(spec).fingerprint == "5ec84c9a120bff6e"


def test_a_single_frame_of_motion_has_no_information() -> None:
    codes, labels = build_dataset("motion:test=8000").scenes("test", 4)  # type: ignore[attr-defined]
    for frame in range(4):
        for label in range(4):
            where = (codes[labels == label, frame] > 0).float().mean(0)
            # uniform over 9 cells; the standard error is 0.007
            assert float((where - 1 / 9).abs().max()) < 0.035


def test_noise_changes_pixels_by_at_most_its_option() -> None:
    clean = load({"name": "motion", "test": 20}).inputs.int()
    noisy = load({"name": "motion", "test": 20, "noise": 40}).inputs.int()
    difference = (noisy - clean).abs()
    assert int(difference.max()) == 40
    assert float(difference.float().mean()) > 10


@pytest.mark.parametrize("name", ["pointing", "motion"])
def test_a_probe_depends_on_its_seed_alone(name: str) -> None:
    torch.manual_seed(1)
    first = load({"name": name, "test": 50})
    torch.manual_seed(2)
    again = load({"name": name, "test": 50})
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.labels, again.labels)
    other = load({"name": name, "test": 50, "seed": 1})
    assert not torch.equal(first.inputs, other.inputs)


@pytest.mark.parametrize("name", ["pointing", "motion"])
def test_fingerprints_depend_on_content_and_not_on_the_grid(name: str) -> None:
    grid = {"pointing": "18x18", "motion": "6x24x24"}[name]
    base = build_dataset({"name": name, "val": 100}).fingerprint
    assert len(base) == 16
    assert base == build_dataset({"name": name, "val": 100, "grid": grid}).fingerprint
    assert base != build_dataset({"name": name, "val": 100, "seed": 1}).fingerprint
    assert base != build_dataset({"name": name, "val": 100, "train": 7}).fingerprint


@pytest.mark.parametrize("name", ["pointing", "motion"])
def test_splits_have_streams_of_their_own(name: str) -> None:
    dataset = build_dataset({"name": name, "train": 50, "val": 50, "test": 50})
    loaded = [dataset.load(split).inputs for split in ("train", "val", "test")]  # type: ignore[union-attr]
    assert not torch.equal(loaded[0], loaded[1])
    assert not torch.equal(loaded[1], loaded[2])


def test_a_larger_grid_shows_the_same_scenes_larger() -> None:
    dataset = build_dataset("pointing:test=10")
    small, large = dataset.load("test"), dataset.load("test", (144, 144))
    assert isinstance(small, Examples)
    assert isinstance(large, Examples)
    assert torch.equal(small.labels, large.labels)
    shrunk = torch.nn.functional.avg_pool2d(large.inputs.float(), 2)
    assert float((shrunk - small.inputs).abs().mean()) < 12
    motion = build_dataset("motion:test=10")
    longer = motion.load("test", (8, 12, 12))
    assert isinstance(longer, Examples)
    assert torch.equal(longer.inputs[:, :, :4], motion.load("test").inputs)  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="square cells"):
        dataset.load("test", (70, 70))


def test_the_error_for_an_unsuitable_grid_names_a_suitable_one(tmp_path: Path) -> None:
    small = ("model.layers=1", "model.dim=32", "model.heads=2", "training.batch=8")
    train = ["train", "--data=motion:train=16,val=8,test=8", "--encoding=none", "--budget=1steps"]
    result = CliRunner().invoke(
        app, [*train, *(f"--set={setting}" for setting in small), f"--out={tmp_path}"]
    )
    assert result.exit_code == 0, result.output
    (run,) = (tmp_path / "motion").iterdir()
    result = CliRunner().invoke(app, ["eval", str(run), "--grid=8x33x33"])
    assert result.exit_code == 2
    assert "multiple of 12 (3 cells, patches of 4), such as 36" in result.stderr
    assert CliRunner().invoke(app, ["eval", str(run), "--grid=8x36x36"]).exit_code == 0
