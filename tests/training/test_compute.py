"""Operations of a forward pass, which tables compare."""

from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from liere_cli.encodings import resolve_spec
from liere_cli.model import ModelShape, Transformer
from liere_cli.training.compute import forward_flops


def shape(causal: bool, **changes: Any) -> ModelShape:
    values: dict[str, Any] = {
        "layers": 2, "dim": 32, "heads": 2, "mlp_ratio": 4.0, "dropout": 0.0, "pooling": "mean",
        "causal": causal, "grid": (16,) if causal else (8, 8), "channels": 3,
        "patch": (1,) if causal else (2, 2), "classes": 256 if causal else 10,
    }  # fmt: skip
    return ModelShape(**{**values, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mlp": "swiglu", "norm": "rmsnorm", "qk_norm": True},
        {"kv_heads": 1, "registers": 4, "window": 3, "logit_cap": 30.0},
    ],
)
@pytest.mark.parametrize("causal", [True, False])
def test_operations_agree_with_torch_s_count(causal: bool, changes: dict[str, Any]) -> None:
    model = Transformer(shape(causal, **changes), resolve_spec("none"))
    model.initialise(0)
    x = torch.zeros((1, 16), dtype=torch.long) if causal else torch.zeros(1, 3, 8, 8)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    assert forward_flops(model, resolve_spec("none")) == pytest.approx(
        counter.get_total_flops() / 16
    )


def test_tied_embeddings_leave_operations_alone() -> None:
    models = [Transformer(shape(True, tie_embeddings=tied), "none") for tied in (True, False)]
    tied, free = (forward_flops(model, resolve_spec("none")) for model in models)
    assert tied == free


def test_an_encoding_that_is_not_folded_into_the_weights_costs_its_products() -> None:
    spec, counts = resolve_spec("circulant-string"), []
    for qk_norm in (False, True):
        model = Transformer(shape(False, qk_norm=qk_norm), spec)
        counts.append(forward_flops(model, spec))
    folded, apart = counts
    assert folded is not None
    assert apart is not None
    assert folded < apart


def test_encodings_add_their_own() -> None:
    counts = {}
    for name in ("none", "axial", "liere"):
        count = forward_flops(Transformer(shape(False), resolve_spec(name)), resolve_spec(name))
        assert count is not None
        counts[name] = count
    assert counts["none"] < counts["axial"] < counts["liere"]


def test_an_encoding_that_can_t_be_counted_has_no_count() -> None:
    model = Transformer(shape(False), resolve_spec("none"))
    assert forward_flops(model, {"name": "nosuch"}) is None
