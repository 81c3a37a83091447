"""Writes HTML reports of comparisons, and an index of several of them."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from liere_cli.api import arguments as args
from liere_cli.api.comparison import Comparison
from liere_cli.config.section import Section
from liere_cli.errors import LiereError, UsageError
from liere_cli.launchers.events import Listener, Notice, ignore
from liere_cli.runs.context import Context
from liere_cli.runs.folder import Run
from liere_cli.utils.files import write_atomically
from liere_cli.utils.paths import PathLike, expand

#: files that a report is written to, in the folder of its comparison and above several of them
REPORT, INDEX = "report.html", "index.html"
RECIPE = "comparison.yaml"


def write_report(
    *sources: PathLike,
    to: PathLike | None = None,
    device: str = "auto",
    out: PathLike = "outputs",
    data_root: PathLike | None = None,
    on_progress: Listener = ignore,
) -> Path:
    """Writes the report of a comparison, or of several with an index of them; trains nothing.

    Args:
        sources: folders of comparisons, or recipes by path or built-in name.
        to: file to write; None: ``report.html`` in the comparison's folder, and ``index.html`` in
            the folder above several.
        device: on which the runs of a recipe were trained; ``auto`` is what ``liere compare`` uses.
        out: folder that a recipe's runs lie in.
        data_root: folder of local copies of the data sets.
        on_progress: called with a :class:`~liere_cli.launchers.events.Notice` for every warning.

    Returns the path of the file.

    Raises:
        UsageError: no comparison at one of the places, or no run of it is over.
        LiereError: files that can't be read or written.
    """
    arguments = {
        "sources": list(sources), "to": to, "device": device, "out": out, "data_root": data_root,
    }  # fmt: skip
    request = ReportRequest.validated(arguments, "write_report()")
    return request.write(args.checked_listener(on_progress))


@dataclass(frozen=True)
class _Written:
    """A report's file and its comparison."""

    path: Path
    comparison: Comparison


class ReportRequest(Section):
    """The arguments of :func:`write_report`."""

    sources: args.SourceTexts
    to: args.Folder | None = None
    device: str = "auto"
    out: args.Folder = Path("outputs")
    data_root: args.Folder | None = None

    def write(self, listener: Listener = ignore) -> Path:
        if len(self.sources) == 1:
            return self._write(self.sources[0], self.to, listener).path
        reports = [self._write(source, None, listener) for source in self.sources]
        return self._write_index(reports)

    def _write(self, source: str, to: Path | None, listener: Listener) -> _Written:
        comparison, folder = self._judged(source, listener)
        path = to or folder / REPORT
        write_atomically(path, comparison.to_html())
        return _Written(path, comparison)

    def _judged(self, source: str, listener: Listener) -> tuple[Comparison, Path]:
        folder = expand(source)
        if not folder.is_dir():
            return self._by_recipe(source, Context(self.out, self.data_root, self._device()))
        recipe, warnings = folder / RECIPE, []
        if recipe.is_file():
            context = Context(folder.absolute().parent, self.data_root, _device_of(folder))
            try:
                comparison, _ = self._by_recipe(str(recipe), context)
                return comparison, folder
            except LiereError as error:
                warnings.append(
                    f"{recipe} can't be planned here ({error}), so its runs are judged as they "
                    "are: without its margins, tuning, interim analyses and further analyses"
                )
                listener(Notice(warnings[-1], warning=True))

        def listen(event: object) -> None:
            if isinstance(event, Notice):
                if event.warning:
                    warnings.append(event.text)
                listener(event)

        from liere_cli.comparison.finished_runs import compare_runs

        result = compare_runs([source], self.out, None, listen)
        return Comparison([result.table], result=result, warnings=tuple(warnings)), folder

    def _by_recipe(self, source: str, context: Context) -> tuple[Comparison, Path]:
        from liere_cli.comparison.run import judge
        from liere_cli.planning.overrides import comparison_recipe

        result = judge(comparison_recipe(source), context)
        folder = context.outputs / result.plan.experiment
        if not any(outcome.over for outcome in result.outcomes.values()):
            raise UsageError(
                f"{source}: none of its runs in {context.outputs} is over; liere compare {source} "
                "trains them"
            )
        return Comparison([result.table], folder, result), folder

    def _device(self) -> str:
        from liere_cli.runs.build import choose_device

        return str(choose_device(self.device))

    def _write_index(self, reports: Iterable[_Written]) -> Path:
        from liere_cli.report.html.index import Entry, index_page

        reports = list(reports)
        parents = [str(report.path.absolute().parent.parent) for report in reports]
        path = self.to or Path(os.path.commonpath(parents)) / INDEX
        entries = [
            Entry(
                report.comparison.table,
                report.path.parent.absolute().name,
                os.path.relpath(report.path.absolute(), path.absolute().parent),
            )
            for report in reports
        ]
        write_atomically(path, index_page(entries))
        return path


def _device_of(folder: Path) -> str:
    """The kind of device on which the runs in a folder were trained.

    It decides what ``training.precision: auto`` means, and with it their identities.
    """
    for path in sorted(folder.glob("*/summary.json")):
        try:
            summary = Run(path.parent).summary()
        except LiereError:
            continue
        if summary is not None and summary.device:
            return "cuda" if summary.device.startswith("cuda") else "cpu"
    return "cpu"
