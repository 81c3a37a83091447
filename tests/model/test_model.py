"""The transformer: shapes, common random numbers, effects of positions."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from liere_cli.config.files import load_recipe
from liere_cli.errors import UsageError
from liere_cli.model import ModelShape, Transformer
from liere_cli.runs.build import assemble, build_model

GRIDS = {1: (16,), 2: (8, 12), 3: (4, 8, 8)}
PATCHES = {1: (1,), 2: (4, 4), 3: (2, 4, 4)}


def shape_of(axes: int, **changes: Any) -> ModelShape:
    values: dict[str, Any] = {
        "layers": 2,
        "dim": 48,
        "heads": 2,
        "mlp_ratio": 2.0,
        "dropout": 0.0,
        "pooling": "cls",
        "causal": axes == 1,
        "grid": GRIDS[axes],
        "patch": PATCHES[axes],
        "channels": 3,
        "classes": 256 if axes == 1 else 5,
    }
    return ModelShape(**{**values, **changes})


def inputs_of(shape: ModelShape, batch: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if shape.causal:
        return torch.randint(256, (batch, *shape.grid), generator=generator)
    return torch.randn(batch, shape.channels, *shape.grid, generator=generator)


def model_of(shape: ModelShape, encoding: str, seed: int = 0) -> Transformer:
    model = Transformer(shape, encoding)
    model.initialise(seed)
    return model.eval()


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_patches_hold_every_pixel_once(rows: int, high: int, columns: int, wide: int) -> None:
    grid = (rows * high, columns * wide)
    model = Transformer(shape_of(2, grid=grid, patch=(high, wide)), "none")
    count = 2 * 3 * math.prod(grid)
    pixels = torch.arange(count).float().view(2, 3, *grid)
    patches = model._patches(pixels, (rows, columns))
    assert patches.shape == (2, rows * columns, 3 * high * wide)
    assert torch.equal(patches.flatten().sort().values, pixels.flatten())
    corner = pixels[0, :, :high, :wide].reshape(-1)
    assert torch.equal(patches[0, 0], corner)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dim": 50, "heads": 4}, "model.heads 4"),
        ({"grid": (9, 12)}, "nearest grid that can is 8x12"),
        ({"patch": (2, 4, 4)}, "has 2 axes"),
        ({"grid": (2, 12)}, "nearest grid that can is 4x12"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        shape_of(2, **changes)


def test_dropout_acts_only_in_training() -> None:
    shape = shape_of(2, dropout=0.5)
    model = model_of(shape, "axial")
    inputs = inputs_of(shape)
    assert torch.equal(model(inputs), model(inputs))
    model.train()
    assert not torch.equal(model(inputs), model(inputs))


def test_encoding_parameters_have_no_weight_decay() -> None:
    groups = model_of(shape_of(2), "liere").parameter_groups()
    assert groups["encoding"]
    decayed = {id(parameter) for parameter in groups["decayed"]}
    assert not decayed & {id(parameter) for parameter in groups["encoding"]}
    assert all(parameter.ndim == 1 for parameter in groups["plain"])


def test_sampling_repeats_with_its_generator_and_is_greedy_at_zero() -> None:
    model = model_of(shape_of(1), "rope")
    prompt = torch.tensor([65, 66])

    def sample(seed: int, temperature: float) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        text = model.generate(prompt, 30, temperature=temperature, generator=generator)
        assert len(text) == 32
        assert torch.equal(text[:2], prompt)
        return text.tolist()

    assert sample(0, 1.0) == sample(0, 1.0)
    assert sample(0, 1.0) != sample(1, 1.0)
    assert sample(0, 0.0) == sample(1, 0.0)


def test_the_model_resizes_absolute_positions_to_its_inputs() -> None:
    shape = shape_of(2)
    model = model_of(shape, "absolute")
    table = model.encoding.table.detach().T.view(1, -1, *model.token_grid)  # type: ignore[operator]
    larger = tuple(2 * extent for extent in model.token_grid)
    actual = model.encoding.at(model.positions(larger, torch.device("cpu")))  # type: ignore[operator]
    expected = F.interpolate(table, larger, mode="bicubic")
    torch.testing.assert_close(actual.detach(), expected[0].flatten(1).T)


@pytest.mark.parametrize("name", ["absolute", "rope", "liere", "alibi"])
def test_training_works_after_a_first_call_in_inference_mode(name: str) -> None:
    model = model_of(shape_of(1), name)
    inputs = inputs_of(model.shape)
    with torch.inference_mode():
        expected = model(inputs).clone()
    logits = model(inputs)
    logits.sum().backward()
    assert torch.equal(logits.detach(), expected)


@pytest.mark.parametrize(
    ("name", "axes"),
    [("rope", 1), ("alibi", 1), ("absolute", 2), ("liere", 2), ("liere:block=2", 3)],
)
def test_the_model_compiles_into_one_graph(name: str, axes: int) -> None:
    torch._dynamo.reset()
    shape = shape_of(axes)
    model = model_of(shape, name)
    inputs = inputs_of(shape)
    # fullgraph raises on any break; the backend traces the backward pass without a C++ compiler
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    gradients = []
    for function in (compiled, model):
        model.zero_grad()
        logits = function(inputs)
        logits.logsumexp(-1).sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
        torch.testing.assert_close(logits, model(inputs), rtol=1e-4, atol=1e-5)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@given(st.integers(1, 4096), st.integers(1, 64), st.floats(1e-9, 64, allow_subnormal=False))
def test_sizes_make_a_model_or_are_refused_with_the_nearest_that_does(
    dim: int, heads: int, ratio: float
) -> None:
    try:
        shape = shape_of(1, dim=dim, heads=heads, mlp_ratio=ratio)
    except UsageError as error:
        message = str(error)
        if "mlp_ratio" in message:
            least = float(message.rsplit(" ", 1)[1])
            assert shape_of(1, dim=dim, heads=heads, mlp_ratio=least).hidden == 1
        else:
            assert "model.heads" in message
    else:
        assert shape.head_dim >= 1
        assert shape.hidden >= 1


def test_growing_text_keeps_few_positions() -> None:
    model = model_of(shape_of(1), "rope")
    model.generate(inputs_of(model.shape)[0, :2], 14, temperature=0, generator=torch.Generator())
    assert sum(x.numel() for x in model._positions._kept.values()) <= 8 * 16


def test_a_trace_is_refused_with_what_to_do() -> None:
    model = model_of(shape_of(1), "liere")
    inputs = (inputs_of(model.shape),)
    with pytest.raises(UsageError, match=r"torch\.jit\.trace .* use torch\.export\.export"):
        torch.jit.trace(model, inputs)
    exported = torch.export.export(model, inputs).module()
    assert torch.allclose(exported(*inputs), model(*inputs), atol=1e-5)


@pytest.mark.parametrize("name", ["rope", "liere", "alibi"])
def test_a_model_on_the_meta_device_is_initialised_later(name: str) -> None:
    shape = shape_of(1)
    with torch.device("meta"):
        model = Transformer(shape, name)
        model.initialise(0)
    model.to_empty(device="cpu")
    model.initialise(0)
    expected = model_of(shape, name)
    assert torch.equal(model.eval()(inputs_of(shape)), expected(inputs_of(shape)))


@pytest.mark.parametrize("name", ["axial", "liere", "comrope-ld"])
def test_gradients_of_a_model_by_torch_func_and_twice_by_autograd(name: str) -> None:
    shape = shape_of(2)
    model = model_of(shape, name).double()
    inputs = inputs_of(shape).double()
    parameters = {key: value.detach() for key, value in model.named_parameters()}
    direction = {
        key: 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1)).double()
        for key, value in parameters.items()
    }

    def loss(t: torch.Tensor) -> torch.Tensor:
        moved = {key: value + t * direction[key] for key, value in parameters.items()}
        logits = torch.func.functional_call(model, moved, (inputs,))
        return logits.logsumexp(-1).sum()

    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    with pytest.raises(UsageError, match="forward-mode differentiation of a Transformer"):
        torch.func.hessian(loss)(t.detach())
    with sdpa_kernel(SDPBackend.MATH):
        (once,) = torch.autograd.grad(loss(t), t, create_graph=True)
        (twice,) = torch.autograd.grad(once, t)
        assert torch.allclose(torch.func.grad(loss)(t.detach()), once)
        assert torch.allclose(torch.func.grad(torch.func.grad(loss))(t.detach()), twice)
        h = 1e-5
        around = [torch.autograd.grad(loss(t + step), t)[0] for step in (h, -h)]
    assert torch.allclose((around[0] - around[1]) / (2 * h), twice, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_has_its_encoding_in_float32(dtype: torch.dtype) -> None:
    model = model_of(shape_of(2), "liere").to(dtype)
    assert {x.dtype for x in model.encoding.parameters()} == {torch.float32}
    assert model(inputs_of(model.shape).to(dtype)).dtype == dtype


def test_a_run_is_built_alike_whatever_the_default_dtype() -> None:
    recipe = load_recipe(assignments=["data=motion", "encoding=liere", "model.size=nano"])
    expected = build_model(assemble(recipe, device=torch.device("cpu")))
    torch.set_default_dtype(torch.bfloat16)
    try:
        actual = build_model(assemble(recipe, device=torch.device("cpu")))
    finally:
        torch.set_default_dtype(torch.float32)
    pairs = zip(actual.parameters(), expected.parameters(), strict=True)
    assert all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("encoding", ["rope", "alibi", "sinusoidal"])
def test_documents_do_not_affect_each_other(encoding: str) -> None:
    shape = shape_of(1)
    model, inputs = model_of(shape, encoding), inputs_of(shape)
    documents = torch.tensor([[0] * 5 + [1] * 11, [0] * 16, [2] * 9 + [3] * 7])
    logits = model(inputs, documents=documents)
    changed = inputs.clone()
    changed[0, :5], changed[2, :9] = 7, 8
    again = model(changed, documents=documents)
    assert torch.equal(logits[0, 5:], again[0, 5:])
    assert torch.equal(logits[2, 9:], again[2, 9:])
    assert not torch.equal(logits[0, :5], again[0, :5])
    # a window of one document is as without documents
    assert torch.allclose(logits[1], model(inputs)[1], atol=1e-5)


def test_documents_need_a_language_model() -> None:
    shape = shape_of(2)
    with pytest.raises(UsageError, match="documents need a language model"):
        model_of(shape, "none")(inputs_of(shape), documents=torch.zeros(3, 6).long())
