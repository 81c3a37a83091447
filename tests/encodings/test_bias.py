"""Encodings that add to the attention logits, each equal to its source."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from liere_cli.encodings import Grid, build_encoding
from liere_cli.encodings.bias.alibi import slopes
from liere_cli.encodings.bias.t5 import bucket
from liere_cli.errors import UsageError

BIASES = ["alibi", "t5", "t5:share=none", "kerple", "fire", "fire:share=layers"]


def built(spec: str, axes: int = 1, heads: int = 4, depth: int = 2) -> Any:
    encoding = build_encoding(spec, axes=axes, heads=heads, head_dim=6, depth=depth).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in encoding.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.1)
    return encoding


def bias_of(encoding: Any, positions: Tensor, layer: int = 0) -> Tensor:
    state = encoding.prepare(positions)
    actual: Tensor = encoding.bias(state, state, layer)
    return actual


def alibi_slope(head: int, heads: int) -> float:
    """The rule of the paper's code, one head at a time."""
    if math.log2(heads).is_integer():
        start = 2 ** (-(2 ** -(math.log2(heads) - 3)))
        return float(start * start**head)
    below = 2 ** math.floor(math.log2(heads))
    return alibi_slope(head, below) if head < below else alibi_slope(2 * (head - below), 2 * below)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40))
def test_slopes_for_any_number_of_heads(heads: int) -> None:
    expected = [alibi_slope(head, heads) for head in range(heads)]
    torch.testing.assert_close(slopes(heads), torch.tensor(expected))


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("free", [0, 1])
def test_alibi_subtracts_slope_times_distance(axes: int, free: int) -> None:
    encoding = built(f"alibi:heads={4 - free}", axes)
    places = Grid((5, 3, 2)[:axes]).positions("index").double()
    actual = bias_of(encoding, places)
    for head in range(4):
        slope = alibi_slope(head, 4 - free) if head < 4 - free else 0.0
        for i, p in enumerate(places):
            for j, q in enumerate(places):
                assert actual[head, i, j].item() == pytest.approx(
                    -slope * math.dist(p.tolist(), q.tolist()), rel=1e-6
                )


def t5_bucket(relative: int, buckets: int, distance: int, bidirectional: bool) -> int:
    """arXiv 1910.10683 and its code, one difference (key - query) at a time."""
    offset = 0
    if bidirectional:
        buckets //= 2
        offset = buckets if relative > 0 else 0
        relative = abs(relative)
    else:
        relative = max(-relative, 0)
    exact = buckets // 2
    if relative < exact:
        return offset + relative
    share = math.log(relative / exact) / math.log(distance / exact)
    return offset + min(exact + int(share * (buckets - exact) + 1e-6), buckets - 1)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 16), st.integers(1, 100), st.booleans())
def test_buckets_are_those_of_t5(quarter: int, beyond: int, bidirectional: bool) -> None:
    buckets = 4 * quarter
    distance = 2 * quarter + beyond
    relative = torch.arange(-300, 300)
    actual = bucket(relative, buckets, distance, bidirectional).tolist()
    expected = [t5_bucket(r, buckets, distance, bidirectional) for r in relative.tolist()]
    # the bounds between buckets are rounded in float32 here
    assert sum(a != b for a, b in zip(actual, expected, strict=True)) <= 8
    assert max(abs(a - b) for a, b in zip(actual, expected, strict=True)) <= 1


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("spec", ["t5", "t5:share=none,scale=3"])
def test_t5_adds_a_learned_number_for_the_bucket_of_each_axis(spec: str, axes: int) -> None:
    encoding = built(spec, axes)
    places = Grid((5, 3, 2)[:axes]).positions("index").double()
    for layer in range(2):
        actual = bias_of(encoding, places, layer)
        table = encoding.table[layer if "none" in spec else 0]
        for i, p in enumerate(places.int().tolist()):
            for j, q in enumerate(places.int().tolist()):
                expected = sum(
                    table[axis, t5_bucket(q[axis] - p[axis], 32, 128, axes > 1)]
                    for axis in range(axes)
                )
                torch.testing.assert_close(
                    actual[:, i, j], expected * (3 if "scale" in spec else 1)
                )


@pytest.mark.parametrize("axes", [1, 2])
def test_kerple_equals_its_formula(axes: int) -> None:
    encoding = built("kerple", axes)
    with torch.no_grad():
        encoding.rates[1, :, 0] = -1  # below the lower bound
    places = Grid((5, 3)[:axes]).positions("index").double()
    for layer in range(2):
        actual = bias_of(encoding, places, layer)
        for head in range(4):
            r1, r2 = (max(r, 0.01) for r in encoding.rates[layer, :, head].tolist())
            for i, p in enumerate(places.tolist()):
                for j, q in enumerate(places.tolist()):
                    expected = -r1 * math.log(1 + r2 * math.dist(p, q))
                    assert actual[head, i, j].item() == pytest.approx(expected)


@pytest.mark.parametrize("floor", ["parameters", "values"])
def test_kerple_parameters_can_leave_their_lower_bound(floor: str) -> None:
    """As in the paper's code, one step is enough: no distance below the bound has to be undone."""
    encoding = built(f"kerple:floor={floor}", depth=1)
    optimizer = torch.optim.SGD(encoding.parameters(), 0.5)
    positions = Grid((5,)).positions("index").double()
    for direction in (-1, -1, -1, 1):  # down, down, down, up
        optimizer.zero_grad()
        bias = bias_of(encoding, positions)
        lowest = -1e9 if floor == "values" else 0.01
        assert (encoding.rates.detach() >= lowest).all()
        (direction * bias.sum()).backward()
        encoding.rates.grad.copy_(-torch.ones_like(encoding.rates) * direction)
        optimizer.step()
    used = encoding.rates.detach().clamp(min=0.01)
    assert torch.equal(used > 0.01, torch.full_like(used, floor == "parameters").bool())


@pytest.mark.parametrize("case", ["eval", "no_grad", "functional"])
def test_kerple_changes_parameters_only_in_training(case: str) -> None:
    encoding = built("kerple", depth=1)
    encoding.rates.data.fill_(-1.0)
    positions = Grid((5,)).positions("index").double()
    expected = torch.full((4, 5, 5), -0.01) * (0.01 * (positions - positions.T).abs()).log1p()
    if case == "functional":
        encoding.forward = lambda p: bias_of(encoding, p)
        rates = {"rates": encoding.rates.detach()}
        actual = torch.func.functional_call(encoding, rates, (positions,))
    elif case == "eval":
        actual = bias_of(encoding.eval(), positions)
    else:
        with torch.no_grad():
            actual = bias_of(encoding, positions)
    torch.testing.assert_close(actual, expected.double())
    assert (encoding.rates == -1).all()


def test_fire_equals_its_formula() -> None:
    encoding = built("fire:threshold=3")
    encoding.reach.data.fill_(-1.5)
    places = Grid((9,)).positions("index").double()
    for layer in range(2):
        actual, c = bias_of(encoding, places, layer), encoding.curvature[layer].item()
        for i in range(9):
            for j in range(9):
                top, bottom = (math.log(abs(c * x) + 1) for x in (i - j, max(i, 4.5)))
                share = top / (bottom + 1e-6)
                hidden = (share * encoding.hidden[layer] + encoding.hidden_bias[layer]).relu()
                expected = encoding.out[layer] @ hidden + encoding.out_bias[layer]
                torch.testing.assert_close(actual[:, i, j], expected)


@pytest.mark.parametrize("spec", BIASES)
def test_queries_and_keys_at_different_positions_get_the_same_bias(spec: str) -> None:
    encoding = built(spec)
    places = Grid((7,)).positions("index").double()
    for layer in range(2):
        whole = bias_of(encoding, places, layer)
        part = encoding.bias(encoding.prepare(places[5:]), encoding.prepare(places[:6]), layer)
        torch.testing.assert_close(part, whole[:, 5:, :6])


@pytest.mark.parametrize("spec", BIASES)
def test_biases_that_layers_share_are_built_once(spec: str) -> None:
    encoding = built(spec)
    state = encoding.prepare(Grid((7,)).positions("index").double())
    first, second = (encoding.bias(state, state, layer) for layer in range(2))
    assert (first is second) == (not encoding.layered)
    assert encoding.bias(state, state, 1) is second


def test_alibi_and_t5_equal_those_of_x_transformers() -> None:
    package = pytest.importorskip("x_transformers.x_transformers")
    places = Grid((200,)).positions("index")
    for heads in (4, 6):
        theirs = package.AlibiPositionalBias(heads, heads)
        ours = build_encoding("alibi", axes=1, heads=heads, head_dim=6)
        torch.testing.assert_close(bias_of(ours, places), theirs(200, 200))
    for causal in (True, False):
        theirs = package.RelativePositionBias(scale=2.5, causal=causal, heads=4)
        spec = f"t5:scale=2.5,bidirectional={str(not causal).lower()}"
        ours = build_encoding(spec, axes=1, heads=4, head_dim=6)
        ours.table.data[0, 0] = theirs.relative_attention_bias.weight.data
        torch.testing.assert_close(bias_of(ours, places), theirs(200, 200))


@pytest.mark.parametrize(
    ("spec", "axes", "words"),
    [
        ("alibi:heads=5", 1, "heads=5 get a bias, but there are 4 heads"),
        ("t5:distance=16", 1, "distance=16 must be above 16"),
        ("fire", 2, "encoding 'fire' is defined for .*1 axis"),
    ],
)
def test_options_and_shapes_that_do_not_fit_are_refused(spec: str, axes: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build_encoding(spec, axes=axes, heads=4, head_dim=6)


#: the rows and columns, relative to the query, that heads see, as the names of the code say
SEEN = {
    180: [
        lambda r, c: r <= 0, lambda r, c: r >= 0, lambda r, c: c <= 0, lambda r, c: c >= 0,
        lambda r, c: c >= r, lambda r, c: c <= -r, lambda r, c: c >= -r, lambda r, c: c <= r,
    ],
    90: [
        lambda r, c: r <= 0 and c <= 0, lambda r, c: r <= 0 and c >= 0,
        lambda r, c: r >= 0 and c <= 0, lambda r, c: r >= 0 and c >= 0,
        lambda r, c: -r >= abs(c), lambda r, c: r >= abs(c),
        lambda r, c: -c >= abs(r), lambda r, c: c >= abs(r),
    ],
    45: [
        lambda r, c: -r >= abs(c) and c <= 0, lambda r, c: r >= abs(c) and c <= 0,
        lambda r, c: -c >= abs(r) and r <= 0, lambda r, c: c >= abs(r) and r <= 0,
        lambda r, c: -r >= abs(c) and c >= 0, lambda r, c: r >= abs(c) and c >= 0,
        lambda r, c: -c >= abs(r) and r >= 0, lambda r, c: c >= abs(r) and r >= 0,
    ],
}  # fmt: skip


@pytest.mark.parametrize("view", list(SEEN))
def test_lookhere_has_the_fields_of_view_of_its_code(view: int) -> None:
    """Those of 12 heads in GreenCUBIC/lookhere: two groups of four directed heads, then none."""
    encoding = build_encoding(
        f"lookhere:view={view},slope=2", axes=2, heads=12, head_dim=4, depth=3
    )
    grid = (4, 5)
    state = encoding.prepare(encoding.positions(grid))
    cells = [(r, c) for r in range(4) for c in range(5)]
    for layer, factor in enumerate((1.5, 1.0, 0.5)):
        bias = encoding.bias(state, state, layer)
        assert bias is not None
        for head in range(12):
            slope = 0.5 if head < 8 else 0.25 ** (head - 7)
            for i, (qr, qc) in enumerate(cells):
                for j, (kr, kc) in enumerate(cells):
                    r, c = kr - qr, kc - qc
                    expected = -2 * factor * slope * math.hypot(r, c)
                    if head < 8 and not SEEN[view][head](r, c):
                        expected = -1e4
                    assert float(bias[head, i, j]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("heads", "directed"), [(1, 1), (2, 2), (4, 3), (6, 4), (16, 11)])
def test_lookhere_leaves_a_third_of_the_heads_undirected(heads: int, directed: int) -> None:
    encoding = build_encoding("lookhere", axes=2, heads=heads, head_dim=4)
    state = encoding.prepare(encoding.positions((3, 3)))
    bias = encoding.bias(state, state, 0)
    assert bias is not None
    seen = (bias > -1e3).flatten(1)
    assert [bool(head.all()) for head in seen] == [n >= directed for n in range(heads)]
    # every query sees itself
    assert bool((bias.diagonal(dim1=1, dim2=2) == 0).all())
