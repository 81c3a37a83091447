"""A comparison as HTML for a notebook: one table a data set, with intervals as bars.

No script and no style sheet, which notebooks remove; colours are those of the notebook's theme.
"""

from collections.abc import Iterator
from html import escape

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.report.content import summary_lines
from liere_cli.report.escape import plain
from liere_cli.report.numbers import NONE, Unit

MARKS = {"better": "✓", "worse": "✗", "equivalent": "=", "undecided": "?"}
#: size of a bar, in pixels
WIDTH, HEIGHT = 160, 18
#: an interval of the scale at each side of the bars, as a share of it
MARGIN = 0.05


def notebook(comparison: ComparisonTable) -> str:
    """HTML of all main tables, below a line for each that says what follows from it."""
    lines = "".join(f"<li>{_text(line)}</li>" for line in summary_lines(comparison))
    tables = "".join(map(_table, comparison.datasets))
    return f"<div><ul>{lines}</ul>{tables}</div>"


def _text(value: str) -> str:
    return escape(plain(value))


def _table(dataset: DatasetTable) -> str:
    unit = Unit.of(dataset)
    direction = "higher" if dataset.higher_is_better else "lower"
    headers = ["encoding", "runs", unit.header]
    if dataset.baseline is not None:
        headers += [f"− {dataset.baseline} [95%]", "", "verdict"]  # noqa: RUF001 - a minus sign
    head = "".join(f"<th>{_text(header)}</th>" for header in headers)
    scale = _scale(dataset)
    body = "".join(f"<tr>{''.join(_cells(dataset, row, unit, scale))}</tr>" for row in dataset.rows)
    caption = f"<b>{_text(dataset.title)}</b>, {direction} is better, {_text(dataset.budget)}"
    return (
        f'<table><caption style="text-align:left">{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cells(
    dataset: DatasetTable, row: Row, unit: Unit, scale: tuple[float, float] | None
) -> Iterator[str]:
    yield f"<th>{_text(row.encoding)}</th>"
    if row.undefined is not None:
        columns = 2 if dataset.baseline is None else 5
        yield f'<td colspan="{columns}">{_text(row.undefined)}</td>'
        return
    yield f"<td>{row.finished} of {row.planned}</td>"
    yield f"<td>{_text(unit.spread(row.mean, row.std))}</td>"
    if dataset.baseline is None:
        return
    estimate, verdict = row.estimate, row.verdict
    label = verdict.label if verdict else None
    if row.is_baseline or estimate is None or verdict is None or label is None:
        yield f"<td></td><td></td><td>{'baseline' if row.is_baseline else NONE}</td>"
        return
    interval = unit.interval(verdict.low, verdict.high)
    yield f"<td>{_text(f'{unit.signed(estimate.difference)} {interval}')}</td>"
    bar = _bar(estimate.difference, verdict.low, verdict.high, scale) if scale else ""
    yield f"<td>{bar}</td>"
    yield f"<td>{MARKS[label]} {label}</td>"


def _scale(dataset: DatasetTable) -> tuple[float, float] | None:
    """The range of all intervals and zero, in the metric's unit; None without an interval."""
    ends = [
        end
        for row in dataset.rows
        if row.verdict is not None
        for end in (row.verdict.low, row.verdict.high)
        if end is not None
    ]
    if not ends:
        return None
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = MARGIN * (high - low)
    return (low - margin, high + margin) if margin else None


def _bar(
    difference: float, low: float | None, high: float | None, scale: tuple[float, float]
) -> str:
    """The interval as a line with a dot, and zero as a dashed line."""
    if low is None or high is None:
        return ""

    def at(value: float) -> str:
        return f"{(value - scale[0]) / (scale[1] - scale[0]) * WIDTH:.1f}"

    middle = HEIGHT / 2
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-hidden="true" '
        'stroke="currentColor" fill="currentColor">'
        f'<line x1="{at(0)}" x2="{at(0)}" y1="0" y2="{HEIGHT}" stroke-dasharray="2"/>'
        f'<line x1="{at(low)}" x2="{at(high)}" y1="{middle}" y2="{middle}" stroke-width="2"/>'
        f'<circle cx="{at(difference)}" cy="{middle}" r="3"/></svg>'
    )
