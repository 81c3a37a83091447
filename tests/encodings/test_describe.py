"""The profiles that `liere encodings` shows."""

import json
import re

from typer.testing import CliRunner

from liere_cli.cli.app import app
from liere_cli.encodings import available
from liere_cli.encodings.describe import GRIDS, NANO, profile_at, served_axes

PLANES, LAYERS, HEADS = 16, 4, 4


def extra(spec: str, axes: int = 1) -> float:
    return profile_at(spec, GRIDS[axes], **NANO).flops_per_token


def test_operations_equal_those_of_the_formulas() -> None:
    assert extra("none") == extra("none", 2) == 0
    assert extra("absolute", 2) == 128
    # four products and two sums for each plane of q and k
    turning = 2 * 6 * PLANES * LAYERS * HEADS
    for spec in ("rope", "rope:learned=true", "rope:layout=half-split", "liere:block=2"):
        assert extra(spec) == turning
    # the change of basis is folded into the projection
    assert extra("liere:block=8") == turning
    # a row of 32 products and sums for each channel: four blocks of 8 are applied as one
    assert extra("liere:block=32", 2) == extra("liere:block=8", 2) == 2 * 2 * 32 * 32 * 16


def test_built_in_encodings_name_their_family_and_source() -> None:
    for name, cls in available().items():
        assert cls.family != "other", name
        assert re.search(r"\d{4}\.\d{4,5}|https://|[a-z]+\.[a-z]+/", cls.source), cls.source


def test_one_encoding_is_shown_with_the_options_given() -> None:
    shown = CliRunner().invoke(app, ["encodings", "liere:block=4"], env={"COLUMNS": "120"}).stdout
    for words in ("exp(sum_a p_a", "2406.10322", "block=4", "0..1 over the training grid"):
        assert words in shown
    (row,) = json.loads(CliRunner().invoke(app, ["encodings", "liere", "--json"]).stdout)
    assert [at["relative"] for at in row["by_axes"]] == [True, False, False]
    assert row["weight_decay"] is False
    assert served_axes("rope") == [1]


def test_the_list_is_complete_on_narrow_terminals() -> None:
    for columns in ("40", "120"):
        shown = CliRunner().invoke(app, ["encodings"], env={"COLUMNS": columns}).stdout
        assert set(available()) <= set(shown.split())
