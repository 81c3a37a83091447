"""Videos with a class each: UCF101, and any local folder of files or parquet."""

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from liere_cli.config.section import Section
from liere_cli.data.options import VideoGrid
from liere_cli.data.sources.base import Array, Raw, Source
from liere_cli.data.sources.decode_image import fit
from liere_cli.data.sources.folder import Folder
from liere_cli.data.sources.hub import named_at_hand, named_shards
from liere_cli.data.sources.parquet import FrameTable, sampled
from liere_cli.data.visual import (
    Local,
    LocalOptions,
    Visual,
    VisualOptions,
    local_parquet,
    table_of,
)
from liere_cli.errors import LiereError

SUFFIXES = frozenset({".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v", ".gif"})
_VIDEO_COLUMNS = ("video", "frames", "clip")
_GROUP_COLUMNS = ("recording", "group")


class VideoOptions(VisualOptions):
    grid: VideoGrid = (8, 64, 64)


class _Videos(Visual):
    axes = 3
    Options: ClassVar[type[Section]] = VideoOptions
    mean = (0.43, 0.40, 0.38)
    std = (0.28, 0.27, 0.28)


class Ucf101(_Videos):
    """Clips are put together from rows of single frames.

    Clips of one group (``g08`` in ``v_ApplyEyeMakeup_g08_c01``) show one scene, so validation is
    carved out of the training part by whole groups; the test part is the hub's.
    """

    name = "ucf101"
    summary = "13,320 clips of 101 human actions"
    source = "https://huggingface.co/datasets/flwrlabs/ucf101"
    licence = "none stated; cite Soomro et al. 2012 (arXiv 1212.0402)"
    repository = "flwrlabs/ucf101"
    classes = 101

    @classmethod
    def is_available(cls, root: Path | None) -> bool:
        return named_at_hand(cls.name, cls.repository, root)

    @cached_property
    def items(self) -> Source:
        shards = named_shards(self.name, self.repository, self.root)
        return FrameTable(shards, "image", "label", ("video_id", "clip_id"), "frame", scene_of)


def scene_of(names: Sequence[str]) -> str:
    """The scene that a clip was cut from, by the names of its video and of itself."""
    for name in reversed(names):
        scene = scene_in(name)
        if scene:
            return scene
    return names[0]


def scene_in(name: str) -> str:
    """``v_Archery_g03`` out of ``v_Archery_g03_c02``; empty when the name isn't built like that."""
    match = re.match(r"(.*_g\d+)(?:_c\d+|$)", name)
    return match[1] if match else ""


class VideoPathOptions(LocalOptions):
    grid: VideoGrid = (8, 64, 64)
    video: str | None = Field(None, description="parquet column of frames; null: found by name")
    group: str | None = Field(
        None, description="parquet column that tells recordings apart; null: found by name"
    )


class VideoPath(Local, _Videos):
    """Any local videos: a folder of files by class, or parquet.

    A folder holds one folder a class, directly or below ``train``, ``val``, ``test``; clips named
    like UCF101's (``..._g03_c02``) are kept together by group. Parquet is a file, a folder of files
    or a pattern, with a column of lists of encoded frames and a label; ``group`` names the column
    that tells recordings apart (``recording`` where there is one). What lacks splits is split by
    ``fractions``; where there are two, the second is the test split and ``validation`` of train is
    held out; recordings are never divided.
    """

    name = "video"
    summary = "any local folder of videos by class, or parquet with lists of frames and a label"
    source = "video:PATH"
    Options = VideoPathOptions
    options: VideoPathOptions

    @cached_property
    def items(self) -> Source:
        options = self.options
        shards = local_parquet(self.name, options.path)
        if not shards:
            return VideoFolder(Path(options.path).expanduser(), SUFFIXES)
        usual = [name for name in _GROUP_COLUMNS if name in shards[0].columns()]
        group = options.group or (usual[0] if usual else None)
        return table_of(shards, options.video, options.label, "video", _VIDEO_COLUMNS, group)


class VideoFolder(Folder):
    """Video files by class."""

    def group_of(self, path: Path) -> str:
        return scene_in(path.stem)

    def decode(self, raw: Raw, grid: tuple[int, ...]) -> Array:
        return decode_video(raw.data, grid)


def decode_video(path: Path, grid: tuple[int, ...]) -> Array:
    """Frames spread evenly over the first video stream, each cut and resized as pictures are.

    Args:
        grid: frames, rows, columns.

    Returns:
        uint8 [3, frames, rows, columns]; a clip with fewer frames shows some of them twice.

    Raises:
        LiereError: when the file is broken or has no video, or PyAV is not installed.
    """
    try:
        import av
    except ImportError:
        raise LiereError(f"{path} needs PyAV to be decoded: pip install 'liere[video]'") from None

    try:
        # headers often miscount, so packets are counted first and frames as they come
        count = _packets(path, av)
        frames = _frames(path, av, sampled(count, grid[0]), grid)
        if frames and len(frames) < grid[0]:
            count = _decodable(path, av)
            frames = _frames(path, av, sampled(count, grid[0]), grid)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise LiereError(f"{path} is broken or no video: {_reason(error)}") from None
    if len(frames) < grid[0]:
        raise LiereError(f"{path} is broken or no video: it has no frames that can be decoded")
    return np.stack(frames, 1)


def _opened(path: Path, av: Any) -> Any:
    # names in the metadata of old clips are not always valid UTF-8
    return av.open(str(path), metadata_errors="ignore")


def _packets(path: Path, av: Any) -> int:
    with _opened(path, av) as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))


def _decodable(path: Path, av: Any) -> int:
    with _opened(path, av) as container:
        return sum(1 for _ in container.decode(video=0))


def _frames(path: Path, av: Any, wanted: Array, grid: tuple[int, ...]) -> list[Array]:
    """The decoded frames with the numbers ``wanted`` (ascending), as far as there are any."""
    found: list[Array] = []
    with _opened(path, av) as container:
        for number, frame in enumerate(container.decode(video=0)):
            repeats = int((wanted == number).sum())
            if repeats:
                found += [fit(frame.to_image(), grid[1:])] * repeats
            if len(found) == len(wanted):
                break
    return found


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
