"""Options of the model's blocks: sizes, references, and what they must leave alone."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from liere_cli.errors import UsageError
from liere_cli.model import KeyValueCache, ModelShape, Transformer
from liere_cli.model.visibility import visible_keys

CPU = torch.device("cpu")
EVERYTHING = {
    "norm": "rmsnorm", "mlp": "swiglu", "qk_norm": True, "registers": 3, "kv_heads": 2,
    "logit_cap": 5.0, "window": 7,
}  # fmt: skip


def shape_of(axes: int, **changes: Any) -> ModelShape:
    values: dict[str, Any] = {
        "layers": 2, "dim": 48, "heads": 4, "mlp_ratio": 3.0, "dropout": 0.0, "pooling": "mean",
        "causal": axes == 1, "grid": (16,) if axes == 1 else (8, 12),
        "patch": (1,) if axes == 1 else (2, 2), "channels": 3, "classes": 64 if axes == 1 else 5,
    }  # fmt: skip
    return ModelShape(**{**values, **changes})


def inputs_of(shape: ModelShape) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if shape.causal:
        return torch.randint(shape.classes, (3, *shape.grid), generator=generator)
    return torch.randn(3, shape.channels, *shape.grid, generator=generator)


def model_of(shape: ModelShape, encoding: str) -> Transformer:
    model = Transformer(shape, encoding)
    model.initialise(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("head") or name == "embed.weight":
                parameter.mul_(50)  # so that differences of logits show
    return model.eval()


@given(
    st.sampled_from(["gelu", "swiglu", "geglu"]), st.booleans(), st.integers(0, 3),
    st.sampled_from([None, 1, 2, 4]), st.booleans(), st.sampled_from(["cls", "mean"]),
    st.sampled_from([1, 2]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_parameters_are_as_many_as_by_hand(
    mlp: str, qk_norm: bool, registers: int, kv: int | None, tie: bool, pooling: str, axes: int
) -> None:
    tie = tie and axes == 1
    shape = shape_of(
        axes, mlp=mlp, qk_norm=qk_norm, registers=registers, kv_heads=kv, tie_embeddings=tie,
        pooling=pooling,
    )  # fmt: skip
    dim, head_dim, hidden = 48, 12, 144
    attention = dim * dim + 2 * dim * head_dim * (kv or 4) + dim * dim
    # two thirds of 144 are whole, so gated and plain MLPs have equal parameters
    block = 2 * dim + attention + 2 * dim * hidden + 2 * head_dim * qk_norm
    ends = 64 * dim * (1 if tie else 2) if axes == 1 else 3 * 4 * dim + dim + dim * 5 + 5
    cls = dim if axes == 2 and pooling == "cls" else 0
    expected = 2 * block + dim + ends + cls + registers * dim
    assert Transformer(shape, "none").counts() == (expected, 0)


@given(st.integers(1, 512), st.floats(0.5, 8))
def test_gated_and_plain_mlps_have_equal_parameters(dim: int, ratio: float) -> None:
    try:
        plain = shape_of(1, dim=4 * dim, mlp_ratio=ratio)
    except UsageError:
        return
    gated = shape_of(1, dim=4 * dim, mlp_ratio=ratio, mlp="swiglu")
    assert abs(3 * gated.hidden - 2 * plain.hidden) <= 1.5


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_blocks_equal_those_of_llama(tied: bool, kv_heads: int) -> None:
    transformers = pytest.importorskip("transformers")
    shape = shape_of(
        1, norm="rmsnorm", mlp="swiglu", kv_heads=kv_heads, tie_embeddings=tied, mlp_ratio=4.0
    )
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=48, intermediate_size=shape.hidden, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=kv_heads, rms_norm_eps=1e-6,
        tie_word_embeddings=tied, max_position_embeddings=16,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )  # fmt: skip
    torch.manual_seed(1)
    llama = transformers.LlamaForCausalLM(config).eval()
    for parameter in llama.parameters():  # norms too, which are initially 1
        torch.nn.init.normal_(parameter, 0.5, 0.3)
    theirs = dict(llama.named_parameters())
    weights = {
        "embed.weight": theirs["model.embed_tokens.weight"],
        "norm.weight": theirs["model.norm.weight"],
    }
    if not tied:
        weights["head.weight"] = theirs["lm_head.weight"]
    names = {
        "attention_norm": ["input_layernorm"], "mlp_norm": ["post_attention_layernorm"],
        "attention.qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        "attention.out": ["self_attn.o_proj"], "mlp_in": ["mlp.gate_proj", "mlp.up_proj"],
        "mlp_out": ["mlp.down_proj"],
    }  # fmt: skip
    for layer in range(2):
        for ours, parts in names.items():
            stacked = [theirs[f"model.layers.{layer}.{part}.weight"] for part in parts]
            weights[f"blocks.{layer}.{ours}.weight"] = torch.cat(stacked)
    model = Transformer(shape, "rope:layout=half-split").eval()
    model.load_state_dict(weights)
    inputs = inputs_of(shape)
    with torch.no_grad():
        expected = llama(inputs).logits
        assert float((model(inputs) - expected).abs().max() / expected.abs().max()) < 1e-5


@pytest.mark.parametrize("encoding", ["rope", "rope-mixed", "liere", "alibi", "pope", "absolute"])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_grouped_queries_equal_heads_that_repeat_their_keys(encoding: str, kv_heads: int) -> None:
    grouped = model_of(shape_of(1, kv_heads=kv_heads), encoding)
    whole = model_of(shape_of(1), encoding)
    weights = grouped.state_dict()
    for name in [name for name in weights if name.endswith("qkv.weight")]:
        q, k, v = weights[name].split([48, 12 * kv_heads, 12 * kv_heads])
        repeated = [
            part.unflatten(0, (kv_heads, 12)).repeat_interleave(4 // kv_heads, 0).flatten(0, 1)
            for part in (k, v)
        ]
        weights[name] = torch.cat([q, *repeated])
    whole.load_state_dict(weights)
    inputs = inputs_of(grouped.shape)
    torch.testing.assert_close(grouped(inputs), whole(inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
@pytest.mark.parametrize("encoding", ["rope", "liere", "circulant-string"])
def test_normalised_queries_and_keys_have_no_scale(norm: str, encoding: str) -> None:
    model = model_of(shape_of(1, qk_norm=True, norm=norm), encoding)
    inputs = inputs_of(model.shape)
    before = model(inputs)
    with torch.no_grad():
        for block in model.blocks:
            block.attention.qkv.weight[:96] *= 7  # type: ignore[union-attr, index, operator]
    torch.testing.assert_close(model(inputs), before, rtol=1e-3, atol=1e-3)


def test_a_norm_of_queries_and_keys_acts_before_the_encoding() -> None:
    model = model_of(shape_of(1, qk_norm=True, layers=1), "rope")
    attention = model.blocks[0].attention
    x = torch.randn(2, 16, 48)
    encoding = model.encoding
    state = encoding.prepare(model.positions((16,), CPU))
    q, k, v = encoding.split(x, attention.qkv.weight)  # type: ignore[union-attr, arg-type]
    q, k = F.layer_norm(q, (12,)), F.layer_norm(k, (12,))
    q, k = encoding.encode_qk(q, k, state, 0)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
    model.embed.forward = lambda _: x  # type: ignore[method-assign, assignment]
    captured: list[torch.Tensor] = []
    attention.out.register_forward_hook(  # type: ignore[union-attr, operator]
        lambda module, given, out: captured.append(given[0])
    )
    model.blocks[0].attention_norm.forward = lambda x: x  # type: ignore[union-attr, assignment, method-assign]
    model(inputs_of(model.shape)[:2])
    torch.testing.assert_close(captured[0], y, rtol=1e-4, atol=1e-5)


def test_capped_logits_are_those_of_the_model_without_a_cap() -> None:
    capped, free = (model_of(shape_of(1, logit_cap=cap), "rope") for cap in (5.0, None))
    inputs = inputs_of(free.shape)
    expected = free(inputs)
    assert expected.abs().max() > 5
    torch.testing.assert_close(capped(inputs), 5 * torch.tanh(expected / 5))


def test_tied_embeddings_are_the_head() -> None:
    tied, free = model_of(shape_of(1, tie_embeddings=True), "rope"), model_of(shape_of(1), "rope")
    weights = tied.state_dict()
    assert "head.weight" not in weights
    free.load_state_dict({**weights, "head.weight": weights["embed.weight"]})
    inputs = inputs_of(tied.shape)
    torch.testing.assert_close(tied(inputs), free(inputs))
    with pytest.raises(UsageError, match=r"model\.tie_embeddings is true, but a classifier"):
        shape_of(2, tie_embeddings=True)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2), st.integers(1, 6))
def test_a_window_is_a_distance_along_every_axis(
    rows: int, columns: int, prefix: int, window: int
) -> None:
    visible = visible_keys((rows, columns), CPU, prefix=prefix, window=window).tolist()
    places = [(row, column) for row in range(rows) for column in range(columns)]
    for i, first in enumerate(places):
        for j, second in enumerate(places):
            near = max(abs(a - b) for a, b in zip(first, second, strict=True)) < window
            assert visible[prefix + i][prefix + j] == near
    assert all(map(all, visible[:prefix]))
    assert all(all(row[:prefix]) for row in visible)


def test_bytes_beyond_the_window_do_not_matter_to_one_layer() -> None:
    model = model_of(shape_of(1, layers=1, window=4), "rope")
    inputs = inputs_of(model.shape)
    changed = inputs.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 64
    same = (model(inputs) == model(changed)).all(-1).all(0)
    assert same.tolist() == [not 5 <= index < 9 for index in range(16)]
    whole = model_of(shape_of(1, layers=1, window=16), "rope")
    free = model_of(shape_of(1, layers=1), "rope")
    torch.testing.assert_close(whole(inputs), free(inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axes", [1, 2])
def test_registers_take_part_and_move_no_position(axes: int) -> None:
    shape = shape_of(axes, registers=2)
    model = model_of(shape, "rope" if axes == 1 else "axial")
    inputs = inputs_of(shape)
    assert model(inputs).shape == ((3, 16, 64) if axes == 1 else (3, 5))
    before = model(inputs)
    with torch.no_grad():
        model.registers[1] *= -1
    assert not torch.allclose(model(inputs), before, atol=1e-3)
    assert model.token_grid == ((16,) if axes == 1 else (4, 6))
    assert any(p is model.registers for p in model.parameter_groups()["plain"])


@pytest.mark.parametrize("encoding", ["rope", "liere", "alibi", "pope", "fire"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_cache_changes_no_logit_with_all_options(encoding: str, tied: bool) -> None:
    model = model_of(shape_of(1, **EVERYTHING, tie_embeddings=tied), encoding)
    inputs = inputs_of(model.shape)
    cache = KeyValueCache(2)
    parts = [model(part, cache=cache) for part in inputs.split([1, 6, 1, 8], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), model(inputs), rtol=1e-3, atol=1e-3)
    prompt = inputs[0, :3]
    generator = torch.Generator()
    text = model.generate(prompt, 20, temperature=0.0, generator=generator)
    again = prompt
    with torch.no_grad():
        for _ in range(20):
            last = model(again[None, -16:])[0, -1].argmax(-1, keepdim=True)
            again = torch.cat([again, last])
    assert torch.equal(text, again)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("encoding", ["axial", "liere", "alibi", "absolute"])
def test_padding_changes_nothing_with_all_options(encoding: str, pooling: str) -> None:
    shape = shape_of(2, **EVERYTHING, pooling=pooling)
    model = model_of(shape, encoding)
    mask = torch.ones(3, 4, 6, dtype=torch.bool)
    mask[0, 2:] = mask[1, :, 4:] = False
    pixels = mask.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None]
    inputs = inputs_of(shape)
    changed = torch.where(pixels, inputs, inputs + 9)
    first, second = (model(x, mask=mask.flatten(1)) for x in (inputs, changed))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(first, model(inputs), atol=1e-3)


@pytest.mark.parametrize("axes", [1, 2])
def test_all_options_train_and_compile(axes: int) -> None:
    torch._dynamo.reset()
    shape = shape_of(axes, **EVERYTHING, pooling="cls", layers=1)
    model = model_of(shape, "rope" if axes == 1 else "axial").train()
    inputs = inputs_of(shape)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(inputs), model(inputs), rtol=1e-3, atol=1e-3)
    model(inputs).logsumexp(-1).sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not without


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kv_heads": 3}, "groups; those that fit: 1, 2, 4"),
        ({"kv_heads": 8}, "model.kv_heads 8"),
    ],
)
def test_heads_that_do_not_group_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        shape_of(1, **changes)
