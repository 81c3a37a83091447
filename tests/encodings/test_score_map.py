"""Plots of score maps: values are those of the encodings, and errors are one sentence."""

import builtins
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from liere_cli.cli.app import app
from liere_cli.encodings import Grid, available, build_encoding
from liere_cli.encodings.score_map import score_map

SHAPE = {"heads": 2, "head_dim": 8, "depth": 2, "seed": 0}


def liere(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_the_scores_of_rotary_are_the_mean_of_its_cosines() -> None:
    scores = score_map(build_encoding("rope", axes=1, **SHAPE), (9,))
    assert scores.references == ((4,),)
    assert scores.values.shape == (1, 1, 9), "equal heads are merged"
    for key in range(9):
        expected = sum(math.cos((key - 4) * 10_000 ** (-i / 4)) for i in range(4)) / 4
        assert scores.values[0, 0, key] == pytest.approx(expected, abs=1e-5)


def test_the_scores_of_liere_are_traces_of_its_rotations_and_depend_on_the_query() -> None:
    encoding = build_encoding("liere:block=8", axes=2, **SHAPE)
    scores = score_map(encoding, (4, 8), layer=1)
    assert scores.references == ((2, 4), (0, 1))
    rotations = encoding.rotations(Grid((4, 8)).positions("unit"))[1, :, 0]  # type: ignore[operator]
    for row, query in enumerate((2 * 8 + 4, 1)):
        expected = torch.einsum("nij,ntij->nt", rotations[:, query], rotations) / 8
        actual = torch.from_numpy(scores.values[row]).flatten(1)
        torch.testing.assert_close(actual, expected.detach(), rtol=0, atol=1e-4)


def test_heads_are_merged_within_rounding_only() -> None:
    """Equal heads may differ in the last bits, by the order in which the CPU adds."""
    encoding = build_encoding("rope:learned=true", axes=1, **SHAPE)
    frequencies = encoding.get_parameter("frequencies")
    for change, heads in ((1e-7, 1), (1e-3, 2)):
        with torch.no_grad():
            frequencies[:, 1] = frequencies[:, 0] * (1 + change)
        assert score_map(encoding, (9,)).values.shape == (1, heads, 9)


@pytest.mark.parametrize("axes", [1, 2])
def test_biases_and_inner_products_of_embeddings(axes: int) -> None:
    grid = (5, 4)[:axes]
    alibi = score_map(build_encoding("alibi", axes=axes, **SHAPE), grid)
    middle = tuple(n // 2 for n in grid)
    for index in np.ndindex(grid):
        expected = -(2**-4) * math.dist(index, middle)
        assert alibi.values[(0, 0, *index)] == pytest.approx(expected)
    table = build_encoding("absolute", axes=axes, grid=grid, **SHAPE)
    scores = score_map(table, grid)
    vectors = table.table.detach().unflatten(0, grid)  # type: ignore[operator, union-attr]
    expected = vectors @ vectors[middle]
    torch.testing.assert_close(torch.from_numpy(scores.values[0, 0]), expected)
    assert len(scores.references) == 2


@pytest.mark.parametrize("name", [name for name in available() if available()[name].places])
def test_every_encoding_has_a_score_map_at_every_number_of_axes(name: str) -> None:
    for axes, grid in {1: (7,), 2: (3, 4), 3: (3, 2, 3)}.items():
        if available()[name].serves(axes):
            shape = {**SHAPE, "head_dim": 24}
            scores = score_map(build_encoding(name, axes=axes, grid=grid, **shape), grid)
            assert scores.values.shape[2:] == grid
            assert np.isfinite(scores.values).all()


@pytest.mark.parametrize(
    ("spec", "grid", "suffix"),
    [
        ("rope", "16", "svg"),
        ("liere", "4x6", "png"),
        ("axial", "4x4x4", "pdf"),
        ("axial", "1x4x4", "png"),
        ("fire", "8", "png"),
    ],
)
def test_plots_are_written_by_suffix(tmp_path: Path, spec: str, grid: str, suffix: str) -> None:
    path = tmp_path / "deep" / f"kernel.{suffix}"
    done = liere("encodings", spec, f"--plot={path}", f"--grid={grid}")
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    first = path.read_bytes()
    if suffix == "png":
        with Image.open(path) as image:
            assert image.width > 600
            assert len(set(image.convert("L").resize((64, 64)).tobytes())) > 4, "a blank plot"
    else:
        words = first.decode("latin-1")
        assert words.startswith("%PDF") if suffix == "pdf" else "tokens from query to key" in words
    liere("encodings", spec, f"--plot={path}", f"--grid={grid}")
    assert path.read_bytes() == first, "the same plot makes the same file"
    if spec in ("liere", "fire"):
        assert "Not relative" in done.stderr


def test_a_trained_run_is_plotted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("verse.txt").write_text("The quick brown fox jumps over the lazy dog. " * 40)
    trained = liere(
        "train", "--encoding=rope:learned=true", "--data=text:verse.txt,grid=16",
        "--budget=3steps", "--set=model.layers=2", "--set=model.dim=16", "--set=model.heads=2",
        "--set=training.batch=4", "--json",
    )  # fmt: skip
    run = Path(json.loads(trained.stdout)["folder"]).name
    done = liere("encodings", f"--run={run}", "--plot=run.svg", "--layer=1")
    assert done.exit_code == 0, done.output
    picture = Path("run.svg").read_text()
    for words in ("rope:learned=true on verse", "as trained", "Layer 1 of 0 to 1", "head 1"):
        assert words in picture
    beyond = liere("encodings", f"--run={run}", "--plot=run.svg", "--layer=2")
    assert beyond.exit_code == 2
    assert "--layer 2: layers are 0 to 1" in beyond.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rope", "--plot=x.txt"], "--plot x.txt ends in '.txt'; allowed are .png, .svg, .pdf"),
        (["rope", "--plot=x"], "--plot x has no suffix"),
        (["none", "--plot=x.png"], "'none' acts nowhere"),
        (["rope", "--plot=x.png", "--grid=4x4"], "1 axis only, not 2"),
        (["axial", "--plot=x.png", "--grid=2x2x2x2"], "has 4 axes, but a plot shows at most 3"),
        (["rope", "--layer=1"], "--layer 1 says what to draw; it needs --plot FILE"),
        (["--plot=x.png"], "either NAME at initialisation or, with --run RUN"),
        (["rope", "--plot=x.png", "--run=r"], "either NAME at initialisation or, with --run RUN"),
        (["rope", "--plot=x.png", "--json"], "--json: --plot x.png writes a plot"),
        (["ropes", "--plot=x.png"], "unknown encoding 'ropes'; did you mean 'rope'"),
        (["--run=nowhere", "--plot=x.png"], "nowhere"),
    ],
)
def test_what_can_not_be_plotted_is_one_sentence(arguments: list[str], words: str) -> None:
    done = liere("encodings", *arguments)
    assert done.exit_code == 2, done.output
    assert words in done.stderr
    assert done.stderr.strip().count("\n") == 0


def test_without_matplotlib_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    genuine = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return genuine(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    done = liere("encodings", "rope", f"--plot={tmp_path / 'x.png'}")
    assert done.exit_code == 1
    assert "needs matplotlib to be drawn: pip install 'liere[report]'" in done.stderr
