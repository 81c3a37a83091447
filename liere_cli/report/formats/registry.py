"""Every written format by name; JSON has all numbers at full precision, in the metric's unit."""

from collections.abc import Callable, Sequence

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.report.content import report_data
from liere_cli.report.formats.csv import as_csv
from liere_cli.report.formats.latex import latex
from liere_cli.report.formats.markdown import markdown
from liere_cli.utils.files import to_json

FORMATS: dict[str, Callable[[ComparisonTable], str]] = {
    "markdown": markdown,
    "csv": lambda comparison: as_csv([comparison]),
    "latex": latex,
    "json": lambda comparison: to_json(report_data(comparison)),
}


def written(tables: Sequence[ComparisonTable], form: str) -> str:
    """One table, or several in one text: JSON is then a list, and CSV has a column of names."""
    if len(tables) == 1:
        return FORMATS[form](tables[0])
    if form == "csv":
        return as_csv(tables)
    if form == "json":
        return to_json([report_data(table) for table in tables])
    return "\n".join(map(FORMATS[form], tables))
