"""Training: reproducible, resumable, never twice for one run, with divergence reported."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from liere_cli.config.files import load_recipe
from liere_cli.errors import LiereError
from liere_cli.runs.build import assemble
from liere_cli.runs.checkpoint import load_checkpoint
from liere_cli.training.callbacks import Report
from liere_cli.training.run import train_run
from liere_cli.training.step import schedule
from support.small_runs import CPU, DATA, SMALL, StopAt, losses, run_spec_of


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "verse.txt"
    path.write_text("The quick brown fox jumps over the lazy dog. " * 40)
    return path


@pytest.mark.parametrize("data", DATA)
def test_the_same_recipe_gives_the_same_bits(text_file: Path, tmp_path: Path, data: str) -> None:
    run_spec = run_spec_of(text_file, data=data)
    summaries = [train_run(run_spec, outputs=tmp_path / name, device=CPU) for name in "ab"]
    runs = [run_spec.run(tmp_path / name) for name in "ab"]
    assert summaries[0].status == "finished"
    assert summaries[0].test == summaries[1].test
    assert losses(runs[0]) == losses(runs[1])
    for name in ("last.safetensors", "best.safetensors", "items-test.safetensors"):
        first, second = (load_file(run.path(name)) for run in runs)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("step", [2, 8])
def test_an_interrupted_run_ends_with_the_bits_of_an_undisturbed_one(
    text_file: Path, tmp_path: Path, data: str, step: int
) -> None:
    run_spec = run_spec_of(
        text_file, data=data, positions={"jitter": 1, "shift": 0.1, "stretch": 1.1}
    )
    whole = train_run(run_spec, outputs=tmp_path / "whole", device=CPU)
    with pytest.raises(KeyboardInterrupt):
        train_run(run_spec, outputs=tmp_path / "parts", device=CPU, callbacks=StopAt(step))
    run = run_spec.run(tmp_path / "parts")
    assert run.summary() is None
    assert run.path("checkpoints").is_dir()
    watcher = StopAt(-1)
    again = train_run(run_spec, outputs=tmp_path / "parts", device=CPU, callbacks=watcher)
    assert watcher.resumed_at == step
    assert again.test == whole.test
    assert losses(run) == losses(run_spec.run(tmp_path / "whole"))
    first, second = (
        load_file(run_spec.run(tmp_path / name).path("last.safetensors"))
        for name in ("whole", "parts")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not run.path("checkpoints").exists()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "swapped"])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_used(
    text_file: Path, tmp_path: Path, damage: str
) -> None:
    run_spec = run_spec_of(text_file, checkpoint_seconds=1e-9)
    whole = train_run(run_spec, outputs=tmp_path / "whole", device=CPU)
    with pytest.raises(KeyboardInterrupt):
        train_run(run_spec, outputs=tmp_path / "parts", device=CPU, callbacks=StopAt(8))
    run = run_spec.run(tmp_path / "parts")
    older, newest = sorted(run.path("checkpoints").glob("0*.safetensors"))
    content = bytearray(newest.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    newest.write_bytes(
        {
            "truncated": bytes(content[:-100]),
            "flipped": bytes(content),
            "empty": b"",
            "swapped": older.read_bytes(),
        }[damage]
    )
    watcher = StopAt(-1)
    again = train_run(run_spec, outputs=tmp_path / "parts", device=CPU, callbacks=watcher)
    assert watcher.resumed_at == int(older.stem)
    assert len(watcher.warnings) == 1
    assert "damaged" in watcher.warnings[0]
    assert again.test == whole.test


def test_a_finished_run_is_not_trained_again_unless_fresh(text_file: Path, tmp_path: Path) -> None:
    run_spec = run_spec_of(text_file)
    first = train_run(run_spec, outputs=tmp_path, device=CPU)
    run = run_spec.run(tmp_path)
    stamp = run.path("metrics.jsonl").stat().st_mtime_ns
    assert train_run(run_spec, outputs=tmp_path, device=CPU) == first
    assert run.path("metrics.jsonl").stat().st_mtime_ns == stamp
    again = train_run(run_spec, outputs=tmp_path, device=CPU, fresh=True)
    assert run.path("metrics.jsonl").stat().st_mtime_ns > stamp
    assert again.test == first.test


def test_one_run_is_trained_by_one_process(text_file: Path, tmp_path: Path) -> None:
    run_spec = run_spec_of(text_file)

    class Rival(StopAt):
        def on_report(self, report: Report) -> None:
            with pytest.raises(LiereError, match="another process"):
                train_run(run_spec, outputs=tmp_path, device=CPU)

    assert train_run(run_spec, outputs=tmp_path, device=CPU, callbacks=Rival(-1)).steps == 12


BLOW_UP = """
from liere_cli.encodings import EncodingOptions, PositionEncoding

class BlowUp(PositionEncoding):
    name, summary, source = "blow-up", "becomes infinite", "test"
    Options = EncodingOptions
    def encode_qk(self, q, k, state, layer):
        return q * float("inf"), k
"""


def test_divergence_ends_a_run_with_its_results_so_far(text_file: Path, tmp_path: Path) -> None:
    code = tmp_path / "mine.py"
    code.write_text(BLOW_UP)
    flags = {
        "encoding": f"{code}:BlowUp",
        "data": {"name": "text", "path": str(text_file), "grid": 16},
        **SMALL,
    }
    run_spec = assemble(load_recipe(flags=flags), device=CPU)
    summary = train_run(run_spec, outputs=tmp_path / "out", device=CPU)
    assert summary.status == "diverged"
    assert summary.test is None
    assert "loss was nan" in summary.error
    assert summary.encoding == "BlowUp"
    json.dumps(summary.to_record(), allow_nan=False)
    assert train_run(run_spec, outputs=tmp_path / "out", device=CPU) == summary


def test_identity_depends_on_what_changes_results_and_nothing_else(
    text_file: Path, tmp_path: Path
) -> None:
    base = run_spec_of(text_file)
    moved = tmp_path / "elsewhere.txt"
    moved.write_bytes(text_file.read_bytes())
    assert run_spec_of(moved).run_id == base.run_id
    assert run_spec_of(text_file, checkpoint_seconds=1.0).run_id == base.run_id
    text_file.write_text(text_file.read_text() + "!")
    different = [
        run_spec_of(text_file),
        run_spec_of(moved, seed=1),
        run_spec_of(moved, learning_rate=2e-3),
        run_spec_of(moved, budget="13steps"),
    ]
    assert len({base.run_id, *(run_spec.run_id for run_spec in different)}) == 5


def test_an_edited_class_is_another_run(text_file: Path, tmp_path: Path) -> None:
    ids = set()
    for number in (1, 2):
        code = tmp_path / f"version{number}.py"
        code.write_text(BLOW_UP + f"# edited {number} times\n")
        flags = {
            "encoding": f"{code}:BlowUp",
            "data": {"name": "text", "path": str(text_file), "grid": 16},
            **SMALL,
        }
        ids.add(assemble(load_recipe(flags=flags), device=CPU).run_id)
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("budget", "field", "least"),
    [("9steps", "steps", 9), ("30examples", "examples", 30), ("600tokens", "tokens", 600)],
)
def test_budgets_are_spent_and_not_exceeded_by_more_than_a_step(
    text_file: Path, tmp_path: Path, budget: str, field: str, least: int
) -> None:
    summary = train_run(run_spec_of(text_file, budget=budget), outputs=tmp_path, device=CPU)
    step = {"steps": 1, "examples": 4, "tokens": 4 * 16}[field]
    assert least <= getattr(summary, field) < least + step


def test_a_budget_of_seconds_counts_what_was_used_before_an_interruption(
    text_file: Path, tmp_path: Path
) -> None:
    run_spec = run_spec_of(text_file, budget="0.3s", log_every=1)
    with pytest.raises(KeyboardInterrupt):
        train_run(run_spec, outputs=tmp_path, device=CPU, callbacks=StopAt(3))
    summary = train_run(run_spec, outputs=tmp_path, device=CPU)
    assert summary.seconds >= 0.3
    run = run_spec.run(tmp_path)
    spent = [line["seconds"] for line in run.metrics()]
    assert spent == sorted(spent)


@pytest.mark.parametrize("budget", ["0.001s", "1steps", "3steps", "12steps"])
@pytest.mark.parametrize("validations", [1, 5, 100])
def test_no_step_is_validated_twice_and_the_last_one_is(
    text_file: Path, tmp_path: Path, budget: str, validations: int
) -> None:
    """A step may use more than the whole budget, or pass several points of the schedule."""
    evaluated: list[str] = []

    class Counting(StopAt):
        def on_evaluate(self, split: str) -> None:
            evaluated.append(split)

    run_spec = run_spec_of(text_file, budget=budget, validations=validations)
    summary = train_run(run_spec, outputs=tmp_path, device=CPU, callbacks=Counting(-1))
    steps = [line["step"] for line in run_spec.run(tmp_path).metrics() if "val" in line]
    assert steps == sorted(set(steps))
    assert steps[-1] == summary.steps
    assert len(steps) == min(validations, summary.steps)
    assert evaluated == ["val"] * len(steps) + ["val", "test"]


@pytest.mark.parametrize(("val", "test", "names"), [(5, 4, 2), (5, 40, 1), (40, 5, 0), (40, 40, 0)])
def test_scores_on_few_items_come_with_a_warning(
    text_file: Path, tmp_path: Path, val: int, test: int, names: int
) -> None:
    watcher = StopAt(-1)
    flags = {
        "data": f"motion:train=40,val={val},test={test}",
        "model": SMALL["model"],
        "training": {"batch": 4, "budget": "1steps"},
    }
    run_spec = assemble(load_recipe(flags=flags), device=CPU)
    train_run(run_spec, outputs=tmp_path, device=CPU, callbacks=watcher)
    assert len(watcher.warnings) == names
    if names:
        assert "val split has 5 items, each worth 20%" in watcher.warnings[0]


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("limit", [None, 3])
def test_the_closing_validation_is_that_of_the_weights_after_the_last_step(
    text_file: Path, tmp_path: Path, data: str, limit: int | None
) -> None:
    """It is reused where limits agree, with the results that a new evaluation has."""
    changes = {"validation_limit": limit, "test_limit": None}
    summaries = []
    for name, settings in {"new": changes, "reused": {}}.items():
        run_spec = run_spec_of(text_file, data=data, **settings)
        summaries.append(train_run(run_spec, outputs=tmp_path / name, device=CPU))
        run = run_spec.run(tmp_path / name)
        assert run.path("items-val.safetensors").is_file()
    assert summaries[0].val == summaries[1].val
    assert summaries[0].test == summaries[1].test


def test_accumulating_a_batch_in_parts_gives_the_same_gradient(
    text_file: Path, tmp_path: Path
) -> None:
    runs = []
    for parts in (1, 4):
        run_spec = run_spec_of(text_file, accumulate=parts, budget="3steps", log_every=1)
        # dropout draws per part, so it must be off to compare
        run_spec = assemble(
            load_recipe(
                flags=run_spec.recipe.model_dump(exclude={"compare"}),
                assignments=["model.dropout=0"],
            ),
            device=CPU,
        )
        train_run(run_spec, outputs=tmp_path, device=CPU)
        runs.append([line["loss"] for line in run_spec.run(tmp_path).metrics() if "loss" in line])
    assert runs[0] == pytest.approx(runs[1], rel=1e-4)


def test_schedule() -> None:
    assert schedule(0.05, 0.1, 0.01) == pytest.approx(0.5)
    assert schedule(0.1, 0.1, 0.01) == pytest.approx(1)
    assert schedule(1.0, 0.1, 0.01) == pytest.approx(0.01)
    assert schedule(0.0, 0.1, 0.01) > 0
    falling = [schedule(share / 50, 0.0, 0.0) for share in range(51)]
    assert falling == sorted(falling, reverse=True)


def test_a_checkpoint_of_another_model_is_refused(text_file: Path, tmp_path: Path) -> None:
    run_spec = run_spec_of(text_file)
    with pytest.raises(KeyboardInterrupt):
        train_run(run_spec, outputs=tmp_path, device=CPU, callbacks=StopAt(4))
    other = torch.nn.Linear(3, 3)
    with pytest.raises(LiereError, match="of another model"):
        load_checkpoint(run_spec.run(tmp_path), other, torch.optim.AdamW(other.parameters()))


def test_every_run_stores_what_is_needed_to_repeat_it(text_file: Path, tmp_path: Path) -> None:
    run_spec = run_spec_of(text_file)
    summary = train_run(run_spec, outputs=tmp_path, device=CPU)
    run = run_spec.run(tmp_path)
    assert assemble(run.recipe(), device=CPU).run_id == run_spec.run_id
    assert run.path("signature.txt").read_text().strip() == summary.signature
    assert json.loads(run.path("environment.json").read_text())["torch"] == torch.__version__
    items = load_file(run.path("items-test.safetensors"))
    bits = items["loss"].double().sum() / items["weight"].sum() / torch.log(torch.tensor(2.0))
    assert float(bits) == pytest.approx(summary.test, rel=1e-6)
