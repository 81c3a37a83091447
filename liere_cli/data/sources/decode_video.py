"""Decodes video files to arrays of the grid's size.

Shapes: F frames of the grid, T frames of the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from liere_cli.data.base import Array
from liere_cli.data.sources.base import Decoding
from liere_cli.data.sources.decode_image import fit
from liere_cli.data.sources.table import sampled
from liere_cli.errors import LiereError

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

SUFFIXES = frozenset({
    ".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v", ".gif", ".wmv", ".asf",
    ".flv", ".f4v", ".3gp", ".3g2", ".ts", ".mts", ".m2ts", ".ogv", ".ogg", ".vob", ".mpe", ".m1v",
    ".m2v", ".mxf", ".qt", ".divx", ".y4m", ".h264", ".hevc", ".rm", ".rmvb", ".dv",
})  # fmt: skip
_COVER = 1024  # AV_DISPOSITION_ATTACHED_PIC


def video_decoding(path: Path) -> Decoding:
    """What decoding a video involves; errors as in :func:`decode_video`."""
    with _errors(path):
        decoding = Decoding.USUAL if _times(path).even else Decoding.BY_TIME
        with _opened(path) as container:
            first = next(container.decode(video=0), None)
        if first is None:
            raise ValueError("no frame can be decoded")
        return decoding | (Decoding.ROTATED if _quarter_turns(first) else Decoding.USUAL)


def decode_video(path: Path, grid: tuple[int, ...]) -> Array:
    """Frames at the centres of equal parts of the first video stream, resized as images: uint8
    [3, *grid]. A clip with fewer frames has some of them twice. Frames that are not evenly spaced
    are sampled by time. Raises LiereError: the file is broken or has no video, or PyAV is not
    installed.
    """
    with _errors(path):
        times = _times(path)
        if not times.even:
            frames = _frames_at(path, times.centres(grid[0]), grid)
        else:
            # headers often have a wrong count, so packets are counted, and then frames if need be
            frames = _numbered_frames(path, sampled(times.count, grid[0]), grid)
            if frames and len(frames) < grid[0]:
                with _opened(path) as container:
                    count = sum(1 for _ in container.decode(video=0))
                frames = _numbered_frames(path, sampled(count, grid[0]), grid)
        if len(frames) < grid[0]:
            raise ValueError("no frame can be decoded")
    return np.stack(frames, 1)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        import av
    except ImportError:
        raise LiereError(f"{path}: decoding needs PyAV: pip install 'liere[video]'") from None
    try:
        yield
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise LiereError(f"{path} is broken or not a video: {reason}") from None


@contextmanager
def _opened(path: Path) -> "Iterator[InputContainer]":
    import av

    # names in the metadata of old clips are not always valid UTF-8
    with av.open(str(path), metadata_errors="ignore") as container:
        if not container.streams.video:
            kinds = sorted({stream.type for stream in container.streams})
            raise ValueError(f"it has no video stream, only {' and '.join(kinds) or 'nothing'}")
        if int(getattr(container.streams.video[0], "disposition", 0)) & _COVER:
            raise ValueError("its video stream is a cover image")
        yield container


@dataclass(frozen=True)
class _Times:
    """When the frames of a stream are shown.

    Args:
        count: of frames, as far as the file says.
        starts: float64 [T], ascending, in the stream's unit; empty where the file has no times.
        end: when the last frame ends.
    """

    count: int
    starts: Array
    end: float

    @property
    def even(self) -> bool:
        """Whether each frame begins within half an interval of where frames at one rate would, and
        the last is not longer than that, so that numbers are times; true where there are no times.
        """
        if len(self.starts) < 2 or self.starts[0] == self.starts[-1]:
            return True
        expected, interval = np.linspace(
            self.starts[0], self.starts[-1], len(self.starts), retstep=True
        )
        late = max(np.abs(self.starts - expected).max(), self.end - self.starts[-1] - interval)
        return bool(late <= interval / 2)

    def centres(self, parts: int) -> Array:
        """The centres of equal parts of the clip, float64 [parts]."""
        start = float(self.starts[0])
        return start + (np.arange(parts) + 0.5) * (self.end - start) / parts


def _times(path: Path) -> _Times:
    starts, lengths = [], []
    with _opened(path) as container:
        for packet in container.demux(video=0):
            if packet.size > 0:
                starts.append(packet.pts)
                lengths.append(packet.duration or 0)
    known = [start for start in starts if start is not None]
    if len(known) < max(2, len(starts)):
        return _Times(len(starts), np.zeros(0), 0)
    order = np.argsort(known)
    times = np.array(known, np.float64)[order]
    return _Times(len(starts), times, times[-1] + (lengths[order[-1]] or np.median(np.diff(times))))


def _numbered_frames(path: Path, numbers: Array, grid: tuple[int, ...]) -> list[Array]:
    """The decoded frames with these numbers (ascending), as far as the video has them."""
    frames: list[Array] = []
    with _opened(path) as container:
        for number, frame in enumerate(container.decode(video=0)):
            repeats = int((numbers == number).sum())
            if repeats:
                frames += [_fitted(frame, grid)] * repeats
            if len(frames) == len(numbers):
                break
    return frames


def _frames_at(path: Path, times: Array, grid: tuple[int, ...]) -> list[Array]:
    """The frames that are shown at these times (ascending); none if there are no frames."""
    frames: list[Array] = []
    shown: VideoFrame | None = None
    with _opened(path) as container:
        for frame in container.decode(video=0):
            count = 0 if frame.pts is None else int((times[len(frames) :] < frame.pts).sum())
            if shown is not None and count:
                frames += [_fitted(shown, grid)] * count
            shown = frame
        if shown is not None:
            frames += [_fitted(shown, grid)] * (len(times) - len(frames))
    return frames


def _quarter_turns(frame: "VideoFrame") -> int:
    """By how many quarters of a circle the file asks to rotate a frame, counterclockwise."""
    # PyAV 14.0 does not read it
    return round(getattr(frame, "rotation", 0) / 90) % 4


def _fitted(frame: "VideoFrame", grid: tuple[int, ...]) -> Array:
    from PIL import Image

    image = frame.to_image()
    turns = _quarter_turns(frame)
    if turns:
        image = Image.fromarray(np.rot90(np.asarray(image), turns).copy())
    return fit(image, grid[1:])
