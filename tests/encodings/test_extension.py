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


def kept_by_papers_ramp(i: int, dim: int, theta: float, trained: int) -> float:
    """arXiv 2309.00071, equation 18, for plane i."""
    periods = trained * theta ** (-2 * i / dim) / (2 * math.pi)
    return 0.0 if periods < 1 else 1.0 if periods > 32 else (periods - 1) / 31


def kept_by_codes_ramp(i: int, dim: int, theta: float, trained: int) -> float:
    """The formula of the paper's code and of Hugging Face's transformers, for plane i."""

    def plane_of(periods: float) -> float:
        return dim * math.log(trained / (periods * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(plane_of(32)), 0)
    high: float = min(math.ceil(plane_of(1)), dim - 1)
    high = low + 0.001 if low == high else high
    return 1 - min(max((i - low) / (high - low), 0.0), 1.0)


@settings(max_examples=40, deadline=None)
@given(
    dim=st.sampled_from((4, 16, 64, 128)),
    theta=st.sampled_from((100.0, 1e4, 5e5)),
    trained=st.integers(16, 4096),
    growth=st.sampled_from((1.0, 1.5, 4.0, 16.0)),
    method=st.sampled_from(("yarn", "yarn-paper")),
    learned=st.booleans(),
)
def test_yarn_blends_frequencies_and_scales_logits(
    dim: int, theta: float, trained: int, growth: float, method: str, learned: bool
) -> None:
    length = round(trained * growth)
    encoding = build_encoding(
        f"rope:theta={theta},learned={learned}".lower(), axes=1, heads=2, head_dim=dim, seed=0
    )
    extension, s = extend(encoding, method, Grid((length,), (trained,))), length / trained
    kept = kept_by_codes_ramp if method == "yarn" else kept_by_papers_ramp
    actual = extension.encoding.frequencies.reshape(-1, dim // 2)  # type: ignore[operator]
    for i in range(dim // 2):
        frequency, keep = theta ** (-2 * i / dim), kept(i, dim, theta, trained)
        expected = torch.full_like(actual[:, i], (1 - keep) * frequency / s + keep * frequency)
        torch.testing.assert_close(actual[:, i], expected, rtol=1e-4, atol=0)
    q = torch.randn(1, 2, 5, dim)
    turned, _ = extension.encoding(q, q, extension.positions[:5])
    scale = 0.1 * math.log(s) + 1
    torch.testing.assert_close(turned.norm(dim=-1), scale * q.norm(dim=-1))


def test_forms_of_yarn_differ_for_middle_planes() -> None:
    """At four times the length the paper's ramp has .55 to .61 of the rates of the code's."""
    grid, parts = Grid((8192,), (2048,)), []
    for method in ("yarn-paper", "yarn"):
        encoding = build_encoding("rope", axes=1, heads=2, head_dim=128, seed=0)
        parts.append(extend(encoding, method, grid).encoding.frequencies)  # type: ignore[arg-type]
    ratio = parts[0] / parts[1]  # type: ignore[operator]
    assert 0.5 < float(ratio.min()) < 0.62  # type: ignore[operator]


@pytest.mark.parametrize("target", [(16, 20), (5, 8), (8, 8)])
def test_edges_keep_the_edges_of_cells(target: tuple[int, int]) -> None:
    """As DINOv3's and ComRoPE's code do at every resolution."""
    grid = Grid(target, (8, 8))
    centres = [(torch.arange(n) + 0.5) / n for n in target]
    unit = torch.cartesian_prod(*centres)
    for spec, expected in (("dinov3", 2 * unit - 1), ("comrope-ld", unit)):
        actual = extend(built(spec, 2), "edges", grid).positions
        torch.testing.assert_close(actual, expected)


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
        ("liere", 1, "ntk", "'liere' can't use it; it can be extended by none, pi, refit, edges"),
        ("absolute", 1, "pi", "resizes its table itself"),
        ("axial", 2, "yarn", "extended by none, pi, refit, edges, ntk"),
        ("rope", 1, "ynar", "did you mean 'yarn'"),
    ],
)
def test_methods_that_do_not_apply_are_refused(
    spec: str, axes: int, method: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        extend(built(spec, axes), method, Grid((16,) * axes, (8,) * axes))
