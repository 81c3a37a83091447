"""The typed result: rows, pairs, verdicts and the signature."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.comparison.tables.table import Row
from liere_cli.planning.progress import Outcome, outcome_of
from liere_cli.report.formats.registry import FORMATS
from liere_cli.runs.summary import RunSummary
from liere_cli.statistics import paired
from liere_cli.statistics.correction import holm
from liere_cli.statistics.spread import pooled_spread
from liere_cli.statistics.verdicts import MIN_SEEDS
from support.synthetic_tables import (
    AXIAL,
    LIERE,
    RESULTS,
    Result,
    dataset_of,
    example,
    table_of,
)

SUMMARY_KEYS = [
    "status",
    "test",
    "seconds",
    "parameters",
    "encoding_parameters",
    "throughput",
    "throughput_unit",
    "device",
    "threads",
    "error",
    "signature",
]


def row_of(table: ComparisonTable, encoding: str, dataset: int = 0) -> Row:
    return next(row for row in table.datasets[dataset].rows if row.encoding == encoding)


def test_a_row_summarises_its_runs() -> None:
    row = row_of(example(), "liere:block=8")
    assert row.values == dict(enumerate(LIERE))
    assert row.mean == pytest.approx(np.mean(LIERE))
    assert row.std == pytest.approx(np.std(LIERE, ddof=1))
    assert (row.parameters, row.encoding_parameters) == (812_345, 1234)
    assert (row.throughput, row.seconds) == pytest.approx((2600.0, 12.3))
    assert row.verdict is not None
    # the rows with ten seeds tell about the spread; "absolute" finished at one
    complete = np.array(
        [RESULTS[name] for name in ("none", "axial", "liere:block=8", "rope-mixed")]
    )
    pooled = pooled_spread(complete.astype(float))
    assert row.verdict.estimate == paired.paired(LIERE, AXIAL, pooled=pooled)
    assert row.verdict.label == "better"


def test_every_kind_of_row_stays_in_the_table() -> None:
    table = example()
    assert [row.encoding for row in table.datasets[0].rows] == list(RESULTS)
    absolute = row_of(table, "absolute")
    assert (absolute.planned, absolute.finished, absolute.diverged) == (3, 1, 1)
    assert absolute.unfinished == 1
    assert absolute.errors == ("the loss was nan, absolute",)
    assert absolute.verdict is not None
    assert absolute.verdict.label is None
    assert row_of(table, "rope").undefined == "not defined on 2 axes"
    assert row_of(table, "none", dataset=1).failed == 1
    assert table.failed == 1


def test_lower_bits_are_better() -> None:
    verdict = row_of(example(), "liere", dataset=1).verdict
    assert verdict is not None
    assert verdict.estimate is not None
    assert verdict.estimate.difference < 0
    assert verdict.label == "better"


def test_only_seeds_that_both_finished_are_paired() -> None:
    results: dict[str, list[Result]] = {
        "axial": [0.30, "failed", 0.34],
        "liere": [0.40, 0.90, 0.43],
    }
    verdict = row_of(table_of(dataset_of(results)), "liere").verdict
    assert verdict is not None
    assert verdict.estimate == paired.paired([0.40, 0.43], [0.30, 0.34])


def test_the_correction_spans_all_data_sets() -> None:
    table = example()
    rows = [row for dataset in table.datasets for row in dataset.rows]
    verdicts = [row.verdict for row in rows if row.verdict and row.verdict.p_corrected is not None]
    assert len(verdicts) == 5
    # "none" has five seeds on the second data set, one of which failed
    assert table.comparisons == 6
    p_values = [verdict.estimate.p for verdict in verdicts if verdict.estimate]
    expected = holm(np.array(p_values, dtype=float), 6)
    assert [verdict.p_corrected for verdict in verdicts] == pytest.approx(expected.tolist())


@pytest.mark.parametrize("state", ["failed", "diverged", "missing"])
def test_a_baseline_without_results_gives_no_verdict(state: str) -> None:
    table = table_of(dataset_of({"axial": [state] * 3, "liere": [0.4, 0.5, 0.6]}))
    verdict = row_of(table, "liere").verdict
    assert verdict is not None
    assert verdict.label is None
    assert table.comparisons == 0


def test_a_finished_run_without_a_test_value_has_failed() -> None:
    dataset, found = dataset_of({"axial": [0.3, 0.4]})
    key = next(iter(found))
    summary = found[key].summary
    assert summary is not None
    untested = outcome_of(replace(summary, test=None))
    table = table_of((dataset, found | {key: untested}))
    assert (table.datasets[0].rows[0].finished, table.failed) == (1, 1)


def test_mixed_devices_and_versions_give_warnings() -> None:
    dataset, found = dataset_of({"axial": [0.3, 0.4]})
    key = next(iter(found))
    summary = found[key].summary
    assert summary is not None
    other = replace(summary, device="cuda:0", signature="torch:2.11.0|liere:0.1.0")
    found |= {key: outcome_of(other)}
    warnings = " ".join(table_of((dataset, found)).datasets[0].warnings)
    assert "cuda:0" in warnings
    assert "torch: 2.11.0, 2.13.0" in warnings
    assert "threads" not in warnings


def test_the_signature_names_what_the_numbers_stand_on() -> None:
    signature = example().signature
    for part in (
        "pointing@0123456789abcdef",
        "budget:1000steps",
        "seeds:0,1,2",
        "p:moderated-t2+holm(6)",
        "torch:2.13.0",
    ):
        assert part in signature
    assert "\n" not in signature
    other = table_of(dataset_of(RESULTS, margin=0.02))
    assert other.signature.split("|")[0] != table_of(dataset_of(RESULTS)).signature.split("|")[0]


SCORE = st.floats(0, 1, width=32) | st.sampled_from(["failed", "diverged", "missing", "partial"])


@given(st.lists(st.lists(SCORE, min_size=1, max_size=8), min_size=2, max_size=4))
def test_every_combination_of_outcomes_gives_a_table(results: list[list[Result]]) -> None:
    named = {"axial" if not index else f"e{index}": one for index, one in enumerate(results)}
    for row in table_of(dataset_of(named, margin=0.01)).datasets[0].rows:
        assert row.planned == row.finished + row.diverged + row.failed + row.unfinished
        assert (row.verdict is None) == row.is_baseline
        if row.verdict and row.verdict.label:
            assert row.verdict.estimate is not None
            assert row.verdict.estimate.n >= MIN_SEEDS
            assert row.verdict.p_corrected is not None


JUNK = st.none() | st.booleans() | st.text(max_size=3) | st.floats() | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from(SUMMARY_KEYS), JUNK))
def test_summaries_with_wrong_types_are_rendered(junk: dict[str, object]) -> None:
    dataset, found = dataset_of({"axial": [0.3, 0.4], "liere": [0.5, 0.6]})
    key = next(iter(found))
    summary = found[key].summary
    assert summary is not None
    try:
        outcome = outcome_of(RunSummary.from_record(summary.to_record() | junk))
    except ValueError as error:
        outcome = Outcome("failed", error=str(error))
    table = table_of((dataset, found | {key: outcome}))
    for render in FORMATS.values():
        assert render(table)
