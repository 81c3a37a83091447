"""Encodings on longer text and larger grids than in training, against each method's formula."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from liere_cli.encodings import Grid, PositionEncoding, build_encoding
from liere_cli.encodings.extension import Extension, extend
from liere_cli.errors import UsageError

LENGTHS = st.integers(2, 400)
TRAINED = 64


def built(spec: str, axes: int = 1) -> PositionEncoding:
    return build_encoding(spec, axes=axes, heads=2, head_dim=16, grid=(8,) * axes, seed=0)


def angles(extension: Extension) -> Any:
    """The angle of plane i at every token, [T, P], of a fixed rotary encoding."""
    return extension.positions.double() @ extension.encoding.frequencies.double()  # type: ignore


@settings(max_examples=20, deadline=None)
@given(LENGTHS)
def test_interpolation_divides_positions(length: int) -> None:
    actual = angles(extend(built("rope"), "pi", Grid((length,), (TRAINED,))))
    s = max(length / TRAINED, 1)
    for p in range(length):
        for i in range(8):
            expected = p / s * 10_000 ** (-2 * i / 16)
            assert actual[p, i] == pytest.approx(expected, rel=1e-5, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(LENGTHS)
def test_ntk_changes_the_base(length: int) -> None:
    actual = angles(extend(built("rope"), "ntk", Grid((length,), (TRAINED,))))
    theta = 10_000 * max(length / TRAINED, 1) ** (16 / 14)  # s^(d / (d - 2))
    for i in range(8):
        expected = (length - 1) * theta ** (-2 * i / 16)
        assert actual[-1, i] == pytest.approx(expected, rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(LENGTHS)
def test_yarn_interpolates_by_periods_and_scales_logits(length: int) -> None:
    extension = extend(built("rope"), "yarn", Grid((length,), (TRAINED,)))
    actual, s = angles(extension), max(length / TRAINED, 1)
    for i in range(8):
        rate = 10_000 ** (-2 * i / 16)
        turns = TRAINED * rate / (2 * math.pi)
        ramp = 0.0 if turns < 1 else 1.0 if turns > 32 else (turns - 1) / 31
        expected = (length - 1) * ((1 - ramp) * rate / s + ramp * rate)
        assert actual[-1, i] == pytest.approx(expected, rel=1e-5)
    q = torch.randn(1, 2, length, 16)
    turned, _ = extension.encoding(q, q, extension.positions)
    scale = 0.1 * math.log(s) + 1
    torch.testing.assert_close(turned.norm(dim=-1), scale * q.norm(dim=-1))


def test_each_axis_grows_by_its_own_factor() -> None:
    trained, target = (8, 8), (16, 8)
    plain = extend(built("axial", 2), "none", Grid(target, trained))
    for method in ("ntk", "pi"):
        actual = angles(extend(built("axial", 2), method, Grid(target, trained)))
        ratio = actual[-1] / angles(plain)[-1]
        assert torch.equal(ratio[4:].float(), torch.ones(4))
        expected = [2 ** (-i / 3) for i in range(4)] if method == "ntk" else [0.5] * 4
        torch.testing.assert_close(ratio[:4].tolist(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("scaling", ["index", "unit", "centered", "cell"])
def test_refitted_positions_end_at_the_trained_ones(scaling: str) -> None:
    grid = Grid((12, 5), (8, 8))
    actual = extend(built(f"liere:scaling={scaling}", 2), "refit", grid).positions
    trained = Grid((8, 8)).positions(scaling)  # type: ignore[arg-type]
    for end in (0, -1):
        torch.testing.assert_close(actual[end], trained[end])


@pytest.mark.parametrize(
    ("spec", "axes", "method", "words"),
    [
        ("liere", 1, "ntk", "'liere' can't use it; it can be extended by none, pi, refit"),
        ("absolute", 1, "pi", "resizes its table itself"),
        ("axial", 2, "yarn", "extended by none, pi, refit, ntk"),
        ("rope", 1, "ynar", "did you mean 'yarn'"),
    ],
)
def test_methods_that_do_not_apply_are_refused(
    spec: str, axes: int, method: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        extend(built(spec, axes), method, Grid((16,) * axes, (8,) * axes))
