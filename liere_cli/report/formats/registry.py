"""Every written format by name."""

from collections.abc import Callable

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.report.formats.csv import as_csv
from liere_cli.report.formats.json import as_json
from liere_cli.report.formats.latex import latex
from liere_cli.report.formats.markdown import markdown

FORMATS: dict[str, Callable[[ComparisonTable], str]] = {
    "markdown": markdown,
    "csv": as_csv,
    "latex": latex,
    "json": as_json,
}
