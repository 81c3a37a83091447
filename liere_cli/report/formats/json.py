"""Everything in a report as JSON: every number at full precision, in the metric's own unit."""

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.report.content import report_data
from liere_cli.utils.files import to_json


def as_json(comparison: ComparisonTable) -> str:
    """All tables, with the values of each seed and what the text formats leave out."""
    return to_json(report_data(comparison))
