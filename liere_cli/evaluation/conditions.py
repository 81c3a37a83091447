"""Other lengths and resolutions at which trained runs are measured, and where the results are kept.

RUN/transfer/GRID-EXTENSION-KEY.safetensors holds the results per item of one measurement, in the
format of items-test.safetensors. KEY is a digest of everything that decides them: the trained
weights, the grid, the extension, and which items or bytes are scored.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liere_cli.runs.folder import MAX_ITEMS_BYTES, Run
from liere_cli.runs.summary import RunSummary
from liere_cli.utils.files import read_limited, write_atomically

#: raised when the same measurement comes to mean something else
FORMAT = 1
FOLDER = "transfer"
_SEAL = "sha256"

Items = dict[str, NDArray[Any]]


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


def grid_text(grid: Sequence[int]) -> str:
    """``48x48``"""
    return "x".join(map(str, grid))


def block_of(grids: Sequence[tuple[int, ...]], trained: tuple[int, ...]) -> int | None:
    """Bytes that every window predicts, so that all lengths predict the same; None for pictures."""
    return min(grid[0] for grid in [*grids, trained]) if len(trained) == 1 else None


@dataclass(frozen=True)
class TransferProtocol:
    """What every run of a data set is measured under.

    Args:
        trained: the training grid.
        grids: by size, the training grid among them.
        methods: extensions, ``none`` first.
        shuffle: the training grid with its patches in random order, too.
        limit: items or blocks that are scored; None: all.
        block: of text, bytes at the end of every window that are predicted.
    """

    trained: tuple[int, ...]
    grids: tuple[tuple[int, ...], ...]
    methods: tuple[str, ...]
    shuffle: bool
    limit: int | None
    block: int | None

    def at(self, grid: tuple[int, ...], method: str = "none") -> Condition:
        """The measurement that a cell of the table shows."""
        return Condition(grid, method).canonical(self.trained)

    @property
    def shuffled(self) -> Condition:
        return Condition(self.trained, shuffle=True)

    def methods_of(self, extensions: Sequence[str]) -> list[str]:
        """Those that an encoding with these extensions has."""
        return [method for method in self.methods if method in extensions]

    def conditions(self, extensions: Sequence[str]) -> tuple[Condition, ...]:
        """Every measurement once of an encoding that has those extensions, cheap ones first."""
        own = self.methods_of(extensions)
        every = [self.at(grid, method) for grid in self.grids for method in own]
        return tuple(dict.fromkeys([*([self.shuffled] if self.shuffle else []), *every]))

    def kept(self, run: Run, summary: RunSummary, condition: Condition) -> "StoredEvaluation":
        """Where the results of a finished run with that closing summary lie."""
        weights = summary.files.get("last.safetensors") or run.run_id
        return StoredEvaluation(run, weights, condition, self.limit, self.block)

    @property
    def text(self) -> str:
        """For a signature: ``256,512@none,ntk/64``."""
        grids, shuffled = ",".join(map(grid_text, self.grids)), "+shuffled" if self.shuffle else ""
        return f"{grids}@{','.join(self.methods)}{shuffled}/{self.limit or 'all'}"


@dataclass(frozen=True)
class StoredEvaluation:
    """Where the results of one measurement on the test split lie, and what decides them.

    Args:
        weights: digest of the trained weights.
        limit: at most so many items or blocks, evenly spaced.
        block: of text, bytes that a window predicts.
    """

    run: Run
    weights: str
    condition: Condition
    limit: int | None
    block: int | None

    @property
    def name(self) -> str:
        """Of the file, under the run's folder."""
        own = self.condition
        record = [FORMAT, self.weights, own.grid, own.extend, own.shuffle, self.limit, self.block]
        key = hashlib.sha256(json.dumps(record).encode()).hexdigest()[:12]
        words = [grid_text(own.grid), own.extend, *(["shuffled"] if own.shuffle else []), key]
        return f"{FOLDER}/{'-'.join(words)}.safetensors"

    def write(self, items: Items) -> None:
        """Keeps the results, with a digest of themselves.

        Raises:
            LiereError: the folder can't be written.
        """
        from safetensors.numpy import save

        sealed = {name: np.ascontiguousarray(value) for name, value in items.items()}
        sealed[_SEAL] = self._seal(items)
        write_atomically(self.run.path(self.name), save(sealed))

    def read(self) -> Items | None:
        """The results; None where they were not measured yet, or the file is damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            items: Items = load(read_limited(self.run.path(self.name), MAX_ITEMS_BYTES))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None
        seal = items.pop(_SEAL, None)
        whole = seal is not None and np.array_equal(seal, self._seal(items))
        return items if whole else None

    def _seal(self, items: Items) -> NDArray[np.uint8]:
        digest = hashlib.sha256(self.name.encode())
        for name, value in sorted(items.items()):
            digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
        return np.frombuffer(digest.digest(), np.uint8)


def value_of(items: Items, metric: str) -> float | None:
    """Bits per byte or top-1 of results per item; None where a loss is not finite."""
    loss = items["loss"].astype(np.float64)
    if not np.isfinite(loss).all():
        return None
    if metric == "bits_per_byte":
        return float(loss.sum() / items["weight"].sum() / math.log(2))
    return float(items["correct"].astype(np.float64).mean())
