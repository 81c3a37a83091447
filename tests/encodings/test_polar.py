"""LRPE and PoPE: equal to their formulas and packages, relative, and twice as wide."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rotary_family import golden_direction, share_of
from torch import Tensor
from torch.nn import functional as F

from liere_cli.encodings import Grid, build_encoding
from liere_cli.encodings.describe import profile, profile_at
from liere_cli.encodings.extension import extend
from liere_cli.errors import UsageError
from support.slow_rotary import SHAPES, built, positions_of, random_qk, scores

EVERY_AXES = pytest.mark.parametrize("axes", list(SHAPES))
SPECS = ["lrpe", "lrpe:form=rotate", "pope:bias=uniform,share=none", "golden-gate-pope"]
HEADS, HEAD_DIM = 2, 16

#: the angle of channel or plane i of head n at a position
Angle = Callable[[int, int, list[float]], float]


def slow_scores(q: Tensor, k: Tensor, positions: Tensor, phase: Angle, offset: Tensor) -> Tensor:
    """sum_i q_i k_i cos(a_i(p_k) - a_i(p_q) + offset[n, i]), channel by channel."""
    out = torch.zeros(*q.shape[:3], k.shape[2], dtype=torch.float64)
    at = positions.double().tolist()
    for n in range(q.shape[1]):
        for i in range(q.shape[3]):
            for row, p in enumerate(at):
                for column, r in enumerate(at):
                    angle = phase(n, i, r) - phase(n, i, p) + float(offset[n, i])
                    product = q[:, n, row, i] * k[:, n, column, i]
                    out[:, n, row, column] += product * math.cos(angle)
    return out


def check(encoding: Any, phase: Angle, offset: Tensor | None, lengths: Any = lambda x: x) -> None:
    """Checks scores in layer 1, of queries and keys encoded together and separately."""
    q, k = random_qk(encoding)
    positions = positions_of(encoding)
    nothing = torch.zeros(HEADS, HEAD_DIM, dtype=torch.float64)
    expected = slow_scores(
        lengths(q), lengths(k), positions, phase, nothing if offset is None else offset
    )
    state = encoding.prepare(positions)
    apart = encoding.encode_q(q, state, 1), encoding.encode_k(k, state, 1)
    for ours in (encoding(q, k, positions, layer=1), apart):
        assert [x.shape[-1] for x in ours] == [2 * HEAD_DIM] * 2
        torch.testing.assert_close(scores(*ours), expected, rtol=1e-5, atol=2e-5)


def softplus(x: Tensor) -> Tensor:
    return (1 + x.exp()).log()


@EVERY_AXES
@pytest.mark.parametrize("learned", ["true", "false"])
@pytest.mark.parametrize("heads", ["spread", "same"])
def test_lrpe_equals_its_cosine_form(axes: int, learned: str, heads: str) -> None:
    encoding: Any = built(f"lrpe:theta=50,learned={learned},heads={heads}", axes)
    actual = encoding.frequencies.detach()

    def learned_phase(n: int, i: int, p: list[float]) -> float:
        return sum(x * float(f) for x, f in zip(p, actual[1, n, :, i], strict=True))

    def phase(n: int, i: int, p: list[float]) -> float:
        axis, number, _ = share_of(i, HEAD_DIM, axes)
        if heads == "same":
            return p[axis] * 50.0 ** (-2 * number / HEAD_DIM)
        return p[axis] * 50.0 ** (-2 * (n * HEAD_DIM + number) / (HEADS * HEAD_DIM))

    check(encoding, learned_phase if learned == "true" else phase, None)


@EVERY_AXES
@pytest.mark.parametrize("bias", ["zero", "uniform", "none"])
@pytest.mark.parametrize("share", ["layers", "none"])
def test_pope_equals_its_formula(axes: int, bias: str, share: str) -> None:
    encoding: Any = built(f"pope:theta=90,bias={bias},share={share}", axes)
    offset = None
    if bias != "none":
        assert len(encoding.phase) == (2 if share == "none" else 1)
        offset = encoding.phase.detach()[-1].clamp(-2 * math.pi, 0)

    def phase(n: int, i: int, p: list[float]) -> float:
        axis, number, count = share_of(i, HEAD_DIM, axes)
        return p[axis] * 90.0 ** (-number / count)

    check(encoding, phase, offset, softplus)


@EVERY_AXES
def test_golden_gate_pope_equals_its_formula(axes: int) -> None:
    encoding: Any = built("golden-gate-pope:slowest=0.5,fastest=8,zero=0.25", axes)

    def phase(n: int, i: int, p: list[float]) -> float:
        magnitude = 0.0 if i < 4 else 0.5 * 16 ** ((i - 4) / 11)
        direction = golden_direction(n * HEAD_DIM + i, axes)
        return magnitude * sum(x * u for x, u in zip(p, direction, strict=True))

    check(encoding, phase, encoding.phase.detach()[0].clamp(-2 * math.pi, 0), softplus)


@pytest.mark.parametrize(
    ("magnitude", "lengths"), [("relu", torch.relu), ("none", lambda x: x), ("softplus", softplus)]
)
def test_magnitudes_are_those_of_the_option(magnitude: str, lengths: Any) -> None:
    encoding: Any = built(f"pope:magnitude={magnitude},bias=none", 1)
    check(encoding, lambda n, i, p: p[0] * 1e4 ** (-i / HEAD_DIM), None, lengths)
    q, k = random_qk(encoding)
    turned, _ = encoding(q, k, positions_of(encoding))
    kept = torch.allclose(turned.norm(dim=-1), q.norm(dim=-1))
    assert kept == encoding.orthogonal == (magnitude == "none")


def test_pope_equals_that_of_its_package_and_of_x_transformers() -> None:
    package = pytest.importorskip("PoPE_pytorch")
    other = pytest.importorskip("x_transformers.x_transformers")
    q, k = torch.randn(2, 2, 3, 40, 16, requires_grad=True)
    ours: Any = build_encoding("pope:bias=uniform", axes=1, heads=3, head_dim=16, seed=0)
    theirs, third = package.PoPE(16, heads=3), other.PolarEmbedding(16, 3)
    theirs.bias.data.copy_(ours.phase.data[0])
    third.learned_bias.data.copy_(ours.phase.data[0][:, None])
    angles, offset = third(torch.arange(40))
    third_q, third_k = (
        other.apply_polar_pos_emb(x, a) for x, a in ((q, angles), (k, angles + offset))
    )
    actual = ours(q, k, Grid((40,)).positions("index"))
    torch.testing.assert_close(actual, (third_q, third_k), rtol=1e-4, atol=1e-5)
    expected = scores(*theirs.apply_pope_to_qk(theirs(40), q, k))
    torch.testing.assert_close(scores(*actual), expected, rtol=1e-4, atol=1e-4)
    gradients = [
        torch.autograd.grad(result.tanh().sum(), (q, k, parameter))
        for result, parameter in ((scores(*actual), ours.phase), (expected, theirs.bias))
    ]
    gradients[0] = (*gradients[0][:2], gradients[0][2][0])
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("axes", [2, 3])
def test_axial_pope_equals_that_of_its_package(axes: int) -> None:
    package = pytest.importorskip("PoPE_pytorch")
    shape, head_dim = SHAPES[axes], 4 * axes
    q, k = torch.randn(2, 2, 3, math.prod(shape), head_dim)
    ours: Any = build_encoding("pope:bias=uniform", axes=axes, heads=3, head_dim=head_dim, seed=0)
    theirs = package.AxialPoPE(head_dim, heads=3, axial_dims=(4,) * axes)
    theirs.bias.data.copy_(ours.phase.data[0])
    positions = Grid(shape).positions("index")
    expected = scores(*theirs.apply_pope_to_qk(theirs(positions), q, k))
    torch.testing.assert_close(scores(*ours(q, k, positions)), expected, rtol=1e-4, atol=1e-4)


def test_rotating_lrpe_spreads_one_spectrum_over_the_heads() -> None:
    encoding: Any = build_encoding("lrpe:form=rotate", axes=1, heads=3, head_dim=8)
    expected = 10_000.0 ** (-2 * torch.arange(12) / 24)
    torch.testing.assert_close(encoding.frequencies.flatten(), expected)
    mixed: Any = build_encoding("lrpe:form=rotate,part=0.5", axes=1, heads=3, head_dim=8)
    turning = 10_000.0 ** (-2 * torch.arange(6) / 24)
    torch.testing.assert_close(mixed.frequencies[:, 0, :2].flatten(), turning)
    assert (mixed.frequencies[:, 0, 2:] == 0).all()


@pytest.mark.parametrize("layout", ["interleaved", "half-split"])
def test_rotating_lrpe_with_the_same_heads_is_rope(layout: str) -> None:
    q, k = torch.randn(2, 1, 2, 6, 16)
    specs = (f"lrpe:form=rotate,heads=same,layout={layout}", f"rope:layout={layout}")
    results = [
        build_encoding(spec, axes=1, heads=2, head_dim=16)(q, k, Grid((6,)).positions("index"))
        for spec in specs
    ]
    torch.testing.assert_close(*results, rtol=0, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(SPECS), st.integers(1, 3), st.lists(st.floats(-40, 40), min_size=3))
def test_a_common_shift_changes_no_score(spec: str, axes: int, shift: list[float]) -> None:
    encoding = built(spec, axes)
    assert encoding.relative
    q, k = random_qk(encoding)
    positions = positions_of(encoding).double()
    moved = positions + torch.tensor(shift[:axes], dtype=torch.float64)
    actual, expected = (scores(*encoding(q, k, at, layer=1)) for at in (moved, positions))
    torch.testing.assert_close(actual, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("spec", ["lrpe", "lrpe:form=rotate"])
def test_lrpe_keeps_norms(spec: str) -> None:
    encoding = built(spec, 2)
    assert encoding.orthogonal
    q, k = random_qk(encoding, prefix=1)
    for turned, x in zip(
        encoding(q, k, positions_of(encoding), prefix_tokens=1), (q, k), strict=True
    ):
        torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_a_prefix_has_phase_zero() -> None:
    encoding: Any = built("pope:bias=uniform", 2)
    q, k = random_qk(encoding, prefix=2)
    positions = positions_of(encoding)
    turned_q, turned_k = encoding(q, k, positions, prefix_tokens=2)
    nothing = torch.zeros_like(q[:, :, :2])
    torch.testing.assert_close(turned_q[:, :, :2], torch.cat((softplus(q[:, :, :2]), nothing), -1))
    offset = encoding.phase.detach()[0].clamp(-2 * math.pi, 0)[:, None]
    waves = torch.cat((offset.cos(), offset.sin()), -1)
    torch.testing.assert_close(turned_k[:, :, :2], softplus(k[:, :, :2]).repeat(1, 1, 1, 2) * waves)
    alone = encoding(q[:, :, 2:], k[:, :, 2:], positions)
    torch.testing.assert_close((turned_q[:, :, 2:], turned_k[:, :, 2:]), alone)
    lrpe = built("lrpe", 2)
    turned_q, _ = lrpe(q, k, positions, prefix_tokens=2)
    torch.testing.assert_close(turned_q[:, :, :2], torch.cat((q[:, :, :2], nothing), -1))


def test_phases_of_keys_are_clamped_and_start_where_they_get_a_gradient() -> None:
    encoding: Any = build_encoding("pope", axes=1, heads=2, head_dim=4, seed=0)
    q, k = torch.randn(2, 1, 2, 6, 4)
    positions = Grid((6,)).positions("index")
    assert (encoding.phase == 0).all()
    scores(*encoding(q, k, positions)).square().sum().backward()
    assert (encoding.phase.grad != 0).all()
    with torch.no_grad():
        encoding.phase[0, 0], encoding.phase[0, 1] = 1.0, -7.0
    encoding.phase.grad = None
    turned = encoding.encode_k(k, encoding.prepare(positions), 0)
    turned.square().sum().backward()
    assert (encoding.phase.grad == 0).all()
    whole_turn = build_encoding("pope:bias=none", axes=1, heads=2, head_dim=4)
    torch.testing.assert_close(turned, whole_turn(k, k, positions)[1], rtol=0, atol=1e-5)


def test_uniform_phases_cover_a_period() -> None:
    encoding: Any = build_encoding("pope:bias=uniform", axes=1, heads=8, head_dim=64, seed=0)
    counts = torch.histc(encoding.phase.detach(), bins=4, min=-2 * math.pi, max=0)
    # four bins of 128, whose standard deviation is 10
    assert counts.sum() == 512
    assert (counts - 128).abs().max() < 50


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(spec: str, dtype: torch.dtype) -> None:
    encoding = build_encoding(spec, axes=1, heads=2, head_dim=16, grid=(64,), seed=0)
    q, k = torch.randn(2, 1, 2, 64, 16).to(dtype)
    positions = Grid((64,)).positions(encoding.scaling)
    exact = encoding(q.float(), k.float(), positions)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = encoding(q, k, positions)
    for ours, theirs in zip(rounded, exact, strict=True):
        assert ours.dtype == dtype
        limit = theirs.abs() * torch.finfo(dtype).eps / 2 + 1e-6
        assert ((ours.float() - theirs).abs() <= limit).all()


@pytest.mark.parametrize("spec", ["lrpe", "pope:bias=uniform,learned=true,share=none"])
def test_gradients_equal_those_of_the_formula(spec: str) -> None:
    encoding: Any = built(spec, 1, head_dim=3)
    names = [name for name, _ in encoding.named_parameters()]
    if "phase" in names:
        encoding.phase.data.clamp_(-6, -0.1)
    q, k = torch.randn(2, 1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    positions = Grid((3,)).positions("index").double()  # and a token without any

    def function(q: Tensor, k: Tensor, *parameters: Tensor) -> Tensor:
        weights = dict(zip(names, parameters, strict=True))
        count = {"prefix_tokens": 1}
        return scores(*torch.func.functional_call(encoding, weights, (q, k, positions, 1), count))

    parameters = [p.detach().clone().requires_grad_() for p in encoding.parameters()]
    assert torch.autograd.gradcheck(function, (q, k, *parameters))


def test_ntk_changes_the_base_of_pope() -> None:
    encoding = build_encoding("pope", axes=1, heads=2, head_dim=16, grid=(64,))
    extension = extend(encoding, "ntk", Grid((256,), (64,)))
    theta = 10_000 * 4 ** (16 / 15)
    expected: Any = build_encoding(f"pope:theta={theta}", axes=1, heads=2, head_dim=16)
    actual: Any = extension.encoding
    torch.testing.assert_close(actual.frequencies, expected.frequencies)
    q, k = torch.randn(2, 1, 2, 256, 16)
    torch.testing.assert_close(
        actual(q, k, extension.positions), expected(q, k, extension.positions), rtol=0, atol=1e-3
    )


def test_yarn_scales_magnitudes() -> None:
    for spec in ("pope", "lrpe"):
        encoding = build_encoding(spec, axes=1, heads=2, head_dim=16, grid=(64,), seed=0)
        extension = extend(encoding, "yarn", Grid((256,), (64,)))
        q, k = torch.randn(2, 1, 2, 256, 16)
        lengths = F.softplus(q) if spec == "pope" else q
        turned, _ = extension.encoding(q, k, extension.positions)
        expected = (0.1 * math.log(4) + 1) * lengths.norm(dim=-1)
        torch.testing.assert_close(turned.norm(dim=-1), expected)


def test_width_and_operations_are_profiled() -> None:
    at: dict[str, Any] = {"heads": 4, "head_dim": 32, "depth": 4}
    channels = 2 * 4 * 4 * 32  # channels of q and k in all layers
    pairs = 4 * 64 * 4 * 2 * 32  # of each query with 64 keys: 32 products and sums more
    lrpe, pope = (profile_at(spec, (64,), **at) for spec in ("lrpe", "pope"))
    assert lrpe.flops_per_token == 2 * channels + pairs
    assert pope.flops_per_token == 3 * channels + pairs
    assert (lrpe.parameters, pope.parameters) == (4 * 4 * 32, 4 * 32)
    assert profile_at("pope:share=none", (64,), **at).parameters == 4 * 4 * 32
    widths = [profile(spec).qk_width for spec in ("pope", "lrpe", "lrpe:form=rotate")]
    assert widths == [2, 2, 1]


@pytest.mark.parametrize("spec", ["pope", "lrpe"])
def test_any_number_of_channels_works(spec: str) -> None:
    encoding = build_encoding(spec, axes=3, heads=1, head_dim=7)
    q = torch.randn(1, 1, 12, 7)
    turned, _ = encoding(q, q, Grid((2, 3, 2)).positions("index"))
    assert turned.shape == (1, 1, 12, 14)


@pytest.mark.parametrize(
    ("spec", "axes", "head_dim", "message"),
    [
        ("pope", 3, 2, "at least one channel for each of 3 axes, but head_dim is 2"),
        ("lrpe:form=rotate", 1, 7, "'lrpe' rotates pairs of channels, so head_dim must be even"),
        ("lrpe:part=0", 1, 8, "'part' is 0, but must be above 0"),
        ("golden-gate-pope:fastest=0.1", 2, 8, "fastest=0.1 is below slowest=0.2"),
        ("pope:bias=ones", 1, 8, "'bias' is 'ones', but must be 'zero', 'uniform' or 'none'"),
    ],
)
def test_options_and_shapes_that_do_not_fit_are_refused(
    spec: str, axes: int, head_dim: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build_encoding(spec, axes=axes, heads=1, head_dim=head_dim)
