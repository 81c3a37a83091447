"""From recipes, flags and run folders to plans."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from liere_cli.config.recipe import Recipe
from liere_cli.config.spec import format_spec, parse_spec
from liere_cli.errors import UsageError
from liere_cli.planning.from_recipe import plan_comparison
from liere_cli.planning.from_runs import runs_as_plan
from liere_cli.planning.overrides import comparison_recipe, parse_seeds, split_specs
from liere_cli.planning.plan import Plan, PlannedRun
from liere_cli.planning.progress import outcomes_of, seconds_left
from liere_cli.planning.run_paths import runs_at
from liere_cli.runs.build import assemble
from liere_cli.runs.context import Context
from liere_cli.runs.folder import Run
from support.synthetic_runs import TINY, begin_run, write_run

CPU = torch.device("cpu")


def recipe(compare: dict[str, Any], **sections: Any) -> Recipe:
    sections.setdefault("training", {"budget": "10steps"})
    return Recipe.validated({"model": TINY, "compare": compare} | sections, "test")


def plan(outputs: Path, compare: dict[str, Any], **sections: Any) -> Plan:
    return plan_comparison(recipe(compare, **sections), Context(outputs))


def run_spec_of(run: PlannedRun) -> Any:
    assert run.request is not None
    return assemble(run.request, device=CPU)


SPEC = st.builds(
    lambda name, options: {"name": name} | options,
    st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True),
    st.dictionaries(
        st.from_regex(r"[a-z]{1,6}", fullmatch=True).filter(
            lambda key: key not in ("name", "path")
        ),
        st.integers(0, 99) | st.sampled_from(["all", "layers"]),
        max_size=3,
    ),
)


@given(st.lists(SPEC, min_size=1, max_size=5))
def test_specs_survive_being_joined_by_commas(specs: list[dict[str, Any]]) -> None:
    text = ",".join(format_spec(spec) for spec in specs)
    assert [format_spec(parse_spec(part)) for part in split_specs(text)] == [
        format_spec(spec) for spec in specs
    ]


def test_an_option_belongs_to_the_spec_before_it() -> None:
    text = "liere:block=8,share=layers, rope,my/enc.py:Mine:size=3,text:notes.txt"
    assert split_specs(text) == [
        "liere:block=8,share=layers",
        "rope",
        "my/enc.py:Mine:size=3",
        "text:notes.txt",
    ]


@pytest.mark.parametrize("text", ["", ",", "block=8,liere"])
def test_specs_that_name_nothing_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        split_specs(text)


def test_seeds_are_a_number_or_a_list() -> None:
    assert parse_seeds("3") == [0, 1, 2]
    assert parse_seeds("7,4") == [7, 4]
    assert parse_seeds("7,") == [7]


@pytest.mark.parametrize("text", ["0", "-1", "a", "1.5", "", "10001"])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="seeds"):
        parse_seeds(text)


def test_flags_outweigh_the_file_and_its_arms(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "training: {budget: 5steps, batch: 4}\n"
        "compare:\n"
        "  encodings: [none, axial]\n"
        "  data:\n"
        "    - {data: pointing, training: {budget: 7steps, batch: 8}, encodings: [liere]}\n"
        "    - stdlib\n"
    )
    both = comparison_recipe(str(path))
    assert both.experiment == "mine"
    assert both.compare is not None
    assert both.compare.data[0].training == {"budget": "7steps", "batch": 8}
    flagged = comparison_recipe(
        str(path),
        encodings="none,rope",
        data="pointing",
        seeds="2",
        baseline="none",
        budget="9steps",
        assignments=["training.batch=2"],
    ).compare
    assert flagged is not None
    assert flagged.data[0].training == {}
    assert flagged.data[0].encodings is None
    assert [spec["name"] for spec in flagged.encodings] == ["none", "rope"]
    assert flagged.seeds == [0, 1]


def test_every_cell_appears_once_and_seed_by_seed(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        {"encodings": ["none", "axial", "liere", "liere"], "data": ["pointing"], "seeds": [3, 1]},
    )
    assert [(run.seed, run.encoding) for run in made.runs] == [
        (seed, encoding) for seed in (3, 1) for encoding in ("none", "axial", "liere")
    ]
    assert len({run.run_id for run in made.runs}) == 6


def test_a_planned_run_is_the_run_that_its_request_makes(tmp_path: Path) -> None:
    for run in plan(tmp_path, {"encodings": ["axial"], "data": ["pointing"], "seeds": 2}).runs:
        run_spec = run_spec_of(run)
        assert run_spec.run_id == run.run_id
        assert run_spec.run(tmp_path).folder == run.run.folder


def test_arms_have_settings_of_their_own(tmp_path: Path) -> None:
    datasets = [
        "pointing",
        {"data": "pointing", "training": {"budget": "20steps"}},
        {"data": "stdlib", "model": {"layers": 2}, "encodings": ["none", "rope"]},
    ]
    made = plan(tmp_path, {"encodings": ["none", "axial"], "data": datasets, "seeds": 1})
    assert [dataset.title for dataset in made.datasets] == [
        "pointing (training.budget=10steps)",
        "pointing (training.budget=20steps)",
        "stdlib",
    ]
    assert [dataset.baseline for dataset in made.datasets] == ["axial", "axial", "rope"]
    assert [dataset.modality for dataset in made.datasets] == ["images", "images", "text"]
    assert run_spec_of(made.datasets[2].encodings[0].runs[0]).recipe.model.layers == 2


def test_equal_data_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="listed twice"):
        plan(tmp_path, {"encodings": ["axial"], "data": ["pointing", "pointing"], "seeds": 1})


def test_an_undefined_encoding_is_a_row_among_several_arms(tmp_path: Path) -> None:
    encodings = ["rope", "axial"]
    made = plan(tmp_path, {"encodings": encodings, "data": ["stdlib", "pointing"], "seeds": 1})
    undefined = made.datasets[1].encodings[0]
    assert undefined.undefined == "not defined on 2 axes"
    assert undefined.runs == ()
    with pytest.raises(UsageError, match="ax"):
        plan(tmp_path, {"encodings": encodings, "data": ["pointing"], "seeds": 1})


@pytest.mark.parametrize(
    ("compare", "message"),
    [
        ({"encodings": ["lire", "axial"]}, "did you mean 'liere'"),
        ({"encodings": ["liere:blok=8", "axial"]}, "did you mean 'block'"),
        ({"encodings": ["liere", "none"]}, "no baseline.*allowed: liere, none"),
        ({"baseline": "rope", "encodings": ["xpos", "none"]}, "ax"),
        ({"margins": {"top1": 2.0}}, "share of 1"),
        ({"data": ["pointng"]}, "did you mean 'pointing'"),
        ({"data": [{"data": "pointing", "training": {"bach": 3}}]}, "did you mean 'batch'"),
        ({"data": [{"data": "pointing", "margin": -1}]}, "margin"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, compare: dict[str, Any], message: str) -> None:
    base: dict[str, Any] = {"encodings": ["axial", "none"], "data": ["motion", "pointing"]}
    with pytest.raises(UsageError, match=message):
        plan(tmp_path, base | compare)


def test_margins_go_by_metric_unless_the_data_has_its_own(tmp_path: Path) -> None:
    compare = {
        "encodings": ["axial"],
        "data": ["stdlib", {"data": "pointing", "margin": 0.02}],
        "margins": {"bits_per_byte": 0.01, "top1": 0.5},
        "seeds": 1,
    }
    assert [dataset.margin for dataset in plan(tmp_path, compare).datasets] == [0.01, 0.02]


def test_outcomes_and_time_left_come_from_the_folders(tmp_path: Path) -> None:
    compare = {"encodings": ["axial", "none"], "data": ["pointing"], "seeds": 2}
    made = plan(tmp_path, compare)
    assert seconds_left(made, outcomes_of(made)) is None
    run_specs = [run_spec_of(run) for run in made.runs]
    write_run(run_specs[0], tmp_path, seconds=8.0)
    begin_run(run_specs[1], tmp_path, step=5)
    write_run(run_specs[2], tmp_path, status="diverged", test=None)
    again = plan(tmp_path, compare)
    found = outcomes_of(again)
    states = [found[run.run_id].state for run in again.runs]
    assert states == ["finished", "partial", "diverged", "missing"]
    # none: 5 of 10 steps took 1 second, so 1 more for seed 0 and 2 for seed 1
    assert seconds_left(again, found) == pytest.approx(3.0)
    assert seconds_left(again, found, jobs=2) == pytest.approx(1.5)


def test_a_budget_of_time_is_its_own_estimate(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        {"encodings": ["axial", "none"], "data": ["pointing"], "seeds": 2},
        training={"budget": "30s"},
    )
    assert seconds_left(made, outcomes_of(made)) == 120


def test_equal_runs_of_another_experiment_are_found(tmp_path: Path) -> None:
    compare = {"encodings": ["axial"], "data": ["pointing"], "seeds": 1}
    first = plan(tmp_path, compare, experiment="first")
    write_run(run_spec_of(first.runs[0]), tmp_path)
    second = plan(tmp_path, compare, experiment="second")
    assert outcomes_of(second)[second.runs[0].run_id].state == "finished"


def finished_runs(outputs: Path, compare: dict[str, Any], **sections: Any) -> list[Run]:
    made = plan(outputs, compare, **sections)
    return [write_run(run_spec_of(run), outputs) for run in made.runs]


BOTH = {"encodings": ["axial", "none"], "data": ["pointing"], "seeds": 2}


def test_finished_runs_make_the_plan_that_they_came_from(tmp_path: Path) -> None:
    runs = finished_runs(tmp_path, BOTH)
    made, _ = runs_as_plan(runs)
    assert [dataset.title for dataset in made.datasets] == ["pointing"]
    assert made.datasets[0].baseline == "axial"
    assert {run.run_id for run in made.runs} == {run.run_id for run in runs}
    assert {run.run_id for run in runs_as_plan([*runs, *runs])[0].runs} == {
        run.run_id for run in runs
    }


def test_runs_of_other_settings_get_a_table_of_their_own(tmp_path: Path) -> None:
    runs = finished_runs(tmp_path, BOTH)
    runs += finished_runs(tmp_path, BOTH, training={"budget": "20steps"})
    runs += finished_runs(
        tmp_path, BOTH, model=TINY | {"layers": 2}, training={"budget": "20steps"}
    )
    titles = [dataset.title for dataset in runs_as_plan(runs)[0].datasets]
    assert len(set(titles)) == 3
    assert "pointing (model.layers=1, training.budget=10steps)" in titles


def test_an_interrupted_run_joins_its_table(tmp_path: Path) -> None:
    made = plan(tmp_path, BOTH)
    runs = [
        write_run(run_spec_of(made.runs[0]), tmp_path),
        begin_run(run_spec_of(made.runs[1]), tmp_path),
    ]
    again, _ = runs_as_plan(runs)
    assert len(again.datasets) == 1
    assert sorted(outcome.state for outcome in outcomes_of(again).values()) == [
        "finished",
        "partial",
    ]
    with pytest.raises(UsageError, match="none of the runs on pointing is over"):
        runs_as_plan(runs[1:])


def test_a_baseline_that_no_run_has_is_refused(tmp_path: Path) -> None:
    runs = finished_runs(tmp_path, BOTH)
    assert runs_as_plan(runs, "none")[0].datasets[0].baseline == "none"
    with pytest.raises(UsageError, match="allowed: axial, none"):
        runs_as_plan(runs, "rope")
    assert runs_as_plan(runs[1:2])[0].datasets[0].baseline is None


def test_a_folder_stands_for_the_runs_in_it(tmp_path: Path) -> None:
    runs = finished_runs(tmp_path, BOTH)
    assert len(runs_at(str(runs[0].folder.parent), tmp_path)) == 4
    assert runs_at(str(runs[0].folder), tmp_path) == [runs[0]]
    with pytest.raises(UsageError, match="no run"):
        runs_at(str(tmp_path / "nowhere"), tmp_path)


def test_a_file_s_path_may_be_written_in_two_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text(
        "from liere_cli.encodings import PositionEncoding\n"
        "class E(PositionEncoding):\n    summary = source = 'x'\n"
    )
    runs = []
    for seed, path in enumerate(("a.py", f"{tmp_path}/a.py")):
        compare = BOTH | {"encodings": [{"name": f"{path}:E"}, {"name": "axial"}], "seeds": [seed]}
        runs += finished_runs(tmp_path / "outputs", compare)
    (dataset,) = runs_as_plan(runs)[0].datasets
    assert {row.label: len(row.runs) for row in dataset.encodings} == {"E": 2, "axial": 2}
