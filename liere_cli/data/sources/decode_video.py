"""Decodes video files to arrays of the grid's size.

Shapes: F frames of the grid, T frames of the file.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
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
#: frames before a wanted one at which decoding begins at the latest, since frames right behind a
#: key frame may need what is before it
_LEAD = 32


def video_decoding(path: Path) -> Decoding:
    """What decoding a video involves; errors as in :func:`decode_video`."""
    with _errors(path):
        times = _times(path)
        decoding = Decoding.USUAL if times.even else Decoding.BY_TIME
        decoding |= Decoding.CUT if times.cut else Decoding.USUAL
        with _opened(path) as container:
            first = next(_decoded(container), None)
        if first is None:
            raise ValueError("no frame can be decoded")
        return decoding | (Decoding.ROTATED if _quarter_turns(first) else Decoding.USUAL)


def decode_video(path: Path, grid: tuple[int, ...]) -> Array:
    """Frames at the centres of equal parts of the first video stream, resized as images: uint8
    [3, *grid]. A clip with fewer frames has some of them twice. Frames that are not evenly spaced
    are sampled by time. What can't be decoded, such as the end of a file that was cut short, is
    left out. Raises LiereError: the file is broken or has no video, or PyAV is not installed.
    """
    return decode_frames(path, grid)


def decode_frames(
    path: Path, grid: tuple[int, ...], numbers_of: Callable[[int], Array] | None = None
) -> Array:
    """Frames of a video, uint8 [3, *grid]; errors as in :func:`decode_video`.

    Args:
        numbers_of: from the number of frames to those wanted, int64 [F], ascending. Where frames
            are not evenly spaced, these are numbers of equal parts in time. None: as
            :func:`decode_video`.
    """
    spread = partial(sampled, frames=grid[0])
    with _errors(path):
        times = _times(path)
        if not times.even:
            parts = numbers_of(times.count) if numbers_of else np.arange(grid[0])
            centres = times.centres(parts, times.count if numbers_of else grid[0])
            frames = _frames_at(path, centres, grid)
        else:
            # headers often have a wrong count, so packets are counted, and then frames if need be
            numbers = (numbers_of or spread)(times.count)
            frames = _sought_frames(path, times, numbers, grid) if numbers_of else []
            frames = frames or _numbered_frames(path, numbers, grid)
            if frames and len(frames) < grid[0]:
                with _opened(path) as container:
                    count = sum(1 for _ in _decoded(container))
                frames = _numbered_frames(path, (numbers_of or spread)(count), grid)
        if len(frames) < grid[0]:
            raise ValueError("no frame can be decoded")
    return np.stack(frames, 1)


def _decoded(container: "InputContainer") -> "Iterator[VideoFrame]":
    """The frames in the order in which they are shown, without what can't be decoded. Raises
    av.FFmpegError if nothing can be.
    """
    import av

    error: Exception | None = None
    shown, packets = False, container.demux(video=0)
    while True:
        try:
            packet = next(packets, None)
            frames = [] if packet is None else packet.decode()
        except (av.FFmpegError, OSError) as wrong:
            error = error or wrong
            continue  # an iterator that failed has ended
        if packet is None:
            break
        for frame in frames:
            shown = True
            yield frame
    if error is not None and not shown:
        raise error


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
        cut: whether the end of the file is missing.
    """

    count: int
    starts: Array
    end: float
    cut: bool = False

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

    def centres(self, numbers: Array, parts: int) -> Array:
        """The centres of some of equal parts of the clip, float64."""
        start = float(self.starts[0])
        return start + (numbers + 0.5) * (self.end - start) / parts


def _times(path: Path) -> _Times:
    import av

    starts, lengths, last, failed = [], [], b"", False
    with _opened(path) as container:
        stated, packets = container.streams.video[0].frames, 0
        try:
            for packet in container.demux(video=0):
                packets += packet.pts is not None or packet.dts is not None or packet.size > 0
                if packet.size > 0:
                    starts.append(packet.pts)
                    lengths.append(packet.duration or 0)
                    last = bytes(packet)
        except (av.FFmpegError, OSError):
            if not starts:
                raise
            failed = True
    cut = failed or packets < stated or not any(last)
    known = [start for start in starts if start is not None]
    if len(known) < max(2, len(starts)):
        return _Times(len(starts), np.zeros(0), 0, cut)
    order = np.argsort(known)
    times = np.array(known, np.float64)[order]
    end = times[-1] + (lengths[order[-1]] or np.median(np.diff(times)))
    return _Times(len(starts), times, end, cut)


def _sought_frames(path: Path, times: _Times, numbers: Array, grid: tuple[int, ...]) -> list[Array]:
    """The frames with these numbers, decoded from a key frame before them; none where it is not
    certain which frames these are.
    """
    first = int(numbers[0]) - _LEAD
    if (
        first < _LEAD
        or len(times.starts) < times.count
        or len(np.unique(times.starts)) < times.count
    ):
        return []
    wanted, frames, last = times.starts[numbers], [], -np.inf
    with _opened(path) as container:
        container.seek(int(times.starts[first]), stream=container.streams.video[0])
        for frame in _decoded(container):
            # begins behind the wanted frames, or out of order
            if (
                frame.pts is None
                or frame.pts <= last
                or (last == -np.inf and frame.pts >= wanted[0])
            ):
                return []
            last = frame.pts
            frames += [_fitted(frame, grid)] * int((wanted == last).sum())
            if last >= wanted[-1]:
                break
    return frames if len(frames) == len(numbers) else []


def _numbered_frames(path: Path, numbers: Array, grid: tuple[int, ...]) -> list[Array]:
    """The decoded frames with these numbers (ascending), as far as the video has them."""
    frames: list[Array] = []
    with _opened(path) as container:
        for number, frame in enumerate(_decoded(container)):
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
        for frame in _decoded(container):
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
