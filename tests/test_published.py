"""What lies under outputs/published/ agrees with itself: recipe, table and text."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liere_cli.config.files import load_recipe
from liere_cli.planning.from_recipe import plan_comparison
from liere_cli.runs.context import Context
from liere_cli.statistics.correction import holm
from liere_cli.statistics.item_errors import ItemError, StoredItemError
from liere_cli.statistics.scores import Pair, Scores
from liere_cli.statistics.sequential import InterimAnalyses
from liere_cli.statistics.verdicts import FIRST_LOOK, Looks, judge

ROOT = Path(__file__).parent.parent
FOLDERS = sorted(path.parent for path in (ROOT / "outputs" / "published").glob("*/table.json"))
#: tables on runs of an earlier one, with the comparisons of both
LATER_TABLES = {"spectrum": Looks(1, 19 + 5)}
published = pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)


def table_in(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "table.json").read_text())
    return content


def test_something_is_published() -> None:
    assert FOLDERS


@published
def test_the_recipe_is_the_one_of_the_table(folder: Path) -> None:
    recipe, table = load_recipe(folder / "recipe.yaml"), table_in(folder)
    assert recipe.compare is not None
    seeds = ",".join(map(str, recipe.compare.seeds))
    added = recipe.compare.until_settled is not None
    assert f"|seeds:{seeds}{',' if added else '|'}" in table["signature"]
    for dataset, result in zip(recipe.compare.data, table["tables"], strict=True):
        assert result["budget"] == {**recipe.training.model_dump(), **dataset.training}["budget"]
        assert result["fingerprint"] in table["signature"]
        planned = {row["planned"] for row in result["rows"]}
        assert min(planned) >= len(recipe.compare.seeds)
        assert added or len(planned) == 1


@pytest.mark.parametrize("name", ["motion", "pointing"])
def test_recipes_plan_the_runs_that_were_trained(name: str, tmp_path: Path) -> None:
    """Their data is generated, so every part of an identity is known; settings added since then
    must not have changed it.
    """
    folder = ROOT / "outputs" / "published" / name
    plan = plan_comparison(load_recipe(folder / "recipe.yaml"), Context(tmp_path))
    trained = re.findall(r"\|id:(\w+)", (folder / "signatures.txt").read_text())
    assert set(trained) <= {run.run_id for run in plan.runs}


@published
def test_the_text_closes_with_the_signature(folder: Path) -> None:
    signature = table_in(folder)["signature"]
    assert signature in (folder / "table.md").read_text()
    assert signature in (folder / "README.md").read_text()


@published
def test_every_run_has_its_signature(folder: Path) -> None:
    lines = (folder / "signatures.txt").read_text().split()
    planned = sum(row["planned"] for one in table_in(folder)["tables"] for row in one["rows"])
    assert len(lines) == len(set(lines)) >= planned - len(table_in(folder)["tables"])


@published
def test_means_and_differences_follow_from_the_results_of_each_seed(folder: Path) -> None:
    for table in table_in(folder)["tables"]:
        [baseline] = [row for row in table["rows"] if row["baseline"]]
        for row in table["rows"]:
            values = {int(seed): value for seed, value in row["values"].items()}
            assert row["finished"] == len(values)
            np.testing.assert_allclose(row["mean"], np.mean(list(values.values())))
            if row["difference"] is None or row["own_seeds"]:
                continue
            shared = {int(seed): value for seed, value in baseline["values"].items()}
            differences = [
                values[seed] - shared[seed] for seed in sorted(values.keys() & shared.keys())
            ]
            np.testing.assert_allclose(row["difference"], np.mean(differences), atol=1e-12)
            np.testing.assert_allclose(row["difference_std"], np.std(differences, ddof=1))


@published
def test_the_tables_show_what_the_json_holds(folder: Path) -> None:
    text = (folder / "table.md").read_text()
    for table in table_in(folder)["tables"]:
        heading = f"### {table['modality']} · {table['title']}\n"
        section = text.partition(heading)[2].partition("\n### ")[0]
        for row in table["rows"]:
            lines = [line.split(" | ") for line in section.splitlines()]
            [cells] = [cells for cells in lines if cells[0] == f"| {row['encoding']}"]
            assert row["shown"] in cells
            assert str(row["finished"]) in cells


def pairs_of(table: dict[str, Any]) -> list[Pair]:
    """The comparisons of one data set by the results of each seed."""
    rows = table["rows"]
    seeds = sorted({seed for row in rows for seed in row["values"]}, key=int)
    values = np.array([[row["values"].get(seed, np.nan) for seed in seeds] for row in rows])
    scores = Scores(values, np.zeros(values.shape, dtype=bool), table["higher_is_better"])
    baseline = next(index for index, row in enumerate(rows) if row["baseline"])
    pairs = []
    for index, row in enumerate(rows):
        if index != baseline:
            error = ItemError(row["test_error"], row["test_clusters"], row["test_freedom"])
            items = StoredItemError(row["shared_seeds"], error)
            pairs.append(Pair(scores, index, baseline, table["margin"], items))
    return pairs


@published
def test_verdicts_and_intervals_follow_from_the_results_of_each_seed(folder: Path) -> None:
    content = table_in(folder)
    tables = content["tables"]
    compared = [row for table in tables for row in table["rows"] if not row["baseline"]]
    looks = LATER_TABLES.get(folder.name, FIRST_LOOK)
    assert content["earlier_tables"] == looks.tables
    if content["interim_analyses"]:
        sizes = content["interim_analyses"]
        interim = InterimAnalyses(sizes[0], sizes[-1])
        smallest = [
            min(interim.corrected(np.array(p), int(n)) for n, p in row["interim_p"].items())
            for row in compared
        ]
        corrected = holm(smallest)
        for row, p in zip(compared, corrected, strict=True):
            np.testing.assert_allclose(row["p_corrected"], p)
            better = (row["difference"] > 0) == tables[0]["higher_is_better"]
            found = "better" if better else "worse"
            assert row["verdict"] == (found if p <= 0.05 else "undecided")
        return
    pairs = [pair for table in tables for pair in pairs_of(table)]
    for row, verdict in zip(compared, judge(pairs, looks=looks), strict=True):
        assert row["verdict"] == verdict.label
        for key in ("low", "high", "p_corrected"):
            expected = getattr(verdict, key)
            if expected is None:
                assert row[key] is None
            else:
                np.testing.assert_allclose(row[key], expected, rtol=1e-9)
