"""Videos with a class each: UCF101, and any local folder of files or parquet."""

import glob
import os
import re
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field

from liere_cli.config.section import Section, added
from liere_cli.data.base import Array, Examples, Split
from liere_cli.data.classification import (
    Labelled,
    LabelledOptions,
    Local,
    LocalOptions,
)
from liere_cli.data.clips.encoded import EncodedClips
from liere_cli.data.clips.lists import LISTS, VideoList, read_lists
from liere_cli.data.options import VideoGrid, given_file, given_path
from liere_cli.data.sources.base import Decoding, Source
from liere_cli.data.sources.decode_video import (
    SUFFIXES,
    decode_frames,
    decode_video,
    video_decoding,
)
from liere_cli.data.sources.folders.source import Folder
from liere_cli.data.sources.folders.tree import Tree
from liere_cli.data.sources.hub import is_published_available
from liere_cli.data.sources.hub_sets import published_shards
from liere_cli.data.sources.local import local_files
from liere_cli.data.sources.table import FrameTable, find_table
from liere_cli.errors import LiereError

_VIDEO_COLUMNS = ("video", "frames", "clip")
_GROUP_COLUMNS = ("recording", "group")


class VideoOptions(LabelledOptions):
    grid: VideoGrid = (8, 64, 64)


class _Videos(Labelled):
    axes = 3
    Options: ClassVar[type[Section]] = VideoOptions
    mean = (0.43, 0.40, 0.38)
    std = (0.28, 0.27, 0.28)


class Ucf101(_Videos):
    """Clips that are collected from rows of single frames.

    Clips of one group (``g08`` in ``v_ApplyEyeMakeup_g08_c01``) show one scene, so val is carved
    out of the training split by whole groups; the test split is the hub's.
    """

    name = "ucf101"
    summary = "13,320 clips of 101 human actions"
    source = "https://huggingface.co/datasets/flwrlabs/ucf101"
    licence = "none stated; cite Soomro et al. 2012 (arXiv 1212.0402)"
    repository = "flwrlabs/ucf101"
    classes = 101

    @classmethod
    def is_available(cls, root: Path | None) -> bool:
        return is_published_available(cls.name, cls.repository, root)

    @cached_property
    def items(self) -> Source:
        shards = published_shards(self.name, self.repository, self.root)
        return FrameTable(shards, "image", "label", ("video_id", "clip_id"), "frame", scene_of)


def scene_of(names: Sequence[str]) -> str:
    """The scene of a clip, from the names of its video and of the clip."""
    return next(filter(None, map(scene_in, reversed(names))), names[0])


def scene_in(name: str) -> str:
    """``v_Archery_g03`` for ``v_Archery_g03_c02``; empty for a name in another form."""
    match = re.match(r"(.*_g\d+)(?:_c\d+|$)", name)
    return match[1] if match else ""


class VideoPathOptions(LocalOptions):
    grid: VideoGrid = (8, 64, 64)
    video: str | None = Field(None, description="parquet column of frames; null: found by name")
    group: str | None = Field(
        None, description="parquet column that identifies recordings; null: found by name"
    )
    videos: str | None = added(
        None, description="folder of the videos that a list names; null: the list's own"
    )
    stride: int | None = added(
        None,
        ge=1,
        description="frames from one frame of a clip to the next, from a random one on in "
        "training; null: a clip is spread over the whole video",
    )
    views: int = added(
        1, ge=1, le=100, description="clips of a video whose scores are averaged in evaluation"
    )


class VideoPath(Local, _Videos):
    """Any local videos: a folder of files by class, lists of files, or parquet.

    In folders, clips named like UCF101's (``..._g03_c02``) are kept together by group. Parquet is a
    file, a folder of files or a pattern, with a column of lists of encoded frames and a label;
    ``group`` names the column of recordings (``recording`` where there is one), which are never
    divided. Lists are CSV or JSON files, see :func:`liere_cli.data.clips.lists.read_lists`.

    With ``stride`` or ``views`` clips of files are decoded when they are needed: one random clip in
    training, fixed ones in evaluation. An item is a video in both.
    """

    name = "video"
    summary = "any local folder of videos by class, or parquet with lists of frames and a label"
    source = "video:PATH"
    Options = VideoPathOptions
    options: VideoPathOptions

    @cached_property
    def items(self) -> Source:
        options = self.options
        if lists := _lists(self.name, options.path):
            folder = given_path(self.name, options.videos) if options.videos else None
            return ListedVideos(read_lists(lists, folder))
        files = local_files(self.name, options.path, SUFFIXES)
        if isinstance(files, Tree):
            return VideoFolder(files, SUFFIXES)
        columns = files.shards[0].columns()
        group = options.group or next((name for name in _GROUP_COLUMNS if name in columns), None)
        return find_table(files, options.video, options.label, "video", _VIDEO_COLUMNS, group)

    def load(self, split: Split, grid: tuple[int, ...] | None = None) -> Examples:
        stride, views = self.options.stride, self.options.views
        if stride is None and (split == "train" or views == 1):
            return super().load(split, grid)
        source = self.items
        if not isinstance(source, VideoFolder):
            raise LiereError(
                f"{self.label}: 'stride' and 'views' need files of videos, not a table of frames"
            )
        index, members = self._index, self.members(split)
        rows = index["rows"][index["ends"][members] - 1]  # of one row each
        decoders = [partial(decode_frames, source.files[row].path) for row in rows.tolist()]
        clips = EncodedClips(decoders, grid or self.grid, self.channels, stride, views)
        columns = (torch.from_numpy(index[name][members]) for name in ("labels", "groups"))
        return Examples(clips, *columns)


class VideoFolder(Folder):
    def group_of(self, path: Path) -> str:
        return scene_in(path.stem)

    def decoding_of(self, path: Path, data: bytes) -> Decoding:
        return video_decoding(path)

    def decode(self, path: Path, grid: tuple[int, ...]) -> Array:
        return decode_video(path, grid)


class ListedVideos(VideoFolder):
    """The videos of lists."""

    def __init__(self, videos: VideoList) -> None:
        self.names, self.classes = videos.names, len(videos.names)
        self.files, self.groups = videos.files, videos.groups
        self.left, self.file_count = videos.left, len(videos.files)

    def stamp(self) -> list[object]:
        return [
            *super().stamp(),
            *sorted((str(path), group) for path, group in self.groups.items()),
        ]

    def group_of(self, path: Path) -> str:
        return self.groups.get(path) or super().group_of(path)


def _lists(name: str, path: str) -> list[Path]:
    """The lists of videos at a path or pattern; none if it is something else."""
    pattern = os.path.expanduser(path)
    matches = [path] if os.path.lexists(pattern) else sorted(glob.glob(pattern))
    lists = [match for match in matches if Path(match).suffix.lower() in LISTS]
    return [given_file(name, match) for match in lists if not Path(match).is_dir()]
