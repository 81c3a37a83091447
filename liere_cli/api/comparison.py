"""A finished comparison: its verdicts as Python values, data frames and tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from liere_cli.api.frames import data_frame
from liere_cli.comparison.tables.build import ComparisonResult, ComparisonTable
from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.errors import UsageError, unknown
from liere_cli.planning.plan import RecipePlan
from liere_cli.utils.paths import expand

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ComparisonRow:
    """One encoding on one data set.

    Args:
        verdict: ``better``, ``worse``, ``equivalent`` or ``undecided`` against the baseline;
            ``baseline`` for the baseline itself; None with fewer than 5 shared seeds.
        difference: mean paired difference to the baseline, in the metric's unit.
        low, high: ends of its interval, corrected over all comparisons, so that it agrees with the
            verdict.
        low_raw, high_raw: ends of the 95% interval of this difference alone.
        p, p_corrected: of that difference, before and after correction over all comparisons.
        n: seeds that both finished.
        mean, std: of the encoding's own scores, ``std`` with ddof 1.
        finished: runs with a score.
        failed: runs that ended without one, ``diverged`` of them as their loss diverged.
        table: name of the table, where several were judged at once.
    """

    data: str
    encoding: str
    metric: str
    verdict: str | None
    difference: float | None
    low: float | None
    high: float | None
    low_raw: float | None
    high_raw: float | None
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
    table: str = ""


class Comparison:
    """What :func:`liere_cli.compare` and :func:`liere_cli.judge` return.

    Tables, report and recipe are written to ``folder``.

    Args:
        tables: one, or several independent ones that were judged at once.
        folder: None for runs or scores that were only judged.
        result: the runs, which scores measured elsewhere have not.
        warnings: what a reader of the report must know first.
    """

    def __init__(
        self,
        tables: Sequence[ComparisonTable],
        folder: Path | None = None,
        result: ComparisonResult | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.tables, self.folder, self.result = tuple(tables), folder, result
        self.warnings = warnings

    @property
    def table(self) -> ComparisonTable:
        """Every number, typed; raises UsageError where several tables were judged."""
        if len(self.tables) > 1:
            names = ", ".join(table.experiment for table in self.tables[:10])
            raise UsageError(f"there are {len(self.tables)} tables ({names}); see .tables")
        return self.tables[0]

    @cached_property
    def rows(self) -> tuple[ComparisonRow, ...]:
        """One row an encoding and data set, in the order of the tables."""
        return tuple(
            _row(table, dataset, row)
            for table in self.tables
            for dataset in table.datasets
            for row in dataset.rows
            if row.undefined is None
        )

    @property
    def failed(self) -> int:
        """Runs that failed, for an exit code."""
        return sum(table.failed for table in self.tables)

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
        return self.written("markdown")

    def to_latex(self) -> str:
        return self.written("latex")

    def to_csv(self) -> str:
        return self.written("csv")

    def to_json(self) -> str:
        return self.written("json")

    def written(self, form: Literal["markdown", "latex", "csv", "json"]) -> str:
        """The tables in one of the formats of ``--format``."""
        from liere_cli.report.formats.registry import written

        return written(self.tables, form)

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

        if self.result is None:
            raise UsageError("scores without runs have no learning curves to draw")
        plan, outcomes = self.result.plan, self.result.outcomes
        curves = {dataset.title: run_curves(dataset, outcomes) for dataset in plan.datasets}
        save(sheet(self.table, curves), expand(path))

    def to_html(self) -> str:
        """The whole report as one HTML file: tables, plots of every run, and how to repeat it."""
        from liere_cli.report.html.page import html_page

        if self.result is None:
            raise UsageError("scores without runs have no report; see to_markdown()")
        return html_page(self.result, warnings=self.warnings)

    def write(self) -> None:
        """Writes tables, report, and the recipe that repeats them, into :attr:`folder`."""
        from liere_cli.config.files import dump_yaml
        from liere_cli.planning.comparison_folder import adds_seeds, set_aside
        from liere_cli.utils.files import write_atomically

        if self.folder is None or self.result is None:
            return
        if isinstance(self.result.plan, RecipePlan):
            set_aside(self.folder, self.result.plan.recipe)
        write_atomically(self.folder / "table.md", self.to_markdown())
        write_atomically(self.folder / "table.json", self.to_json())
        if isinstance(self.result.plan, RecipePlan):
            recipe = self.result.plan.recipe
            name = "comparison.yaml"
            if self.result.plan.interim is None and adds_seeds(self.folder):
                # the recipe that chose seeds by results stays: it alone corrects for that
                name = "comparison-fixed.yaml"
            write_atomically(self.folder / name, dump_yaml(recipe.model_dump(mode="json")))
        write_atomically(self.folder / "report.html", self.to_html())

    def _repr_html_(self) -> str:
        """What a notebook shows: the main tables, with intervals as bars."""
        from liere_cli.report.formats.notebook import notebook

        return "".join(map(notebook, self.tables))

    def __str__(self) -> str:
        from liere_cli.report.content import summary_lines

        return "\n".join(line for table in self.tables for line in summary_lines(table))

    def __repr__(self) -> str:
        where = f", folder={str(self.folder)!r}" if self.folder else ""
        count = sum(table.comparisons for table in self.tables)
        return f"Comparison({len(self.rows)} rows, {count} comparisons{where})"


def _row(table: ComparisonTable, dataset: DatasetTable, row: Row) -> ComparisonRow:
    verdict, estimate = row.verdict, row.estimate
    own = ("encoding", "mean", "std", "finished", "diverged", "parameters", "seconds")
    values: dict[str, Any] = {name: getattr(row, name) for name in own}
    values |= {name: getattr(estimate, name, None) for name in ("difference", "p")}
    values |= {name: getattr(verdict, name, None) for name in ("low", "high")}
    return ComparisonRow(
        data=dataset.title,
        metric=dataset.metric,
        verdict="baseline" if row.is_baseline else getattr(verdict, "label", None),
        p_corrected=verdict.p_corrected if verdict else None,
        n=estimate.n if estimate else len(row.values),
        failed=row.diverged + row.failed,
        low_raw=estimate.low if estimate else None,
        high_raw=estimate.high if estimate else None,
        table=table.experiment,
        **values,
    )


def _is_called(title: str, name: str) -> bool:
    """Whether a data set's title is that name, with or without its options."""
    return name in (title, title.partition(":")[0], title.partition(" (")[0])
