"""Padding, key-value caches, and queries at other positions than keys, for every encoding."""

from typing import Any

import pytest
import torch
from torch import Tensor

from liere_cli.encodings import Grid, PositionEncoding, available, build_encoding
from liere_cli.errors import UsageError
from liere_cli.model import KeyValueCache, ModelShape, Transformer

GRIDS: dict[int, tuple[int, ...]] = {1: (12,), 2: (3, 4), 3: (2, 3, 2)}
VARIANTS = ["rope:learned=true", "rope:layout=half-split", "liere:block=3", "liere:block=2"]
CASES = [
    (spec, axes)
    for spec in [*available(), *VARIANTS]
    for axes in GRIDS
    if available()[spec.partition(":")[0]].serves(axes)
]
TEXT = [spec for spec, axes in CASES if axes == 1]


def build(spec: str, axes: int) -> PositionEncoding:
    return build_encoding(
        spec, axes=axes, heads=2, head_dim=24, depth=2, grid=GRIDS[axes], seed=0
    ).eval()


def attention(
    encoding: PositionEncoding, q: Tensor, k: Tensor, at_q: Tensor, at_k: Tensor
) -> Tensor:
    """Logits of queries and keys that were encoded apart."""
    states = encoding.prepare(at_q), encoding.prepare(at_k)
    logits = encoding.encode_q(q, states[0], 1) @ encoding.encode_k(k, states[1], 1).mT
    bias = encoding.bias(*states, 1)
    return logits if bias is None else logits + bias


@pytest.mark.parametrize(("spec", "axes"), CASES)
def test_some_queries_against_all_keys_have_the_scores_of_the_whole(spec: str, axes: int) -> None:
    encoding = build(spec, axes)
    positions = Grid(GRIDS[axes]).positions(encoding.scaling)
    q, k = torch.randn(2, 3, 2, len(positions), 24)
    state = encoding.prepare(positions)
    whole_q, whole_k = encoding.encode_qk(q, k, state, 1)
    whole = whole_q @ whole_k.mT
    bias = encoding.bias(state, state, 1)
    if bias is not None:
        whole = whole + bias
    some = torch.tensor([1, 7, 8, 11])
    apart = attention(encoding, q[:, :, some], k, positions[some], positions)
    torch.testing.assert_close(apart, whole[:, :, some], rtol=0, atol=2e-4)
    fewer = attention(encoding, q, k[:, :, some], positions, positions[some])
    torch.testing.assert_close(fewer, whole[..., some], rtol=0, atol=2e-4)


@pytest.mark.parametrize("spec", ["liere:block=8", "liere:block=3", "rope:learned=true"])
def test_queries_and_keys_encoded_apart_have_the_gradients_of_both_together(spec: str) -> None:
    encoding = build(spec, 1)
    positions = Grid(GRIDS[1]).positions(encoding.scaling)
    q, k = torch.randn(2, 3, 2, 12, 24)
    q.requires_grad_()
    gradients = []
    for at_k in (None, positions.clone()):
        turned_q, turned_k = encoding(q, k, positions, 1, key_positions=at_k)
        loss = (turned_q @ turned_k.mT / 24).tanh().sum()
        gradients.append(torch.autograd.grad(loss, (q, *encoding.parameters())))
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


def test_positions_and_tokens_of_each_side_are_checked() -> None:
    encoding = build("rope", 1)
    q, k = torch.randn(1, 2, 3, 24), torch.randn(4, 2, 12, 24)
    positions = Grid((12,)).positions()
    assert encoding(q, k, positions[:3], key_positions=positions)[1].shape == k.shape
    with pytest.raises(UsageError, match="q has 3 tokens, but there are 12 positions"):
        encoding(q, k, positions)
    with pytest.raises(UsageError, match=r"positions must be \[tokens, 1\]"):
        encoding(q, k, positions[:3], key_positions=positions[:, :0])


def model_of(axes: int, spec: str, **changes: Any) -> Transformer:
    patch = (1,) if axes == 1 else (2,) * axes
    extents = tuple(n * size for n, size in zip(GRIDS[axes], patch, strict=True))
    values: dict[str, Any] = {
        "layers": 2, "dim": 48, "heads": 2, "mlp_ratio": 2.0, "dropout": 0.0, "pooling": "mean",
        "causal": axes == 1, "grid": extents, "patch": patch, "channels": 3, "classes": 7,
    }  # fmt: skip
    model = Transformer(ModelShape(**{**values, **changes}), spec)
    model.initialise(0)
    with torch.no_grad():
        model.head.weight.mul_(50)  # logits far enough apart to see a difference
    return model.eval()


@pytest.mark.parametrize(("spec", "axes"), CASES)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_padding_changes_nothing(spec: str, axes: int, pooling: str) -> None:
    model = model_of(axes, spec, pooling=pooling)
    mask = torch.ones(3, 12, dtype=torch.bool)
    mask[0, 8:] = mask[1, :3] = False
    if axes == 1:
        inputs = torch.randint(7, (3, 12))
        other = torch.where(mask, inputs, (inputs + 1) % 7)
    else:
        inputs = torch.randn(3, 3, *model.shape.grid)
        tokens = mask.view(3, 1, *model.token_grid)
        for axis in range(2, 2 + axes):
            tokens = tokens.repeat_interleave(2, axis)
        other = torch.where(tokens, inputs, 9 * torch.randn_like(inputs))
    first, second = model(inputs, mask=mask), model(other, mask=mask)
    assert first.isfinite().all()
    if axes == 1:
        first, second = first[mask], second[mask]
        # padding behind is as if it were not there
        torch.testing.assert_close(first[:8], model(inputs[:1, :8])[0], rtol=0, atol=2e-4)
    torch.testing.assert_close(first, second, rtol=0, atol=2e-4)
    full = torch.ones_like(mask)
    torch.testing.assert_close(model(inputs, mask=full), model(inputs), rtol=0, atol=2e-4)
    if axes > 1:
        assert not torch.allclose(model(inputs), model(other), atol=1e-2)


@pytest.mark.parametrize("spec", TEXT)
def test_a_cache_changes_no_logit(spec: str) -> None:
    model = model_of(1, spec)
    inputs = torch.randint(7, (2, 12))
    whole = model(inputs)
    cache = KeyValueCache(2)
    parts = [model(part, cache=cache) for part in inputs.split([5, 1, 1, 4, 1], 1)]
    assert cache.tokens == 12
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=2e-4)


@pytest.mark.parametrize("spec", TEXT)
def test_text_within_and_beyond_the_window_is_that_of_reading_all_again(spec: str) -> None:
    model = model_of(1, spec)
    generator = torch.Generator()
    for prompt in (torch.tensor([3, 1]), torch.randint(7, (15,))):
        text = prompt
        with torch.no_grad():
            for _ in range(14):
                text = torch.cat([text, model(text[None, -12:])[0, -1].argmax(-1, keepdim=True)])
        written = model.generate(prompt, 14, temperature=0.0, generator=generator)
        assert torch.equal(written, text)


def test_each_byte_within_the_window_is_read_once() -> None:
    model = model_of(1, "rope")
    read: list[int] = []
    model.embed.register_forward_pre_hook(lambda module, given: read.append(given[0].shape[1]))
    model.generate(
        torch.tensor([1, 2, 3]), 12, temperature=1.0, generator=torch.Generator().manual_seed(0)
    )
    assert read == [3] + [1] * 9 + [12] * 2


def test_masks_and_caches_that_do_not_fit_are_refused() -> None:
    text, image = model_of(1, "rope"), model_of(2, "axial")
    inputs = torch.zeros(2, 12, dtype=torch.long)
    with pytest.raises(
        UsageError, match=r"the mask must be bool \[2, 12\].* not float32 \[2, 12\]"
    ):
        text(inputs, mask=torch.ones(2, 12))
    with pytest.raises(UsageError, match=r"not bool \[12\]"):
        text(inputs, mask=torch.ones(12, dtype=torch.bool))
    with pytest.raises(UsageError, match="no padding"):
        text(inputs, mask=torch.ones(2, 12, dtype=torch.bool), cache=KeyValueCache(2))
    with pytest.raises(UsageError, match="serves language models"):
        image(torch.randn(1, 3, *image.shape.grid), cache=KeyValueCache(2))
