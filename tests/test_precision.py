"""bfloat16: where it is chosen, what stays float32, and which identities it changes."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from liere_cli.config.files import load_recipe
from liere_cli.model import ModelShape, Transformer
from liere_cli.runs.build import assemble
from liere_cli.utils.devices import has_bfloat16

CPU = torch.device("cpu")
SETTINGS = {"model": {"layers": 1, "dim": 16, "heads": 2}}


def shape(causal: bool) -> ModelShape:
    return ModelShape(
        layers=2, dim=16, heads=2, mlp_ratio=2.0, dropout=0.0, pooling="cls", causal=causal,
        grid=(8,) if causal else (8, 8), patch=(1,) if causal else (4, 4), channels=3,
        classes=256 if causal else 10,
    )  # fmt: skip


@pytest.mark.parametrize("causal", [True, False])
def test_the_residual_stream_is_float32_under_autocast(causal: bool) -> None:
    model = Transformer(shape(causal), {"name": "absolute"})
    model.initialise(0)
    dtypes: list[torch.dtype] = []

    def record(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        dtypes.extend([inputs[0].dtype, output.dtype])

    for block in model.blocks:
        block.register_forward_hook(record)
    inputs = torch.zeros(2, 8, dtype=torch.long) if causal else torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        model(inputs)
    assert dtypes == [torch.float32] * 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_converted_model_keeps_its_dtype(dtype: torch.dtype) -> None:
    model = Transformer(shape(False), {"name": "rope-mixed"}).to(dtype)
    model.initialise(0)
    assert model(torch.randn(2, 3, 8, 8, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize(
    ("available", "native", "expected"),
    [(False, False, "bfloat16"), (True, True, "bfloat16"), (True, False, "float32")],
)
def test_auto_is_bfloat16_only_where_the_card_has_it(
    monkeypatch: pytest.MonkeyPatch, available: bool, native: bool, expected: str
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    cuda = torch.device("cuda")
    assert has_bfloat16(cuda) == (expected == "bfloat16")
    recipe = load_recipe(flags={"data": "pointing", **SETTINGS})
    assert assemble(recipe, device=cuda).recipe.training.precision == expected
    assert assemble(recipe, device=CPU).recipe.training.precision == "float32"


@pytest.mark.parametrize(
    ("data", "encoding", "precision", "identity"),
    [
        ("pointing", "rope-mixed", "float32", "EARLIER"),
        ("pointing", "none", "bfloat16", "OTHER"),
        ("stdlib", "none", "bfloat16", "EARLIER"),
        ("stdlib", "alibi", "bfloat16", "EARLIER"),
        ("stdlib", "rope", "bfloat16", "OTHER"),
    ],
)
def test_only_runs_in_bfloat16_that_compute_something_else_have_another_identity(
    monkeypatch: pytest.MonkeyPatch, data: str, encoding: str, precision: str, identity: str
) -> None:
    """The residual stream of classifiers, and rotations."""
    flags = {"data": data, "encoding": encoding, **SETTINGS, "training": {"precision": precision}}
    now = assemble(load_recipe(flags=flags), device=CPU).run_id
    monkeypatch.setattr("liere_cli.runs.build.BFLOAT16", None)
    before = assemble(load_recipe(flags=flags), device=CPU).run_id
    assert (now == before) == (identity == "EARLIER")
