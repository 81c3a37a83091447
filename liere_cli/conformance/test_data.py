"""What every data set must hold: splits that are whole, equal each time, and fit the model."""

from collections.abc import Iterator
from typing import get_args

import pytest
import torch

from liere_cli.data import (
    ByteStream,
    Dataset,
    Examples,
    Split,
    TrainingBatches,
    build_dataset,
    evaluation_batches,
)

#: items that are read of each split
MOST = 64


@pytest.fixture
def dataset(data_spec: str) -> Dataset:
    return build_dataset(data_spec)


def splits(dataset: Dataset) -> Iterator[tuple[Split, ByteStream | Examples]]:
    for split in get_args(Split):
        yield split, dataset.load(split)


def batches_of(dataset: Dataset, examples: ByteStream | Examples) -> list[torch.Tensor]:
    text = isinstance(examples, ByteStream)
    batches = evaluation_batches(
        examples, batch_size=8, context=dataset.grid[0] if text else None, limit=MOST,
        mean=dataset.mean, std=dataset.std,
    )  # fmt: skip
    return [tensor for batch in batches for tensor in batch]


def test_items_have_the_declared_shape_and_classes(dataset: Dataset) -> None:
    for split, examples in splits(dataset):
        assert len(examples), f"{split} is empty"
        if isinstance(examples, Examples):
            shape = tuple(examples.inputs.shape)
            assert shape == (len(examples), dataset.channels, *dataset.grid), split
            assert len(examples.labels) == len(examples.groups) == len(examples)
            assert 0 <= int(examples.labels.min()) <= int(examples.labels.max()) < dataset.classes


def test_the_classes_of_val_and_test_are_in_train(dataset: Dataset) -> None:
    loaded = dict(splits(dataset))
    train = loaded.pop("train")
    if isinstance(train, Examples):
        for split, examples in loaded.items():
            assert isinstance(examples, Examples)
            unseen = set(examples.labels.tolist()) - set(train.labels.tolist())
            assert not unseen, f"{split} has classes that train does not have"


def test_items_are_finite_numbers_of_several_values(dataset: Dataset) -> None:
    for split, examples in splits(dataset):
        inputs = batches_of(dataset, examples)[::2]
        assert all(bool(torch.isfinite(values).all()) for values in inputs), split
        assert min(float(values.min()) for values in inputs) < max(
            float(values.max()) for values in inputs
        ), f"every value of {split} is equal"


def test_a_new_object_has_the_same_items_and_fingerprint(dataset: Dataset, data_spec: str) -> None:
    again = build_dataset(data_spec)
    assert again.fingerprint == dataset.fingerprint
    for split, examples in splits(dataset):
        first, second = batches_of(dataset, examples), batches_of(again, again.load(split))
        equal = all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        assert equal, f"items of {split} differ from one reading to the next"


def test_splits_share_no_items(dataset: Dataset) -> None:
    seen: dict[bytes, str] = {}
    for split, examples in splits(dataset):
        if isinstance(examples, Examples):
            content = [item.numpy().tobytes() for batch in batches_of(dataset, examples)[::2]
                       for item in batch]  # fmt: skip
            shared = {seen[item] for item in content if seen.get(item, split) != split}
            assert not shared, f"{split} has items of {', '.join(shared)}"
            seen |= dict.fromkeys(content, split)


def test_training_batches_depend_on_seed_and_step_alone(dataset: Dataset) -> None:
    examples = dataset.load("train")
    context = dataset.grid[0] if isinstance(examples, ByteStream) else None

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        batches = TrainingBatches(
            examples, batch_size=8, seed=1, context=context, mean=dataset.mean, std=dataset.std,
            flips=dataset.flips, shift=dataset.shift, augmentation=dataset.augmentation,
            classes=dataset.classes,
        )  # fmt: skip
        batches.at(0)
        return batches.at(step)

    for first, second in zip(batch(3), batch(3), strict=True):
        assert torch.equal(first, second)


def test_patches_divide_the_grid(dataset: Dataset) -> None:
    patch = dataset.patch * (len(dataset.grid) if len(dataset.patch) == 1 else 1)
    assert all(not extent % edge for extent, edge in zip(dataset.grid, patch, strict=True))


def test_items_are_generated_or_resized_at_another_grid(dataset: Dataset) -> None:
    if dataset.task == "classification":
        grid = tuple(2 * extent for extent in dataset.grid)
        dataset.check_grid(grid, dataset.patch)
        examples = dataset.load("test", grid)
        assert isinstance(examples, Examples)
        assert tuple(examples.inputs.shape[2:]) == grid
