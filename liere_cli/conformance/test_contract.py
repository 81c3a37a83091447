"""What an encoding declares, accepts and returns."""

import copy
import math

import pytest
import torch
from torch import Tensor

from liere_cli.conformance.cases import (
    BATCH,
    DEPTH,
    DIM,
    GRIDS,
    HEAD_DIM,
    HEADS,
    PREFIX,
    TOKENS,
    Case,
    agree,
    attended,
    logits,
    queries_and_keys,
    random,
)
from liere_cli.encodings import PositionEncoding, build_encoding
from liere_cli.encodings.describe import GRIDS as NANO_GRIDS
from liere_cli.encodings.describe import NANO, ShapeProfile, profile
from liere_cli.errors import UsageError

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def test_name_summary_source_and_formula_are_set(plain: Case) -> None:
    cls = plain.cls
    for variable, meaning in {
        "name": "its name in tables",
        "summary": "what it does, in one line",
        "source": "its paper or page",
        "formula": "what it computes, in one line",
    }.items():
        value = getattr(cls, variable, "")
        assert isinstance(value, str), f"{variable} must be a string"
        assert value.strip(), f"set the class variable {variable}: {meaning}"
        assert "\n" not in value, f"{variable} must be one line"
    for key, field in cls.Options.model_fields.items():
        assert field.description, f"give option '{key}' a description: Field(..., description=...)"


def test_it_acts_at_a_place(plain: Case) -> None:
    acts = plain.cls.places or plain.cls.family == "none"
    assert acts, "override embed, encode_qk (or encode_q and encode_k) or bias: it has no effect"


def test_its_profile_counts_parameters_and_operations(plain: Case) -> None:
    measured = {at.axes: at for at in profile(plain.spec).by_axes}[plain.axes]
    if not isinstance(measured, ShapeProfile):
        return
    built = build_encoding(plain.spec, axes=plain.axes, grid=NANO_GRIDS[plain.axes], **NANO)
    assert measured.parameters == sum(parameter.numel() for parameter in built.parameters())
    assert measured.flops_per_token >= 0, "it costs less than no encoding"


def test_other_numbers_of_axes_are_refused(plain: Case) -> None:
    for axes in range(1, 5):
        if not plain.cls.serves(axes):
            with pytest.raises(UsageError, match="is defined for"):
                build_encoding(plain.spec, axes=axes, heads=HEADS, head_dim=HEAD_DIM, dim=DIM)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
def test_shapes_and_dtypes(case: Case, dtype: torch.dtype) -> None:
    encoding = case.build()
    if dtype == torch.float64:
        encoding = encoding.double()
    positions = case.positions(encoding)
    q, k = queries_and_keys(TOKENS + PREFIX, dtype)
    state = encoding.prepare(positions)
    wide = (BATCH, HEADS, TOKENS + PREFIX, HEAD_DIM * encoding.qk_width)
    for layer in range(DEPTH):
        encoded: dict[str, Tensor] = {
            "encode_q": encoding.encode_q(q, state, layer, prefix_tokens=PREFIX),
            "encode_k": encoding.encode_k(k, state, layer, prefix_tokens=PREFIX),
        }
        encoded["encode_qk, q"], encoded["encode_qk, k"] = encoding.encode_qk(
            q, k, state, layer, prefix_tokens=PREFIX
        )
        for name, x in encoded.items():
            assert x.shape == wide, (
                f"{name} must return [batch, heads, tokens, head_dim * qk_width] = {list(wide)}, "
                f"not {list(x.shape)}; set qk_width if it makes queries and keys wider"
            )
            assert x.dtype == dtype, (
                f"{name} must keep the dtype {dtype}, not return {x.dtype}: compute in float32 and "
                "return x.to(q.dtype)"
            )
        bias = encoding.bias(state, state, layer)
        assert (bias is not None) == ("bias" in encoding.places)
        if bias is not None:
            assert bias.is_floating_point()
            assert bias.shape in ((HEADS, TOKENS, TOKENS), (1, TOKENS, TOKENS)), (
                f"bias must return [heads or 1, queries, keys], not {list(bias.shape)}"
            )
    if "values" in encoding.places:
        encoded_v = encoding.encode_v(q, state, 1, prefix_tokens=PREFIX)
        for name, y in (
            ("encode_v", encoded_v),
            ("decode_v", encoding.decode_v(encoded_v, state, 1, prefix_tokens=PREFIX)),
        ):
            assert (y.shape, y.dtype) == (q.shape, dtype), f"{name} must keep shape and dtype"
            advice = f"{name} must pass prefix tokens unchanged"
            agree(y[:, :, :PREFIX], q[:, :, :PREFIX], advice, tolerance=0)
    x = random(BATCH, TOKENS, DIM, dtype=dtype)
    added = encoding.embed(x, positions)
    assert added.shape == x.shape, "embed must keep [batch, tokens, dim]"
    assert added.dtype == dtype, "embed must keep the dtype of x: x + vectors.to(x.dtype)"


def test_inputs_are_not_changed_in_place(case: Case) -> None:
    encoding = case.build()
    positions = case.positions(encoding)
    q, k = queries_and_keys()
    x = random(BATCH, TOKENS, DIM)
    inputs = (positions, q, k, x)
    before = [tensor.clone() for tensor in inputs]
    encoding.embed(x, positions)
    attended(encoding, q, k, positions, 1)
    for tensor, original in zip(inputs, before, strict=True):
        assert torch.equal(tensor, original), "it writes into an input tensor; clone it"


def test_prefix_tokens(case: Case) -> None:
    encoding = case.build()
    positions = case.positions(encoding)
    q, k = queries_and_keys(TOKENS + PREFIX)
    state = encoding.prepare(positions)
    if encoding.prefix.startswith("pass unchanged"):
        encoded = encoding.encode_qk(q, k, state, 1, prefix_tokens=PREFIX)
        for x, changed in zip((q, k), encoded, strict=True):
            agree(
                changed[:, :, :PREFIX],
                x[:, :, :PREFIX],
                "the first S - T tokens have no position and must pass unchanged; otherwise set "
                "the class variable prefix to what happens to them",
                tolerance=0,
            )
    with_prefix = attended(encoding, q, k, positions, 1, PREFIX)[..., PREFIX:, PREFIX:]
    without = attended(encoding, q[:, :, PREFIX:], k[:, :, PREFIX:], positions, 1)
    agree(with_prefix, without, "positions belong to the last T tokens, whatever the prefix holds")


def test_prefix_tokens_are_counted(plain: Case) -> None:
    if "encode_qk" not in plain.cls.places:
        return
    encoding = plain.build()
    positions = encoding.positions(GRIDS[plain.axes])
    q, k = queries_and_keys(TOKENS + PREFIX)
    for wrong in (0, PREFIX - 1, PREFIX + 1):
        with pytest.raises(UsageError, match=f"{TOKENS + PREFIX} tokens, but {TOKENS} positions"):
            encoding(q, k, positions, prefix_tokens=wrong)
    encoding(q, k, positions, prefix_tokens=PREFIX)


def test_gradients_are_finite_and_reach_every_parameter(case: Case) -> None:
    encoding = case.build()
    positions = case.positions(encoding)
    total = torch.stack([logits(encoding, positions, layer).tanh().sum() for layer in range(DEPTH)])
    learned = {name: p for name, p in encoding.named_parameters() if p.requires_grad}
    if not learned:
        return
    gradients = torch.autograd.grad(total.sum(), list(learned.values()), allow_unused=True)
    for name, gradient in zip(learned, gradients, strict=True):
        assert gradient is not None, (
            f"no gradient reaches '{name}': it is unused, or cut off by detach, .data or no_grad"
        )
        assert bool(gradient.isfinite().all()), f"the gradient of '{name}' is not finite"
        assert bool(gradient.any()), f"the gradient of '{name}' is zero everywhere"


def test_gradients_reach_queries_and_keys(case: Case) -> None:
    encoding = case.build()
    q, k = (x.requires_grad_() for x in queries_and_keys())
    attended(encoding, q, k, case.positions(encoding), 1).tanh().sum().backward()
    for name, x in (("queries", q), ("keys", k)):
        assert x.grad is not None, f"no gradient reaches the {name}"
        assert bool(x.grad.isfinite().all()), f"gradients of the {name} are not finite"


def state_of(encoding: PositionEncoding) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in encoding.state_dict().items()}


def test_initial_parameters_depend_only_on_the_seed(case: Case) -> None:
    advice = "draw every parameter in initialise, with generator=stream('its name')"
    first = state_of(case.build(seed=3, perturbed=False))
    torch.manual_seed(99)
    again = case.build(seed=3, perturbed=False)
    for name, value in state_of(again).items():
        agree(value, first[name], f"'{name}' depends on torch's global generator: {advice}", 0)
    before = torch.get_rng_state()
    again.initialise(lambda name: torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), before), (
        f"initialise draws from torch's global generator: {advice}"
    )


def test_copies_and_saved_states_compute_the_same(case: Case) -> None:
    encoding = case.build()
    positions = case.positions(encoding)
    expected = logits(encoding, positions, 1)
    agree(logits(copy.deepcopy(encoding), positions, 1), expected, "a deep copy differs", 0)
    other = case.build(seed=1)
    other.load_state_dict(encoding.state_dict())
    agree(
        logits(other, positions, 1),
        expected,
        "the state dict lacks something learned or drawn: register parameters and buffers, and "
        "derive nothing from them in __init__",
        0,
    )


def test_examples_of_a_batch_are_independent(case: Case) -> None:
    encoding = case.build()
    positions = case.positions(encoding)
    q, k = queries_and_keys()
    x = random(BATCH, TOKENS, DIM)
    whole, added = attended(encoding, q, k, positions, 1), encoding.embed(x, positions)
    for row in range(BATCH):
        alone = slice(row, row + 1)
        advice = "an example's result depends on the rest of the batch"
        agree(attended(encoding, q[alone], k[alone], positions, 1), whole[alone], advice, 1e-5)
        agree(encoding.embed(x[alone], positions), added[alone], advice, 1e-5)


def test_no_tokens(whole: Case) -> None:
    """Neither tokens with a position, nor examples: nothing is computed, and nothing fails."""
    encoding = whole.build()
    some = whole.positions(encoding)
    for positions, prefix, batch in ((some[:0], 0, BATCH), (some[:0], PREFIX, BATCH), (some, 0, 0)):
        tokens = len(positions) + prefix
        state = encoding.prepare(positions)
        q, k = random(2, batch, HEADS, tokens, HEAD_DIM).unbind()
        for encoded in encoding.encode_qk(q, k, state, 1, prefix_tokens=prefix):
            assert encoded.shape == (batch, HEADS, tokens, HEAD_DIM * encoding.qk_width)
            assert bool(encoded.isfinite().all())
        x = random(batch, tokens, DIM)
        assert encoding.embed(x, positions, prefix_tokens=prefix).shape == x.shape
        assert encoding.project(x, random(3 * DIM, DIM), state, 1, prefix)[2].shape == q.shape
        bias = encoding.bias(state, state, 1)
        assert bias is None or bias.shape[1:] == (len(positions), len(positions))


def test_a_position_that_is_not_finite_makes_its_own_results_nan(whole: Case) -> None:
    encoding = whole.build()
    if not encoding.places:
        return
    positions = whole.positions(encoding)
    others = [i for i in range(TOKENS) if i != 5]
    expected = logits(encoding, positions, 1)[:, :, others][..., others]
    for value in (math.nan, math.inf, -math.inf):
        positions[5, -1] = value
        actual = logits(encoding, positions, 1)
        advice = f"scores of a token at position {value} must be NaN, and no others change"
        assert bool(actual[:, :, 5].isnan().all()), f"{advice}: of its query"
        assert bool(actual[..., 5].isnan().all()), f"{advice}: of its key"
        agree(actual[:, :, others][..., others], expected, advice)
