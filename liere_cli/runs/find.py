"""Finding runs in an outputs folder."""

import re
from collections.abc import Iterable
from pathlib import Path

from liere_cli.errors import UsageError
from liere_cli.runs.folder import Run
from liere_cli.utils.paths import expand


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


def open_run(path: str | Path, outputs: Path = Path("outputs")) -> Run:
    """The run in a folder, or of a name or identity under ``outputs``; UsageError without one."""
    folder = expand(path)
    if (folder / "recipe.yaml").is_file():
        return Run(folder)
    text = str(path)
    if re.fullmatch(r"[A-Za-z0-9=.,_-]+", text):
        for match in sorted(outputs.glob(f"*/*{text}")):
            if (match / "recipe.yaml").is_file():
                return Run(match)
    if folder.exists():
        inside = next(iter(sorted(folder.glob("*/*/recipe.yaml"))), None)
        hint = f"; name an experiment inside it, as {inside.parents[1]}" if inside else ""
        raise UsageError(f"{path}: is not a run folder (it has no recipe.yaml){hint}")
    raise UsageError(f"{path}: there is no run at that path, nor of that name in '{outputs}'")
