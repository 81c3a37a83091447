"""Evaluation at other lengths and resolutions, and with permuted patches."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from liere_cli.cli.app import app
from liere_cli.data import ByteStream
from liere_cli.data.batches import evaluation_batches, evenly_spaced
from liere_cli.data.patch_shuffle import orders, shuffled
from liere_cli.encodings.extension import MEANINGS
from liere_cli.evaluation.conditions import Condition, block_of

TINY = (
    "--set=model.layers=1", "--set=model.dim=32", "--set=model.heads=2", "--set=training.batch=4",
    "--set=training.validations=1", "--budget=3steps", "--json",
)  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "verse.txt").write_text("The quick brown fox jumps over the lazy dog. " * 60)
    return tmp_path


def liere(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "140"})


def trained(encoding: str, data: str = "text:verse.txt,grid=16") -> str:
    result = liere("train", f"--encoding={encoding}", f"--data={data}", *TINY)
    assert result.exit_code == 0, result.output
    return str(json.loads(result.stdout)["folder"])


def rows(folder: str, *flags: str) -> list[dict[str, Any]]:
    result = liere("eval", folder, *flags, "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["rows"]
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 300), st.integers(1, 20), st.integers(0, 40),
    st.none() | st.integers(1, 12), st.integers(1, 5),
)  # fmt: skip
def test_every_length_predicts_the_same_bytes(
    length: int, block: int, longer: int, limit: int | None, batch: int
) -> None:
    text = ByteStream(torch.arange(length).remainder(251).to(torch.uint8))
    context = block + longer

    def targets(context: int) -> list[list[int]]:
        found = []
        for inputs, goals in evaluation_batches(
            text, batch_size=batch, context=context, block=block, limit=limit
        ):
            assert inputs.shape[1] <= context
            assert goals.shape[1] <= block
            # each goal is the byte after its input
            assert torch.equal(inputs[:, inputs.shape[1] - goals.shape[1] + 1 :], goals[:, :-1])
            full = (inputs[:, 0] == 0) | torch.tensor(goals.shape[1] < block)
            assert inputs.shape[1] == context or bool(full.all()), "only the text's ends are short"
            found += goals.tolist()
        return found

    assert targets(context) == targets(block)
    if limit is None:
        assert [byte for goals in targets(context) for byte in goals] == text.data[1:].tolist()
    else:
        full = (length - 1) // block
        wanted = [int(text.data[1 + block * place]) for place in evenly_spaced(full, limit)]
        assert [goals[0] for goals in targets(context)][: len(wanted)] == wanted


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=3),
    st.integers(0, 99),
)
def test_patches_move_whole_and_come_back(axes: list[tuple[int, int]], seed: int) -> None:
    counts, patch = zip(*axes, strict=True)
    grid = [n * size for n, size in axes]
    inputs = torch.randn(2, 3, *grid, generator=torch.Generator().manual_seed(seed))
    patches = int(torch.tensor(counts).prod())
    order = orders(torch.tensor([seed, seed + 1]), patches)
    moved = shuffled(inputs, patch, order)
    assert moved.shape == inputs.shape
    assert torch.equal(shuffled(moved, patch, order.argsort(1)), inputs)
    for item in range(2):
        for place in range(patches):
            assert torch.equal(
                cut(moved[item], counts, patch, place),
                cut(inputs[item], counts, patch, int(order[item, place])),
            )


def cut(picture: torch.Tensor, counts: Any, patch: Any, place: int) -> torch.Tensor:
    """The patch at a place, the last axis fastest."""
    for axis in reversed(range(len(counts))):
        place, index = divmod(place, counts[axis])
        picture = picture.narrow(1 + axis, index * patch[axis], patch[axis])
    return picture


def test_the_permutation_depends_on_the_item() -> None:
    together, alone = orders(torch.tensor([3, 8]), 16), orders(torch.tensor([8]), 16)
    assert torch.equal(together[1:], alone)
    assert not torch.equal(together[0], together[1])
    assert together.sort(1).values.tolist() == [list(range(16))] * 2


def test_equivalent_conditions_are_equal() -> None:
    assert Condition((16,), "ntk").canonical((16,)) == Condition((16,))
    assert Condition((8,), "pi").canonical((16,)) == Condition((8,))
    for method in ("refit", "edges"):
        assert Condition((8,), method).canonical((16,)) == Condition((8,), method)
    assert Condition((16, 8), "pi").canonical((8, 8)) == Condition((16, 8), "pi")
    assert block_of([(64,), (8,)], (16,)) == 8
    assert block_of([(64, 64)], (32, 32)) is None


def test_longer_text_is_scored_on_the_same_bytes(here: Path) -> None:
    folder = trained("rope")
    summary = json.loads((Path(folder) / "summary.json").read_text())
    found = rows(folder, "--grid=16", "--grid=64", "--extend=none", "--extend=yarn")
    assert [(row["grid"], row["extension"]) for row in found] == [
        ("16", "none"), ("16", "yarn"), ("64", "none"), ("64", "yarn"),
    ]  # fmt: skip
    assert len({row["count"] for row in found}) == 1
    assert found[0]["value"] == found[1]["value"] == pytest.approx(summary["test"])
    assert found[2]["value"] != found[3]["value"]
    few = rows(folder, "--grid=16", "--grid=64", "--limit=3")
    assert [row["count"] for row in few] == [48, 48]
    shown = liere("eval", folder, "--grid=64", "--extend=ntk")
    assert "extension" in shown.stdout
    assert "ntk" in shown.stdout


@pytest.mark.parametrize(
    ("encoding", "data", "grid", "methods"),
    [
        ("rope", "text:verse.txt,grid=16", "48", list(MEANINGS)),
        ("rope:learned=true", "text:verse.txt,grid=16", "48", list(MEANINGS)),
        ("alibi", "text:verse.txt,grid=16", "48", ["none", "pi", "refit", "edges"]),
        ("axial", "pointing:train=8,val=8,test=8", "144", ["none", "pi", "refit", "edges", "ntk"]),
        ("liere", "pointing:train=8,val=8,test=8", "144", ["none", "pi", "refit", "edges"]),
        ("absolute", "pointing:train=8,val=8,test=8", "144", ["none"]),
        (
            "axial",
            "motion:train=8,val=8,test=8",
            "8x24x24",
            ["none", "pi", "refit", "edges", "ntk"],
        ),
    ],
)
def test_every_extension_from_the_command_line(
    here: Path, encoding: str, data: str, grid: str, methods: list[str]
) -> None:
    folder = trained(encoding, data)
    flags = [f"--grid={grid}", *(f"--extend={method}" for method in methods)]
    losses = [row["loss"] for row in rows(folder, *flags)]
    by_method = dict(zip(methods, losses, strict=True))
    if encoding.startswith("rope"):
        # relative encodings of a text see no shift, by which alone pi and edges differ
        assert by_method.pop("edges") == pytest.approx(by_method["pi"], abs=1e-5)
    assert len(set(by_method.values())) == len(by_method), "each method means something else"
    for method in set(MEANINGS) - set(methods):
        result = liere("eval", folder, f"--grid={grid}", f"--extend={method}")
        assert result.exit_code == 2
        assert f"it can be extended by {', '.join(methods)}" in " ".join(result.stderr.split())


def test_shuffled_patches_are_a_row_of_their_own(here: Path) -> None:
    data = "pointing:train=8,val=8,test=8"
    plain, moved = rows(trained("axial", data), "--shuffle")
    assert (plain["shuffled"], moved["shuffled"]) == (False, True)
    assert plain["loss"] != moved["loss"]
    # a mean over tokens without positions is blind to their order
    plain, moved = rows(trained("none", data), "--shuffle")
    assert moved["loss"] == pytest.approx(plain["loss"], rel=1e-5)
    shown = liere("eval", trained("none", data), "--shuffle").stdout
    assert "(trained, shuffled)" in shown


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--extend=ntk"], "--extend ntk: changes nothing on the grid of training"),
        (["--grid=32", "--extend=ynar"], "did you mean 'yarn'"),
        (["--shuffle"], "but verse is text"),
        (["--grid=9999"], "a length of 9999 is too long for the test text"),
    ],
)
def test_mistakes_end_in_one_sentence(here: Path, flags: list[str], words: str) -> None:
    result = liere("eval", trained("rope"), *flags)
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.stderr.split())
    assert result.stderr.count("error:") == 1
