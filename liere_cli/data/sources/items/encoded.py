"""Items of a source that are decoded each time they are gathered."""

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from liere_cli.data.augment.settings import View
from liere_cli.data.base import Array, Encoded
from liere_cli.data.sources.base import Source
from liere_cli.data.sources.decode_image import silence


@dataclass(frozen=True)
class EncodedItems(Encoded):
    """Items of a source with random access.

    Args:
        members: numbers of the items in the index, int64 [N].
        digests: of all items of the index, uint8 [items, 16].
        rows: of all items of the index, one after another, int64.
        ends: where the rows of each item of the index end, int64.
        share: of the sides of an image that are seen.
    """

    source: Source
    members: Array
    digests: Array
    rows: Array
    ends: Array
    grid: tuple[int, ...]
    channels: int
    share: float = 1.0

    def __post_init__(self) -> None:
        silence()

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.members), self.channels, *self.grid

    def decode(self, item: int, view: View | None = None, number: int = 0) -> Array:
        member = int(self.members[item])
        start = int(self.ends[member - 1]) if member else 0
        rows, digest = self.rows[start : int(self.ends[member])], self.digests[member].tobytes()
        return self.source.decode_at(rows, self.grid, digest, view, self.share)

    def take(self, chosen: Tensor) -> "EncodedItems":
        return replace(self, members=np.asarray(self.members)[chosen.numpy()])
