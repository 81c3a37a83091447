"""Encodings in models of timm and transformers, with random weights."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import liere_cli as liere
from liere_cli.errors import UsageError
from support.other_libraries import library

STEPS = 50


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def vit(**changes: Any) -> nn.Module:
    """timm's ``vit_small_patch16_224``, shallower and narrower."""
    sizes = {"depth": 2, "embed_dim": 48, "num_heads": 3, "num_classes": 0, "img_size": 64}
    return library("timm").create_model("vit_small_patch16_224", **{**sizes, **changes})  # type: ignore[no-any-return]


def rope_vit(**changes: Any) -> nn.Module:
    """timm's rotary ViT-S of RoPE-ViT, shallower and narrower; its axes are columns, then rows."""
    sizes = {"depth": 2, "embed_dim": 48, "num_heads": 3, "num_classes": 0, "img_size": 64}
    changes = {"init_values": 1.0, **sizes, **changes}
    return library("timm").create_model("vit_small_patch16_rope_224", **changes)  # type: ignore[no-any-return]


def eva02(**changes: Any) -> nn.Module:
    sizes = {"depth": 2, "embed_dim": 48, "num_heads": 3, "num_classes": 0, "img_size": 56}
    changes = {**sizes, "ref_feat_shape": (4, 4), **changes}
    return library("timm").create_model("eva02_tiny_patch14_224", **changes)  # type: ignore[no-any-return]


def llama(**changes: Any) -> nn.Module:
    transformers = library("transformers")
    sizes = {
        "vocab_size": 31, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32,
    }  # fmt: skip
    return transformers.LlamaModel(transformers.LlamaConfig(**{**sizes, **changes}))  # type: ignore[no-any-return]


def hf_vit() -> nn.Module:
    transformers = library("transformers")
    config = transformers.ViTConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        image_size=32, patch_size=8,
    )  # fmt: skip
    return transformers.ViTModel(config, add_pooling_layer=False)  # type: ignore[no-any-return]


def images(size: int) -> Tensor:
    return torch.randn(3, 3, size, size)


def words(length: int = 12) -> Tensor:
    return torch.randint(31, (3, length))


def outputs(model: nn.Module, x: Tensor, **kwargs: Any) -> Tensor:
    y = model(x, **kwargs)
    return y if isinstance(y, Tensor) else y.last_hidden_state  # type: ignore[no-any-return]


#: how to build each model, an input, and the encodings that it is tested with
MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], tuple[str, ...]]] = {
    "vit": (vit, lambda: images(64), ("liere", "rope-mixed:values=true", "pope")),
    "rope vit": (rope_vit, lambda: images(64), ("liere:block=4", "alibi")),
    "eva02": (eva02, lambda: images(56), ("absolute", "t5")),
    "llama": (llama, words, ("liere:values=true", "rope:learned=scale", "alibi", "absolute")),
    "hf vit": (hf_vit, lambda: images(32), ("liere", "alibi")),
}
CASES = [(name, spec) for name, (_, _, specs) in MODELS.items() for spec in specs]
#: one graph without a C++ compiler; compiled encodings are tested by their conformance tests
COMPILED = [
    ("vit", "liere:block=2"), ("rope vit", "rope-mixed"),
    ("llama", "rope:values=true"), ("hf vit", "alibi"),
]  # fmt: skip


@pytest.mark.parametrize("swiglu", [False, True])
def test_axial_in_eva02_is_its_own_rotary(swiglu: bool) -> None:
    model = eva02(use_abs_pos_emb=False, swiglu_mlp=swiglu).eval()
    x = images(56)
    expected = outputs(model, x)
    liere.apply_to(model, "axial:theta=10000")
    torch.testing.assert_close(outputs(model, x), expected, rtol=0, atol=1e-5)


def test_axial_in_a_rope_vit_is_its_own_rotary() -> None:
    """Its columns come before its rows: channels of queries and keys are exchanged."""
    model = rope_vit().eval()
    x = images(64)
    expected = outputs(model, x)
    liere.apply_to(model, "axial")
    assert not torch.allclose(outputs(model, x), expected, atol=1e-3)
    with torch.no_grad():
        for block in model.blocks:  # type: ignore[union-attr]
            attention = block.attn  # type: ignore[union-attr]
            for weight in (attention.qkv.weight, attention.qkv.bias):
                heads = weight.view(3, 3, 2, 8, -1)
                heads[:2] = heads[:2].flip(2)
    torch.testing.assert_close(outputs(model, x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
def test_rope_in_llama_is_its_own_rotary(padded: bool) -> None:
    model = llama().eval()
    x = words()
    mask = torch.ones_like(x)
    if padded:
        mask[1, 8:] = 0
    expected = outputs(model, x, attention_mask=mask)
    liere.apply_to(model, "rope:layout=half-split")
    close = torch.isclose(outputs(model, x, attention_mask=mask), expected, rtol=0, atol=1e-5)
    assert bool(close[mask.bool()].all())


def test_absolute_in_a_vit_of_transformers_is_its_own_table() -> None:
    model = hf_vit().eval()
    x = images(32)
    own = model.embeddings.position_embeddings.detach().clone()  # type: ignore[union-attr, operator]
    with torch.no_grad():
        model.embeddings.position_embeddings[:, :1] = own[:, :1] = 0  # type: ignore[union-attr, index]
    expected = outputs(model, x)
    encoding = liere.apply_to(model, "absolute")
    assert not torch.allclose(outputs(model, x), expected, atol=1e-3)
    with torch.no_grad():
        encoding.table.copy_(own[0, 1:])  # type: ignore[operator, union-attr]
    torch.testing.assert_close(outputs(model, x), expected, rtol=0, atol=1e-5)


def test_none_in_a_vit_is_the_model_without_its_table() -> None:
    model = vit().eval()
    x = images(64)
    with torch.no_grad():
        model.pos_embed.zero_()  # type: ignore[union-attr, operator]
    expected = outputs(model, x)
    liere.apply_to(model, "none")
    torch.testing.assert_close(outputs(model, x), expected, rtol=0, atol=1e-5)
    assert "pos_embed" not in model.state_dict()


@pytest.mark.parametrize(("name", "spec"), CASES)
def test_training_falls_and_a_state_is_restored(name: str, spec: str) -> None:
    build, data, _ = MODELS[name]
    model, x = build(), data()
    encoding = liere.apply_to(model, spec, seed=3)
    before = {key: p.detach().clone() for key, p in encoding.named_parameters()}
    target = torch.randn_like(outputs(model, x))
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=3e-3)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = (outputs(model, x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0], losses
    for key, parameter in encoding.named_parameters():
        assert not torch.equal(parameter, before[key]), f"{key} is not trained"
    expected = outputs(model.eval(), x)
    restored = build().eval()
    liere.apply_to(restored, spec, seed=4)
    restored.load_state_dict(model.state_dict())
    torch.testing.assert_close(outputs(restored, x), expected, rtol=0, atol=0)
    torch.testing.assert_close(outputs(copy.deepcopy(model), x), expected, rtol=0, atol=0)
    with torch.no_grad():
        for parameter in encoding.parameters():
            parameter.add_(1.0)
    torch.testing.assert_close(outputs(restored, x), expected, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "spec"), COMPILED)
def test_a_model_compiles(name: str, spec: str) -> None:
    build, data, _ = MODELS[name]
    model, x = build().eval(), data()
    encoding = liere.apply_to(model, spec)
    expected = outputs(model, x)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(outputs(compiled, x), expected, rtol=0, atol=1e-4)
    outputs(compiled, x).square().mean().backward()
    learned = [p for p in encoding.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in learned)


@pytest.mark.parametrize("spec", ["rope", "liere:values=true", "alibi", "absolute"])
def test_a_cache_changes_nothing_in_llama(spec: str) -> None:
    model = llama().eval()
    liere.apply_to(model, spec, tokens=16)
    x = words()
    expected = outputs(model, x)
    cache = library("transformers").DynamicCache(config=model.config)
    parts = [outputs(model, part, cache=cache) for part in x.split([7, 1, 3, 1], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=0, atol=1e-4)


def test_a_language_model_generates() -> None:
    transformers = library("transformers")
    config = llama().config
    model = transformers.LlamaForCausalLM(config).eval()
    liere.apply_to(model, "liere", tokens=16)
    text = model.generate(words(4)[:1], max_new_tokens=5, do_sample=False)
    again = text[:, :4]
    for _ in range(5):
        again = torch.cat((again, model(again).logits[:, -1:].argmax(-1)), 1)
    assert torch.equal(text, again)


def test_other_resolutions_continue_the_positions() -> None:
    model = vit(dynamic_img_size=True).eval()
    encoding = liere.apply_to(model, "liere")
    assert encoding is model.position_encoding
    assert encoding.shape.grid == (4, 4)
    seen: list[Tensor] = []
    prepare = encoding.prepare
    encoding.prepare = lambda positions: seen.append(positions) or prepare(positions)  # type: ignore[method-assign, func-returns-value]
    assert outputs(model, torch.randn(2, 3, 96, 64)).shape == (2, 48)
    assert torch.equal(seen[0], encoding.positions((6, 4)))


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(UsageError, match="Linear is neither timm's nor transformers'"):
        liere.apply_to(nn.Linear(2, 2), "rope")
    model = llama()
    with pytest.raises(UsageError, match="unknown encoding 'ropee'"):
        liere.apply_to(model, "ropee")
    liere.apply_to(model, "rope")
    with pytest.raises(UsageError, match="has a position encoding already"):
        liere.apply_to(model, "rope")
    positions = torch.stack([torch.arange(6), torch.arange(6) + 1, torch.arange(6)])
    with pytest.raises(UsageError, match="position_ids must count up by 1"):
        outputs(model, words(6), position_ids=positions)
