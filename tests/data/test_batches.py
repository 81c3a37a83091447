"""Batches: functions of seed and step, complete in evaluation, augmented as documented."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from liere_cli.data import ByteStream, Examples, TrainingBatches, evaluation_batches
from liere_cli.errors import LiereError, UsageError


def numbered(count: int, *grid: int, channels: int = 1) -> Examples:
    """Items that carry their own number in every pixel and in the label."""
    numbers = torch.arange(count)
    inputs = numbers.to(torch.uint8).view(-1, 1, *[1] * len(grid)).expand(-1, channels, *grid)
    return Examples(inputs.contiguous(), numbers, numbers)


def text(count: int) -> ByteStream:
    return ByteStream(torch.arange(count).remainder(251).to(torch.uint8))


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 30), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_steps_cover_whole_epochs(count: int, batch: int, start: int, seed: int) -> None:
    batches = TrainingBatches(numbered(count, 2, 2), batch_size=batch, seed=seed)
    steps = -(-count * 2 // batch)
    labels = torch.cat([batches.at(step)[1] for step in range(steps)])
    for epoch in range(len(labels) // count):
        assert labels[epoch * count : (epoch + 1) * count].sort()[0].tolist() == list(range(count))
    # a new object returns the same batch at any step: resuming needs no state
    again = TrainingBatches(numbered(count, 2, 2), batch_size=batch, seed=seed)
    expected, repeated = batches.at(start), again.at(start)
    assert torch.equal(expected[0], repeated[0])
    assert torch.equal(expected[1], repeated[1])


def test_a_batch_is_independent_of_global_random_state() -> None:
    batches = TrainingBatches(numbered(50, 8, 8), batch_size=16, seed=0, flips=True, shift=2)
    torch.manual_seed(1)
    first = batches.at(7)[0]
    torch.manual_seed(2)
    assert torch.equal(first, batches.at(7)[0])


def test_seeds_and_epochs_have_different_orders() -> None:
    orders = {
        tuple(TrainingBatches(numbered(20, 1, 1), batch_size=20, seed=seed).at(step)[1].tolist())
        for seed in range(3)
        for step in range(3)
    }
    assert len(orders) == 9


def test_classification_batches_are_normalised_per_channel() -> None:
    examples = Examples(
        torch.randint(256, (400, 3, 6, 6), dtype=torch.uint8),
        torch.zeros(400, dtype=torch.int64),
        torch.arange(400),
    )
    pixels = examples.inputs / 255
    mean, std = pixels.mean((0, 2, 3)).tolist(), pixels.std((0, 2, 3)).tolist()
    inputs, labels = TrainingBatches(examples, batch_size=400, seed=0, mean=mean, std=std).at(0)
    assert inputs.dtype == torch.float32
    assert labels.dtype == torch.int64
    torch.testing.assert_close(inputs.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(inputs.std((0, 2, 3)), torch.ones(3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("grid", [(6, 8), (3, 6, 8)])
def test_augmented_items_are_moved_and_mirrored_originals(grid: tuple[int, ...]) -> None:
    shift = 2
    original = torch.randint(1, 256, (1, 2, *grid), dtype=torch.uint8)
    examples = Examples(original, torch.zeros(1, dtype=torch.int64), torch.zeros(1))
    scale = {"mean": (0.0, 0.0), "std": (1 / 255, 1 / 255)}
    batches = TrainingBatches(examples, batch_size=200, seed=0, flips=True, shift=shift, **scale)
    # outside lies the mean, here 0; every frame of a clip moves alike
    padded = torch.nn.functional.pad(original[0], (shift, shift, shift, shift))
    height, width = grid[-2:]
    allowed = {}
    for down in range(2 * shift + 1):
        for right in range(2 * shift + 1):
            crop = padded[..., down : down + height, right : right + width]
            allowed[crop.numpy().tobytes()] = (down, right, False)
            allowed[crop.flip(-1).contiguous().numpy().tobytes()] = (down, right, True)
    seen = {allowed[item.round().to(torch.uint8).numpy().tobytes()] for item in batches.at(0)[0]}
    assert len(seen) > 40
    assert {flipped for *_, flipped in seen} == {True, False}


def test_flips_alone_keep_every_pixel() -> None:
    examples = Examples(
        torch.randint(256, (64, 1, 4, 4), dtype=torch.uint8), torch.arange(64), torch.arange(64)
    )
    scale = {"mean": (0.0,), "std": (1 / 255,)}
    inputs, labels = TrainingBatches(examples, batch_size=64, seed=0, flips=True, **scale).at(0)
    plain = examples.inputs[labels].float()
    same = (inputs == plain).flatten(1).all(1)
    mirrored = (inputs == plain.flip(-1)).flatten(1).all(1)
    assert bool((same | mirrored).all())
    assert 10 < int(mirrored.sum()) < 54


@given(st.integers(2, 300), st.integers(1, 40), st.integers(1, 8), st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_text_targets_are_the_next_bytes(count: int, context: int, batch: int, step: int) -> None:
    if count <= context:
        with pytest.raises(UsageError, match=f"has {count} bytes, too few for one window"):
            TrainingBatches(text(count), batch_size=batch, seed=0, context=context)
        return
    batches = TrainingBatches(text(count), batch_size=batch, seed=0, context=context)
    inputs, targets = batches.at(step)
    assert inputs.shape == targets.shape == (batch, context)
    assert inputs.dtype == targets.dtype == torch.int64
    assert torch.equal((inputs + 1) % 251, targets % 251)


def test_training_windows_reach_both_ends_of_the_text() -> None:
    batches = TrainingBatches(text(20), batch_size=500, seed=0, context=16)
    inputs, targets = batches.at(0)
    assert int(inputs.min()) == 0
    assert int(targets.max()) == 19


@given(st.integers(2, 400), st.integers(1, 60), st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_evaluation_predicts_every_byte_but_the_first_once(
    count: int, context: int, batch: int
) -> None:
    seen = []
    for inputs, targets in evaluation_batches(text(count), batch_size=batch, context=context):
        assert inputs.shape == targets.shape
        assert inputs.shape[0] <= batch
        assert inputs.shape[1] <= context
        assert torch.equal(inputs[:, 1:], targets[:, :-1])
        seen += targets.flatten().tolist()
    assert seen == text(count).data[1:].tolist()


@given(st.integers(1, 60), st.integers(1, 20), st.none() | st.integers(1, 80))
@settings(max_examples=80, deadline=None)
def test_evaluation_takes_every_item_once_in_order(
    count: int, batch: int, limit: int | None
) -> None:
    batches = evaluation_batches(numbered(count, 2, 2), batch_size=batch, limit=limit)
    labels = torch.cat([labels for _, labels in batches]).tolist()
    assert len(labels) == min(count, limit or count)
    assert labels == sorted(set(labels))
    if len(labels) > 1:
        gaps = [after - before for before, after in pairwise(labels)]
        assert max(gaps) - min(gaps) <= 1


def test_a_limit_spreads_text_windows_over_the_split() -> None:
    windows = list(evaluation_batches(text(1001), batch_size=2, context=10, limit=4))
    starts = torch.cat([inputs[:, 0] for inputs, _ in windows])
    assert starts.tolist() == [0, 250, 500 % 251, 750 % 251]


def test_nothing_to_work_on_is_said() -> None:
    with pytest.raises(LiereError, match="no items"):
        TrainingBatches(numbered(0, 2, 2), batch_size=1, seed=0)
    with pytest.raises(LiereError, match="no items"):
        list(evaluation_batches(numbered(0, 2, 2), batch_size=1))
    with pytest.raises(LiereError, match="nothing to predict"):
        list(evaluation_batches(text(1), batch_size=1, context=4))
    with pytest.raises(UsageError, match="context is None"):
        TrainingBatches(text(9), batch_size=1, seed=0)
    with pytest.raises(UsageError, match="batch size is 0"):
        TrainingBatches(numbered(3, 2, 2), batch_size=0, seed=0)
