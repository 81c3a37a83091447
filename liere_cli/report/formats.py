"""Every written format by name."""

from collections.abc import Callable

from liere_cli.comparison.table import ComparisonTable
from liere_cli.report.data import as_csv, as_json
from liere_cli.report.latex import latex
from liere_cli.report.markdown import markdown

FORMATS: dict[str, Callable[[ComparisonTable], str]] = {
    "markdown": markdown,
    "csv": as_csv,
    "latex": latex,
    "json": as_json,
}
