"""Clips of videos, decoded each time they are needed.

Shapes: N videos, B of a batch, V views, F frames of a clip, T frames of a video, C channels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

import numpy as np
from torch import Tensor

from liere_cli.data.augment.settings import View
from liere_cli.data.base import Array, Encoded

#: numbers of frames, from the number of frames of a video
Sampler = Callable[[int], Array]
Decoder = Callable[[tuple[int, ...], Sampler], Array]


@dataclass(frozen=True)
class EncodedClips(Encoded):
    """One random clip of each video in training, and fixed ones in evaluation.

    Args:
        decoders: of each video, from the grid and the numbers of the frames to uint8 [C, *grid].
        grid: frames, rows, columns.
        stride: frames from one frame of a clip to the next; None: the frames are spread over the
            video.
        count: clips of each video in evaluation.
    """

    decoders: Sequence[Decoder]
    grid: tuple[int, ...]
    channels: int
    stride: int | None
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.decoders), self.channels, *self.grid

    @property
    def views(self) -> int:
        return self.count

    @property
    def sampled(self) -> bool:
        return True

    def decode(self, item: int, view: View | None = None, number: int = 0) -> Array:
        frames, stride = self.grid[0], self.stride
        if view is None:
            sampler = partial(view_at, frames=frames, stride=stride, view=number, views=self.count)
        else:
            sampler = partial(clip_at, frames=frames, stride=stride, start=view.place[0])
        return self.decoders[item](self.grid, sampler)

    def take(self, chosen: Tensor) -> "EncodedClips":
        return replace(self, decoders=[self.decoders[number] for number in chosen.tolist()])


def clip_at(count: int, frames: int, stride: int | None, start: float | Fraction) -> Array:
    """The frames of a random clip, int64 [F], ascending.

    Without a stride each frame is drawn from an equal part of the video, all at the same share
    ``start``, in [0, 1), of their parts. With one, the clip begins at that share of the frames at
    which it fits; a video that is shorter has its frames spread over it.
    """
    if stride is None or (frames - 1) * stride >= count:
        return ((np.arange(frames) + float(start)) * count / frames).astype(np.int64)
    room = count - (frames - 1) * stride
    return int(start * room) + np.arange(frames) * stride


def view_at(count: int, frames: int, stride: int | None, view: int, views: int) -> Array:
    """The frames of one of ``views`` clips at equal distances, the centre for one: int64 [F]."""
    return clip_at(count, frames, stride, Fraction(2 * view + 1, 2 * views))
