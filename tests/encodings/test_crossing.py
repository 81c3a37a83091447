"""Padding, key-value caches, and queries at other positions than keys: errors, and the number of
processed tokens. That they keep scores is tested for all encodings in liere_cli.conformance.
"""

from typing import Any

import pytest
import torch

from liere_cli.encodings import Grid, PositionEncoding, build_encoding
from liere_cli.errors import UsageError
from liere_cli.model import KeyValueCache, ModelShape, Transformer

GRIDS: dict[int, tuple[int, ...]] = {1: (12,), 2: (3, 4), 3: (2, 3, 2)}


def build(spec: str, axes: int) -> PositionEncoding:
    return build_encoding(
        spec, axes=axes, heads=2, head_dim=24, depth=2, grid=GRIDS[axes], seed=0
    ).eval()


@pytest.mark.parametrize("spec", ["liere:block=8", "liere:block=3", "rope:learned=true"])
def test_gradients_of_separately_encoded_queries_and_keys(spec: str) -> None:
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


def test_positions_and_tokens_of_queries_and_keys_are_checked() -> None:
    encoding = build("rope", 1)
    q, k = torch.randn(1, 2, 3, 24), torch.randn(4, 2, 12, 24)
    positions = Grid((12,)).positions("index")
    assert encoding(q, k, positions[:3], key_positions=positions)[1].shape == k.shape
    with pytest.raises(UsageError, match="3 tokens, but 12 positions and prefix_tokens=0 make 12"):
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
        model.head.weight.mul_(50)  # so that differences of logits show
    return model.eval()


def test_each_byte_within_the_window_is_processed_once() -> None:
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
    with pytest.raises(UsageError, match="and no mask"):
        text(inputs, mask=torch.ones(2, 12, dtype=torch.bool), cache=KeyValueCache(2))
    with pytest.raises(UsageError, match="needs a language model"):
        image(torch.randn(1, 3, *image.shape.grid), cache=KeyValueCache(2))
