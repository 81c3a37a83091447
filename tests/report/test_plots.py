"""Plots: scales, colours, marks inside their frames, and every file format."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from liere_cli.comparison.per_run.curves import MOST, run_curves
from liere_cli.encodings.score_map import ScoreMap
from liere_cli.report.plots.colours import DARK, PAPER, SERIES, coloured, styles
from liere_cli.report.plots.comparison import sheet, styles_of, training_plots
from liere_cli.report.plots.curves import Curve, learning_curves
from liere_cli.report.plots.files import save
from liere_cli.report.plots.scale import Scale, nice_step, tick_texts
from liere_cli.report.plots.scene import (
    Area,
    Dot,
    Figure,
    Image,
    Line,
    Mark,
    Point,
    Text,
    cut,
    text_width,
)
from liere_cli.report.plots.score_map import score_map_figure
from support.pages import result_of, with_files, write_metrics
from support.synthetic_tables import dataset_of

numbers = st.floats(-1e12, 1e12, allow_subnormal=False)


def points(mark: Mark) -> list[Point]:
    match mark:
        case Line() | Area():
            return list(mark.points)
        case Image():
            return [(mark.x, mark.y), (mark.x + mark.width, mark.y + mark.height)]
        case Dot() | Text():
            return [(mark.x, mark.y)]


def assert_inside(figure: Figure) -> None:
    assert figure.marks
    for mark in figure.marks:
        for x, y in points(mark):
            assert -1 <= x <= figure.width + 1, mark
            assert -1 <= y <= figure.height + 1, mark


@given(st.lists(numbers, min_size=1, max_size=6))
def test_a_scale_covers_its_values_and_ticks_lie_on_it(values: list[float]) -> None:
    scale = Scale.over(values, 10.0, 110.0)
    assert all(10 <= scale(value) <= 110 for value in values)
    ticks = scale.ticks(5)
    assert 1 <= len(ticks) <= 6
    assert all(10 - 1e-3 <= scale(tick) <= 110 + 1e-3 for tick in ticks)
    assert len(set(tick_texts(ticks))) == len(ticks), "every tick reads differently"


@given(st.lists(st.floats(1e-6, 1e9), min_size=2, max_size=6))
def test_logarithmic_scales_too(values: list[float]) -> None:
    assume(max(values) / min(values) > 1.01)
    scale = Scale.over(values, 0.0, 100.0, log=True)
    ticks = scale.ticks(5)
    assert ticks
    assert all(scale.low * (1 - 1e-9) <= tick <= scale.high * (1 + 1e-9) for tick in ticks)
    assert ticks == sorted(ticks)


@given(st.floats(1e-12, 1e12))
def test_steps_between_ticks_are_round(least: float) -> None:
    step = nice_step(least)
    assert least * (1 - 1e-6) <= step <= 5 * least
    digits = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(digits - factor) for factor in (1, 2, 5, 10)) < 1e-6


@given(st.text(max_size=40), st.floats(20, 300))
def test_cut_text_fits(text: str, width: float) -> None:
    shown = cut(text, width)
    assert text_width(shown) <= width or len(shown) <= 1
    assert shown == text or shown.endswith("…")


def linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* of linear RGB."""
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(matrix) @ rgb / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


#: vision without cones of one kind, on linear RGB (Machado, Oliveira and Fernandes 2009)
VISION = {
    "full": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.01182, 0.04294, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.3039]]
    ),
}  # fmt: skip


@pytest.mark.parametrize("palette", [PAPER, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("vision", VISION)
def test_the_first_colours_differ_for_every_kind_of_vision(
    palette: dict[str, str], vision: str
) -> None:
    seen = [
        lab(np.clip(VISION[vision] @ linear(palette[f"series{index}"]), 0, 1)) for index in range(8)
    ]
    distances = [float(np.linalg.norm(a - b)) for index, a in enumerate(seen) for b in seen[:index]]
    assert min(distances) > 12


@pytest.mark.parametrize("palette", [PAPER, DARK], ids=["light", "dark"])
def test_colours_and_text_stand_out_from_the_ground(palette: dict[str, str]) -> None:
    def luminance(name: str) -> float:
        return float(linear(palette[name]) @ [0.2126, 0.7152, 0.0722])

    def contrast(name: str) -> float:
        light, dark = sorted((luminance(name), luminance("surface")), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    assert min(contrast(f"series{index}") for index in range(SERIES)) > 2.8
    assert min(contrast("ink"), contrast("muted")) > 4.5


def test_an_encoding_has_one_colour_whatever_it_is_compared_with() -> None:
    small, large = (
        styles(["rope", "liere"]),
        styles(["none", "liere:block=2", "xpos", "liere", "rope"]),
    )
    for name in ("rope", "liere"):
        assert small[name] == large[name]
    assert len(set(large.values())) == 5


@given(st.lists(st.text(max_size=5), unique=True, max_size=35))
def test_encodings_are_distinct_by_colour_marker_and_dash(names: list[str]) -> None:
    assert len(set(styles(names).values())) == len(names)


def test_values_become_colours_between_both_ends() -> None:
    pixels = coloured(np.array([-5.0, 0.0, 0.5, 1.0, 7.0]), 0.0, 1.0, ("#000000", "#ff0000"))
    assert pixels[:, 0].tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_a_sheet_is_written_in_every_format(tmp_path: Path, suffix: str) -> None:
    plan, outcomes = dataset_of({"axial": [0.1, 0.2, 0.3], "liere": [0.2, 0.3, "failed"]})
    plan = with_files(tmp_path / "runs", plan)
    figure = sheet(result_of((plan, outcomes)).table, {"pointing": run_curves(plan, outcomes)})
    assert_inside(figure)
    first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    save(figure, first)
    save(figure, second)
    assert first.read_bytes() == second.read_bytes()
    if suffix == "pdf":
        # TrueType, embedded as a subset
        assert b"/FontFile2" in first.read_bytes()
    if suffix == "svg":
        text = first.read_text()
        assert not re.search(r"nan|inf", " ".join(re.findall(r'd="([^"]*)"', text)))
        for words in (
            "pointing",
            "Difference to axial",
            "Every seed",
            "Training loss over seconds",
        ):
            assert words in text


def test_plots_without_validations_are_not_empty(tmp_path: Path) -> None:
    plan, outcomes = dataset_of({"axial": [0.1, 0.2, 0.3], "liere": [0.2, 0.3, 0.4]})
    plan = with_files(tmp_path, plan, validations=1)
    table = result_of((plan, outcomes)).table
    figures = training_plots(table.datasets[0], run_curves(plan, outcomes), styles_of(table))
    assert [figure.title for figure in figures] == [
        "Training loss over steps",
        "Training loss over seconds",
    ]
    empty = sheet(result_of(dataset_of({"axial": ["failed"]})).table, {})
    assert "No run of this comparison has a result yet." in str(empty.marks)


def test_the_encoding_s_share_of_the_gradient_is_shown_where_it_was_logged(tmp_path: Path) -> None:
    plan, outcomes = dataset_of({"axial": [0.1, 0.2], "liere": [0.2, 0.3]})
    plan = with_files(tmp_path, plan)
    norms = '"gradient_norm_model": 3.0, "gradient_norm_encoding": 4.0'
    for run in plan.encodings[1].runs:
        lines = [f'{{"step": {step}, "seconds": {step}, {norms}}}\n' for step in (1, 2)]
        run.run.path("metrics.jsonl").write_text("".join(lines))
    curves = run_curves(plan, outcomes)
    assert [set(curve.gradient.values) for curve in curves] == [set(), set(), {0.8}, {0.8}]
    table = result_of((plan, outcomes)).table
    figures = training_plots(table.datasets[0], curves, styles_of(table))
    assert figures[-1].title == "Gradient of the encoding over steps"
    assert_inside(figures[-1])


def test_a_diverged_run_does_not_squeeze_the_others() -> None:
    steps = np.arange(1.0, 11)
    curves = [
        Curve("liere", 0, steps, 1 / steps),
        Curve("liere", 1, steps[:5], 10.0 ** (4 * steps[:5]), diverged=True),
    ]
    labels = {"title": "t", "x_label": "step", "y_label": "loss", "description": "d"}
    figure = learning_curves(curves, styles(["liere"]), **labels)
    assert_inside(figure)
    lines = [mark for mark in figure.marks if isinstance(mark, Line) and len(mark.points) == 10]
    heights = [y for line in lines for _, y in line.points]
    assert max(heights) - min(heights) > 100
    assert any(isinstance(mark, Dot) and mark.shape == "cross" for mark in figure.marks)


@given(
    st.lists(
        st.tuples(st.integers(2, 40), st.booleans(), st.floats(-1e6, 1e6)), min_size=1, max_size=6
    )
)
def test_learning_curves_of_any_length_stay_in_the_frame(
    runs: list[tuple[int, bool, float]],
) -> None:
    curves = [
        Curve(f"e{index % 3}", index, np.arange(1.0, n + 1), level + np.arange(n) / n, diverged)
        for index, (n, diverged, level) in enumerate(runs)
    ]
    labels = {"title": "t", "x_label": "step", "y_label": "loss", "description": "d"}
    assert_inside(learning_curves(curves, styles(["e0", "e1", "e2"]), **labels))


@pytest.mark.parametrize(
    ("lines", "kept"), [(10, 10), (240, MOST), (50_000, MOST)], ids=["short", "long", "very long"]
)
def test_long_curves_are_thinned(tmp_path: Path, lines: int, kept: int) -> None:
    plan, outcomes = dataset_of({"axial": [0.1]})
    plan = with_files(tmp_path, plan)
    folder = plan.runs[0].run.folder
    write_metrics(folder, 0, validations=5, steps=2 * lines)
    (curve,) = run_curves(plan, outcomes)
    assert kept / 2 <= curve.training.steps.size <= kept
    assert (np.diff(curve.training.steps) > 0).all()
    assert curve.validation.steps[-1] == 2 * lines


def test_damaged_metrics_end_a_curve_and_nothing_else(tmp_path: Path) -> None:
    plan, outcomes = dataset_of({"axial": [0.1, 0.2]})
    plan = with_files(tmp_path, plan)
    path = plan.runs[0].run.path("metrics.jsonl")
    path.write_text(path.read_text()[:400] + '{"step": 9, "loss": "x"}\n\0\n')
    assert len(run_curves(plan, outcomes)) == 2
    path.unlink()
    assert [curve.seed for curve in run_curves(plan, outcomes)] == [1]


@given(
    st.integers(1, 6),
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.booleans(),
    st.integers(0, 5),
)
def test_score_maps_have_no_empty_panel(
    heads: int, grid: list[int], relative: bool, level: int
) -> None:
    """Every column has a panel: near the end of a video several slices are the same plane."""
    middle = tuple(n // 2 for n in grid)
    references = (middle,) if relative else (middle, tuple(n // 8 for n in grid))
    rng = np.random.default_rng(level)
    values = rng.normal(size=(len(references), heads, *grid)).astype(np.float32) * (level > 0)
    score_map = ScoreMap("encode_qk", tuple(grid), references, values, relative)
    figure = score_map_figure(score_map, title="liere")
    assert_inside(figure)
    images = [mark for mark in figure.marks if isinstance(mark, Image)]
    if len(grid) == 3:
        by_row: dict[float, int] = {}
        for image in images[:-1]:
            by_row[image.y] = by_row.get(image.y, 0) + 1
        assert len(by_row) == heads
        assert len(set(by_row.values())) == 1
    elif len(grid) == 2:
        assert len(images) == heads * len(references) + 1
