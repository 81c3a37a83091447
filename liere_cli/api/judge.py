"""Verdicts on scores that were measured elsewhere."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from liere_cli.api.comparison import Comparison
from liere_cli.comparison.records.items import check_items, sort_items
from liere_cli.comparison.records.scores import Numbered, Record, sort_records
from liere_cli.comparison.records.table import JudgeSettings, table_of
from liere_cli.errors import UsageError, shortened
from liere_cli.statistics.verdicts import MIN_SEEDS, Looks

if TYPE_CHECKING:
    from liere_cli.comparison.records.scores import Tables

#: earlier tables on the same runs: how many, the seeds of each, or what :func:`judge` returned
Earlier = int | Comparison | Sequence["int | Comparison"]


@runtime_checkable
class Frame(Protocol):
    """A data frame of pandas or Polars."""

    @property
    def columns(self) -> Iterable[object]: ...


Records = Iterable[Record] | Frame


def judge(
    records: Records,
    *,
    baseline: str,
    higher_is_better: bool | None = None,
    margin: float | None = None,
    all_pairs: bool = False,
    looks: Earlier = 0,
    items: Records | None = None,
) -> Comparison:
    """Judges scores of any origin as ``liere compare`` judges those of its runs.

    Args:
        records: one a run, as dicts or a data frame, with ``encoding`` (or ``arm``), ``seed`` and
            ``score``, and if need be ``data``, ``metric`` and ``status`` (``finished``,
            ``diverged``, ``failed``). Runs of one seed are paired. A key ``table`` tells
            independent tables apart; each is corrected for itself.
        baseline: the encoding that the others are compared with.
        higher_is_better: None: by the metric's name, where that is certain, as for ``accuracy``.
        margin: the smallest difference that matters, in the score's unit; encodings that differ by
            less may then be ``equivalent``.
        all_pairs: also compare every pair, and rank the encodings.
        looks: earlier tables on the same runs, which this one is corrected for: how many, the
            numbers of seeds they had, or the comparisons that :func:`judge` returned.
        items: results per test item, which add the test set's share of the error: ``encoding``,
            ``seed``, ``item``, ``score``, and if need be ``data``, ``table``, ``group``,
            ``weight``.

    Raises:
        UsageError: a record that can't be used, with its place and what is allowed.
    """
    tables = sort_records(_dicts(records, "records"), Numbered("records"))
    by_item = {} if items is None else sort_items(_dicts(items, "items"), Numbered("items"))
    settings = JudgeSettings(
        _name(baseline), higher_is_better, _checked_margin(margin), all_pairs, items=by_item
    )
    return judged(tables, settings, looks)


def judged(tables: "Tables", settings: JudgeSettings, looks: Earlier = 0) -> Comparison:
    """Judges sorted records."""
    check_items(settings.items, tables)
    results = []
    for name, data_sets in tables.items():
        keys = {
            (data_set.name, encoding)
            for data_set in data_sets.values()
            for encoding in data_set.runs
            if encoding != settings.baseline
        }
        corrected = JudgeSettings(**vars(settings) | {"looks": _looks(looks, keys, settings)})
        results.append(table_of(name, data_sets, corrected))
    return Comparison(results)


@dataclass(frozen=True)
class _Seen:
    """Earlier tables, and the comparisons in them by data set, encoding and baseline."""

    tables: int
    comparisons: frozenset[tuple[str, str, str]]


def _looks(earlier: Earlier, keys: set[tuple[str, str]], settings: JudgeSettings) -> Looks:
    listed = earlier if isinstance(earlier, Sequence) else [earlier]
    tables, comparisons = 0, {(*key, settings.baseline) for key in keys}
    now = len(comparisons)
    for entry in listed:
        if isinstance(entry, Comparison):
            own = [row for row in entry.rows if row.verdict not in (None, "baseline")]
            baselines = {row.data: row.encoding for row in entry.rows if row.verdict == "baseline"}
            tables += bool(own)
            comparisons |= {(row.data, row.encoding, baselines[row.data]) for row in own}
        elif isinstance(entry, bool) or not isinstance(entry, int) or entry < 0:
            raise UsageError(
                f"looks: {shortened(entry)} is neither a number of earlier tables, nor numbers of "
                "seeds, nor a comparison that judge() returned"
            )
        elif isinstance(earlier, int):
            tables += entry
        else:  # a table below 5 seeds had no verdicts
            tables += entry >= MIN_SEEDS
    return Looks(tables, len(comparisons) if len(comparisons) > now else 0)


def _dicts(records: Records, name: str) -> Iterable[Record]:
    """The records of a data frame, or as they are."""
    if isinstance(records, str | bytes):
        raise UsageError(f"{name}: {shortened(records)} is text; give records or a data frame")
    to_dicts = getattr(records, "to_dicts", None)  # Polars
    if to_dicts is not None:
        return list(to_dicts())
    to_dict = getattr(records, "to_dict", None)  # pandas
    if to_dict is not None and hasattr(records, "columns"):
        return list(to_dict("records"))
    if not isinstance(records, Iterable):
        raise UsageError(f"{name}: {shortened(records)} is neither records nor a data frame")
    return records


def _name(baseline: object) -> str:
    if not isinstance(baseline, str) or not baseline.strip():
        raise UsageError(f"baseline: {shortened(baseline)} is not the name of an encoding")
    return baseline.strip()


def _checked_margin(margin: object) -> float | None:
    if margin is None:
        return None
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < 1e308:
        raise UsageError(f"margin: {shortened(margin)} is not a number above zero")
    return float(margin)
