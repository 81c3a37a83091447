"""A finished comparison: its verdicts as Python values, data frames and tables."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liere_cli.comparison.tables.build import ComparisonResult, ComparisonTable
from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.errors import LiereError, UsageError, unknown
from liere_cli.planning.plan import RecipePlan

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ComparisonRow:
    """One encoding on one data set.

    Args:
        verdict: ``better``, ``worse``, ``equivalent`` or ``undecided`` against the baseline;
            ``baseline`` for the baseline itself; None with fewer than two shared seeds.
        difference, low, high: mean paired difference to the baseline and its 95% interval, in the
            metric's unit.
        p, p_corrected: of that difference, before and after correction over all comparisons.
        n: seeds that both finished.
        mean, std: of the encoding's own scores, ``std`` with ddof 1.
        finished, diverged, failed: runs.
    """

    data: str
    encoding: str
    metric: str
    verdict: str | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_corrected: float | None
    n: int
    mean: float | None
    std: float | None
    finished: int
    diverged: int
    failed: int
    parameters: int | None
    seconds: float | None


class Comparison:
    """What :func:`liere_cli.compare` returns.

    Tables, report and recipe are written to ``folder``, which is None for runs that were only
    judged. ``warnings`` are what a reader of the report must know first.
    """

    def __init__(
        self,
        result: ComparisonResult,
        folder: Path | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.result, self.folder, self.warnings = result, folder, warnings

    @property
    def table(self) -> ComparisonTable:
        """Every number, typed, with what else the recipe asked for."""
        return self.result.table

    @cached_property
    def rows(self) -> tuple[ComparisonRow, ...]:
        """One row an encoding and data set, in the order of the tables."""
        return tuple(
            _row(dataset, row)
            for dataset in self.table.datasets
            for row in dataset.rows
            if row.undefined is None
        )

    @property
    def failed(self) -> int:
        """Runs that failed, for an exit code."""
        return self.table.failed

    def row(self, encoding: str, data: str | None = None) -> ComparisonRow:
        """The row of an encoding; raises UsageError if there is none, or if there are several.

        ``data`` is the data set's label or name, as ``motion``; None where there is one only.
        """
        rows = [row for row in self.rows if data is None or _is_called(row.data, data)]
        if not rows:
            raise unknown("data set", str(data), {row.data for row in self.rows})
        found = [row for row in rows if row.encoding == encoding]
        if not found:
            raise unknown("encoding", encoding, {row.encoding for row in rows})
        if len(found) > 1:
            names = ", ".join(row.data for row in found)
            raise UsageError(f"{encoding} is compared on several data sets ({names}); name one")
        return found[0]

    def verdict(self, encoding: str, data: str | None = None) -> str | None:
        """``better``, ``worse``, ``equivalent``, ``undecided`` or ``baseline``; see :meth:`row`."""
        return self.row(encoding, data).verdict

    def to_pandas(self) -> "pd.DataFrame":
        """:attr:`rows` as a data frame; raises LiereError where pandas is not installed."""
        return data_frame(self.rows)

    def to_markdown(self) -> str:
        return self._written("markdown")

    def to_latex(self) -> str:
        return self._written("latex")

    def to_csv(self) -> str:
        return self._written("csv")

    def to_json(self) -> str:
        return self._written("json")

    def _written(self, form: str) -> str:
        from liere_cli.report.formats.registry import FORMATS

        return FORMATS[form](self.table)

    def plot(self, path: str | Path) -> None:
        """Draws differences, scores of every seed, learning curves, and scores at other grids.

        Args:
            path: ends in .svg; or in .png or .pdf, which need matplotlib.

        Raises:
            UsageError: another suffix.
            LiereError: matplotlib is not installed, or the file can't be written.
        """
        from liere_cli.comparison.per_run.curves import run_curves
        from liere_cli.report.plots.comparison import sheet
        from liere_cli.report.plots.files import save

        plan, outcomes = self.result.plan, self.result.outcomes
        curves = {dataset.title: run_curves(dataset, outcomes) for dataset in plan.datasets}
        save(sheet(self.table, curves), Path(path))

    def to_html(self) -> str:
        """The whole report as one HTML file: tables, plots of every run, and how to repeat it."""
        from liere_cli.report.html.page import html_page

        return html_page(self.result, warnings=self.warnings)

    def write(self) -> None:
        """Writes tables, report, and the recipe that repeats them, into :attr:`folder`."""
        from liere_cli.config.files import dump_yaml
        from liere_cli.utils.files import write_atomically

        if self.folder is None:
            return
        write_atomically(self.folder / "table.md", self.to_markdown())
        write_atomically(self.folder / "table.json", self.to_json())
        if isinstance(self.result.plan, RecipePlan):
            content = dump_yaml(self.result.plan.recipe.model_dump(mode="json"))
            write_atomically(self.folder / "comparison.yaml", content)
        write_atomically(self.folder / "report.html", self.to_html())

    def __str__(self) -> str:
        from liere_cli.report.content import summary_lines

        return "\n".join(summary_lines(self.table))

    def __repr__(self) -> str:
        where = f", folder={str(self.folder)!r}" if self.folder else ""
        return f"Comparison({len(self.rows)} rows, {self.table.comparisons} comparisons{where})"


def _row(dataset: DatasetTable, row: Row) -> ComparisonRow:
    verdict, estimate = row.verdict, row.estimate
    own = ("encoding", "mean", "std", "finished", "diverged", "failed", "parameters", "seconds")
    values: dict[str, Any] = {name: getattr(row, name) for name in own}
    values |= {name: getattr(estimate, name, None) for name in ("difference", "low", "high", "p")}
    return ComparisonRow(
        data=dataset.title,
        metric=dataset.metric,
        verdict="baseline" if row.is_baseline else getattr(verdict, "label", None),
        p_corrected=verdict.p_holm if verdict else None,
        n=estimate.n if estimate else len(row.values),
        **values,
    )


def data_frame(records: Iterable[object]) -> "pd.DataFrame":
    """The data frame of dataclasses, one row each; raises LiereError without pandas."""
    try:
        import pandas as pd
    except ModuleNotFoundError:
        raise LiereError(
            "a data frame needs pandas, which is not installed; install it with pip install pandas"
        ) from None
    return pd.DataFrame.from_records([vars(record) for record in records])


def _is_called(title: str, name: str) -> bool:
    """Whether a data set's title is that name, with or without its options."""
    return name in (title, title.partition(":")[0], title.partition(" (")[0])
