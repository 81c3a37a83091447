"""Lists of videos: tables of files and labels, Kinetics' and Something-Something's annotations."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from liere_cli.data.sources.base import check_names
from liere_cli.data.sources.decode_video import SUFFIXES
from liere_cli.data.sources.folders.source import ClassFile
from liere_cli.data.sources.folders.tree import read_tree
from liere_cli.data.splits import UNASSIGNED, split_in_name
from liere_cli.errors import LiereError, counted, unreadable
from liere_cli.utils.files import parse_json, read_limited

LISTS = frozenset({".csv", ".tsv", ".json"})
MISSING = "listed and missing"
UNLABELLED = "listed without a label"
_MOST_BYTES = 1 << 28
#: names of columns and keys, the first that is there
_FILES = ("path", "file", "video", "filename", "video_path", "youtube_id", "id", "video_id")
_LABELS = ("template", "label", "class")
#: what identifies the recording of a clip
_GROUPS = ("recording", "group", "patient", "subject", "youtube_id")
_Row = Mapping[str, str]


@dataclass(frozen=True)
class VideoList:
    """Videos that lists name.

    Args:
        files: in the order of the lists.
        groups: the recording of each path; of files that are recordings by themselves none.
        names: of the classes.
        left: what the lists name and is left aside, by the reason.
    """

    files: list[ClassFile]
    groups: dict[Path, str]
    names: list[str]
    left: Counter[str]


def read_lists(
    paths: Sequence[Path], folder: Path | None, suffixes: Set[str] = SUFFIXES
) -> VideoList:
    """The videos of one or more lists.

    A row names a file by its path, by its name without suffix, or as Kinetics does by
    ``youtube_id``, ``time_start`` and ``time_end``. Its split is that in the column ``split``, else
    in the list's own name. The class is ``template`` (without brackets) where there is one, else
    ``label``.

    Args:
        folder: of the videos, at any depth; None: that of the list.

    Raises LiereError: a list that can't be read or names no video that is there, or rows that
    disagree.
    """
    known: dict[Path, _Files] = {}
    rows: dict[Path, tuple[str, int]] = {}
    groups: dict[Path, str] = {}
    left: Counter[str] = Counter()
    for path in paths:
        root = folder or path.parent
        files = known.setdefault(root, _Files(root, suffixes))
        for number, row in enumerate(_rows(path), 1):
            where = f"{path} row {number}"
            if not (label := _label(row)):
                left[UNLABELLED] += 1
                continue
            if (file := files.of(row, where)) is None:
                left[MISSING] += 1
                continue
            split = split_in_name(row.get("split") or path.stem)
            if rows.setdefault(file, (label, split)) != (label, split):
                raise LiereError(f"{where}: {file} has another class or split in another row")
            if group := next((row[key] for key in _GROUPS if row.get(key)), ""):
                groups[file] = group
    if not rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left.items()) or "no rows"
        raise LiereError(
            f"{paths[0]} names no video below {folder or paths[0].parent} ({reasons}): "
            "videos=FOLDER says where they are"
        )
    splits = {split for _, split in rows.values()}
    if UNASSIGNED in splits and len(splits) > 1:
        raise LiereError(f"{paths[0]}: some rows have a split and others have none")
    names = sorted({label for label, _ in rows.values()})
    check_names(names, str(paths[0]))
    if len(names) < 2:
        raise LiereError(f"{paths[0]} has one class ({names[0]}), but two or more are needed")
    number_of = {name: number for number, name in enumerate(names)}
    files_in_lists = [
        ClassFile(file, number_of[name], split) for file, (name, split) in rows.items()
    ]
    return VideoList(files_in_lists, groups, names, left)


def _label(row: _Row) -> str:
    label = next((row[key] for key in _LABELS if row.get(key)), "")
    return re.sub(r"[\[\]]", "", label).strip()


class _Files:
    """The videos below a folder, by path and by name."""

    def __init__(self, folder: Path, suffixes: Set[str]) -> None:
        self.folder, self.suffixes = folder, suffixes
        self.by_stem: dict[str, list[Path]] = {}
        for path in read_tree(folder, suffixes).all_files():
            self.by_stem.setdefault(path.stem.removesuffix(".nii"), []).append(path)

    def of(self, row: _Row, where: str) -> Path | None:
        """The file of a row; None if there is none. LiereError: the row names none, or there are
        several of that name.
        """
        name = next((row[key] for key in _FILES if row.get(key)), None)
        if name is None:
            raise LiereError(
                f"{where} names no video (its columns are {', '.join(row)}): one of "
                f"{', '.join(_FILES)} is expected"
            )
        for path in (self.folder / name, Path(name)):
            if path.suffix.lower() in self.suffixes and path.is_file():
                return path
        paths = next(filter(None, (self.by_stem.get(stem) for stem in _stems(name, row))), [])
        if len(paths) > 1:
            raise LiereError(
                f"{where}: there are {counted(len(paths), 'video')} named {name}, such "
                f"as {paths[0]} and {paths[1]}"
            )
        return paths[0] if paths else None


def _stems(name: str, row: _Row) -> Iterator[str]:
    """Names of a file without suffix; Kinetics' are ``ID_000010_000020``, in seconds."""
    try:
        times = [int(float(row[key])) for key in ("time_start", "time_end")]
        yield f"{name}_{times[0]:06d}_{times[1]:06d}"
    except (KeyError, ValueError, OverflowError):
        pass
    yield name
    yield Path(name).stem


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a list, with lower-case keys."""
    try:
        content = read_limited(path, _MOST_BYTES).decode("utf-8-sig")
        if path.suffix.lower() == ".json":
            return _json_rows(content)
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        lines = csv.reader(content.splitlines(), delimiter=delimiter, strict=True)
        header = [name.strip().lower() for name in next(lines, [])]
        rows = []
        for line in lines:
            if len(line) not in (0, len(header)):
                raise ValueError(
                    f"line {lines.line_num} has {len(line)} values, and the header {len(header)}"
                )
            rows.append(dict(zip(header, (value.strip() for value in line), strict=False)))
        return [row for row in rows if row]
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, csv.Error, UnicodeDecodeError) as error:
        raise LiereError(f"{path} is broken or not a list of videos: {error}") from None


def _json_rows(content: str) -> list[dict[str, str]]:
    """A list of objects, or an object of objects by name, as Kinetics' own files."""
    value = parse_json(content)
    if isinstance(value, dict):
        value = [
            {"id": name, **entry.get("annotations", {}), **entry}
            if isinstance(entry, dict)
            else entry
            for name, entry in value.items()
        ]
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ValueError("a list of objects is expected, as [{'id': .., 'label': ..}]")
    return [
        {
            str(key).lower(): str(item)
            for key, item in entry.items()
            if isinstance(item, str | int | float) and not isinstance(item, bool)
        }
        for entry in value
    ]
