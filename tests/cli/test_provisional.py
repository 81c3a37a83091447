"""The provisional table of a comparison that is still running."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import TextColumn

from liere_cli.cli.provisional import ProvisionalTable, TableAboveBars
from liere_cli.config.recipe import Recipe
from liere_cli.launchers.events import RunEnded, TrainingStarted
from liere_cli.planning.plan import DatasetPlan, Plan, PlannedEncoding, PlannedRun
from liere_cli.planning.progress import Outcome
from liere_cli.report.formats.provisional import provisional
from support.judged_tables import judged_example
from support.synthetic_tables import dataset_of

SCORES: dict[str, list[float | str]] = {
    "axial": [0.30, 0.32, 0.31, 0.33, 0.34],
    "liere": [0.41, 0.42, 0.43, 0.44, 0.42],
}


def rendered(table: object, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def planned() -> tuple[Plan[PlannedRun], dict[str, Outcome]]:
    dataset, outcomes = dataset_of(SCORES)
    request = Recipe.model_construct()
    rows = tuple(
        PlannedEncoding(
            row.label, tuple(PlannedRun(**vars(run), request=request) for run in row.runs)
        )
        for row in dataset.encodings
    )
    with_requests = DatasetPlan[PlannedRun](**vars(dataset) | {"encodings": rows})
    return Plan("quick", (with_requests,), tuple(range(5))), outcomes


def test_it_appears_at_the_second_seed_and_with_each_further_one() -> None:
    plan, outcomes = planned()
    listener = ProvisionalTable()
    missing = {run_id: Outcome("missing") for run_id in outcomes}
    assert listener(TrainingStarted(plan, missing, 1), 100, "utf-8") is None
    shown = []
    for number, run in enumerate(plan.runs, start=1):
        if (table := listener(RunEnded(run, outcomes[run.run_id]), 100, "utf-8")) is not None:
            shown.append(number)
            text = rendered(table)
            assert f"provisional, after {number} of 10 runs" in text
            assert f"{number // 2} of 5 seeds" in text
            assert not any(word in text for word in ("✓", "✗", "undecided"))
    assert shown == [4, 6, 8, 10]


def test_its_intervals_are_uncorrected_and_it_has_no_verdicts() -> None:
    table = judged_example()
    group = provisional(table, 100)
    text = rendered(group)
    assert "no verdicts yet, intervals uncorrected" in text
    estimate = table.datasets[1].rows[2].estimate
    assert estimate is not None
    assert f"[{estimate.low:+.4f}, {estimate.high:+.4f}]" in text
    for mark in ("✓", "✗", "≈", "undecided"):
        assert mark not in text


@pytest.mark.parametrize(("height", "fits"), [(50, True), (8, False)])
def test_bars_are_never_pushed_off_the_screen(height: int, fits: bool) -> None:
    file = io.StringIO()
    console = Console(width=100, height=height, file=file, force_terminal=True)
    bars = TableAboveBars(TextColumn("{task.description}"), console=console)
    bars.add_task("all runs")
    bars.table = provisional(judged_example(), 100)
    parts = list(bars.get_renderables())
    assert (bars.table in parts) == fits
    assert "all runs" in rendered(parts[-1])


def test_it_is_not_recorded_as_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan, outcomes = planned()
    assert ProvisionalTable()(TrainingStarted(plan, outcomes, 1), 100, "utf-8") is not None
    assert list(tmp_path.rglob("judged.jsonl")) == []
