"""Every written format by name; JSON has all numbers at full precision, in the metric's unit."""

from collections.abc import Callable

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.report.content import report_data
from liere_cli.report.formats.csv import as_csv
from liere_cli.report.formats.latex import latex
from liere_cli.report.formats.markdown import markdown
from liere_cli.utils.files import to_json

FORMATS: dict[str, Callable[[ComparisonTable], str]] = {
    "markdown": markdown,
    "csv": as_csv,
    "latex": latex,
    "json": lambda comparison: to_json(report_data(comparison)),
}
