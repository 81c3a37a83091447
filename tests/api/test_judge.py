"""``liere_cli.judge``: verdicts on scores from elsewhere, from Python."""

import math
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import liere_cli as liere
from liere_cli.api.comparison import Comparison, ComparisonRow

Records = list[dict[str, Any]]
ENCODINGS = ("axial", "near", "far", "absolute")
LABELS = ("better", "worse", "equivalent", "undecided", "baseline", None)


def records_of(
    seed: int = 0, seeds: int = 5, data: tuple[str, ...] = ("images",), **more: Any
) -> Records:
    """Scores of four encodings: one near the baseline, one far above it, one below."""
    generator = np.random.default_rng(seed)
    levels = dict(zip(ENCODINGS, (0.5, 0.502, 0.6, 0.3), strict=True))
    return [
        {"data": name, "encoding": encoding, "seed": number, "score": level + noise, **more}
        for name in data
        for encoding, level in levels.items()
        for number, noise in enumerate(generator.normal(0, 0.01, seeds).tolist())
    ]


def judge(records: Any, **settings: Any) -> Comparison:
    return liere.judge(records, **{"baseline": "axial", "higher_is_better": True} | settings)


def verdicts(comparison: Comparison) -> dict[tuple[str, str, str], str | None]:
    return {(row.table, row.data, row.encoding): row.verdict for row in comparison.rows}


def test_rows_hold_what_a_verdict_says() -> None:
    records = records_of(data=("images", "text"))
    comparison = judge(records)
    assert [(row.data, row.encoding) for row in comparison.rows] == [
        (data, encoding) for data in ("images", "text") for encoding in ENCODINGS
    ]
    labels = {"axial": "baseline", "near": "undecided", "far": "better", "absolute": "worse"}
    for row in comparison.rows:
        assert row.verdict == labels[row.encoding]
        assert (row.n, row.failed, row.finished) == (5, 0, 5)
        if row.verdict == "baseline":
            continue
        scores = {
            name: [each["score"] for each in records
                   if (each["data"], each["encoding"]) == (row.data, name)]
            for name in (row.encoding, "axial")
        }  # fmt: skip
        assert row.difference == pytest.approx(
            np.mean(scores[row.encoding]) - np.mean(scores["axial"])
        )
        values = (row.low, row.low_raw, row.high_raw, row.high, row.p, row.p_corrected)
        low, low_raw, high_raw, high, p, p_corrected = (float(value or 0) for value in values)
        assert low <= low_raw < high_raw <= high
        assert p <= p_corrected <= min(6 * p, 1) + 1e-12
        assert (row.verdict == "undecided") == (low <= 0 <= high)


def test_two_encodings_have_the_paired_t_test() -> None:
    records = [each for each in records_of() if each["encoding"] in ("axial", "near")]
    near, axial = ([r["score"] for r in records if r["encoding"] == e] for e in ("near", "axial"))
    row = judge(records).row("near")
    assert row.p == row.p_corrected == pytest.approx(stats.ttest_rel(near, axial).pvalue)


def without(key: str) -> Callable[[Records], None]:
    def change(records: Records) -> None:
        for record in records:
            del record[key]

    return change


def changed(index: int, **values: Any) -> Callable[[Records], None]:
    return lambda records: records[index].update(values)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (without("score"), ["record 0", "no column 'score'", "data, encoding, seed"]),
        (without("seed"), ["record 0", "no column 'seed'"]),
        (without("encoding"), ["record 0", "no column 'encoding'"]),
        (changed(7, score="high"), ["record 7", "column score", "'high' is not a number"]),
        (changed(7, score=math.nan), ["record 7", "column score", "nan", "diverged"]),
        (changed(7, score=-math.inf), ["record 7", "column score", "-inf"]),
        (changed(7, score=None), ["record 7", "column score", "is empty"]),
        (changed(7, score=[1.0]), ["record 7", "column score", "is not a number"]),
        (changed(7, seed=1), ["record 7", "column seed", "near has seed 1", "twice", "record 6"]),
        (changed(7, seed="1.0"), ["record 7", "column seed", "near has seed"]),
        (changed(7, seed=None), ["record 7", "column seed", "is empty"]),
        (changed(7, encoding=" "), ["record 7", "column encoding", "is empty"]),
        (changed(7, status="finshed"), ["status", "did you mean 'finished'", "diverged, failed"]),
        (lambda records: [each.update(metric=f"m{index // 9}") for index, each in
                          enumerate(records)], ["record 9", "column metric", "'m1', but 'm0'"]),
        (lambda records: records.clear(), ["there are no scores"]),
        (lambda records: records.insert(3, [1, 2]), ["record 3", "is not a mapping"]),
    ],
)  # fmt: skip
def test_records_that_can_not_be_judged_are_one_sentence(
    change: Callable[[Records], None], parts: list[str]
) -> None:
    records = records_of()
    change(records)
    with pytest.raises(liere.UsageError) as caught:
        judge(records)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"baseline": "axail"}, ["baseline", "axail", "did you mean 'axial'"]),
        ({"baseline": 3}, ["baseline: 3"]),
        ({"higher_is_better": None}, ["metric 'score'", "higher_is_better="]),
        ({"margin": 0}, ["margin: 0", "above zero"]),
        ({"margin": math.nan}, ["margin: nan"]),
        ({"margin": math.inf}, ["margin: inf"]),
        ({"looks": -1}, ["looks: -1"]),
        ({"looks": ["five"]}, ["looks: 'five'"]),
        ({"looks": "5,10"}, ["looks"]),
        ({"looks": True}, ["looks: True"]),
    ],
)
def test_arguments_that_are_not_valid_are_one_sentence(
    given: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(liere.UsageError) as caught:
        judge(records_of(), **given)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("records", ["runs.csv", b"x", 7, None])
def test_other_things_are_not_records(records: Any) -> None:
    with pytest.raises(liere.UsageError, match="records"):
        judge(records)


def test_the_direction_is_known_for_common_metrics_only() -> None:
    for metric, label in (("accuracy", "better"), ("Loss", "worse"), ("bits_per_byte", "worse")):
        comparison = judge(records_of(metric=metric), higher_is_better=None)
        assert comparison.verdict("far") == label
    with pytest.raises(liere.UsageError, match="BLEU"):
        judge(records_of(metric="BLEU"), higher_is_better=None)


def test_data_frames_and_generators_are_records() -> None:
    records = records_of(data=("images", "text"))
    expected = judge(records).rows
    assert judge(pd.DataFrame(records)).rows == expected
    assert judge(each for each in records).rows == expected
    arms = [{"arm" if key == "encoding" else key: v for key, v in r.items()} for r in records]
    assert judge(arms).rows == expected
    capital = pd.DataFrame(records).rename(columns=str.upper)
    assert judge(capital).rows == expected


def test_missing_cells_of_a_data_frame_are_empty() -> None:
    frame = pd.DataFrame(records_of())
    frame["status"] = None
    assert judge(frame).rows == judge(records_of()).rows
    frame.loc[6, "score"] = np.nan
    with pytest.raises(liere.UsageError, match="record 6, column score"):
        judge(frame)
    frame.loc[6, "status"] = "crashed"
    row = judge(frame).row("near")
    assert (row.failed, row.diverged, row.finished, row.n, row.verdict) == (1, 0, 4, 4, None)


@pytest.mark.parametrize(
    ("status", "diverged"), [("diverged", 1), ("failed", 0), ("Crashed", 0), ("killed", 0)]
)
def test_runs_without_a_score_are_counted(status: str, diverged: int) -> None:
    records = records_of(seeds=6)
    records[6] |= {"status": status, "score": None}
    records[7] |= {"status": "finished"}
    row = judge(records).row("near")
    assert (row.failed, row.diverged, row.finished, row.n) == (1, diverged, 5, 5)


def test_tables_are_corrected_each_for_itself() -> None:
    parts = [records_of(seed, table=f"t{seed}") for seed in range(3)]
    together = judge([record for part in parts for record in part])
    for seed, part in enumerate(parts):
        alone = judge(part)
        mine = tuple(row for row in together.rows if row.table == f"t{seed}")
        assert mine == alone.rows
    assert len(together.tables) == 3
    with pytest.raises(liere.UsageError, match="3 tables"):
        _ = together.table


@pytest.mark.parametrize(("looks", "factor"), [(0, 1), (2, 4), ([5, 10], 4), ([3, 5], 2), ([], 1)])
def test_earlier_tables_are_corrected_for(looks: Any, factor: int) -> None:
    before, after = judge(records_of()), judge(records_of(), looks=looks)
    for first, second in zip(before.rows, after.rows, strict=True):
        if first.p_corrected is not None:
            assert second.p_corrected == pytest.approx(min(factor * first.p_corrected, 1))


def test_an_earlier_comparison_adds_its_comparisons() -> None:
    five, ten = records_of(), records_of(seeds=10)
    first = judge(five)
    row = judge(ten, looks=[first]).row("far")
    assert row.p_corrected == pytest.approx(min(2 * (judge(ten).row("far").p_corrected or 0), 1))
    best = [record for record in ten if record["encoding"] in ("axial", "near")]
    cut = judge(best, looks=first).row("near")
    assert cut.p is not None
    assert cut.p_corrected == pytest.approx(min(2 * 3 * cut.p, 1))


def items_of(records: Records, groups: int | None = None) -> Records:
    """Forty items of each run, whose mean is its score."""
    generator = np.random.default_rng(9)
    hard = generator.normal(0, 0.2, 40)
    results = []
    for record in records:
        own = hard * (1 + len(record["encoding"])) / 8
        for item, effect in enumerate((own - own.mean()).tolist()):
            result = {key: record[key] for key in ("data", "encoding", "seed")}
            result |= {"item": f"i{item}", "score": record["score"] + effect}
            results.append(result | ({} if groups is None else {"group": item % groups}))
    return results


def test_items_add_the_error_of_the_test_set() -> None:
    records = records_of()
    alone, items = judge(records).row("far"), judge(records, items=items_of(records)).row("far")
    grouped = judge(records, items=items_of(records, groups=4)).row("far")
    assert alone.difference == items.difference == grouped.difference
    widths = [(row.high_raw or 0) - (row.low_raw or 0) for row in (alone, items)]
    assert widths[0] < widths[1]
    assert (alone.p or 0) < (items.p or 0)
    table = judge(records, items=items_of(records, groups=4)).to_json()
    assert '"test_clusters": 4' in table
    assert "+items+" in judge(records, items=pd.DataFrame(items_of(records))).table.signature


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (without("item"), ["record 0", "'item'"]),
        (changed(3, score="x"), ["record 3", "column score", "'x'"]),
        (changed(3, score=math.nan), ["record 3", "column score"]),
        (changed(3, weight=0), ["record 3", "column weight"]),
        (changed(3, item="i2"), ["record 3", "column item", "i2", "twice"]),
        (lambda items: items.pop(), ["column item", "i39", "same items"]),
        (
            lambda items: [item.update(seed=item["seed"] + 1) for item in items],
            ["axial seed 5 on images has no score"],
        ),
        (without("data"), ["axial seed 0 on data has no score"]),
    ],
)
def test_items_that_can_not_be_used_are_one_sentence(
    change: Callable[[Records], None], parts: list[str]
) -> None:
    records = records_of()
    items = items_of(records)
    change(items)
    with pytest.raises(liere.UsageError) as caught:
        judge(records, items=items)
    for part in parts:
        assert part in str(caught.value)


@st.composite
def tables(draw: st.DrawFn) -> Records:
    """Scores with one to two data sets, some of them failed, some missing."""
    seeds = draw(st.integers(4, 9))
    records = records_of(
        draw(st.integers(0, 1000)), seeds, draw(st.sampled_from([("a",), ("a", "b")]))
    )
    bad = draw(st.sets(st.integers(0, len(records) - 1), max_size=3))
    missing = draw(st.sets(st.integers(0, len(records) - 1), max_size=2))
    for index in bad:
        records[index] |= {"status": "diverged", "score": None}
    return [record for index, record in enumerate(records) if index not in missing]


@settings(max_examples=60)
@given(tables(), st.randoms(), st.floats(0.001, 1000), st.floats(-100, 100))
def test_order_names_and_units_change_no_verdict(
    records: Records, shuffler: random.Random, scale: float, shift: float
) -> None:
    expected = verdicts(judge(records))
    shuffled = list(records)
    shuffler.shuffle(shuffled)
    numbers = sorted({record["seed"] for record in records})
    names = [f"run {letter}" for letter in "abcdefghij"[: len(numbers)]]
    shuffler.shuffle(names)
    renamed = dict(zip(numbers, names, strict=True))

    def scaled(record: dict[str, Any], factor: float) -> dict[str, Any]:
        score = record["score"]
        return record | {"score": None if score is None else shift + factor * score}

    assert verdicts(judge(shuffled)) == expected
    assert verdicts(judge([r | {"seed": renamed[r["seed"]]} for r in records])) == expected
    assert verdicts(judge([scaled(r, scale) for r in records])) == expected
    assert verdicts(judge([scaled(r, -scale) for r in records], higher_is_better=False)) == expected


@settings(max_examples=40)
@given(tables(), st.sampled_from(ENCODINGS[1:]))
def test_another_baseline_flips_better_and_worse_in_all_pairs(
    records: Records, baseline: str
) -> None:
    present = {(r["data"], r["encoding"]) for r in records}
    if not all((data, name) in present for data, _ in present for name in ("axial", baseline)):
        return

    def pairs(comparison: Comparison) -> dict[tuple[str, str, str], str | None]:
        found = {}
        for table in comparison.table.rankings:
            names = [row.encoding for row in table.whole.rows]
            for pair in table.ranking.pairs:
                key = (table.whole.title, names[pair.first], names[pair.second])
                found[key] = pair.verdict.label
        return found

    opposite = {"better": "worse", "worse": "better"}
    first = pairs(judge(records, all_pairs=True))
    second = pairs(judge(records, all_pairs=True, baseline=baseline))
    for (data, encoding, other), label in first.items():
        same = second.get((data, encoding, other), "absent")
        flipped = second.get((data, other, encoding))
        assert same == label or flipped == opposite.get(label or "", label)


@settings(max_examples=60)
@given(st.integers(0, 1000), st.integers(5, 9), st.integers(1, 4), st.floats(0, 0.05))
def test_failed_seeds_never_make_an_encoding_better(
    seed: int, seeds: int, failures: int, effect: float
) -> None:
    records = records_of(seed, seeds)
    for record in records:
        record["score"] += effect * (record["encoding"] == "near")
    failed = [
        {"data": "images", "encoding": "near", "seed": seeds + number, "status": "failed"}
        | {"score": None}
        for number in range(failures)
    ]
    others = [
        record | {"seed": seeds + number}
        for number in range(failures)
        for record in records_of(seed + 1)
        if record["seed"] == number and record["encoding"] != "near"
    ]
    before, after = judge(records).row("near"), judge(records + failed).row("near")
    assert before.verdict == "better" or after.verdict != "better"
    with_others = judge(records + failed + others).row("near")
    assert before.verdict == "better" or with_others.verdict != "better"


def test_failures_that_could_explain_a_difference_withhold_the_verdict() -> None:
    records = records_of(seeds=10)
    assert judge(records).verdict("far") == "better"
    for record in records:
        if record["encoding"] == "far" and record["seed"] < 5:
            record |= {"status": "diverged", "score": None}
    row = judge(records).row("far")
    assert (row.n, row.failed) == (5, 5)
    assert row.verdict == "undecided"


def test_names_of_seeds_are_shown_beside_their_numbers() -> None:
    records = [record | {"seed": f"run{record['seed']}"} for record in records_of()]
    text = judge(records).to_markdown()
    assert "Seeds by number: " in text
    assert "run4" in text


def test_every_format_of_scores_without_runs() -> None:
    comparison = judge(records_of(data=("images", "text")), all_pairs=True, margin=0.01)
    assert "far beats axial by" in str(comparison)
    for text in (comparison.to_markdown(), comparison.to_latex(), comparison.to_json()):
        assert "all pairs" in text or '"rankings"' in text
    assert len(comparison.to_csv().splitlines()) == 9
    assert len(comparison.to_pandas()) == 8
    with pytest.raises(liere.UsageError, match="no learning curves"):
        comparison.plot("x.png")
    assert all(isinstance(row, ComparisonRow) and row.verdict in LABELS for row in comparison.rows)


def test_many_tables_are_judged_fast() -> None:
    generator = np.random.default_rng(0)
    scores = generator.standard_normal((100, 3, 5, 5)).tolist()
    records = [
        {"table": t, "data": f"d{d}", "encoding": f"e{e}", "seed": s, "score": value}
        for t, table in enumerate(scores)
        for d, data in enumerate(table)
        for e, encoding in enumerate(data)
        for s, value in enumerate(encoding)
    ]
    begin = time.process_time()
    rows = judge(records, baseline="e0").rows
    assert time.process_time() - begin < 2 * 2  # a tenth of 20 seconds, on a machine half as fast
    assert len(rows) == 1500
    wrong = {row.table for row in rows if row.verdict in ("better", "worse")}
    assert len(wrong) / 100 <= 0.05 + 3 * (0.05 * 0.95 / 100) ** 0.5
