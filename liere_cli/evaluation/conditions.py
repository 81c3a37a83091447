"""Conditions under which trained runs are evaluated, and the files of their results.

RUN/transfer/GRID-EXTENSION-KEY.safetensors holds the results per item of one evaluation, in the
format of items-test.safetensors. KEY is a digest of everything that affects them: the trained
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
from liere_cli.utils.files import digest_of, read_limited, write_atomically

#: raised when equal conditions come to give other results
FORMAT = 1
FOLDER = "transfer"
_SEAL = "sha256"
#: names of extensions in files, where they differ: ``yarn`` was what is ``yarn-paper`` now
_RECORDED = {"yarn": "yarn-rank", "yarn-paper": "yarn"}

Items = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Condition:
    """Length or resolution of the examples, and how the encoding is extended to it.

    Args:
        grid: extent of an example: bytes, pixels, frames.
        extend: method of :mod:`liere_cli.encodings.extension`.
        shuffle: the patches of each image or clip are permuted.
    """

    grid: tuple[int, ...]
    extend: str = "none"
    shuffle: bool = False

    def canonical(self, trained: tuple[int, ...]) -> "Condition":
        """An equivalent condition, without an extension that has no effect on that grid."""
        grown = any(n > m for n, m in zip(self.grid, trained, strict=True))
        extended = self.grid != trained if self.extend in ("refit", "edges") else grown
        return self if extended else Condition(self.grid, "none", self.shuffle)

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
    """Bytes that each window predicts, the same at all lengths; None for images and clips."""
    return min(grid[0] for grid in [*grids, trained]) if len(trained) == 1 else None


@dataclass(frozen=True)
class TransferProtocol:
    """The conditions under which every run of a data set is evaluated.

    Args:
        trained: the training grid.
        grids: by size, including the training grid.
        methods: extensions, ``none`` first.
        limit: number of items or blocks that are scored; None: all.
        block: of text, bytes at the end of every window that are predicted.
    """

    trained: tuple[int, ...]
    grids: tuple[tuple[int, ...], ...]
    methods: tuple[str, ...]
    shuffle: bool
    limit: int | None
    block: int | None

    def at(self, grid: tuple[int, ...], method: str = "none") -> Condition:
        """The condition of one cell of the table."""
        return Condition(grid, method).canonical(self.trained)

    @property
    def shuffled(self) -> Condition:
        return Condition(self.trained, shuffle=True)

    def methods_of(self, extensions: Sequence[str]) -> list[str]:
        """The methods that an encoding with these extensions supports."""
        return [method for method in self.methods if method in extensions]

    def conditions(self, extensions: Sequence[str]) -> tuple[Condition, ...]:
        """Distinct conditions for an encoding that supports these extensions, cheap ones first."""
        methods = self.methods_of(extensions)
        conditions = [self.at(grid, method) for grid in self.grids for method in methods]
        return tuple(dict.fromkeys([*([self.shuffled] if self.shuffle else []), *conditions]))

    def kept(self, run: Run, summary: RunSummary, condition: Condition) -> "StoredEvaluation":
        """The stored evaluation of a finished run with that summary."""
        weights = summary.files.get("last.safetensors") or run.run_id
        return StoredEvaluation(run, weights, condition, self.limit, self.block)

    @property
    def text(self) -> str:
        """For a signature: ``256,512@none,ntk/64``."""
        grids, shuffled = ",".join(map(grid_text, self.grids)), "+shuffled" if self.shuffle else ""
        return f"{grids}@{','.join(self.methods)}{shuffled}/{self.limit or 'all'}"


@dataclass(frozen=True)
class StoredEvaluation:
    """The file of one evaluation's results on the test split, and what determines them.

    ``weights`` is the digest of the trained weights; the rest is as in :class:`TransferProtocol`.
    """

    run: Run
    weights: str
    condition: Condition
    limit: int | None
    block: int | None

    @property
    def name(self) -> str:
        """The file's path in the run's folder."""
        at = self.condition
        extend = _RECORDED.get(at.extend, at.extend)
        record = [FORMAT, self.weights, at.grid, extend, at.shuffle, self.limit, self.block]
        key = digest_of(json.dumps(record), 12)
        parts = [grid_text(at.grid), extend, *(["shuffled"] if at.shuffle else []), key]
        return f"{FOLDER}/{'-'.join(parts)}.safetensors"

    def write(self, items: Items) -> None:
        """Writes the results with their digest."""
        from safetensors.numpy import save

        sealed = {name: np.ascontiguousarray(value) for name, value in items.items()}
        sealed[_SEAL] = self._seal(items)
        write_atomically(self.run.path(self.name), save(sealed))

    def read(self) -> Items | None:
        """The results; None where there are none yet, or the file is damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            items: Items = load(read_limited(self.run.path(self.name), MAX_ITEMS_BYTES))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None
        seal = items.pop(_SEAL, None)
        intact = seal is not None and np.array_equal(seal, self._seal(items))
        return items if intact else None

    def _seal(self, items: Items) -> NDArray[np.uint8]:
        digest = hashlib.sha256(self.name.encode())
        for name, value in sorted(items.items()):
            digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
        return np.frombuffer(digest.digest(), np.uint8)


def value_of(items: Items, metric: str) -> float | None:
    """Bits per byte or token, or top-1, of results per item; None where a loss is not finite."""
    loss = items["loss"].astype(np.float64)
    if not np.isfinite(loss).all():
        return None
    if metric.startswith("bits_per_"):
        return float(loss.sum() / items["weight"].sum() / math.log(2))
    return float(items["correct"].astype(np.float64).mean())
