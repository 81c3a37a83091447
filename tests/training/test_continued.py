"""Runs that go on from a finished one: what they take over, their identity, and a lost parent."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

import liere_cli as liere
from liere_cli.cli.app import app
from liere_cli.runs.build import assemble, build_model
from liere_cli.runs.folder import Run
from liere_cli.training.run import train_run
from support.small_runs import CPU, StopAt, losses

SMALL = [
    "--set=model.layers=1", "--set=model.dim=16", "--set=model.heads=2", "--set=training.batch=4",
    "--set=training.log_every=2", "--set=training.validations=2",
]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "verse.txt").write_text("The quick brown fox jumps over the lazy dog. " * 40)
    return tmp_path


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["train", *arguments])


def trained(*arguments: str) -> Run:
    result = command(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return Run(Path(json.loads(result.stdout)["folder"]))


def parent_of(encoding: str = "rope:learned=true", *more: str) -> Run:
    data = ("--data=text:verse.txt,grid=16", "--budget=6steps")
    return trained(f"--encoding={encoding}", *data, *SMALL, *more)


def weights(run: Run, name: str = "last") -> dict[str, torch.Tensor]:
    return load_file(run.path(f"{name}.safetensors"))


def errors(result: Result) -> str:
    return " ".join(result.stderr.split())


def test_a_run_goes_on_with_the_weights_and_settings_of_its_parent(here: Path) -> None:
    parent = parent_of()
    child = trained(
        f"--from={parent.run_id}", "--budget=4steps", "--set=training.learning_rate=1e-9"
    )
    assert child.run_id != parent.run_id
    recipe, summary = child.recipe(), child.summary()
    assert recipe.parent is not None
    assert (recipe.parent.id, recipe.parent.generation) == (parent.run_id, 1)
    assert recipe.encoding == parent.recipe().encoding
    assert summary is not None
    assert (summary.steps, summary.budget) == (4, "4steps")
    assert f"|from:{parent.run_id}|" in summary.signature
    for name, value in weights(parent).items():
        torch.testing.assert_close(weights(child)[name], value, rtol=1e-5, atol=1e-6)
    assert losses(child)[0]["step"] == 2
    grandchild = trained(f"--from={child.folder}", "--budget=2steps")
    grandparent = grandchild.recipe().parent
    assert grandparent is not None
    assert (grandparent.id, grandparent.generation) == (child.run_id, 2)
    opened = liere.open_trained(child.folder)
    assert opened is not None


def test_another_encoding_or_length_starts_anew_where_nothing_fits(here: Path) -> None:
    parent = parent_of("absolute")
    still = "--set=training.learning_rate=1e-9"
    result = command(f"--from={parent.run_id}", "--encoding=none", "--budget=2steps", still)
    assert result.exit_code == 0
    assert f"weights of run {parent.run_id} that are not used: encoding." in errors(result)
    longer = command(
        f"--from={parent.run_id}", "--data=text:verse.txt,grid=24", "--budget=2steps", still
    )
    assert f"{parent.run_id} has no weights of their name and shape: encod" in errors(longer)
    other = command(f"--from={parent.run_id}", "--encoding=rope:learned=true", "--budget=2steps")
    assert (
        f"{parent.run_id} has no weights of their name and shape: encoding.frequencies"
        in errors(other)
    )


def test_batches_are_not_those_of_the_parent_again(here: Path) -> None:
    still = "--set=training.learning_rate=1e-9"
    first = parent_of("none", still)
    child = trained(f"--from={first.run_id}", still)
    values = [[line["loss"] for line in losses(run) if "loss" in line] for run in (first, child)]
    assert values[0] != pytest.approx(values[1], rel=1e-4)


@pytest.mark.parametrize("step", [2, 6])
def test_an_interrupted_continued_run_ends_with_the_bits_of_an_undisturbed_one(
    here: Path, step: int
) -> None:
    parent = parent_of("liere")
    child = trained(f"--from={parent.run_id}", "--encoding=liere:share=layers", "--budget=12steps")
    spec = assemble(child.recipe(), device=CPU)
    assert spec.run_id == child.run_id
    shutil.copytree(here / "outputs", here / "again")
    shutil.rmtree(here / "again" / child.folder.parent.name / child.name)
    with pytest.raises(KeyboardInterrupt):
        train_run(spec, outputs=here / "again", device=CPU, callbacks=StopAt(step))
    # the weights of the parent are in the checkpoint
    shutil.rmtree(here / "again" / parent.folder.parent.name / parent.name)
    train_run(spec, outputs=here / "again", device=CPU)
    again = spec.run(here / "again")
    assert losses(again) == losses(child)
    first, second = weights(child), weights(again)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_parent_s_weights_are_part_of_the_identity(here: Path) -> None:
    ids = {
        trained(f"--from={parent_of('rope', f'--seed={seed}').run_id}", "--seed=5").run_id
        for seed in (0, 1)
    }
    scratch = trained(
        "--encoding=rope", "--data=text:verse.txt,grid=16", "--budget=6steps", "--seed=5", *SMALL
    )
    assert len(ids | {scratch.run_id}) == 3


def test_a_parent_that_can_t_be_used_is_named(here: Path) -> None:
    parent = parent_of("rope")
    child = trained(f"--from={parent.run_id}")
    spec = assemble(child.recipe(), device=CPU)

    def message(act: Any) -> str:
        with pytest.raises(liere.LiereError) as caught:
            act()
        return str(caught.value)

    def train_again() -> None:
        train_run(spec, outputs=here / "outputs", device=CPU, fresh=True)

    other = command(f"--from={parent.run_id}", "--set=model.dim=32")
    assert other.exit_code == 2
    assert "that run has model.dim=16, this one 32" in errors(other)
    assert command("--from=nosuch").exit_code == 2
    # changed in place
    path = parent.path("last.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "was damaged or changed after the run ended" in message(train_again)
    refused = command(f"--from={parent.run_id}", "--budget=3steps")
    assert refused.exit_code == 1
    assert "was damaged or changed" in errors(refused)
    # trained again, with other weights
    path.write_bytes(content)
    model = build_model(assemble(parent.recipe(), device=CPU))
    from liere_cli.runs.checkpoint import save_weights

    save_weights(parent, "last", model)
    summary = parent.summary()
    assert summary is not None
    parent.write_summary(summary)
    assert "has changed since this run was planned" in message(train_again)
    # without weights, and gone
    path.unlink()
    assert "is missing, as after" in message(train_again)
    shutil.rmtree(parent.folder)
    assert "is gone: it is neither there nor in" in message(train_again)


def test_an_unfinished_parent_is_refused(here: Path) -> None:
    parent = parent_of("rope")
    parent.path("summary.json").unlink()
    result = command(f"--from={parent.folder}")
    assert result.exit_code == 2
    assert "is not over, so it has no weights to go on from" in errors(result)


def test_other_data_keeps_the_blocks_and_says_what_it_does_not(here: Path) -> None:
    small = ["--set=training.learning_rate=1e-9", "--budget=2steps", *SMALL]
    parent = trained("--data=motion:train=40,val=20,test=20", "--encoding=axial", *small)
    result = command(
        f"--from={parent.run_id}", "--data=pointing:train=40,val=20,test=20",
        "--set=model.patch=12", "--budget=2steps",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert f"{parent.run_id} has no weights of their name and shape: embed.weight" in errors(result)


def recipe_of(**compare: Any) -> str:
    settings = {
        "experiment": compare.pop("name"),
        "data": "text:verse.txt,grid=16",
        "model": {"layers": 1, "dim": 16, "heads": 2},
        "training": {"batch": 4, "budget": "2steps", "validations": 1},
        "compare": {"seeds": 2, "baseline": "rope", **compare},
    }
    path = Path(f"{settings['experiment']}.yaml")
    path.write_text(json.dumps(settings))
    return str(path)


def compared(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["compare", *arguments, "--jobs=1"])


def test_whole_comparisons_go_on_from_the_runs_of_their_seeds(here: Path) -> None:
    first = recipe_of(name="first", encodings=["none", "rope", "liere"])
    assert compared(first).exit_code == 0
    own = recipe_of(name="own", encodings=["none", "rope"], **{"from": "outputs/first"})
    dropped = recipe_of(
        name="dropped", encodings=["none", "rope"],
        **{"from": {"runs": "outputs/first", "encoding": "rope"}},
    )  # fmt: skip
    for recipe in (own, dropped, "outputs/dropped/comparison.yaml"):
        result = compared(recipe)
        assert result.exit_code == 0, result.output
    parents = {run.run_id: run.recipe() for run in map(Run, here.glob("outputs/first/*-*"))}
    for name in ("own", "dropped"):
        runs = [Run(path.parent) for path in here.glob(f"outputs/{name}/*/summary.json")]
        assert len(runs) == (4 if name == "own" else 2)  # rope from rope was trained in 'own'
        for run in runs:
            recipe = run.recipe()
            assert recipe.parent is not None
            parent = parents[recipe.parent.id]
            assert parent.seed == recipe.seed
            expected = recipe.encoding["name"] if name == "own" else "rope"
            assert parent.encoding["name"] == expected
    # none from none and none from rope are rows of one table
    both = compared("outputs/own", "outputs/dropped", "--format=json")
    [table] = json.loads(both.stdout)["tables"]
    assert {row["encoding"] for row in table["rows"]} == {
        "none from none", "none from rope", "rope"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": 3}, "has no finished run at seed 2 (its seeds: 0, 1)"),
        ({"encodings": ["rope", "alibi"]}, "has no finished run of alibi at seed 0 (its encodings"),
        ({"aa": True}, "compare.aa trains at other seeds"),
        ({"tuning": {"grid": {"learning_rate": [1e-3, 2e-3]}}}, "compare.tuning trains at other"),
        ({"from": "outputs/nothing"}, "there is no run at that path"),
    ],
)
def test_comparisons_without_parents_are_refused(
    here: Path, changes: dict[str, Any], words: str
) -> None:
    assert compared(recipe_of(name="first", encodings=["none", "rope"])).exit_code == 0
    settings = {"encodings": ["none", "rope"], "from": "outputs/first", **changes}
    result = compared(recipe_of(name="later", **settings))
    assert result.exit_code == 2
    assert words in errors(result)
