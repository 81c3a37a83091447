"""Every rotary encoding equals its source's formula, written out plane by plane."""

import math

import pytest
import torch
from torch import Tensor

from liere_cli.encodings import Grid, PositionEncoding, build_encoding
from liere_cli.encodings.rotary.base import Rotary
from liere_cli.errors import UsageError
from support.slow_rotary import SHAPES, built, positions_of, random_qk, turned

EVERY_AXES = pytest.mark.parametrize("axes", list(SHAPES))


def check(encoding: PositionEncoding, layout: str, angle) -> None:  # type: ignore[no-untyped-def]
    """Queries and keys in layer 1 are rotated by these angles."""
    q, k = random_qk(encoding)
    positions = positions_of(encoding)
    for ours, x in zip(encoding(q, k, positions, layer=1), (q, k), strict=True):
        expected = turned(x, positions, layout, angle)
        torch.testing.assert_close(ours, expected, rtol=0, atol=5e-6)


def share_of(plane: int, planes: int, axes: int) -> tuple[int, int, int]:
    """The axis of a plane, its number there, and how many planes the axis has."""
    counts = [planes // axes + (axis < planes % axes) for axis in range(axes)]
    axis = 0
    while plane >= counts[axis]:
        plane -= counts[axis]
        axis += 1
    return axis, plane, counts[axis]


def test_partial_rope_rotates_the_first_planes_only() -> None:
    encoding = built("rope:part=0.5", 1)
    check(encoding, "interleaved", lambda n, i, p: p[0] * 1e4 ** (-i / 4) if i < 4 else 0.0)


@EVERY_AXES
@pytest.mark.parametrize("head_dim", [16, 20])
def test_axial_with_the_axes_side_by_side_or_in_turn(axes: int, head_dim: int) -> None:
    planes = head_dim // 2

    def side_by_side(n: int, i: int, p: list[float]) -> float:
        axis, number, count = share_of(i, planes, axes)
        return p[axis] * 50.0 ** (-number / count)

    def in_turn(n: int, i: int, p: list[float]) -> float:
        axis, number = i % axes, i // axes
        return p[axis] * 50.0 ** (-number / len(range(axis, planes, axes)))

    check(built("axial:theta=50", axes, head_dim), "interleaved", side_by_side)
    check(built("axial:theta=50,order=interleaved", axes, head_dim), "interleaved", in_turn)


def test_axial_of_the_liere_repository() -> None:
    encoding = built("axial:spectrum=liere-repository,scaling=unit", 2)
    check(
        encoding,
        "interleaved",
        lambda n, i, p: p[i // 4] * math.exp(-4 * (i % 4) / 3),
    )


def test_learned_axial_starts_as_the_fixed_one() -> None:
    q, k = torch.randn(2, 1, 2, 12, 16)
    positions = Grid((3, 4)).positions("index")
    shape = {"axes": 2, "heads": 2, "head_dim": 16, "depth": 2, "seed": 0}
    results = [
        build_encoding(spec, **shape)(q, k, positions, layer=1)
        for spec in ("axial", "axial:learned=true")
    ]
    torch.testing.assert_close(*results, rtol=0, atol=0)


def golden_direction(number: int, axes: int) -> list[float]:
    ratio = 2.0
    for _ in range(10):
        ratio = (1 + ratio) ** (1 / (axes + 1))
    places = [(number + 1) * ratio**-power % 1 for power in range(1, axes + 1)]
    normal = [float(torch.erfinv(torch.tensor(2 * z - 1, dtype=torch.float64))) for z in places]
    return [x / math.hypot(*normal) for x in normal]


@EVERY_AXES
def test_golden_gate(axes: int) -> None:
    encoding = built("golden-gate:slowest=0.5,fastest=8,zero=0.25", axes)

    def angle(n: int, i: int, p: list[float]) -> float:
        magnitude = 0.0 if i < 2 else 0.5 * 16 ** ((i - 2) / 5)
        direction = golden_direction(n * 8 + i, axes)
        return magnitude * sum(x * u for x, u in zip(p, direction, strict=True))

    check(encoding, "half-split", angle)


def test_golden_gate_with_spiral_directions() -> None:
    def angle(n: int, i: int, p: list[float]) -> float:
        turn = (n * 8 + i) * math.pi * (1 - math.sqrt(5)) / 2
        return 0.2 * 100 ** (i / 7) * (p[0] * math.cos(turn) + p[1] * math.sin(turn))

    check(built("golden-gate:directions=spiral", 2), "half-split", angle)


def test_golden_gate_keeps_the_aspect() -> None:
    encoding = build_encoding("golden-gate", axes=2, heads=1, head_dim=4, grid=(4, 16))
    positions = Grid((4, 16)).positions(encoding.scaling)
    assert positions.amax(0).tolist() == [0.5, 2.0]
    assert positions.amin(0).tolist() == [-0.5, -2.0]


@EVERY_AXES
def test_dinov3(axes: int) -> None:
    encoding = built("dinov3", axes)

    def angle(n: int, i: int, p: list[float]) -> float:
        axis, number, count = share_of(i, 8, axes)
        return 2 * math.pi * p[axis] / 100 ** (number / count)

    check(encoding, "half-split", angle)
    n = SHAPES[axes][-1]
    last = positions_of(encoding)[:n, -1].tolist()
    assert last == pytest.approx([2 * (i + 0.5) / n - 1 for i in range(n)])


@pytest.mark.parametrize("count", [2, 4, 8])
def test_spiral(count: int) -> None:
    def angle(n: int, i: int, p: list[float]) -> float:
        number = i % 8
        turn = number // 2 % (count // 2) * math.pi / count + (math.pi / 2 if i >= 8 else 0)
        projected = p[0] * math.cos(turn) + p[1] * math.sin(turn)
        return 1.5 * 1e4 ** (-number / 8) * projected

    check(built(f"spiral:count={count}", 2, head_dim=32), "interleaved", angle)


def test_spiral_is_clamped_at_the_edges_as_in_the_public_code() -> None:
    encoding = build_encoding(
        "spiral:clamp=true,fastest=1", axes=2, heads=1, head_dim=16, grid=(5, 5)
    ).double()
    assert isinstance(encoding, Rotary)
    q = torch.randn(1, 1, 25, 16, dtype=torch.float64)
    positions = Grid((5, 5)).positions("index")

    def angle(n: int, i: int, p: list[float]) -> float:
        number = i % 4
        turn = number // 2 % 2 * math.pi / 4 + (math.pi / 2 if i >= 4 else 0)
        projected = (p[0] - 2) * math.cos(turn) + (p[1] - 2) * math.sin(turn)
        return 1e4 ** (-number / 4) * (max(-2.0, min(2.0, projected)) + 2)

    ours, _ = encoding(q, q, positions)
    torch.testing.assert_close(ours, turned(q, positions, "interleaved", angle), rtol=0, atol=5e-6)
    with pytest.raises(UsageError, match="needs a square training grid of two axes, not"):
        build_encoding("spiral:clamp=true", axes=2, heads=1, head_dim=16, grid=(4, 5))


@pytest.mark.parametrize("axes", [1, 3])
def test_spiral_on_other_numbers_of_axes(axes: int) -> None:
    def angle(n: int, i: int, p: list[float]) -> float:
        if axes == 1:
            return 1.5 * 1e4 ** (-i / 12) * p[0]
        axis, number, count = share_of(i, 12, 3)
        turn = number // 2 % 2 * math.pi / 4 + (math.pi / 2 if axis == 2 else 0)
        projected = p[0] if axis == 0 else p[1] * math.cos(turn) + p[2] * math.sin(turn)
        return 1.5 * 1e4 ** (-number / count) * projected

    check(built("spiral", axes, head_dim=24), "interleaved", angle)


@pytest.mark.parametrize("share", ["true", "false"])
def test_grape(share: str) -> None:
    encoding = built(f"grape:share={share},slower=2", 1)
    (logarithms,) = (p.detach()[1] for p in encoding.parameters())  # [N or 1, 1, P]
    assert len(logarithms) == (1 if share == "true" else 2)

    def angle(n: int, i: int, p: list[float]) -> float:
        return p[0] * math.exp(float(logarithms[n % len(logarithms), 0, i]) / 2)

    check(encoding, "half-split", angle)


def test_grape_starts_as_rope() -> None:
    q, k = torch.randn(2, 1, 2, 6, 16)
    positions = Grid((6,)).positions("index")
    shape = {"axes": 1, "heads": 2, "head_dim": 16, "seed": 0}
    results = [
        build_encoding(spec, **shape)(q, k, positions)
        for spec in ("grape:slower=4", "rope:layout=half-split")
    ]
    torch.testing.assert_close(*results, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "axes", "message"),
    [
        ("golden-gate:slowest=3,fastest=2", 2, "fastest=2 is below slowest=3"),
        ("golden-gate:directions=spiral", 3, "directions=spiral for two axes, not 3"),
        ("spiral:count=3", 2, "multiple of 2"),
        ("rope:part=0", 1, "'part' is 0, but must be above 0"),
        ("grape", 2, "'grape' is defined for"),
    ],
)
def test_refuses(spec: str, axes: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        built(spec, axes)


def test_grape_learns_as_slowly_as_its_code() -> None:
    """A step of Adam changes a logarithm by a 16th of the learning rate."""
    encoding = build_encoding("grape", axes=1, heads=2, head_dim=16, seed=0)
    before = encoding.frequencies_of(0).log().detach()  # type: ignore[operator]
    optimizer = torch.optim.Adam(encoding.parameters(), 0.1)
    encoding.frequencies_of(0).sum().backward()  # type: ignore[operator]
    optimizer.step()
    after = encoding.frequencies_of(0).log()  # type: ignore[operator]
    torch.testing.assert_close(before - after, torch.full_like(after, 0.1 / 16), atol=1e-4, rtol=0)


def test_grape_of_the_code_is_grape_with_exchanged_channels() -> None:
    """The code rotates in the opposite sense, which changes scores."""
    encoding = build_encoding("grape", axes=1, heads=2, head_dim=16, seed=0)
    q, k = torch.randn(2, 1, 2, 6, 16)
    positions = Grid((6,)).positions("index")

    def scores(*xs: Tensor, sense: int = 1) -> Tensor:
        x, y = encoding(*xs, sense * positions)
        return x @ y.mT

    exchanged = scores(q.roll(8, -1), k.roll(8, -1))
    torch.testing.assert_close(scores(q, k, sense=-1), exchanged, atol=1e-4, rtol=0)
    assert not torch.allclose(scores(q, k), exchanged, atol=0.1)
