"""xPos: equal to its formula and to rotary-embedding-torch, relative, and safe with a cache."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rotary_embedding_torch import RotaryEmbedding
from torch import Tensor

from liere_cli.encodings import Grid, build_encoding
from liere_cli.encodings.extension import extend
from liere_cli.errors import UsageError
from support.slow_rotary import built, positions_of, random_qk, scores, turned

SPECS = ["xpos", "xpos:layout=half-split,span=3,gamma=0.1", "xpos:learned=true,theta=50"]


def slow_scores(encoding: Any, q: Tensor, k: Tensor, positions: Tensor) -> Tensor:
    """q . k of every pair, with each plane multiplied by zeta_i^((p_q - p_k) / span)."""
    options, heads, planes = encoding.options, q.shape[1], q.shape[3] // 2
    frequencies = encoding.frequencies.detach()
    if frequencies.ndim == 4:
        frequencies = frequencies[1]  # of layer 1
    frequencies = frequencies.expand(heads, 1, planes)

    def angle(n: int, i: int, p: list[float]) -> float:
        return p[0] * float(frequencies[n, 0, i])

    turned_q, turned_k = (turned(x, positions, options.layout, angle) for x in (q, k))
    zeta = [(i / planes + options.gamma) / (1 + options.gamma) for i in range(planes)]
    own = [i if options.layout == "half-split" else i // 2 for i in range(2 * planes)]
    out = torch.zeros(*q.shape[:3], k.shape[2], dtype=torch.float64)
    for row, p in enumerate(positions[:, 0].tolist()):
        for column, r in enumerate(positions[:, 0].tolist()):
            fade = torch.tensor([zeta[i % planes] ** ((p - r) / options.span) for i in own])
            product = turned_q[:, :, row] * fade.double() * turned_k[:, :, column]
            out[:, :, row, column] = product.sum(-1)
    return out


@pytest.mark.parametrize("spec", SPECS)
def test_scores_equal_those_of_the_formula(spec: str) -> None:
    encoding = built(spec, 1)
    q, k = random_qk(encoding)
    positions = positions_of(encoding)
    state = encoding.prepare(positions)
    expected = slow_scores(encoding, q, k, positions)
    apart = encoding.encode_q(q, state, 1), encoding.encode_k(k, state, 1)
    for ours in (encoding(q, k, positions, layer=1), apart):
        torch.testing.assert_close(scores(*ours), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [12, 300])
def test_scores_equal_those_of_rotary_embedding_torch(length: int) -> None:
    q, k = torch.randn(2, 2, 3, length, 16)
    theirs = RotaryEmbedding(16, use_xpos=True, xpos_scale_base=64).rotate_queries_and_keys(q, k)
    ours = build_encoding("xpos:span=64", axes=1, heads=3, head_dim=16, grid=(length,))
    actual, expected = (scores(*pair).tril() for pair in (ours(q, k, at(length)), theirs))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-3)


def at(length: int, start: float = 0.0) -> Tensor:
    return Grid((length,)).positions("index") + start


@settings(max_examples=25, deadline=None)
@given(st.floats(-300, 300, width=32), st.sampled_from(SPECS))
def test_a_common_shift_changes_no_score(shift: float, spec: str) -> None:
    encoding = built(spec.replace("span=3", "span=90"), 1)
    assert encoding.relative
    q, k = random_qk(encoding)
    moved = scores(*encoding(q, k, at(6, shift), layer=1))
    torch.testing.assert_close(moved, scores(*encoding(q, k, at(6), layer=1)), rtol=1e-4, atol=1e-4)


def test_norms_change() -> None:
    encoding = built("xpos:span=3", 1)
    assert not encoding.orthogonal
    q, k = random_qk(encoding)
    turned_q, _ = encoding(q, k, positions_of(encoding))
    assert (turned_q.norm(dim=-1) / q.norm(dim=-1) - 1).abs().max() > 0.1


def test_a_large_gamma_is_rope() -> None:
    q, k = torch.randn(2, 1, 2, 6, 16)
    results = [
        scores(*build_encoding(spec, axes=1, heads=2, head_dim=16)(q, k, at(6)))
        for spec in ("xpos:gamma=1e9", "rope")
    ]
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


def test_keys_in_a_cache_fit_queries_of_later_calls() -> None:
    encoding = build_encoding("xpos:span=8", axes=1, heads=2, head_dim=16, grid=(16,))
    q, k = torch.randn(2, 1, 2, 24, 16)
    whole = scores(*encoding(q, k, at(24)))
    parts = [encoding.prepare(at(24)[rows]) for rows in (slice(0, 5), slice(5, 24))]
    kept = [
        encoding.encode_k(k[:, :, rows], state, 0)
        for rows, state in zip((slice(0, 5), slice(5, 24)), parts, strict=True)
    ]
    late = encoding.encode_q(q[:, :, 23:], encoding.prepare(at(24)[23:]), 0)
    torch.testing.assert_close(scores(late, torch.cat(kept, 2)), whole[:, :, 23:])


def test_factors_stay_finite_over_long_text() -> None:
    length = 34_000
    encoding = build_encoding("xpos", axes=1, heads=1, head_dim=4, grid=(256,))
    q, k = torch.randn(2, 1, 1, 3, 4)
    ends = at(length)[[0, length // 2, length - 1]]
    turned_q, turned_k = encoding(q, k, ends)
    actual = scores(turned_q, turned_k)
    assert actual.isfinite().all()
    # the score of the last query and the first key is that of the slowest decay
    slow = (1.4 - 0.5) / 1.4
    assert actual[0, 0, 2, 0].abs() < 10 * slow ** ((length - 1) / 512)


@pytest.mark.parametrize(
    ("dtype", "finite", "beyond"),
    [
        (torch.float16, 3_700, 3_900),
        (torch.bfloat16, 34_000, 36_000),
        (torch.float32, 34_000, 1_000_000),
        (torch.float64, 250_000, 1_000_000),
    ],
)
def test_positions_are_refused_where_the_dtype_ends(
    dtype: torch.dtype, finite: int, beyond: int
) -> None:
    encoding = build_encoding("xpos", axes=1, heads=1, head_dim=4, grid=(64,))
    encoding = encoding.double() if dtype == torch.float64 else encoding
    q, k = (torch.randn(2, 1, 1, 3, 4) * 2).clamp(-7, 7).to(dtype)
    for call in (encoding.encode_q, encoding.encode_k):
        state = encoding.prepare(torch.tensor([[0.0], [1.0], [finite]], dtype=torch.float64))
        assert call(q, state, 0).isfinite().all()
        state = encoding.prepare(torch.tensor([[0.0], [1.0], [beyond]], dtype=torch.float64))
        with pytest.raises(UsageError, match=r"positions up to [\d,]+ from 31.5; .* span"):
            call(q, state, 0)
    with pytest.raises(UsageError, match="represents its factors up to"):
        encoding(q, k, at(3, beyond))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    encoding = build_encoding("xpos", axes=1, heads=2, head_dim=16, grid=(64,))
    q, k = torch.randn(2, 1, 2, 64, 16).to(dtype)
    exact = encoding(q.float(), k.float(), at(64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = encoding(q, k, at(64))
    for ours, theirs in zip(rounded, exact, strict=True):
        assert ours.dtype == dtype
        limit = theirs.abs() * torch.finfo(dtype).eps / 2 + 1e-6
        assert ((ours.float() - theirs).abs() <= limit).all()


def test_gradients_equal_those_of_the_formula() -> None:
    encoding: Any = built("xpos:learned=true,span=3", 1)
    q, k = random_qk(encoding)
    positions = positions_of(encoding)[:4]

    def function(q: Tensor, k: Tensor, frequencies: Tensor) -> Tensor:
        state = torch.func.functional_call(
            encoding, {"frequencies": frequencies}, (q, k, positions), {"layer": 1}
        )
        return scores(*state)

    inputs = [x.requires_grad_() for x in (q[:1, :, :4], k[:1, :, :4])]
    assert torch.autograd.gradcheck(
        function, (*inputs, encoding.frequencies.detach().requires_grad_())
    )


def test_interpolation_slows_the_decay_too() -> None:
    encoding = build_encoding("xpos:span=8", axes=1, heads=2, head_dim=16, grid=(8,), seed=0)
    extension = extend(encoding, "pi", Grid((16,), (8,)))
    q, k = torch.randn(2, 1, 2, 16, 16)
    actual = scores(*extension.encoding(q, k, extension.positions))
    slower = build_encoding("xpos:span=16", axes=1, heads=2, head_dim=16, grid=(8,))
    slower.frequencies.mul_(0.5)  # type: ignore[operator]
    torch.testing.assert_close(actual, scores(*slower(q, k, at(16))), rtol=1e-4, atol=1e-4)


def test_the_first_planes_decay_most() -> None:
    encoding: Any = build_encoding("xpos", axes=1, heads=1, head_dim=16)
    expected = [math.log((2 * i + 0.4 * 16) / (1.4 * 16)) / 512 for i in range(8)]
    assert encoding.rate.tolist() == pytest.approx(expected)
