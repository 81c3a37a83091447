"""The time that runs take, evaluations included, before and while they run."""

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liere_cli.config.recipe import Recipe
from liere_cli.launchers import probe as probe_module
from liere_cli.planning.from_recipe import plan_comparison
from liere_cli.planning.progress import outcomes_of, seconds_left
from liere_cli.runs.context import Context
from liere_cli.training import trainer
from liere_cli.training.callbacks import Report
from liere_cli.training.estimate import EvaluationTime, evaluation_time, steps_of
from liere_cli.training.run import train_run
from support.small_runs import CPU, StopAt, run_spec_of


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "verse.txt"
    path.write_text("The quick brown fox jumps over the lazy dog. " * 40)
    return path


@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 20), st.integers(1, 10**6))
def test_what_is_left_shrinks_to_the_closing_evaluations(
    validation: int, closing: int, validations: int, steps: int
) -> None:
    expected = EvaluationTime(validation, closing, validations)
    assert expected.left() == 0
    expected.expect_steps(steps)
    assert expected.validations == min(validations, steps)
    expected.measured(3.0, 2)
    left = [expected.left(done) for done in range(expected.validations + 1)]
    assert left == sorted(left, reverse=True)
    assert left[-1] == closing * 1.5


@pytest.mark.parametrize(
    ("changes", "items"),
    [
        # 20 items in val and in test; the last validation is the closing one where limits agree
        ({"validations": 3}, 3 * 20 + 20),
        ({"validations": 3, "test_limit": 5}, 3 * 20 + 5 + 5),
        ({"validations": 3, "validation_limit": 4}, 3 * 4 + 20 + 20),
        ({"validations": 3, "tested": False}, 3 * 20),
        ({"validations": 50, "budget": "2steps"}, 2 * 20 + 20),
    ],
)
def test_every_evaluation_counts(text_file: Path, changes: dict[str, Any], items: int) -> None:
    expected = evaluation_time(run_spec_of(text_file, data="images", **changes))
    expected.measured(1.0, 1)
    assert expected.left() == items


@pytest.mark.parametrize(
    ("budget", "steps"),
    [("12steps", 12), ("30examples", 8), ("100tokens", 2), ("10s", None)],
)
def test_steps_of_a_budget(text_file: Path, budget: str, steps: int | None) -> None:
    assert steps_of(run_spec_of(text_file, budget=budget)) == steps


class Watching(StopAt):
    def __init__(self) -> None:
        super().__init__(-1)
        self.reports: list[Report] = []

    def on_report(self, report: Report) -> None:
        self.reports.append(report)


def test_reports_count_slow_evaluations(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = trainer.evaluate

    def slow(*given: Any, **named: Any) -> Any:
        time.sleep(0.2)
        return evaluate(*given, **named)

    monkeypatch.setattr(trainer, "evaluate", slow)
    watching = Watching()
    run_spec = run_spec_of(text_file, data="images", log_every=1, validations=3)
    summary = train_run(run_spec, outputs=tmp_path, device=CPU, callbacks=watching)
    # 3 validations, the last of which is the closing one, and the test split
    assert summary.evaluation_seconds is not None
    assert summary.evaluation_seconds >= 0.8
    first, *_, last = watching.reports
    assert first.step == 1
    halfway = next(report for report in watching.reports if report.share > 0.5)
    assert 0.4 <= halfway.seconds_left <= summary.evaluation_seconds + summary.seconds
    assert last.whole_seconds is not None
    assert last.whole_seconds > 0.8
    assert last.seconds_left >= 0.4


def test_a_report_comes_after_a_few_steps(text_file: Path, tmp_path: Path) -> None:
    watching = Watching()
    run_spec = run_spec_of(text_file, log_every=100)
    train_run(run_spec, outputs=tmp_path, device=CPU, callbacks=watching)
    assert [report.step for report in watching.reports] == [3, 12]
    assert [line["step"] for line in run_spec.run(tmp_path).metrics() if "loss" in line] == [12]
    early = watching.reports[0]
    assert early.whole_seconds is not None
    assert early.whole_seconds > early.seconds_left > 0


@pytest.mark.parametrize("budget", ["40steps", "3s"])
def test_a_probe_estimates_what_nobody_has_trained(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: str
) -> None:
    monkeypatch.setattr(probe_module, "PROBE_SECONDS", 60.0)
    compare = {
        "encodings": ["none", "liere"],
        "data": [f"text:{text_file},grid=16", "pointing:train=40,val=20,test=20"],
        "seeds": 2,
        "baseline": "none",
    }
    settings = {
        "model": {"layers": 1, "dim": 16, "heads": 2},
        "training": {"batch": 4, "budget": budget},
        "compare": compare,
    }
    outputs = tmp_path / "outputs"
    plan = plan_comparison(Recipe.validated(settings, "test"), Context(outputs))
    outcomes = outcomes_of(plan)
    estimated = probe_module.probe(plan, outcomes, Context(outputs))
    assert estimated.keys() == {run.run_id for run in plan.runs}
    assert all(outcome.state == "missing" for outcome in estimated.values())
    assert not outputs.exists()
    left = seconds_left(plan, estimated)
    assert left is not None
    assert seconds_left(plan, estimated, jobs=2) == pytest.approx(left / 2)
    assert left > (8 * 3 if budget == "3s" else 0)
    again = probe_module.probe(plan, estimated, Context(outputs))
    assert again == {}
