"""Removes runs, or their weights."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from liere_cli.api.arguments import Folder, Source, SourceTexts
from liere_cli.api.runs import Runs
from liere_cli.config.section import Section
from liere_cli.errors import LiereError
from liere_cli.planning.run_row import RunRow, row_of
from liere_cli.planning.status import ComparisonStatus, status_of
from liere_cli.runs import remove
from liere_cli.runs.find import open_run
from liere_cli.runs.folder import Run
from liere_cli.utils.paths import PathLike


@dataclass
class Removal:
    """What was removed.

    Args:
        removed: the runs.
        bytes: that were freed.
        kept: why other runs were not removed, as sentences.
    """

    removed: list[RunRow] = field(default_factory=list)
    bytes: int = 0
    kept: list[str] = field(default_factory=list)


def remove_runs(*sources: Source, weights_only: bool = False, out: PathLike = "outputs") -> Removal:
    """Removes runs, at folders, or of names or identities under ``out``; or their weights only.

    A run that another process trains is kept, and so are the runs of a comparison in progress, and
    a folder with files that liere did not write. Raises UsageError if one of them is not there;
    nothing is removed then.
    """
    given = _Arguments.validated({"sources": sources, "out": out}, "remove_runs()")
    runs = [open_run(source, given.out) for source in given.sources]
    return remove_rows(Runs(map(row_of, runs)), weights_only=weights_only)


def remove_rows(rows: Iterable[RunRow], *, weights_only: bool = False) -> Removal:
    """As :func:`remove_runs`, of rows."""
    result = Removal()
    active: dict[Path, tuple[ComparisonStatus, ...]] = {}
    for row in rows:
        run = Run(row.path)
        outputs = run.folder.parent.parent
        if outputs not in active:
            active[outputs] = status_of(outputs).comparisons
        user = next((user for user in active[outputs] if row.id in user.ids), None)
        if user is not None:
            result.kept.append(
                f"{run.folder}: belongs to the comparison '{user.name}', which is in progress "
                f"({user.owner})"
            )
            continue
        try:
            (remove.remove_weights if weights_only else remove.remove_run)(run)
        except LiereError as error:
            result.kept.append(str(error))
            continue
        result.removed.append(row)
        result.bytes += row.bytes - (row_of(run).bytes if weights_only else 0)
    for folder in active:
        remove.clear_removed(folder)
    return result


class _Arguments(Section):
    sources: SourceTexts
    out: Folder
