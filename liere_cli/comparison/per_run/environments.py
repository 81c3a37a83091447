"""The environments in which the runs of a comparison were trained."""

from collections.abc import Iterable
from dataclasses import dataclass

from liere_cli.planning.plan import ComparedRun
from liere_cli.utils.files import read_json

#: largest environment.json that is read, in bytes, and the number of its values that are shown
MAX_BYTES, MAX_VALUES = 1 << 16, 60


@dataclass(frozen=True)
class Environment:
    """Versions, device and threads, by name, and how many runs they are of."""

    values: tuple[tuple[str, str], ...]
    runs: int


def environments(runs: Iterable[ComparedRun]) -> list[Environment]:
    """The distinct environments of runs, the most frequent first; unreadable ones are skipped."""
    counts: dict[tuple[tuple[str, str], ...], int] = {}
    for run in runs:
        try:
            record = read_json(run.run.path("environment.json"), MAX_BYTES)
        except (OSError, ValueError):
            continue
        if isinstance(record, dict):
            values = tuple((str(key), str(value)) for key, value in record.items())[:MAX_VALUES]
            counts[values] = counts.get(values, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return [Environment(values, count) for values, count in ordered]
