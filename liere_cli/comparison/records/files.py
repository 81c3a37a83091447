"""Records read from CSV files: plain ones, and exports of W&B and TensorBoard as they come.

plain                  a row a run, with columns as :data:`scores.NAMES`, in any order
W&B, table of runs     the same; ``State`` is the status, and ``--column`` names the columns of
                       encoding, seed and score
W&B, one chart         ``Step`` and a column a run, called ``RUN - METRIC``; the last value counts
TensorBoard, a scalar  ``Wall time, Step, Value``, one file a run; the last value counts

Of the last two, encoding and seed are read from the run's name: ``rope_seed3``, ``liere-s3``.
"""

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from liere_cli.comparison.records.scores import NAMES, Numbered, Record, keys_of
from liere_cli.errors import UsageError, nearest, unreadable
from liere_cli.utils.files import read_limited

MAX_BYTES = 1 << 30
#: encoding and seed at the start of a run's name
RUN_NAME = re.compile(r"(?P<encoding>.+?)[-_. ,/]*(?:seed|s)[-_= ]?(?P<seed>\d+)(?!\d)", re.I)
TENSORBOARD = ("wall time", "step", "value")
#: suffixes of further columns of a W&B chart
RANGES = ("__MIN", "__MAX")


@dataclass(frozen=True)
class Source:
    """Records of one or several files.

    Args:
        records: with the usual keys.
        places: of each record.
    """

    name: str
    records: list[Record]
    places: list[str]

    def at(self, index: int) -> str:
        return self.places[index]


def read_scores(paths: Sequence[Path], columns: Mapping[str, str]) -> Source:
    """The records of files; ``columns`` maps the usual names to those of the files.

    Raises UsageError for content that can't be used, LiereError for unreadable files.
    """
    records: list[Record] = []
    places: list[str] = []
    for path in paths:
        header, rows = _read(path)
        for record, line in _records(path, header, rows, columns):
            records.append(record)
            places.append(f"{path}: line {line}")
    return Source(", ".join(map(str, paths)), records, places)


def read_items(path: Path) -> tuple[list[Record], Numbered]:
    """Results per item: a row an item, run by run."""
    header, rows = _read(path)
    return [dict(zip(header, row, strict=True)) for _, row in rows], Numbered(str(path), "line", 2)


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and rows with their line numbers."""
    try:
        content = read_limited(path, MAX_BYTES)
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{path}: line {line} is not UTF-8 (byte {content[error.start]:#04x}); "
            "save the file as UTF-8"
        ) from None
    if "\0" in text:
        raise UsageError(f"{path}: is not a CSV file, as it holds zero bytes")
    lines = csv.reader(io.StringIO(text, newline=""), dialect=_dialect(text), strict=True)
    header: list[str] = []
    rows: list[tuple[int, list[str]]] = []
    try:
        for row in lines:
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                header = _header(path, row, lines.line_num)
            elif len(row) != len(header):
                raise UsageError(
                    f"{path}: line {lines.line_num} has {len(row)} columns, but the first line "
                    f"{len(header)}"
                )
            else:
                rows.append((lines.line_num, row))
    except csv.Error as error:
        raise UsageError(f"{path}: line {lines.line_num} is not CSV ({error})") from None
    if not rows:
        raise UsageError(f"{path}: has no rows below its columns")
    return header, rows


def _dialect(text: str) -> type[csv.Dialect]:
    """Commas, or what the first line has more of: semicolons or tabs."""
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)

    class Dialect(csv.excel):
        pass

    Dialect.delimiter = delimiter
    return Dialect


def _header(path: Path, row: list[str], line: int) -> list[str]:
    names = [name.strip() for name in row]
    twice = [name for index, name in enumerate(names) if name in names[:index]]
    if twice:
        raise UsageError(f"{path}: line {line} has the column '{twice[0]}' twice")
    return names


def _records(
    path: Path,
    header: list[str],
    rows: list[tuple[int, list[str]]],
    columns: Mapping[str, str],
) -> Iterator[tuple[Record, int]]:
    lowered = [name.lower() for name in header]
    if tuple(lowered) == TENSORBOARD:
        yield _last_value(path, path.stem, [row[2] for _, row in rows], rows), rows[-1][0]
    elif lowered[0] == "step" and all(" - " in name for name in header[1:]):
        for index, name in enumerate(header[1:], 1):
            if not name.endswith(RANGES):
                run, _, metric = name.rpartition(" - ")
                record = _last_value(path, run, [row[index] for _, row in rows], rows)
                yield {**record, "metric": metric}, rows[-1][0]
    else:
        renamed = _renamed(path, header, columns)
        keys_of(renamed, f"{path}: line 1")
        for line, row in rows:
            yield dict(zip(renamed, row, strict=True)), line


def _renamed(path: Path, header: list[str], columns: Mapping[str, str]) -> list[str]:
    """The columns under their usual names."""
    names = dict(zip(header, header, strict=True))
    given = dict(columns)
    if "State" in names and "status" not in map(str.lower, names):
        given.setdefault("status", "State")
    for usual, name in given.items():
        if usual not in NAMES:
            allowed = ", ".join(NAMES)
            raise UsageError(f"--column {usual}={name}: unknown '{usual}' (allowed: {allowed})")
        if name not in names:
            hint = nearest(name, names)
            suggestion = f"; did you mean '{hint}'?" if hint else ""
            listed = ", ".join(header)
            raise UsageError(f"{path}: line 1: no column '{name}'{suggestion} (columns: {listed})")
        for other in [key for key, value in names.items() if value.lower() == usual]:
            names[other] = f"{other} (unused)"
        names[name] = usual
    return [names[name] for name in header]


def _last_value(
    path: Path, run: str, values: Sequence[str], rows: Sequence[tuple[int, list[str]]]
) -> dict[str, object]:
    """The record of a run's curve: its last value, or a divergence if that is not finite."""
    match = RUN_NAME.match(run)
    if match is None:
        raise UsageError(
            f"{path}: the run's name '{run}' tells no encoding and seed; it should begin as in "
            "'rope_seed3'"
        )
    given = [(value, line) for value, (line, _) in zip(values, rows, strict=True) if value.strip()]
    if not given:
        raise UsageError(f"{path}: line {rows[-1][0]}: {run} has no value")
    value, line = given[-1]
    try:
        score = float(value)
    except ValueError:
        raise UsageError(f"{path}: line {line}, {run}: '{value}' is not a number") from None
    finite = math.isfinite(score)
    return {
        "encoding": match["encoding"],
        "seed": match["seed"],
        "score": score if finite else None,
        "status": "finished" if finite else "diverged",
    }
