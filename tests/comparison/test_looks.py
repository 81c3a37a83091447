"""The record of judged tables: which later tables of the same runs are corrected, and how."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from liere_cli.cli.app import app
from liere_cli.comparison import looks
from liere_cli.errors import LiereError
from support.synthetic_runs import train

THREE = "--encodings=axial,rope-mixed,liere"
SETTLED = (THREE, "--until-settled")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("liere_cli.launchers.local.train_run", train)
    return tmp_path


def liere(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["compare", *arguments], env={"COLUMNS": "160"})


def compare(*arguments: str) -> Result:
    tiny = ("--set=model.layers=1", "--set=model.dim=32", "--set=model.heads=2")
    return liere("--data=pointing", "--name=compare", *tiny, *arguments)


def judged(*arguments: str) -> dict[str, Any]:
    result = compare(*arguments, "--format=json")
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def rows(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["encoding"]: row for row in content["tables"][0]["rows"]}


def record(folder: str = "outputs/compare") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, looks.FILE).read_text().splitlines()]


def test_more_seeds_on_the_same_runs_double_p(here: Path) -> None:
    first = judged(THREE, "--seeds=5")
    again = judged(THREE, "--seeds=10")
    alone = judged(THREE, "--seeds=10", "--out=elsewhere")
    assert [content["earlier_tables"] for content in (first, again, alone)] == [0, 1, 0]
    for name in ("rope-mixed", "liere"):
        corrected, fresh = rows(again)[name], rows(alone)[name]
        assert corrected["p"] == fresh["p"]
        assert corrected["p_corrected"] == pytest.approx(min(2 * fresh["p_corrected"], 1.0))
        assert corrected["low"] < fresh["low"] < fresh["high"] < corrected["high"]
    assert [(table["seeds"], len(table["comparisons"])) for table in record()] == [(5, 2), (10, 2)]
    third = compare(THREE, "--seeds=12", "-v").stdout
    assert "These runs were judged before, in 2 earlier tables" in " ".join(third.split())
    assert "p is multiplied by 4 and corrected over the 2 comparisons" in " ".join(third.split())


def test_the_same_table_is_judged_once(here: Path) -> None:
    first = judged(THREE, "--seeds=5")
    assert judged(THREE, "--seeds=5") == first
    assert judged("--encodings=liere,rope-mixed,axial", "--seeds=4,3,2,1,0")["earlier_tables"] == 0
    runs = json.loads(liere("outputs/compare", "--format=json").stdout)
    assert runs["earlier_tables"] == 0
    assert rows(runs)["liere"]["p_corrected"] == rows(first)["liere"]["p_corrected"]
    assert len(record()) == 1
    second = judged(THREE, "--seeds=10")
    # also after a later table, earlier ones are what they were
    assert judged(THREE, "--seeds=5") == first
    assert judged(THREE, "--seeds=10") == second
    assert len(record()) == 2


def test_tables_below_five_seeds_are_not_looks(here: Path) -> None:
    judged(THREE, "--seeds=4")
    assert not Path("outputs/compare", looks.FILE).exists()
    assert judged(THREE, "--seeds=5")["earlier_tables"] == 0


def test_other_runs_are_other_tables(here: Path) -> None:
    judged(THREE, "--seeds=5")
    other = judged(THREE, "--seeds=5", "--set=training.learning_rate=0.5")
    assert other["earlier_tables"] == 0
    assert len(record()) == 2


def test_fewer_rows_are_corrected_over_all_comparisons_judged(here: Path) -> None:
    judged(THREE, "--seeds=5")
    cut = judged("--encodings=axial,liere", "--seeds=5")
    row = rows(cut)["liere"]
    assert cut["earlier_tables"] == 1
    assert row["p_corrected"] == pytest.approx(min(2 * 2 * row["p"], 1.0))


def test_another_baseline_is_corrected_over_all_comparisons_judged(here: Path) -> None:
    judged(THREE, "--seeds=5")
    other = judged(THREE, "--seeds=5", "--baseline=liere")
    assert other["earlier_tables"] == 1
    compared = [rows(other)[name] for name in ("axial", "rope-mixed")]
    smallest = min(compared, key=lambda row: float(row["p"]))
    # liere against axial is there in both directions
    assert smallest["p_corrected"] == pytest.approx(min(2 * 4 * smallest["p"], 1.0))


def test_a_higher_limit_of_seeds_is_the_same_table(here: Path) -> None:
    judged(*SETTLED, "--max-seeds=6")
    longer = judged(*SETTLED, "--max-seeds=8")
    assert longer["earlier_tables"] == 0
    alone = judged(*SETTLED, "--max-seeds=8", "--out=elsewhere")
    assert rows(longer)["rope-mixed"]["p_corrected"] == rows(alone)["rope-mixed"]["p_corrected"]
    # a fixed number of seeds, chosen after these results, is another table
    assert judged(THREE, "--seeds=8")["earlier_tables"] > 0


def test_adding_seeds_to_judged_runs_is_corrected(here: Path) -> None:
    judged(THREE, "--seeds=5")
    settled = judged(*SETTLED, "--max-seeds=7")
    assert settled["earlier_tables"] == 1
    alone = judged(*SETTLED, "--max-seeds=7", "--out=elsewhere")
    corrected = [rows(content)["liere"]["p_corrected"] for content in (settled, alone)]
    assert corrected[0] == pytest.approx(2 * corrected[1])


@pytest.mark.parametrize("content", [b"junk\n", b"{}\n", b"\xff\n", b'{"seeds": 1}\n', b"[" * 9999])
def test_a_damaged_record_is_one_sentence(here: Path, content: bytes) -> None:
    compare(THREE, "--seeds=5")
    path = Path("outputs/compare", looks.FILE)
    path.write_bytes(content)
    for result in (compare(THREE, "--seeds=5"), liere("outputs/compare")):
        assert result.exit_code == 1, result.output
        (line,) = [text for text in result.stderr.splitlines() if text.startswith("error")]
        assert str(path) in line
        assert "delete it" in " ".join(result.stderr.split())
        assert "Traceback" not in result.output
    path.unlink()
    assert compare(THREE, "--seeds=5").exit_code == 0


def test_runs_in_a_read_only_folder_are_judged_with_a_warning(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(THREE, "--seeds=5")
    path = Path("outputs/compare", looks.FILE)
    path.unlink()

    def refuse(path: Path, content: str) -> None:
        raise LiereError(f"{path}: can't be written (Read-only file system)")

    monkeypatch.setattr(looks, "write_atomically", refuse)
    runs = liere("outputs/compare", "--format=json")
    assert runs.exit_code == 0, runs.output
    assert rows(json.loads(runs.stdout))["liere"]["verdict"] == "better"
    assert "later tables can't be corrected for this one" in runs.stderr
    recipe = compare(THREE, "--seeds=5")
    assert recipe.exit_code == 1
    assert f"{path}: can't be written" in " ".join(recipe.stderr.split())
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert not path.exists()
