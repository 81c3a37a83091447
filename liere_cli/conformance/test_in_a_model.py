"""An encoding in the transformer that comparisons train."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from liere_cli.conformance.cases import (
    BATCH,
    DEPTH,
    DIM,
    GRIDS,
    HEADS,
    TOKENS,
    Case,
    agree,
    perturb,
    random,
)
from liere_cli.key_value_cache import KeyValueCache
from liere_cli.model import ModelShape, Transformer

CLASSES = 7
PATCHES: dict[int, tuple[int, ...]] = {1: (1,), 2: (2, 3), 3: (1, 2, 2)}
STEPS = 12
#: of a model as today's are
OPTIONS: dict[str, Any] = {
    "norm": "rmsnorm", "mlp": "swiglu", "qk_norm": True, "registers": 2, "window": 4,
}  # fmt: skip
POOLING = pytest.mark.parametrize("pooling", ["cls", "mean"])


def model_of(case: Case, seed: int = 0, *, loud: bool = True, **changes: Any) -> Transformer:
    """The transformer with a case's encoding; ``loud`` scales its logits to show differences."""
    patch = PATCHES[case.axes]
    extents = tuple(n * size for n, size in zip(GRIDS[case.axes], patch, strict=True))
    values: dict[str, Any] = {
        "layers": DEPTH, "dim": DIM, "heads": HEADS, "mlp_ratio": 1.0, "dropout": 0.0,
        "pooling": "mean", "causal": case.axes == 1, "grid": extents, "patch": patch,
        "channels": 2, "classes": CLASSES,
    }  # fmt: skip
    model = Transformer(ModelShape(**{**values, **changes}), case.spec)
    model.initialise(seed)
    if loud:
        with torch.no_grad():
            model.head.weight.mul_(50)
    return model.eval()


def inputs_of(model: Transformer, grid: tuple[int, ...] = (), batch: int = BATCH) -> Tensor:
    grid = grid or model.shape.grid
    pixels = random(batch, model.shape.channels, *grid)
    return (pixels[:, 0] * 100).long() % CLASSES if model.shape.causal else pixels


@POOLING
def test_logits_and_gradients_are_finite(plain: Case, pooling: str) -> None:
    model = model_of(plain, pooling=pooling)
    logits = model(inputs_of(model))
    assert logits.shape == ((BATCH, TOKENS, CLASSES) if plain.axes == 1 else (BATCH, CLASSES))
    logits.logsumexp(-1).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"no gradient reaches '{name}'"
            assert bool(parameter.grad.isfinite().all()), f"the gradient of '{name}' is not finite"


def test_a_seed_gives_the_same_weights_whatever_the_encoding(plain: Case) -> None:
    torch.manual_seed(99)
    weights = model_of(plain, seed=7).state_dict()
    again = model_of(plain, seed=7).state_dict()
    without = model_of(Case("none", plain.axes), seed=7).state_dict()
    for name, value in weights.items():
        agree(value, again[name], f"'{name}' does not depend only on the seed", 0)
        if not name.startswith("encoding."):
            agree(value, without[name], f"'{name}' depends on the encoding", 0)
    other = model_of(plain, seed=8).state_dict()
    assert any(not torch.equal(value, other[name]) for name, value in weights.items())


def test_the_loss_falls_in_training(plain: Case) -> None:
    model = model_of(plain, loud=False).train()
    inputs = inputs_of(model, batch=8)
    targets = inputs.roll(-1, 1) if plain.axes == 1 else torch.arange(8) % CLASSES
    start = {name: p.detach().clone() for name, p in model.encoding.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs).flatten(0, -2), targets.flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.85 * losses[0], (
        f"the loss does not fall in {STEPS} steps on {len(inputs)} examples: "
        + ", ".join(f"{loss:.3f}" for loss in losses)
    )
    for name, parameter in model.encoding.named_parameters():
        assert bool(parameter.isfinite().all()), f"training makes '{name}' infinite"
        if parameter.requires_grad:
            assert not torch.equal(parameter, start[name]), f"training does not change '{name}'"


def test_other_lengths_and_resolutions(plain: Case) -> None:
    model = model_of(plain)
    grid = tuple(2 * extent for extent in model.shape.grid)
    logits = model(inputs_of(model, grid))
    assert bool(logits.isfinite().all()), "logits on a grid twice as large are not finite"
    assert len(logits) == BATCH


def test_a_language_model_does_not_see_the_future(plain: Case) -> None:
    model = model_of(plain)
    if not model.shape.causal:
        return
    inputs = inputs_of(model)
    changed = inputs.clone()
    changed[:, 8:] = (changed[:, 8:] + 1) % CLASSES
    before, after = model(inputs), model(changed)
    agree(after[:, :8], before[:, :8], "later tokens change the logits of earlier ones")
    assert not torch.allclose(before[:, 8:], after[:, 8:])


def test_only_a_model_without_positions_is_blind_to_order(plain: Case) -> None:
    if plain.axes == 1:
        return
    # three rows and columns: swapping two is a reflection, which distances do not show
    patch = PATCHES[plain.axes]
    grid = tuple(3 * size for size in patch)
    model = model_of(plain, grid=grid)
    perturb(model.encoding)
    inputs = inputs_of(model)
    rolled = inputs.roll(patch[-2:], dims=(-2, -1))
    same = torch.allclose(model(inputs), model(rolled), atol=1e-4)
    assert same == (plain.cls.family == "none"), "logits do not depend on the order of patches"


@POOLING
def test_padding_changes_nothing(plain: Case, pooling: str) -> None:
    model = model_of(plain, pooling=pooling)
    mask = torch.ones(BATCH, TOKENS, dtype=torch.bool)
    mask[0, 8:] = mask[1, :3] = False
    inputs = inputs_of(model)
    if plain.axes == 1:
        other = torch.where(mask, inputs, (inputs + 1) % CLASSES)
    else:
        tokens = mask.view(BATCH, 1, *model.token_grid)
        for axis, size in enumerate(PATCHES[plain.axes], 2):
            tokens = tokens.repeat_interleave(size, axis)
        other = torch.where(tokens, inputs, 9 * random(*inputs.shape, seed=5))
    first, second = model(inputs, mask=mask), model(other, mask=mask)
    if plain.axes == 1:
        first, second = first[mask], second[mask]
        agree(first[:8], model(inputs[:1, :8])[0], "padding at the end changes the logits")
    agree(first, second, "the content of padding changes the logits of other tokens")
    unpadded = model(inputs, mask=torch.ones_like(mask))
    agree(unpadded, model(inputs), "a mask without padding changes the logits")
    if plain.axes > 1:
        assert not torch.allclose(model(inputs), model(other), atol=1e-2)


def test_a_cache_changes_no_logit(plain: Case) -> None:
    model = model_of(plain)
    if not model.shape.causal:
        return
    inputs = inputs_of(model)
    cache = KeyValueCache(DEPTH)
    parts = [model(part, cache=cache) for part in inputs.split([5, 1, 1, 4, 1], 1)]
    assert cache.tokens == TOKENS
    agree(
        torch.cat(parts, 1),
        model(inputs),
        "tokens processed one by one, with a key-value cache, get other logits than all at once: "
        "encode_k and bias must not depend on which positions are in the call",
    )


def test_options_of_the_model_keep_the_contract(plain: Case) -> None:
    model = model_of(plain, **OPTIONS, kv_heads=1 if HEADS > 1 else None)
    inputs = inputs_of(model)
    logits = model(inputs)
    assert bool(logits.isfinite().all()), "logits of a model with registers are not finite"
    if model.shape.causal:
        cache = KeyValueCache(DEPTH)
        parts = [model(part, cache=cache) for part in inputs.split([5, 1, TOKENS - 6], 1)]
        agree(
            torch.cat(parts, 1), logits, "a cache changes logits of a model with registers: "
            "encode_q and encode_k must leave the prefix as encode_qk does",
        )  # fmt: skip
    unpadded = model(inputs, mask=torch.ones(BATCH, TOKENS, dtype=torch.bool))
    agree(unpadded, logits, "a mask without padding changes the logits")


def test_generated_text_does_not_depend_on_the_cache(plain: Case) -> None:
    model = model_of(plain)
    if not model.shape.causal:
        return
    generator = torch.Generator()
    for length in (2, TOKENS + 3):  # within the window, and longer
        prompt = torch.arange(length) * 3 % CLASSES
        text = prompt
        with torch.no_grad():
            for _ in range(TOKENS + 2):
                next_byte = model(text[None, -TOKENS:])[0, -1].argmax(-1, keepdim=True)
                text = torch.cat([text, next_byte])
        written = model.generate(prompt, TOKENS + 2, temperature=0.0, generator=generator)
        assert torch.equal(written, text), "a key-value cache changes the generated text"
