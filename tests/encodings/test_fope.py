"""FoPE: equal to its formula and to its code, with random coefficients that are saved."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from liere_cli.encodings import Grid, build_encoding
from liere_cli.encodings.describe import profile_at
from liere_cli.encodings.extension import extend
from liere_cli.errors import UsageError
from liere_cli.model import ModelShape, Transformer
from support.slow_rotary import channels_of, random_qk, scores

SHAPE: dict[str, Any] = {"axes": 1, "heads": 2, "head_dim": 16, "depth": 2}
#: at theta 10 three frequencies of eight complete a turn over twelve tokens
SPECS = [
    "fope:theta=10",
    "fope:theta=10,layout=interleaved,heads=same",
    "fope:theta=10,waves=same",
    "fope:theta=10,form=code",
    "fope:theta=2,form=code",
    "fope:theta=10,learned=true",
]


def build(spec: str, length: int = 12, **changes: Any) -> Any:
    return build_encoding(spec, **{**SHAPE, "grid": (length,), "seed": 0, **changes})


def slowly(encoding: Any, x: Tensor, length: int, layer: int) -> Tensor:
    """Every plane of every token, rotated by the two sums."""
    options, out = encoding.options, x.clone()
    heads, head_dim = x.shape[1], x.shape[3]
    every = [options.theta ** (-2 * i / head_dim) for i in range(head_dim // 2)]
    kept = [f for f in every if f >= 2 * math.pi / length]
    coefficients = encoding.coefficients.detach()[layer]
    mixed = coefficients.shape[-1]
    for n in range(heads):
        own = coefficients[n % len(coefficients)]
        for p in range(x.shape[2]):
            for plane in range(head_dim // 2):
                if plane < mixed:
                    c = sum(float(own[0, d, plane]) * math.cos(p * f) for d, f in enumerate(kept))
                    s = sum(float(own[-1, d, plane]) * math.sin(p * f) for d, f in enumerate(kept))
                else:
                    c, s = 1.0, 0.0 if options.form == "paper" else 1.0
                a, b = channels_of(plane, head_dim, options.layout)
                out[:, n, p, a] = c * x[:, n, p, a] - s * x[:, n, p, b]
                out[:, n, p, b] = s * x[:, n, p, a] + c * x[:, n, p, b]
    return out


@pytest.mark.parametrize("spec", SPECS)
def test_planes_rotate_by_mixed_frequencies(spec: str) -> None:
    encoding = build(spec).double()
    q, k = torch.randn(2, 1, 2, 12, 16, dtype=torch.float64)
    positions = Grid((12,)).positions("index")
    for ours, x in zip(encoding(q, k, positions, layer=1), (q, k), strict=True):
        torch.testing.assert_close(ours, slowly(encoding, x, 12, 1), rtol=1e-5, atol=1e-5)


def test_half_of_the_planes_are_dominated_in_the_code() -> None:
    encoding = build("fope:theta=2,form=code,gain=0", 40)  # all eight frequencies are kept
    expected = torch.zeros(8, 4)
    for led in range(4):
        expected[2 * led, led] = 1
    assert torch.equal(encoding.coefficients, expected.expand(2, 2, 2, 8, 4))
    odd = build("fope:theta=2,form=code,gain=0", 9)  # five of them are
    assert odd.coefficients.shape[-2:] == (5, 4)
    assert odd.coefficients[0, 0, 0].nonzero().tolist() == [[0, 0], [2, 1], [4, 2]]


def test_products_of_planes_without_a_frequency_count_twice_in_the_code() -> None:
    q, k = random_qk(build("fope"))
    q, k = q[:, :, :1], k[:, :, :1]
    start = torch.zeros(1, 1)
    paper, code = (
        scores(*build(f"fope:gain=0,form={form}").double()(q, k, start))
        for form in ("paper", "code")
    )
    torch.testing.assert_close(paper, scores(q, k))
    led = [0, 8]  # one frequency is kept, and its plane is of these channels
    once = scores(q[..., led], k[..., led])
    torch.testing.assert_close(code, once + 2 * (scores(q, k) - once))


@pytest.mark.parametrize("heads", ["own", "same"])
def test_coefficients_are_the_identity_and_noise(heads: str) -> None:
    encoding = build(f"fope:theta=10,gain=0.6,heads={heads}", 512, heads=8, head_dim=64, depth=8)
    actual = encoding.coefficients
    assert actual.shape == (8, 8 if heads == "own" else 1, 2, 32, 32)
    noise = actual - torch.eye(32)
    fans = 32 * (32 + 8) if heads == "own" else 32 + 32
    assert float(noise.std()) == pytest.approx(0.6 * math.sqrt(2 / fans), rel=0.03)
    assert abs(float(noise.mean())) < 0.01
    flat = noise.flatten(0, 2)
    assert len(flat.unique(dim=0)) == len(flat), "layers, heads and waves draw apart"


def test_without_noise_it_is_rope_without_the_slow_planes() -> None:
    q, k = torch.randn(2, 1, 2, 12, 16)
    positions = Grid((12,)).positions("index")
    rope: Any = build("rope:theta=10,layout=half-split")
    rope.frequencies[:, 3:] = 0
    encoding = build("fope:theta=10,gain=0")
    torch.testing.assert_close(encoding(q, k, positions), rope(q, k, positions))
    assert encoding.relative
    assert encoding.orthogonal


@pytest.mark.parametrize("spec", SPECS)
def test_scores_depend_on_both_positions_and_norms_change(spec: str) -> None:
    encoding = build(spec).double()
    assert not encoding.relative
    assert not encoding.orthogonal
    q, k = random_qk(encoding)
    q, k = q[:, :, :6], k[:, :, :6]
    at = Grid((6,)).positions("index")
    here, there = (scores(*encoding(q, k, p, layer=1)) for p in (at, at + 5))
    assert (here - there).abs().max() > 0.1
    turned, _ = encoding(q, k, at)
    assert (turned.norm(dim=-1) / q.norm(dim=-1) - 1).abs().max() > 0.01


def test_coefficients_depend_on_the_seed_and_are_saved_with_the_weights() -> None:
    shape = ModelShape(
        layers=2, dim=32, heads=2, mlp_ratio=2.0, dropout=0.0, pooling="mean", causal=True,
        grid=(16,), patch=(1,), channels=0, classes=7,
    )  # fmt: skip
    first, again, other = (Transformer(shape, "fope") for _ in range(3))
    for model, seed in ((first, 1), (again, 1), (other, 2)):
        model.initialise(seed)
    key = "encoding.coefficients"
    assert torch.equal(first.state_dict()[key], again.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])
    assert first.counts()[1] == 0
    other.load_state_dict(first.state_dict())
    text = torch.randint(7, (2, 16))
    assert torch.equal(first.eval()(text), other.eval()(text))


def test_learned_coefficients_get_a_gradient_and_are_counted() -> None:
    encoding = build("fope:theta=10,learned=true")
    q, k = torch.randn(2, 1, 2, 12, 16)
    scores(*encoding(q, k, Grid((12,)).positions("index"), 1)).square().sum().backward()
    gradient = encoding.coefficients.grad
    assert gradient[0].abs().max() == 0
    assert (gradient[1] != 0).any(-1).all()
    counts = [
        profile_at(spec, (12,), heads=2, head_dim=16, depth=2).parameters
        for spec in ("fope:theta=10", "fope:theta=10,learned=true", "fope:theta=10,heads=same")
    ]
    assert counts == [0, 2 * 2 * 2 * 3 * 3, 0]


def test_the_training_length_selects_frequencies() -> None:
    for length, kept in ((7, 1), (12, 3), (24, 5), (1000, 8)):
        for encoding in (
            build("fope:theta=10", length),
            build(f"fope:theta=10,length={length}", 9999),
        ):
            assert encoding.coefficients.shape[-1] == kept
            assert encoding.frequencies.min() >= 2 * math.pi / length


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    encoding = build("fope:theta=10", 64)
    q, k = torch.randn(2, 1, 2, 64, 16).to(dtype)
    positions = Grid((64,)).positions("index")
    exact = encoding(q.float(), k.float(), positions)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = encoding(q, k, positions)
    for ours, theirs in zip(rounded, exact, strict=True):
        assert ours.dtype == dtype
        limit = theirs.abs() * torch.finfo(dtype).eps / 2 + 1e-6
        assert ((ours.float() - theirs).abs() <= limit).all()


def test_yarn_after_low_frequencies_are_removed() -> None:
    """As with both settings of the code: the kept frequencies are interpolated."""
    encoding = build("fope:theta=10,gain=0")
    extension = extend(encoding, "yarn-paper", Grid((48,), (12,)))
    actual: Any = extension.encoding
    assert actual.frequencies.shape == encoding.frequencies.shape
    for old, new in zip(
        encoding.frequencies[0].tolist(), actual.frequencies[0].tolist(), strict=True
    ):
        keep = min(max((12 * old / (2 * math.pi) - 1) / 31, 0), 1)
        assert new == pytest.approx((1 - keep) * old / 4 + keep * old)
    q = torch.randn(1, 2, 48, 16)
    turned, _ = actual(q, q, extension.positions)
    scale = 0.1 * math.log(4) + 1
    torch.testing.assert_close(turned.norm(dim=-1), scale * q.norm(dim=-1))


@pytest.mark.parametrize(
    ("spec", "changes", "message"),
    [
        ("fope", {"grid": None}, r"needs the training length: pass grid=\(256,\), or the option"),
        (
            "fope",
            {"grid": (6,)},
            "over 6 tokens with scaling=index; with scaling=index 7 tokens suffice",
        ),
        ("fope:scaling=unit", {}, "none does over 12 tokens with scaling=unit"),
        ("fope", {"axes": 2, "grid": (12, 12)}, "'fope' is defined for 1 axis only, not 2"),
        ("fope:length=1", {}, "'length' is 1, but must be at least 2"),
        ("fope:gain=-1", {}, "'gain' is -1, but must be at least 0"),
    ],
)
def test_options_and_shapes_that_do_not_fit_are_refused(
    spec: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build_encoding(spec, **{**SHAPE, "grid": (12,), **changes})
