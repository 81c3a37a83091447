"""Finding runs in an outputs folder."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from liere_cli.errors import UsageError, nearest, shortened
from liere_cli.runs.folder import Run
from liere_cli.runs.identity import ID_DIGITS
from liere_cli.utils.paths import expand

#: fewest digits of an identity that name a run
MIN_DIGITS = 4


class Listing:
    """The runs in an outputs folder, listed once for a plan of many; later ones are not in it."""

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs
        self._by_id: dict[str, list[Path]] = {}
        for folder in outputs.glob("*/*-*"):
            self._by_id.setdefault(Run(folder).run_id, []).append(folder)

    def find(self, run_id: str) -> Run | None:
        return _first_of(self._by_id.get(run_id, ()))


def find_run(outputs: Path, run_id: str) -> Run | None:
    """The run of that identity in any experiment; a finished one, if there are several."""
    return _first_of(outputs.glob(f"*/*-{run_id}"))


def _first_of(folders: Iterable[Path]) -> Run | None:
    candidates = [Run(folder) for folder in sorted(folders) if folder.is_dir()]
    finished = [run for run in candidates if run.path("summary.json").is_file()]
    return next(iter(finished + candidates), None)


def all_runs(outputs: Path) -> list[Run]:
    """Every run in an outputs folder, in the order of their paths."""
    return [
        Run(Path(run))
        for experiment in _subfolders(outputs)
        for run in _subfolders(experiment)
        if os.path.isfile(f"{run}/recipe.yaml")
    ]


def _subfolders(folder: str | Path) -> list[str]:
    """Subfolders but hidden ones, as those of locks; none of a folder that can't be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.path for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError:
        return []


def open_run(path: str | Path, outputs: Path = Path("outputs")) -> Run:
    """The run in a folder, or of a name or identity under ``outputs``.

    An identity may be shortened to its first digits, at least :data:`MIN_DIGITS`. Raises UsageError
    if there is no such run, or if several begin so.
    """
    folder = expand(path)
    if (folder / "recipe.yaml").is_file():
        return Run(folder)
    text = str(path)
    if matches := _named(text, outputs):
        by_id = {run.run_id: run for run in matches}
        if len(by_id) > 1:
            names = ", ".join(sorted(by_id)[:5]) + (", ..." if len(by_id) > 5 else "")
            raise UsageError(f"{text}: {len(by_id)} runs begin so ({names}); write more digits")
        run = _first_of(run.folder for run in matches)
        assert run is not None
        return run
    if folder.exists():
        inside = next(iter(sorted(folder.glob("*/*/recipe.yaml"))), None)
        hint = f"; name an experiment inside it, as {inside.parents[1]}" if inside else ""
        raise UsageError(f"{path}: is not a run folder (it has no recipe.yaml){hint}")
    raise UsageError(
        f"{path}: there is no run at that path, nor of that name or identity in '{outputs}'"
        + _suggestion(text, outputs)
    )


def _named(text: str, outputs: Path) -> list[Run]:
    """Runs of that name or identity, or whose identity begins so."""
    if not re.fullmatch(r"[A-Za-z0-9=.,_-]+", text):
        return []
    digits = re.fullmatch(r"[0-9a-f]+", text) and MIN_DIGITS <= len(text) <= ID_DIGITS
    return [
        run
        for run in _folders(outputs)
        if text == run.name or (digits and run.run_id.startswith(text))
    ]


def _folders(outputs: Path) -> Iterator[Run]:
    return (run for run in map(Run, outputs.glob("*/*-*")) if run.path("recipe.yaml").is_file())


def _suggestion(text: str, outputs: Path) -> str:
    names = [name for run in _folders(outputs) for name in (run.name, run.run_id)]
    hint = nearest(text, names[:1000]) if len(text) >= MIN_DIGITS else None
    return f"; did you mean {shortened(hint)}?" if hint else ""
