"""The table of supported operations in docs/encodings.md, for every encoding."""

import copy
import pickle
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from liere_cli.encodings import PositionEncoding, available, build_encoding
from liere_cli.encodings.registry import encoding_class
from liere_cli.errors import UsageError
from liere_cli.utils.seeding import stream
from support.documents import ROOT

GRIDS: dict[int, tuple[int, ...]] = {1: (7,), 2: (2, 3), 3: (2, 2, 2)}
HEADS, HEAD_DIM, DIM = 2, 8, 16
#: blocks of other sizes take other paths
SPECS = (
    *available(), "liere:block=4", "axial:values=true", "liere:values=true",
)  # fmt: skip
CASES = [
    (spec, axes)
    for spec in SPECS
    for axes in GRIDS
    if encoding_class(spec.partition(":")[0]).serves(axes)
]


def built(spec: str, axes: int) -> PositionEncoding:
    return build_encoding(
        spec, axes=axes, heads=HEADS, head_dim=HEAD_DIM, depth=2, grid=GRIDS[axes], seed=1
    )


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


class Loss(torch.nn.Module):
    """A scalar that depends on everything that an encoding computes: projected, together and
    apart, with a prefix and without.
    """

    def __init__(self, encoding: PositionEncoding) -> None:
        super().__init__()
        self.encoding = encoding

    def forward(self, x: Tensor, weight: Tensor, positions: Tensor) -> Tensor:
        encoding, layer = self.encoding, 1
        x = encoding.embed(x, positions)
        state = encoding.prepare(positions)
        q, k, v = encoding.project(x, weight, state, layer)
        scores = q @ k.mT
        bias = encoding.bias(state, state, layer)
        scores = scores if bias is None else scores + bias
        if "values" in encoding.places:
            v = encoding.encode_v(v, state, layer)
        outputs = scores.tanh() @ v
        if "values" in encoding.places:
            outputs = encoding.decode_v(outputs, state, layer)
        total = outputs.sin().sum()
        plain = encoding.split(x, weight)
        apart = (
            encoding.encode_q(plain[0], state, layer) @ encoding.encode_k(plain[1], state, layer).mT
        )
        with_prefix = [torch.cat((part[:, :, :1], part), 2) for part in plain[:2]]
        q, k = encoding.encode_qk(with_prefix[0], with_prefix[1], state, layer, prefix_tokens=1)
        return total + apart.sin().sum() + (q @ k.mT).cos().sum()


@dataclass(frozen=True, eq=False)
class Example:
    """A loss, float64, and its arguments; positions lie between those of the grid, as some
    encodings have kinks there.
    """

    spec: str
    axes: int
    loss: Loss
    x: Tensor
    weight: Tensor
    positions: Tensor

    @property
    def parameters(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.loss.named_parameters() if p.requires_grad}

    def at(self, parameters: dict[str, Tensor], x: Tensor, positions: Tensor) -> Tensor:
        value: Tensor = torch.func.functional_call(
            self.loss, parameters, (x, self.weight, positions)
        )
        return value

    def value(self, encoding: PositionEncoding) -> Tensor:
        """The loss of another encoding, float32."""
        arguments = (self.x.float(), self.weight.float(), encoding.positions(GRIDS[self.axes]))
        value: Tensor = Loss(encoding)(*arguments)
        return value.detach()


@cache
def example(spec: str, axes: int) -> Example:
    encoding = built(spec, axes).double()
    with torch.no_grad():
        for number, (name, parameter) in enumerate(encoding.named_parameters()):
            parameter.add_(0.2 * random(*parameter.shape, seed=number))
            if name == "phase":  # inside its bounds
                parameter.sub_(1.0)
    positions = encoding.positions(GRIDS[axes]).double()
    positions = positions + 0.05 + 0.1 * random(*positions.shape, seed=7).tanh()
    x, weight = random(2, len(positions), DIM, seed=8), random(3 * DIM, DIM, seed=9) / 5
    return Example(spec, axes, Loss(encoding), x, weight, positions)


def derivative(function: Callable[[Tensor], Tensor], at: Tensor, direction: Tensor) -> Tensor:
    """By finite differences of the fourth order."""
    h = 2e-4
    with torch.no_grad():
        return (
            8 * (function(at + h * direction) - function(at - h * direction))
            - (function(at + 2 * h * direction) - function(at - 2 * h * direction))
        ) / (12 * h)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    assert torch.allclose(actual, expected, tolerance, tolerance), (actual, expected)


def variables(case: Example) -> tuple[dict[str, Tensor], Tensor]:
    """Parameters and token vectors that need gradients, and directions in which they move."""
    leaves = {name: p.clone().requires_grad_() for name, p in case.parameters.items()}
    return leaves, case.x.clone().requires_grad_()


@cache
def directions(case: Example) -> tuple[dict[str, Tensor], Tensor]:
    moved = {name: random(*p.shape, seed=20) for name, p in case.parameters.items()}
    return moved, random(*case.x.shape, seed=21)


def along(case: Example, t: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Parameters and token vectors, moved by ``t``."""
    moved, x = directions(case)
    parameters = {name: p + t * moved[name] for name, p in case.parameters.items()}
    return parameters, case.x + t * x


def slope(case: Example, t: Tensor, create_graph: bool = False) -> Tensor:
    """The derivative of the loss along the directions, from one backward pass."""
    leaves, x = variables(case)
    with torch.enable_grad():
        moved, to_x = directions(case)
        parameters = {name: p + t * moved[name] for name, p in leaves.items()}
        value = case.at(parameters, x + t * to_x, case.positions)
        inputs = [*leaves.values(), x]
        grads = torch.autograd.grad(value, inputs, create_graph=create_graph)
        pairs = zip(grads, (*moved.values(), to_x), strict=True)
        return torch.stack([(grad * d).sum() for grad, d in pairs]).sum()


ZERO = torch.zeros((), dtype=torch.float64)
ONE = torch.ones((), dtype=torch.float64)


def first_derivatives(case: Example) -> None:
    expected = derivative(lambda t: case.at(*along(case, t), case.positions), ZERO, ONE)
    close(slope(case, ZERO), expected, 1e-5)


def second_derivatives(case: Example) -> None:
    t = ZERO.clone().requires_grad_()
    once = slope(case, t, create_graph=True)
    close(once.detach(), slope(case, ZERO))
    (twice,) = torch.autograd.grad(once, t)
    close(twice, derivative(lambda t: slope(case, t), ZERO, ONE), 1e-4)


def gradients_to_positions(case: Example) -> None:
    positions = case.positions.clone().requires_grad_()
    value = case.at(case.parameters, case.x.requires_grad_(), positions)
    (grad,) = torch.autograd.grad(value, positions, materialize_grads=True)
    direction = random(*positions.shape, seed=22)
    moved = derivative(lambda p: case.at(case.parameters, case.x, p), case.positions, direction)
    close((grad * direction).sum(), moved, 1e-4)
    on_grid = case.loss.encoding.positions(GRIDS[case.axes]).requires_grad_()
    value = case.at(case.parameters, case.x, on_grid)
    (grad,) = torch.autograd.grad(value, on_grid, materialize_grads=True)
    assert bool(grad.isfinite().all())


def torch_func(case: Example) -> None:
    directions(case)  # no random numbers inside vmap

    def function(t: Tensor) -> Tensor:
        return case.at(*along(case, t), case.positions)

    several = torch.tensor([0.0, 0.1], dtype=torch.float64)
    slopes, values = torch.func.vmap(torch.func.grad_and_value(function))(several)
    close(values[1], function(several[1]))
    for actual, t in zip(slopes, several, strict=True):
        close(actual, slope(case, t))
    value, tangent = torch.func.jvp(torch.func.grad(function), (several[0],), (ONE,))
    close(value, slopes[0])
    t = several[0].clone().requires_grad_()
    (twice,) = torch.autograd.grad(slope(case, t, create_graph=True), t)
    close(tangent, twice)


def forward_mode(case: Example) -> None:
    with forward_ad.dual_level():
        t = forward_ad.make_dual(ZERO, ONE)
        tangent = forward_ad.unpack_dual(case.at(*along(case, t), case.positions)).tangent
    close(tangent, slope(case, ZERO))


def jit_trace(case: Example) -> None:
    loss = copy.deepcopy(case.loss).requires_grad_(requires_grad=False)
    arguments = (case.x, case.weight, case.positions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes are constants of the trace
        traced = torch.jit.trace(loss, arguments, check_trace=False)
    close(traced(2 * case.x, *arguments[1:]), loss(2 * case.x, *arguments[1:]))


def filled(encoding: PositionEncoding, device: str = "cpu") -> PositionEncoding:
    """After ``to_empty``, whose memory is all NaN (or -1) here."""
    empty_like = torch.empty_like
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            torch,
            "empty_like",
            lambda x, **kwargs: empty_like(x, **kwargs).fill_(
                torch.nan if x.is_floating_point() else -1
            ),
        )
        return encoding.to_empty(device=device)


def restored(case: Example, emptied: Callable[[], PositionEncoding]) -> None:
    reference = built(case.spec, case.axes)
    expected = case.value(reference)
    loaded = filled(emptied())
    loaded.load_state_dict(reference.state_dict())
    assert torch.equal(case.value(loaded), expected)
    drawn = filled(emptied())
    drawn.initialise(lambda name: stream(1, "init", "encoding", name))
    assert torch.equal(case.value(drawn), expected)


def meta_device(case: Example) -> None:
    def on_meta() -> PositionEncoding:
        with torch.device("meta"):
            encoding = built(case.spec, case.axes)
        tensors = (*encoding.parameters(), *encoding.buffers())
        assert all(tensor.is_meta for tensor in tensors)
        return encoding

    restored(case, on_meta)
    reference = built(case.spec, case.axes)
    assigned = on_meta()
    assigned.load_state_dict(reference.state_dict(), assign=True)
    assert torch.equal(case.value(assigned), case.value(reference))


def to_empty(case: Example) -> None:
    restored(case, lambda: built(case.spec, case.axes))


def copies(case: Example) -> None:
    reference = built(case.spec, case.axes)
    expected = case.value(reference)
    assert torch.equal(case.value(copy.deepcopy(reference)), expected)
    assert torch.equal(case.value(pickle.loads(pickle.dumps(reference))), expected)


def defaults(case: Example) -> None:
    reference = built(case.spec, case.axes)
    before = torch.get_default_dtype()
    for dtype in (torch.float64, torch.bfloat16):
        torch.set_default_dtype(dtype)
        try:
            encoding = built(case.spec, case.axes)
            positions = encoding.positions(GRIDS[case.axes])
            state = encoding.prepare(positions)
            encoding.encode_qk(*case.x.float().view(2, 1, HEADS, -1, HEAD_DIM), state, 1)
        finally:
            torch.set_default_dtype(before)
        assert positions.dtype == torch.float32
        tensors = (*encoding.parameters(), *encoding.buffers())
        for actual, expected in zip(
            tensors, (*reference.parameters(), *reference.buffers()), strict=True
        ):
            assert actual.dtype == expected.dtype
            assert torch.equal(actual, expected)
        assert torch.equal(case.value(encoding), case.value(reference))


def half_precision(case: Example) -> None:
    reference = built(case.spec, case.axes)
    expected = case.value(reference)
    assert torch.equal(case.value(copy.deepcopy(reference).to(torch.bfloat16)), expected)
    assert torch.equal(case.value(copy.deepcopy(reference).half()), expected)
    encoding = reference.to(torch.bfloat16)
    narrow = case.x.bfloat16().view(2, 1, HEADS, -1, HEAD_DIM)
    state = encoding.prepare(encoding.positions(GRIDS[case.axes]))
    assert encoding.encode_q(narrow[0], state, 1).dtype == torch.bfloat16


OPERATIONS: dict[str, Callable[[Example], None]] = {
    "first derivatives": first_derivatives,
    "second and higher derivatives": second_derivatives,
    "gradients to positions": gradients_to_positions,
    "`torch.func`": torch_func,
    "forward mode": forward_mode,
    "`torch.jit.trace`": jit_trace,
    "meta device": meta_device,
    "`to_empty`": to_empty,
    "copies": copies,
    "default dtype and device": defaults,
    "half precision": half_precision,
}


def documented() -> dict[str, set[str]]:
    """For each operation of the table, the encodings that refuse it."""
    page = (ROOT / "docs" / "encodings.md").read_text()
    table = page.split("| operation | works with | how |\n| --- | --- | --- |\n")[1].split("\n\n")[
        0
    ]
    refused = {}
    for line in table.splitlines():
        operation, works, _ = (cell.strip() for cell in line.strip("|").split("|"))
        assert works.startswith("all"), line
        refused[operation] = set(re.findall("`([a-z0-9-]+)`", works))
    return refused


def test_the_table_lists_these_operations() -> None:
    assert documented().keys() == OPERATIONS.keys()
    assert set().union(*documented().values()) <= available().keys()


def chosen() -> list[tuple[str, str, int]]:
    """Operations and cases; slow operations not at every number of axes."""
    fewer = {"`torch.func`": (1, 3), "`torch.jit.trace`": (2,), "meta device": (1, 3)}
    return [
        (operation, spec, axes)
        for operation in OPERATIONS
        for spec, axes in CASES
        if axes in fewer.get(operation, GRIDS) or (spec, 3) not in CASES
    ]


@pytest.mark.parametrize(("operation", "spec", "axes"), chosen())
def test_an_encoding_supports_what_the_table_says(operation: str, spec: str, axes: int) -> None:
    name = spec.partition(":")[0]
    perform, case = OPERATIONS[operation], example(spec, axes)
    if name not in documented()[operation]:
        perform(case)
        return
    with pytest.raises(UsageError, match=f"encoding '{name}' has no"):
        perform(case)
