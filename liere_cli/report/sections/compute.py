"""What an encoding costs beside the baseline: parameters, and operations a token."""

from collections.abc import Callable

from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.report.numbers import percent

#: relative difference to the baseline's cost from which on a table warns
TOLERANCE = 0.02
_COSTS: dict[str, Callable[[Row], float | None]] = {
    "parameters": lambda row: row.parameters,
    "FLOPs a token": lambda row: row.flops_per_token,
}


def unequal_compute(dataset: DatasetTable) -> str | None:
    """``unequal compute, against rope: liere has +3.4% parameters``; None where costs agree.

    Costs that differ from the baseline's by at most 2% agree.
    """
    base = next((row for row in dataset.rows if row.is_baseline), None)
    if base is None:
        return None
    rows = [
        f"{row.encoding} has {' and '.join(costs)}"
        for row in dataset.rows
        if (costs := _differences(row, base))
    ]
    if not rows:
        return None
    return f"unequal compute, against {dataset.baseline}: {'; '.join(rows)}"


def _differences(row: Row, base: Row) -> list[str]:
    """``["+3.4% parameters", "+12.0% FLOPs a token"]``, those above the tolerance."""
    differences = []
    for what, of_row in _COSTS.items():
        cost, reference = of_row(row), of_row(base)
        if cost is None or not reference:
            continue
        difference = cost / reference - 1
        if abs(difference) > TOLERANCE:
            differences.append(f"{percent(difference)} {what}")
    return differences
