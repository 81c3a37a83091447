"""``liere runs``, ``liere status`` and ``liere cache`` as a person uses them."""

import csv
import io
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import liere_cli
from liere_cli.cli.app import app
from liere_cli.config.files import load_recipe
from liere_cli.runs.build import assemble
from liere_cli.runs.folder import Run
from liere_cli.utils.files import locked
from support.locks import locked_elsewhere
from support.small_runs import CPU
from support.synthetic_runs import TINY, begin_run, train, write_run

OUT = Path("outputs")
TINY_FLAGS = ("--set=model.layers=1", "--set=model.dim=32", "--set=model.heads=2")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("liere_cli.launchers.local.train_run", train)
    return tmp_path


def liere(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def compare(*arguments: str) -> Result:
    return liere("compare", *TINY_FLAGS, *arguments)


def some_runs(*, begun: bool = True) -> dict[str, Run]:
    """A finished, a diverged and an interrupted run, by their encodings."""
    runs = {}
    for encoding, data in (("axial", "pointing"), ("liere:block=8", "motion"), ("none", "motion")):
        flags = {"encoding": encoding, "data": data, "model": TINY, "experiment": "mine"}
        run_spec = assemble(load_recipe(flags=flags), device=CPU)
        if encoding == "none":
            if begun:
                runs[encoding] = begin_run(run_spec, OUT)
            continue
        diverged = {"status": "diverged", "test": None, "val": None, "error": "the loss was nan"}
        runs[encoding] = write_run(run_spec, OUT, **(diverged if data == "motion" else {}))
        for name in ("best.safetensors", "last.safetensors"):
            runs[encoding].path(name).write_bytes(b"weights")
    return runs


def refused(result: Result, *parts: str, code: int = 2) -> None:
    assert result.exit_code == code, result.output
    for part in parts:
        assert part in result.stderr


def test_the_list_has_a_row_for_each_run_whatever_its_state(here: Path) -> None:
    runs = some_runs()
    listed = json.loads(liere("runs", "--json").stdout)
    assert {row["id"]: row["status"] for row in listed} == {
        runs["axial"].run_id: "finished",
        runs["liere:block=8"].run_id: "diverged",
        runs["none"].run_id: "partial",
    }
    shown = liere("runs").stdout
    for row in listed:
        line = next(line for line in shown.splitlines() if line.startswith(row["id"]))
        assert row["status"] in line
        assert row["encoding"] in line
        assert row["bytes"] == sum(f.stat().st_size for f in Path(row["folder"]).rglob("*.*"))
    with locked_elsewhere(runs["none"]):
        assert "running" in liere("runs", "--encoding=none").stdout


def test_filters_take_names_with_and_without_options(here: Path) -> None:
    some_runs()

    def chosen(*flags: str) -> list[str]:
        return sorted(row["encoding"] for row in json.loads(liere("runs", "--json", *flags).stdout))

    assert chosen("--encoding=liere") == ["liere:block=8"]
    assert chosen("--encoding=liere:block=8,none") == ["liere:block=8", "none"]
    assert chosen("--data=motion", "--status=diverged,finished") == ["liere:block=8"]
    refused(liere("runs", "--encoding=leire"), "did you mean 'liere'")
    refused(liere("runs", "--status=finishd"), "did you mean 'finished'")
    refused(liere("runs", "--each=validation"), "--format csv")


def test_csv_and_data_frames_are_tidy(here: Path) -> None:
    (here / "verse.txt").write_text("The quick brown fox jumps over the lazy dog. " * 40)
    run = liere_cli.train(
        encoding="rope", data="text:verse.txt,grid=16", budget="4steps", device="cpu",
        assignments=["model.layers=1", "model.dim=16", "model.heads=2", "training.validations=2",
                     "training.validation_limit=4", "training.test_limit=4"],
    )  # fmt: skip
    lines = list(csv.DictReader(io.StringIO(liere("runs", "--format=csv").stdout)))
    assert [line["id"] for line in lines] == [run.run_id]
    loaded = liere_cli.load_runs()
    assert float(lines[0]["score"]) == loaded[0].score
    validations = csv.DictReader(
        io.StringIO(liere("runs", "--format=csv", "--each=validation").stdout)
    )
    rows = list(validations)
    logged = [line for line in run.metrics() if "val" in line]
    assert [int(row["step"]) for row in rows] == [line["step"] for line in logged] == [2, 4]
    assert [float(row["val"]) for row in rows] == [line["val"] for line in logged]
    pytest.importorskip("pandas", reason="pandas is not installed")
    assert list(loaded.to_pandas()["id"]) == [run.run_id]
    assert list(loaded.to_pandas("validation")["val"]) == [line["val"] for line in logged]


def test_a_run_is_named_by_the_first_digits_of_its_identity(here: Path) -> None:
    runs = some_runs()
    run = runs["axial"]
    for name in (run.run_id[:6], run.run_id, run.name, str(run.folder)):
        shown = json.loads(liere("runs", "show", name, "--json").stdout)
        assert shown["row"]["id"] == run.run_id
        assert "encoding:" in shown["signature"]
        assert "encoding:" in shown["recipe"]
    assert "recipe.yaml" in liere("runs", "show", run.run_id[:4]).stdout
    refused(liere("runs", "show", run.run_id[:3]), "no run")
    refused(liere("runs", "show", "zzzz"), "no run")
    other = run.folder.with_name(f"x-{run.run_id[:6]}000000")
    run.folder.rename(other.with_name("y-" + run.run_id))
    other.mkdir()
    (other / "recipe.yaml").write_text("")
    refused(liere("runs", "show", run.run_id[:6]), "2 runs begin so", "more digits")


def test_rm_asks_and_removes_the_whole_folder(here: Path) -> None:
    run = some_runs()["axial"]
    refused(liere("runs", "rm", run.run_id), "--yes")
    assert run.folder.is_dir()
    result = liere("runs", "rm", run.run_id[:5], "--yes")
    assert result.exit_code == 0, result.output
    assert "removed 1 run" in result.stderr
    assert not run.folder.exists()
    assert not list((OUT / ".removed").iterdir())
    refused(liere("runs", "rm", run.run_id, "--yes"), "no run")


@pytest.mark.parametrize(
    ("flags", "left", "weights"),
    [
        (["--failed"], {"axial", "none"}, {"axial"}),
        (["--weights"], {"axial", "liere:block=8", "none"}, set()),
        (["--weights", "--data=pointing"], {"axial", "liere:block=8", "none"}, {"liere:block=8"}),
        (["--older-than=1d"], {"axial", "liere:block=8", "none"}, {"axial", "liere:block=8"}),
        (["--status=partial"], {"axial", "liere:block=8"}, {"axial", "liere:block=8"}),
    ],
)
def test_prune_removes_what_meets_every_condition(
    here: Path, flags: list[str], left: set[str], weights: set[str]
) -> None:
    runs = some_runs()
    shown = liere("runs", "prune", *flags, "--dry-run").stdout.split()
    assert all(run.folder.is_dir() for run in runs.values())
    result = liere("runs", "prune", *flags, "--yes")
    assert result.exit_code == 0, result.output
    assert {name for name, run in runs.items() if run.folder.is_dir()} == left
    kept = {name for name, run in runs.items() if run.path("last.safetensors").is_file()}
    assert kept == weights
    if "--weights" not in flags:
        assert set(shown) == {str(run.folder) for name, run in runs.items() if name not in left}
        return
    summary = runs["axial"].summary()
    assert summary is not None
    assert summary.test is not None


def test_runs_of_a_comparison_in_progress_are_kept(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Result] = []

    def train_and_prune(run_spec: Any, **arguments: Any) -> Any:
        if run_spec.encoding == "liere":
            kept.append(liere("runs", "prune", "--status=finished", "--yes"))
            raise KeyboardInterrupt
        return train(run_spec, **arguments)

    monkeypatch.setattr("liere_cli.launchers.local.train_run", train_and_prune)
    flags = ("--data=pointing", "--encodings=axial,liere", "--seeds=1", "--name=mine")
    assert compare(*flags).exit_code == 130
    (result,) = kept
    assert result.exit_code == 1
    assert "belongs to the comparison 'mine', which is in progress" in result.stderr
    assert len(list((OUT / "mine").glob("*-axial-*"))) == 1
    assert liere("runs", "prune", "--status=finished", "--yes").exit_code == 0
    assert not list((OUT / "mine").glob("*-axial-*"))


def test_prune_by_age(here: Path) -> None:
    runs = some_runs()
    old = time.time() - 3 * 86400
    for path in runs["axial"].folder.rglob("*"):
        os.utime(path, (old, old))
    assert liere("runs", "prune", "--older-than=2d", "--yes").exit_code == 0
    assert not runs["axial"].folder.exists()
    assert runs["none"].folder.exists()
    refused(liere("runs", "prune"), "--weights", "--older-than")
    refused(liere("runs", "prune", "--older-than=soon"), "soon", "30d")
    refused(liere("runs", "prune", "--failed", "--status=partial"), "--failed")


def test_ad_hoc_comparisons_have_folders_of_their_own(here: Path) -> None:
    compare("--data=pointing", "--encodings=axial,liere", "--seeds=2")
    compare("--data=pointing", "--encodings=axial,none", "--seeds=2")
    compare("--data=pointing", "--encodings=axial,none", "--seeds=3")
    compare("--data=pointing", "--encodings=axial,none", "--seeds=2", "--name=mine")
    folders = sorted(path.name for path in OUT.glob("[!.]*"))
    assert len(folders) == 3
    assert "mine" in folders
    assert re.fullmatch("axial-liere-pointing-[0-9a-f]{6}", folders[0])
    assert re.fullmatch("axial-none-pointing-[0-9a-f]{6}", folders[1])
    table = json.loads((OUT / folders[0] / "table.json").read_text())
    assert [row["encoding"] for row in table["tables"][0]["rows"]] == ["axial", "liere"]
    refused(compare("--data=pointing", "--name=../x"), "--name ../x", "letters")


def test_a_recipe_that_flags_change_is_another_comparison(here: Path) -> None:
    (here / "mine.yaml").write_text(
        "model: {layers: 1, dim: 32, heads: 2}\n"
        "compare: {data: [pointing], encodings: [axial, none], seeds: 2}\n"
    )
    for flags in ([], ["--seeds=3"], ["--budget=3steps"], ["--encodings=axial"]):
        assert liere("compare", "mine.yaml", *flags).exit_code == 0
    names = {path.name for path in OUT.glob("[!.]*")}
    assert len(names) == 3
    assert "mine" in names
    assert all(re.fullmatch(r"mine(-[0-9a-f]{6})?", name) for name in names)


def test_no_table_replaces_that_of_another_comparison(here: Path) -> None:
    text = "compare: {data: [pointing], encodings: [axial, none], seeds: 2}\n"
    model = "model: {layers: 1, dim: 32, heads: 2}\n"
    (here / "mine.yaml").write_text(model + text)
    liere("compare", "mine.yaml")
    first = (OUT / "mine" / "table.md").read_text()
    liere("compare", "mine.yaml", "--seeds=3")  # the same comparison, at more seeds
    assert not (OUT / "mine" / "earlier").exists()
    (here / "mine.yaml").write_text(model + text.replace("none", "liere"))
    liere("compare", "mine.yaml")
    (earlier,) = (OUT / "mine" / "earlier").iterdir()
    assert "none" in (earlier / "table.md").read_text()
    assert "liere" in (OUT / "mine" / "table.md").read_text()
    assert liere("compare", str(earlier / "comparison.yaml"), "--seeds=2").exit_code == 0
    assert first == (OUT / "mine" / "table.md").read_text()
    assert len(list((OUT / "mine" / "earlier").glob("*/table.json"))) == 2


def test_a_comparison_s_folder_includes_runs_that_it_reuses(here: Path) -> None:
    compare("--data=pointing", "--encodings=axial,liere,none", "--seeds=2", "--name=first")
    compare("--data=pointing", "--encodings=axial,none", "--seeds=2", "--name=second")
    assert not list((OUT / "second").glob("*-*"))
    result = liere("compare", "outputs/second", "--format=json")
    rows = json.loads(result.stdout)["tables"][0]["rows"]
    assert [(row["encoding"], row["finished"]) for row in rows] == [("axial", 2), ("none", 2)]


def test_finished_runs_are_chosen_by_encoding_and_data(here: Path) -> None:
    both = ("--data=pointing,motion", "--encodings=axial,liere,liere:block=8,none")
    compare(*both, "--seeds=2", "--name=all")
    flags = ("--encodings=axial,liere", "--data=motion", "--format=json")
    (table,) = json.loads(liere("compare", "outputs/all", *flags).stdout)["tables"]
    assert table["data"] == "motion"
    # the label liere itself exists, so that block 8 is not meant
    assert [row["encoding"] for row in table["rows"]] == ["axial", "liere"]
    refused(liere("compare", "outputs/all", "--encodings=rope"), "unknown encoding 'rope'", "axial")
    refused(liere("compare", "outputs/all", "--data=movies"), "unknown data set 'movies'")


def test_status_shows_what_is_in_training_and_where(here: Path) -> None:
    assert "nothing is in training" in liere("status").stdout
    runs = some_runs()
    step = {"step": 4, "examples": 128, "seconds": 2.0, "loss": 1.0}
    runs["none"].path("metrics.jsonl").write_text(json.dumps(step) + "\n")
    with locked_elsewhere(runs["none"]) as pid:
        (shown,) = json.loads(liere("status", "--json").stdout)["runs"]
        assert shown["owner"]["pid"] == pid
        assert shown["encoding"] == "none"
        assert shown["share"] == pytest.approx(4 / 1000)
        assert shown["seconds_left"] == pytest.approx(2.0 * 996 / 4)
        text = liere("status").stdout
        assert f"process {pid}" in text
        assert "8m 18s" in text
    assert "nothing is in training" in liere("status", "--watch").stdout


def test_status_counts_the_runs_of_a_comparison(here: Path) -> None:
    compare("--data=pointing", "--encodings=axial,liere", "--seeds=2", "--name=mine")
    assert "mine  4 of 4 runs" in liere("status", "mine").stdout
    run = next((OUT / "mine").glob("*-liere-s1-*"))
    (run / "summary.json").unlink()
    (status,) = json.loads(liere("status", "outputs/mine", "--json").stdout)["comparisons"]
    assert status["states"] == {"finished": 3, "missing": 1}
    assert not status["active"]
    assert "resumes it" in liere("status", "mine").stdout
    assert "nothing is in training" in liere("status").stdout
    with locked_elsewhere(Run(run)):
        assert "1 running" in liere("status").stdout
    plan = json.loads((OUT / "mine" / "plan.json").read_text())
    for owner, active in (({}, True), ({"pid": 2**22 + 1}, False), ({"host": "far"}, False)):
        began = {**plan, "ended": False, "owner": {**plan["owner"], **owner}}
        (OUT / "mine" / "plan.json").write_text(json.dumps(began))
        assert ("3 of 4 runs" in liere("status").stdout) == active
    plan["datasets"][0]["encodings"][0]["runs"][0]["folder"] = "../../etc"
    (OUT / "mine" / "plan.json").write_text(json.dumps(plan))
    refused(liere("status", "mine"), "is damaged", code=1)
    refused(liere("status", "other"), "no such folder")


def test_a_run_remembers_where_its_data_lay(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "verse.txt").write_text("The quick brown fox jumps over the lazy dog. " * 40)
    (here / "copies").mkdir()
    run = liere_cli.train(
        encoding="rope", data="text:verse.txt,grid=16", budget="2steps", device="cpu",
        assignments=["model.layers=1", "model.dim=16", "model.heads=2"], data_root="copies",
    )  # fmt: skip
    assert run.environment()["data_root"] == str(here / "copies")

    def root() -> Path | None:
        return liere_cli.open_trained(run, device="cpu").run_spec.dataset.root

    assert root() == here / "copies"
    (here / "others").mkdir()
    monkeypatch.setenv("LIERE_DATA", str(here / "others"))
    assert root() == here / "others"
    monkeypatch.delenv("LIERE_DATA")
    (here / "copies").rmdir()
    assert root() is None


def test_what_another_process_downloads_stays_in_the_cache(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIERE_CACHE", str(here / "cache"))
    folder = here / "cache" / "downloads"
    folder.mkdir(parents=True)
    for name in ("a.zip.part", "b.zip"):
        (folder / name).write_bytes(b"12345")
    with locked(folder / ".a.zip.lock"):
        result = liere("cache", "clean", "--yes")
        assert result.exit_code == 1
        assert "another process is making it" in result.stderr
    assert (folder / "a.zip.part").exists()
    assert not (folder / "b.zip").exists()
    assert liere("cache", "clean", "--yes").exit_code == 0
    assert not (folder / "a.zip.part").exists()


def test_damage_in_the_cache_is_found_and_removed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from liere_cli.data.sources.cache import prepared

    monkeypatch.setenv("LIERE_CACHE", str(here / "cache"))
    prepared("entry", lambda folder: np.save(folder / "a.npy", np.arange(9)))
    assert liere("cache", "verify").exit_code == 0
    file = here / "cache" / "prepared" / "entry" / "a.npy"
    file.write_bytes(file.read_bytes()[:-8] + bytes(8))
    result = liere("cache", "verify")
    assert result.exit_code == 1
    assert "entry was damaged, and is removed" in " ".join(result.stderr.split())
    assert liere("cache", "verify").exit_code == 0


def test_the_cache_is_shown_and_emptied(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIERE_CACHE", str(here / "cache"))
    for name in ("downloads/a.zip", "prepared/f/train/entry.json", "kernels/k.so", "other/x"):
        path = here / "cache" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    shown = json.loads(liere("cache", "--json").stdout)
    sizes = {part["name"]: part["bytes"] for part in shown["parts"]}
    assert sizes == {"downloads": 5, "prepared": 5, "digests": 0, "kernels": 5}
    assert str(here / "cache") in liere("cache").stderr.replace("\n", "")
    refused(liere("cache", "clean"), "--yes")
    refused(liere("cache", "clean", "kernel", "--yes"), "did you mean 'kernels'")
    assert liere("cache", "clean", "prepared", "--yes").exit_code == 0
    assert not (here / "cache/prepared/f").exists()
    assert (here / "cache/downloads/a.zip").exists()
    assert liere("cache", "clean", "--yes").exit_code == 0
    assert (here / "cache/other/x").exists(), "not liere's"
    assert not (here / "cache/downloads/a.zip").exists()
