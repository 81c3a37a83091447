"""``liere judge``: verdicts on files of scores, as people and other tools write them."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from liere_cli.cli.app import app

LEVELS = {"rope": 0.5, "liere": 0.6, "none": 0.3}
SCORES = {
    (encoding, seed): round(level + noise, 5)
    for encoding, level in LEVELS.items()
    for seed, noise in enumerate(np.random.default_rng(len(encoding)).normal(0, 0.01, 10).tolist())
}
FLAGS = ("--baseline=rope", "--higher-is-better")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def liere(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["judge", *arguments], env={"COLUMNS": "200"})


def lines(seeds: int = 5) -> list[str]:
    rows = [f"{name},{seed},{score}" for (name, seed), score in SCORES.items() if seed < seeds]
    return ["encoding,seed,score", *rows]


def write(path: str, content: list[str] | bytes) -> str:
    if isinstance(content, list):
        content = ("\n".join(content) + "\n").encode()
    Path(path).write_bytes(content)
    return path


def rows(result: Result, table: int = 0) -> dict[str, dict[str, Any]]:
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    return {row["encoding"]: row for row in content["tables"][table]["rows"]}


def refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for part in parts:
        assert part in result.stderr


def test_a_file_of_scores_has_the_tables_of_compare(here: Path) -> None:
    path = write("runs.csv", lines())
    result = liere(path, *FLAGS, "--verbose")
    assert result.exit_code == 0, result.output
    for part in ("better", "worse", "1 better · 1 worse", "moderated paired t test"):
        assert part in result.stdout
    for form in ("markdown", "latex", "csv", "json"):
        assert "liere" in liere(path, *FLAGS, f"--format={form}").stdout
    as_json = liere(path, *FLAGS, "--json")
    assert as_json.stdout == liere(path, *FLAGS, "--format=json").stdout
    assert rows(as_json)["liere"]["verdict"] == "better"
    values = {str(seed): SCORES["liere", seed] for seed in range(5)}
    assert rows(as_json)["liere"]["values"] == values


def test_the_direction_margin_and_rankings_are_flags(here: Path) -> None:
    path = write("runs.csv", lines(10))
    lower = rows(liere(path, "--baseline=rope", "--lower-is-better", "--json"))
    assert (lower["liere"]["verdict"], lower["none"]["verdict"]) == ("worse", "better")
    wide = rows(liere(path, *FLAGS, "--margin=0.15", "--json"))
    assert wide["liere"]["verdict"] == "equivalent"
    ranked = json.loads(liere(path, *FLAGS, "--all-pairs", "--json").stdout)
    (ranking,) = ranked["rankings"]
    assert (ranking["order"], ranking["best"]) == (["liere", "rope", "none"], ["liere"])
    assert ranking["letters"] == {"liere": "a", "rope": "b", "none": "c"}
    assert len(ranking["pairs"]) == 3
    assert "liere is the best encoding" in liere(path, *FLAGS, "--all-pairs").stdout


def test_earlier_tables_are_a_flag(here: Path) -> None:
    path = write("runs.csv", lines(10))
    first, third = (
        rows(liere(path, *FLAGS, *flags, "--json"))["liere"]["p_corrected"]
        for flags in ((), ("--looks=5,8",))
    )
    assert third == pytest.approx(4 * first)


def changed(line: int, text: str) -> Callable[[list[str]], list[str] | bytes]:
    """Replaces a line, counted from 1."""
    return lambda rows: [*rows[: line - 1], text, *rows[line:]]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (changed(1, "encoding,seed,scor"), ["line 1", "'score'", "did you mean 'scor'"]),
        (changed(1, "encoding,sed,score"), ["line 1", "'seed'", "did you mean 'sed'"]),
        (changed(1, "name,seed,score"), ["line 1", "'encoding'", "name, seed, score"]),
        (changed(1, "encoding,seed,seed"), ["line 1", "column 'seed' twice"]),
        (changed(4, "rope,2,high"), ["line 4", "column score", "'high' is not a number"]),
        (changed(4, "rope,2,nan"), ["line 4", "column score", "nan", "status diverged"]),
        (changed(4, "rope,2,-inf"), ["line 4", "column score", "-inf"]),
        (changed(4, "rope,2,"), ["line 4", "column score", "is empty"]),
        (changed(4, "rope,,0.5"), ["line 4", "column seed", "is empty"]),
        (changed(4, ",2,0.5"), ["line 4", "column encoding", "is empty"]),
        (changed(4, "rope,1,0.5"), ["line 4", "column seed", "rope has seed 1", "line 3"]),
        (changed(4, "rope,2"), ["line 4", "2 columns", "3"]),
        (changed(4, 'rope,"2,0.5'), ["is not CSV"]),
        (
            lambda rows: [f"{row},{'metric' if not index else f'm{index // 8}'}"
                          for index, row in enumerate(rows)],
            ["line 9", "column metric", "'m1', but 'm0'"],
        ),
        (
            lambda rows: [f"{row},{'status' if not index else 'finshed'}"
                          for index, row in enumerate(rows)],
            ["line 2", "column status", "did you mean 'finished'", "diverged, failed"],
        ),
        (lambda rows: [row for row in rows if ",0," in row or "seed" in row],
         ["line 4", "column seed", "shares two seeds", "rope"]),
        (lambda rows: rows[:1], ["no rows"]),
        (lambda rows: b"", ["no rows"]),
        (lambda rows: "\n".join(rows).encode() + b"\nli\xe8re,5,0.5\n",
         ["line 17", "not UTF-8", "0xe8"]),
        (lambda rows: "\n".join(rows).encode("utf-16"), ["line 1", "not UTF-8"]),
        (lambda rows: b"encoding,seed,score\0\n", ["is not a CSV file"]),
    ],
)  # fmt: skip
def test_files_that_can_not_be_judged_are_one_sentence(
    here: Path, change: Callable[[list[str]], list[str] | bytes], parts: list[str]
) -> None:
    refused(liere(write("runs.csv", change(lines())), *FLAGS), "runs.csv", *parts)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--baseline=rop", "--higher-is-better"], ["rop", "did you mean 'rope'"]),
        (["--baseline=rope"], ["'score'", "--higher-is-better", "--lower-is-better"]),
        ([*FLAGS, "--margin=0"], ["--margin 0"]),
        ([*FLAGS, "--margin=-1"], ["--margin -1"]),
        ([*FLAGS, "--margin=nan"], ["--margin nan"]),
        ([*FLAGS, "--margin=inf"], ["--margin inf"]),
        ([*FLAGS, "--looks=five"], ["--looks five", "5,10"]),
        ([*FLAGS, "--column=score"], ["--column score", "WHAT=NAME"]),
        ([*FLAGS, "--column=scor=x"], ["--column scor=x", "encoding, seed, score"]),
        ([*FLAGS, "--column=score=scores"], ["no column 'scores'", "did you mean 'score'"]),
        ([*FLAGS, "--items=none.csv"], ["none.csv", "no such file"]),
        ([*FLAGS, "none.csv"], ["none.csv", "no such file"]),
        ([*FLAGS, "--format=html"], ["html"]),
        ([], ["--baseline"]),
    ],
)
def test_invalid_flags_are_one_sentence(here: Path, arguments: list[str], parts: list[str]) -> None:
    refused(liere(write("runs.csv", lines()), *arguments), *parts)


def test_ten_thousand_rows_are_judged(here: Path) -> None:
    generator = np.random.default_rng(0)
    scores = generator.normal(0.5, 0.01, (20, 100, 5))
    path = write("runs.csv", [
        "data,encoding,seed,score",
        *(f"d{data},e{encoding},{seed},{scores[data, encoding, seed]:.6f}"
          for data in range(20) for encoding in range(100) for seed in range(5)),
    ])  # fmt: skip
    result = liere(path, "--baseline=e0", "--higher-is-better", "--format=csv")
    assert result.exit_code == 0, result.output
    judged = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(judged) == 2000
    assert {row["verdict"] for row in judged if row["baseline"] == "False"} == {"undecided"}


def test_failed_runs_are_results(here: Path) -> None:
    statuses = {("liere", 3): "crashed", ("none", 4): "diverged", ("none", 2): "Finished"}
    table = ["encoding,seed,score,status"] + [
        f"{name},{seed},{'' if statuses.get((name, seed), 'F')[0] in 'cd' else score},"
        f"{statuses.get((name, seed), '')}"
        for (name, seed), score in SCORES.items()
    ]
    path = write("runs.csv", table)
    judged = rows(liere(path, *FLAGS, "--json"))
    counts = {name: (judged[name]["failed"], judged[name]["diverged"]) for name in LEVELS}
    assert counts == {"rope": (0, 0), "liere": (1, 0), "none": (0, 1)}
    assert judged["liere"]["shared_seeds"] == 9
    assert judged["liere"]["failure_rate_high"] > 0.39
    text = liere(path, *FLAGS).stdout
    assert "9 of 10 seeds finished" in " ".join(text.split())


def test_other_separators_quotes_and_marks_are_read(here: Path) -> None:
    expected = rows(liere(write("runs.csv", lines()), *FLAGS, "--json"))
    for name, content in {
        "semicolons.csv": "\n".join(lines()).replace(",", ";").encode(),
        "tabs.tsv": "\n".join(lines()).replace(",", "\t").encode(),
        "excel.csv": "\r\n".join(lines()).encode("utf-8-sig"),
        "blank.csv": ("\n\n" + "\n\n".join(lines()) + "\n\n").encode(),
        "quoted.csv": "\n".join(
            ",".join(f'"{cell}"' for cell in line.split(",")) for line in lines()
        ).encode(),
        "floats.csv": "\n".join(line.replace(",0.", ".0,0.") for line in lines()).encode(),
    }.items():
        assert rows(liere(write(name, content), *FLAGS, "--json")) == expected, name


def test_several_files_are_one_table(here: Path) -> None:
    whole = lines()
    first, second = write("a.csv", whole[:8]), write("b.csv", [whole[0], *whole[8:]])
    expected = rows(liere(write("runs.csv", whole), *FLAGS, "--json"))
    assert rows(liere(first, second, *FLAGS, "--json")) == expected
    refused(liere(first, first, *FLAGS), "a.csv: line 2", "column seed", "twice")


def test_a_column_table_tells_independent_tables_apart(here: Path) -> None:
    table = ["encoding,seed,score,table"] + [
        f"{row},{name}" for name in ("first", "second") for row in lines()[1:]
    ]
    path = write("runs.csv", table)
    result = liere(path, *FLAGS, "--format=csv")
    assert "2 tables, each corrected for itself" in result.stderr
    judged = list(csv.DictReader(io.StringIO(result.stdout)))
    alone = list(
        csv.DictReader(io.StringIO(liere(write("one.csv", lines()), *FLAGS, "--format=csv").stdout))
    )
    assert [row["table"] for row in judged] == ["first"] * 3 + ["second"] * 3
    for mine, theirs in zip(judged[3:], alone, strict=True):
        assert mine["p_corrected"] == theirs["p_corrected"]


def items(groups: int | None = None) -> list[str]:
    effects = np.random.default_rng(1).normal(0, 0.3, 30)
    header = "encoding,seed,item,score" + ("" if groups is None else ",group")
    rows = [header]
    for (name, seed), score in SCORES.items():
        if seed < 5:
            own = score + (effects - effects.mean()) * (1 + len(name)) / 5
            rows += [
                f"{name},{seed},i{index},{value:.6f}"
                + ("" if groups is None else f",g{index % groups}")
                for index, value in enumerate(own)
            ]
    return rows


def test_results_per_item_add_the_error_of_the_test_set(here: Path) -> None:
    path = write("runs.csv", lines())
    alone = rows(liere(path, *FLAGS, "--json"))["liere"]
    each = rows(liere(path, *FLAGS, f"--items={write('items.csv', items())}", "--json"))["liere"]
    grouped = rows(liere(path, *FLAGS, f"--items={write('groups.csv', items(6))}", "--json"))[
        "liere"
    ]
    assert (alone["test_clusters"], each["test_clusters"], grouped["test_clusters"]) == (
        None, 30, 6,
    )  # fmt: skip
    assert alone["p"] < each["p"]


@pytest.mark.parametrize(
    ("line", "text", "parts"),
    [
        (1, "encoding,seed,itm,score", ["line 2", "'item'", "did you mean 'itm'"]),
        (3, "rope,0,i1,x", ["line 3", "column score", "'x'"]),
        (3, "rope,0,i1,nan", ["line 3", "column score"]),
        (3, "rope,0,i0,0.5", ["line 3", "column item", "i0"]),
        (3, "rope,0,other,0.5", ["column item", "same items"]),
        (3, "rope,0", ["line 3", "2 columns"]),
        (3, "rope,9,i1,0.5", ["rope", "seed"]),
    ],
)
def test_items_that_can_not_be_used_are_one_sentence(
    here: Path, line: int, text: str, parts: list[str]
) -> None:
    path = write("runs.csv", lines())
    content = items()
    content[line - 1] = text
    refused(liere(path, *FLAGS, f"--items={write('items.csv', content)}"), "items", *parts)


def test_a_table_of_runs_exported_by_wandb(here: Path) -> None:
    """The columns that W&B writes, those of the configuration and summary among them."""
    header = '"Name","State","Notes","User","Tags","Created","Runtime","Sweep","encoding","seed"'
    table = [f'{header},"test/top1","train/loss"']
    for index, ((name, seed), score) in enumerate(SCORES.items()):
        state = "crashed" if (name, seed) == ("none", 9) else "finished"
        shown = "" if state == "crashed" else score
        table.append(
            f'"{name}-{index}","{state}","","ann","","2026-01-01T00:00:00.000Z","61","",'
            f'"{name}","{seed}","{shown}","0.7"'
        )
    path = write("wandb.csv", table)
    result = liere(path, *FLAGS, "--column=score=test/top1", "--json")
    judged = rows(result)
    assert judged["liere"]["verdict"] == "better"
    assert (judged["none"]["failed"], judged["none"]["shared_seeds"]) == (1, 9)
    refused(liere(path, *FLAGS), "wandb.csv: line 1", "'score'", "test/top1")
    refused(liere(path, *FLAGS, "--column=score=test/top2"), "did you mean 'test/top1'")


def test_a_chart_exported_by_wandb(here: Path) -> None:
    runs = [key for key in SCORES if key[1] < 5]
    header = ["Step"]
    for name, seed in runs:
        chart = f"{name}_seed{seed} - test/top1"
        header += [chart, f"{chart}__MIN", f"{chart}__MAX"]
    table = [",".join(f'"{cell}"' for cell in header)]
    for step in (10, 20, 30):
        cells = [str(step)]
        for index, run in enumerate(runs):
            # runs that were logged at other steps leave gaps
            shown = "" if step == 30 and index % 2 else str(SCORES[run] - (30 - step) / 100)
            if step == 20 and index % 2:
                shown = str(SCORES[run])
            cells += [shown] * 3
        table.append(",".join(cells))
    judged = rows(liere(write("chart.csv", table), *FLAGS, "--json"))
    for name in LEVELS:
        expected = {str(seed): SCORES[name, seed] for seed in range(5)}
        assert judged[name]["values"] == pytest.approx(expected)
    wrong = [table[0].replace("rope_seed0", "sunny-breeze"), *table[1:]]
    refused(liere(write("chart.csv", wrong), *FLAGS), "chart.csv", "sunny-breeze", "rope_seed3")


def test_scalars_exported_by_tensorboard(here: Path) -> None:
    paths = []
    for (name, seed), score in SCORES.items():
        if seed < 5:
            values = [0.1, "NaN" if (name, seed) == ("none", 4) else score]
            rows_of = [f"171234567{step}.5,{step},{value}" for step, value in enumerate(values)]
            paths.append(write(f"{name}-s{seed}.csv", ["Wall time,Step,Value", *rows_of]))
    judged = rows(liere(*paths, *FLAGS, "--json"))
    assert judged["liere"]["values"] == {str(seed): SCORES["liere", seed] for seed in range(5)}
    assert judged["liere"]["verdict"] == "better"
    assert (judged["none"]["diverged"], judged["none"]["shared_seeds"]) == (1, 4)
    Path("rope-s0.csv").rename("events.csv")
    refused(liere("events.csv", *paths[1:], *FLAGS), "events.csv", "tells no encoding and seed")


def test_help_names_every_flag() -> None:
    result = liere("--help")
    assert result.exit_code == 0
    for flag in ("--baseline", "--margin", "--column", "--items", "--all-pairs", "--looks"):
        assert flag in result.stdout
