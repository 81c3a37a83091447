"""Operations of a forward pass, which tables compare."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from liere_cli.encodings import resolve_spec
from liere_cli.model import ModelShape, Transformer
from liere_cli.training.compute import forward_flops


def shape(causal: bool) -> ModelShape:
    return ModelShape(
        layers=2, dim=32, heads=2, mlp_ratio=4.0, dropout=0.0, pooling="mean", causal=causal,
        grid=(16,) if causal else (8, 8), patch=(1,) if causal else (2, 2), channels=3,
        classes=256 if causal else 10,
    )  # fmt: skip


@pytest.mark.parametrize("causal", [True, False])
def test_operations_agree_with_torch_s_count(causal: bool) -> None:
    model = Transformer(shape(causal), resolve_spec("none"))
    model.initialise(0)
    x = torch.zeros((1, 16), dtype=torch.long) if causal else torch.zeros(1, 3, 8, 8)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    assert forward_flops(model, resolve_spec("none")) == pytest.approx(
        counter.get_total_flops() / 16
    )


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
