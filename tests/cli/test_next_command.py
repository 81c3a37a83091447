"""The command that a comparison's last line names."""

from pathlib import Path

import pytest

from liere_cli.api.compare import ComparisonRequest
from liere_cli.api.comparison import Comparison
from liere_cli.cli.next_command import next_command
from liere_cli.comparison.tables.build import ComparisonTable, make_table
from liere_cli.planning.plan import Plan
from support.synthetic_tables import Result, dataset_of

AXIAL = [0.30, 0.32, 0.31, 0.33, 0.34]


def table(other: list[Result]) -> ComparisonTable:
    dataset, outcomes = dataset_of({"axial": AXIAL[: len(other)], "liere": other})
    return make_table(Plan("quick", (dataset,), tuple(range(len(other)))), outcomes)


def command(other: list[Result], **arguments: object) -> str | None:
    request = ComparisonRequest.validated({"source": "quick"} | arguments, "test")
    return next_command(request, Comparison([table(other)]))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ([0.5, 0.52, 0.51, 0.53, 0.55], None),
        ([0.31, 0.34, 0.30, 0.35, 0.36], "liere compare quick --until-settled"),
        ([0.31, 0.34, 0.33], "liere compare quick --seeds 5"),
        ([0.31, 0.34, "failed", 0.35, 0.36], "liere compare quick"),
        ([0.31, 0.34, "missing", 0.35, 0.36], "liere compare quick"),
    ],
)
def test_it_settles_what_is_open(other: list[Result], expected: str | None) -> None:
    found = command(other)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert found.partition(" --max-seeds")[0] == expected


def test_it_repeats_the_flags() -> None:
    found = command(
        [0.31, 0.34, 0.33],
        encodings=["rope", "liere:block=8"],
        assignments=["training.batch=4", "data.path=my file"],
        out=Path("elsewhere"),
        against_itself=True,
    )
    assert found == (
        "liere compare quick --encodings rope,liere:block=8 --seeds 5 --set training.batch=4 "
        "--set 'data.path=my file' --aa --out elsewhere"
    )
