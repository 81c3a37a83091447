"""Evaluates trained runs at other lengths and resolutions.

Of text, every length predicts the same bytes: blocks of ``block`` bytes, each from the window of
that length that ends with the block. Lengths therefore differ in context only.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from liere_cli.data import ByteStream, Split
from liere_cli.data.batches import placed
from liere_cli.encodings import Grid, PositionEncoding
from liere_cli.encodings.extension import extend
from liere_cli.errors import LiereError, UsageError
from liere_cli.evaluation.conditions import Condition, Items, StoredEvaluation
from liere_cli.evaluation.evaluate import Evaluation, evaluate
from liere_cli.model import Transformer
from liere_cli.runs.build import RunSpec
from liere_cli.utils.determinism import deterministic


def measure(
    model: Transformer,
    run_spec: RunSpec,
    condition: Condition,
    *,
    split: Split,
    device: torch.device,
    limit: int | None,
    block: int | None,
) -> Evaluation:
    """One pass of a trained model over a split under a condition, as :func:`evaluate`.

    Raises:
        UsageError: a grid that does not fit the data or the patches, an extension that the
            encoding does not support, a text that is too short, or shuffled text.
    """
    dataset, grid = run_spec.dataset, condition.grid
    dataset.check_grid(grid, model.shape.patch)
    tokens = model.shape.tokens(grid)
    text = dataset.task == "language-model"
    if condition.shuffle and text:
        raise UsageError(cannot_shuffle(run_spec.data))
    extension = extend(model.encoding, condition.extend, Grid(tokens, model.token_grid))
    examples = dataset.load(split) if text else dataset.load(split, grid)
    if isinstance(examples, ByteStream) and grid[0] >= len(examples):
        raise UsageError(
            f"a length of {grid[0]} is too long for the {split} text of {run_spec.data}, which has "
            f"{len(examples):,} {examples.unit}: a window needs one more than its length"
        )
    with _encoding(model, extension.encoding), deterministic(device):
        return evaluate(
            model,
            dataset,
            placed(examples, device),
            grid=grid,
            device=device,
            precision=run_spec.recipe.training.precision,
            limit=limit,
            block=block,
            positions=extension.positions.to(device),
            shuffle=model.shape.patch if condition.shuffle else None,
        )


def cannot_shuffle(data: str) -> str:
    """Why text is not shuffled, in one sentence."""
    return (
        f"shuffling permutes the patches of images and clips, but {data} is text: bytes in another "
        "order are another text, whose next byte can't be predicted"
    )


@contextmanager
def _encoding(model: Transformer, encoding: PositionEncoding) -> Iterator[None]:
    trained = model.encoding
    model.encoding = encoding
    try:
        yield
    finally:
        model.encoding = trained


def measured(
    model: Transformer, run_spec: RunSpec, stored: StoredEvaluation, device: torch.device
) -> Items:
    """Results per item under a condition on the test split, measured and stored on first use.

    Raises LiereError, with the condition, if they can't be measured.
    """
    items = stored.read()
    if items is None:
        try:
            result = measure(
                model,
                run_spec,
                stored.condition,
                split="test",
                device=device,
                limit=stored.limit,
                block=stored.block,
            )
        except (LiereError, RuntimeError, MemoryError) as error:
            # the first line of torch's errors is enough; the rest is where memory was allocated
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise LiereError(f"at {stored.condition.text}: {reason}") from None
        items = {name: value.numpy() for name, value in result.items.items()}
        stored.write(items)
    return items
