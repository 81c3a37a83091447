"""Trained runs at other lengths and resolutions: what is measured, and where it is kept.

RUN/transfer/GRID-EXTENSION-KEY.safetensors holds the results per item of one measurement, in the
format of items-test.safetensors. KEY is a digest of everything that decides them: the trained
weights, the grid, the extension, and which items or bytes are scored.

Text: every length predicts the same bytes, those of the blocks of ``block`` bytes, each from the
window of that length that ends with them. Lengths therefore differ by context alone.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from liere_cli.assembly import Cell
from liere_cli.data import Split
from liere_cli.encodings import Grid
from liere_cli.encodings.extension import extend
from liere_cli.errors import LiereError, UsageError
from liere_cli.evaluation import Evaluation, evaluate
from liere_cli.model import Transformer
from liere_cli.runs import MAX_ITEMS_BYTES, Run, read_limited, write_atomically

#: raised when the same measurement comes to mean something else
FORMAT = 1
FOLDER = "transfer"
_SEAL = "sha256"


@dataclass(frozen=True)
class Condition:
    """What a trained run is measured under.

    Args:
        grid: extent of an example: bytes, pixels, frames.
        extend: how the encoding serves it; see :mod:`liere_cli.encodings.extension`.
        shuffle: the patches of each picture or clip change places.
    """

    grid: tuple[int, ...]
    extend: str = "none"
    shuffle: bool = False

    def canonical(self, trained: tuple[int, ...]) -> "Condition":
        """The same measurement under the plainest name: where nothing grows, nothing is extended.

        Args:
            trained: the training grid.
        """
        grown = any(n > m for n, m in zip(self.grid, trained, strict=True))
        changes = self.grid != trained if self.extend == "refit" else grown
        return self if changes else Condition(self.grid, "none", self.shuffle)

    @property
    def text(self) -> str:
        """``4096``, ``4096, ntk`` or ``32x32, shuffled``."""
        parts = [grid_text(self.grid)]
        parts += [self.extend] if self.extend != "none" else []
        return ", ".join(parts + (["shuffled"] if self.shuffle else []))


def grid_text(grid: tuple[int, ...]) -> str:
    """``48x48``"""
    return "x".join(map(str, grid))


def block_of(grids: list[tuple[int, ...]], trained: tuple[int, ...]) -> int | None:
    """Bytes that every window predicts, so that all lengths predict the same; None for pictures."""
    return min(grid[0] for grid in [*grids, trained]) if len(trained) == 1 else None


def measure(
    model: Transformer,
    cell: Cell,
    condition: Condition,
    *,
    split: Split,
    device: torch.device,
    limit: int | None,
    block: int | None,
) -> Evaluation:
    """One pass of a trained model over a split under a condition.

    Args:
        limit: at most so many items or blocks, evenly spaced; the same under every condition.
        block: of text, from :func:`block_of`; None: the length itself.

    Raises:
        UsageError: a grid that does not fit the data or the patches, an extension that the
            encoding has no use for, a text that is too short, or a language model to be shuffled.
    """
    dataset, grid = cell.dataset, condition.grid
    dataset.check_grid(grid, model.shape.patch)
    tokens = model.shape.tokens(grid)
    text = dataset.task == "language-model"
    if condition.shuffle and text:
        raise UsageError(cannot_shuffle(cell.data))
    extension = extend(model.encoding, condition.extend, Grid(tokens, model.token_grid))
    examples = dataset.load(split) if text else dataset.load(split, grid)
    if text and grid[0] >= len(examples):
        raise UsageError(
            f"a length of {grid[0]} is too long for the {split} text of {cell.data}, which has "
            f"{len(examples):,} bytes: a window needs one more than its length"
        )
    with _encoding(model, extension.encoding):
        return evaluate(
            model,
            dataset,
            examples.to(device),
            grid=grid,
            device=device,
            precision=cell.recipe.training.precision,
            limit=limit,
            block=block,
            positions=extension.positions.to(device),
            shuffle=model.shape.patch if condition.shuffle else None,
        )


def cannot_shuffle(data: str) -> str:
    """Why text is not shuffled, in one sentence."""
    return (
        f"shuffling moves the patches of pictures and clips, but {data} is text: bytes in another "
        "order are another text, whose next byte means nothing"
    )


@contextmanager
def _encoding(model: Transformer, encoding: Any) -> Iterator[None]:
    """The model with another encoding, for a while."""
    own = model.encoding
    model.encoding = encoding
    try:
        yield
    finally:
        model.encoding = own


@dataclass(frozen=True)
class Kept:
    """Where the results of one measurement on the test split lie, and what decides them.

    Args:
        weights: digest of the trained weights.
        limit, block: as in :func:`measure`.
    """

    run: Run
    weights: str
    condition: Condition
    limit: int | None
    block: int | None

    @classmethod
    def of(
        cls, run: Run, summary: dict[str, Any], condition: Condition, limit: Any, block: Any
    ) -> "Kept":
        """For a finished run with that closing summary."""
        weights = str(summary.get("files", {}).get("last.safetensors", summary["id"]))
        return cls(run, weights, condition, limit, block)

    @property
    def name(self) -> str:
        """Of the file, under the run's folder."""
        own = self.condition
        record = [FORMAT, self.weights, own.grid, own.extend, own.shuffle, self.limit, self.block]
        key = hashlib.sha256(json.dumps(record).encode()).hexdigest()[:12]
        words = [grid_text(own.grid), own.extend, *(["shuffled"] if own.shuffle else []), key]
        return f"{FOLDER}/{'-'.join(words)}.safetensors"

    def write(self, items: dict[str, Tensor]) -> None:
        """Keeps the results, with a digest of themselves.

        Raises:
            LiereError: the folder can't be written.
        """
        sealed = {**items, _SEAL: self._seal(items)}
        content = save({name: value.contiguous() for name, value in sealed.items()})
        write_atomically(self.run.path(self.name), content)

    def read(self) -> dict[str, Tensor] | None:
        """The results; None where they were not measured yet, or the file is damaged."""
        try:
            items = load(read_limited(self.run.path(self.name), MAX_ITEMS_BYTES))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None
        seal = items.pop(_SEAL, None)
        return items if seal is not None and torch.equal(seal, self._seal(items)) else None

    def _seal(self, items: dict[str, Tensor]) -> Tensor:
        digest = hashlib.sha256(self.name.encode())
        for name, value in sorted(items.items()):
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
        return torch.tensor(list(digest.digest()), dtype=torch.uint8)


def value_of(items: dict[str, Tensor], metric: str) -> float | None:
    """Bits per byte or top-1 of results per item; None where a loss is not finite."""
    loss = items["loss"].double()
    if not bool(loss.isfinite().all()):
        return None
    if metric == "bits_per_byte":
        return float(loss.sum() / items["weight"].sum() / math.log(2))
    return float(items["correct"].double().mean())


def measured(model: Transformer, cell: Cell, kept: Kept, device: torch.device) -> dict[str, Tensor]:
    """Results per item under a condition on the test split: those kept, else measured and kept.

    Raises:
        LiereError: says under which condition it could not be measured.
    """
    items = kept.read()
    if items is None:
        try:
            items = measure(
                model, cell, kept.condition, split="test", device=device, limit=kept.limit,
                block=kept.block,
            ).items  # fmt: skip
        except (LiereError, RuntimeError, MemoryError) as error:
            # torch says in many lines where memory was asked for
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise LiereError(f"at {kept.condition.text}: {reason}") from None
        kept.write(items)
    return items
