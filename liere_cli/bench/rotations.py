"""Time of building and applying rotations, compared with alternatives and lower bounds.

Shapes: B batch, N heads, T tokens, H head_dim, b rows of a block.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from liere_cli.bench.timing import Row, alternate
from liere_cli.rotations import (
    fold_basis,
    grid_exp,
    linear_angles,
    one_axis_table,
    phases,
    real_schur,
    rotate_blocks,
    rotate_one_axis,
    rotate_planes,
    rotate_projected,
    rotate_projected_one_axis,
    skew,
    skew_exp,
)

#: norm of the largest exponents of the paper's initialisation on the unit square
LARGEST_NORM = 130.0


@dataclass(frozen=True)
class TimedPair:
    """Two functions that are timed against each other, and their largest deviations from float64;
    None if the reference only bounds the time.
    """

    case: str
    ours: Callable[[], object]
    reference: str
    theirs: Callable[[], object]
    error: float | None = None
    reference_error: float | None = None


def rotation_rows(
    *,
    device: torch.device,
    repeats: int = 9,
    on_progress: Callable[[str], None] = lambda name: None,
) -> list[Row]:
    """Times every case forward and backward, in float32, alternating with its references.

    Args:
        repeats: timings of each, after a warm-up.
        on_progress: called with the name of each case before it is set up and timed.
    """
    rows = []
    for name, pairs in _CASES.items():
        on_progress(name)
        for pair in pairs(name, int(name.rpartition("/")[2]), device):
            rows.append(alternate(**vars(pair), device=device, repeats=repeats))
    return rows


def _build(case: str, block: int, device: torch.device) -> list[TimedPair]:
    """exp of many skew-symmetric matrices, against torch's and one product of matrices."""
    count = 384 if block == 64 else 3072
    a = _generators((count,), block, device)
    if block == 64:
        norms = torch.linalg.matrix_norm(a, 2)[:, None, None]
        a = a * (LARGEST_NORM * torch.linspace(0, 1, count, device=device)[:, None, None] / norms)
    cotangent = _random((count, block, block), device)
    exact = torch.linalg.matrix_exp(a.double())
    errors = [_deviation(exp(a), exact) for exp in (skew_exp, torch.linalg.matrix_exp)]
    ours = _forward_backward(skew_exp, a, cotangent)
    theirs = _forward_backward(torch.linalg.matrix_exp, a, cotangent)
    return [
        TimedPair(case, ours, "torch.matrix_exp", theirs, *errors),
        TimedPair(case, ours, "one batched bmm", lambda: torch.bmm(a, cotangent)),
    ]


def _grid(case: str, block: int, device: torch.device) -> list[TimedPair]:
    """exp for an 8 x 8 grid and 6 heads with the paper's initialisation, against torch's."""
    generators = _generators((6, 64 // block, 2), block, device)
    line = torch.linspace(0, 1, 8, device=device)
    positions = torch.cartesian_prod(line, line)
    cotangent = _random((6, 64 // block, 64, block, block), device)

    def ours(a: Tensor) -> Tensor:
        return grid_exp(a, positions.to(a.dtype))

    def theirs(a: Tensor) -> Tensor:
        exponents = torch.einsum("ta,...aij->...tij", positions.to(a.dtype), a)
        rotated: Tensor = torch.linalg.matrix_exp(exponents.contiguous())
        return rotated

    exact = theirs(generators.double())
    return [
        TimedPair(
            case,
            _forward_backward(ours, generators, cotangent),
            "torch.matrix_exp",
            _forward_backward(theirs, generators, cotangent),
            _deviation(ours(generators), exact),
            _deviation(theirs(generators), exact),
        )
    ]


def _apply(case: str, block: int, device: torch.device) -> list[TimedPair]:
    """R(p) q for 32 examples of 64 tokens and 6 heads, against a product for every token."""
    blocks = 64 // block
    rotations = skew_exp(_generators((6, blocks, 64), block, device))
    q = _random((32, 6, 64, 64), device)
    cotangent = _random((32, 6, 64, 64), device)

    def ours(rotations: Tensor, q: Tensor) -> Tensor:
        return rotate_blocks(rotations, q)[0]

    def by_token(rotations: Tensor, q: Tensor) -> Tensor:
        vectors = q.view(32, 6, 64, blocks, block, 1)
        return torch.matmul(rotations.transpose(1, 2)[None], vectors).reshape(q.shape)

    exact = by_token(rotations.double(), q.double())
    rows = torch.randn(rotations[..., 0, 0].numel(), 32, block, device=device)
    timed = _forward_backward(ours, (rotations, q), cotangent)
    return [
        TimedPair(
            case,
            timed,
            "product by token",
            _forward_backward(by_token, (rotations, q), cotangent),
            _deviation(ours(rotations, q), exact),
            _deviation(by_token(rotations, q), exact),
        ),
        TimedPair(case, timed, "one batched bmm", lambda: torch.bmm(rows, rotations.flatten(0, 2))),
        TimedPair(case, timed, "one copy of q", q.clone),
    ]


def _one_axis(case: str, block: int, device: torch.device) -> list[TimedPair]:
    """LieRE on one axis of 1024 tokens, one input of 8 examples and 6 heads, against rotary."""
    tokens = 1024
    generators = _generators((6, 1), block, device)
    positions = torch.linspace(0, 1, tokens, device=device)
    q = _random((8, 6, tokens, block), device)
    cotangent = _random((8, 6, tokens, block), device)
    table = _rotary_table(tokens, block, device)
    cos, sin = (part.repeat_interleave(2, -1) for part in table.unbind(-1))

    def ours(generators: Tensor, q: Tensor) -> Tensor:
        at = positions.to(q.dtype)
        schur = real_schur(generators, at)
        return rotate_one_axis(schur, one_axis_table(schur, at), at, q)[0]

    def rotary(q: Tensor) -> Tensor:
        first, second = q.unflatten(-1, (-1, 2)).unbind(-1)
        return q * cos + torch.stack((-second, first), -1).flatten(-2) * sin

    def kernel(q: Tensor) -> Tensor:
        return rotate_planes(q, table)

    basis = real_schur(generators.double(), positions.double()).basis[:, 0]
    exponents = positions.double()[None, :, None, None] * generators.double()
    rotated = torch.linalg.matrix_exp(exponents.contiguous())
    # the exponential's result in our basis
    exact = torch.einsum("nji,ntjk,bntk->bnti", basis, rotated, q.double())
    timed = _forward_backward(ours, (generators, q), cotangent)
    return [
        TimedPair(
            case,
            timed,
            "textbook rotary",
            _forward_backward(rotary, q, cotangent),
            _deviation(_aligned(ours(generators, q), exact), exact),
        ),
        TimedPair(case, timed, "our rotary", _forward_backward(kernel, q, cotangent)),
        TimedPair(case, timed, "one copy of q", q.clone),
    ]


def _folded(case: str, block: int, device: torch.device) -> list[TimedPair]:
    """The same as in a model, with the change of basis folded into the weights of a projection and
    queries and keys rotated in place, against rotary of the same projection.
    """
    batch, tokens, heads = 8, 1024, 6
    generators = _generators((heads, 1), block, device)
    positions = torch.linspace(0, 1, tokens, device=device)
    weight = _random((3 * heads * block, heads * block), device)
    qkv = _random((batch, tokens, 3, heads, block), device)
    cotangents = _random((3, batch, tokens, heads, block), device).transpose(2, 3).unbind()
    table = _rotary_table(tokens, block, device)

    def ours(generators: Tensor, weight: Tensor, qkv: Tensor) -> tuple[Tensor, ...]:
        schur = real_schur(generators, positions)
        rotations = one_axis_table(schur, positions)
        rotated = rotate_projected_one_axis(schur, rotations, positions, qkv.clone())
        return fold_basis(schur, weight), *rotated

    def rotary(qkv: Tensor) -> tuple[Tensor, ...]:
        return rotate_projected(qkv.clone(), table)

    timed = _forward_backward(ours, (generators, weight, qkv), (weight, *cotangents))
    return [TimedPair(case, timed, "our rotary", _forward_backward(rotary, qkv, cotangents))]


_CASES: dict[str, Callable[[str, int, torch.device], list[TimedPair]]] = {
    "build/64": _build,
    "build/8": _build,
    "grid/64": _grid,
    "grid/8": _grid,
    "apply/64": _apply,
    "apply/8": _apply,
    "attention-1d/64": _one_axis,
    "folded-1d/64": _folded,
}


def _generators(shape: tuple[int, ...], block: int, device: torch.device) -> Tensor:
    """U - U^T with entries uniform in [0, 2 pi), as in the paper."""
    upper = torch.rand(*shape, block, block, generator=torch.Generator().manual_seed(0))
    return skew(torch.triu(upper * 2 * math.pi, 1).to(device))


def _rotary_table(tokens: int, block: int, device: torch.device) -> Tensor:
    """Cosines and sines of RoFormer's rotary, [1, T, b/2, 2]."""
    indices = torch.arange(tokens, dtype=torch.float32, device=device)[:, None]
    frequencies = 10_000.0 ** -(torch.arange(block // 2, device=device) * 2 / block)
    return phases(linear_angles(indices, frequencies[None]))[None]


def _random(shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(device)


def _forward_backward(
    function: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Tensor | tuple[Tensor, ...],
    cotangent: Tensor | tuple[Tensor, ...],
) -> Callable[[], None]:
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]

    def run() -> None:
        torch.autograd.grad(function(*leaves), leaves, cotangent)

    return run


def _deviation(result: Tensor, exact: Tensor) -> float:
    return float((result.detach().double() - exact).abs().max())


def _aligned(result: Tensor, exact: Tensor) -> Tensor:
    """The result in the basis of ``exact``: eigenvectors are unique up to a phase only."""
    pairs, exact_pairs = (
        torch.view_as_complex(x.detach().double().unflatten(-1, (-1, 2)).contiguous())
        for x in (result, exact)
    )
    overlap = (pairs.conj() * exact_pairs).sum((0, 2), keepdim=True)
    return torch.view_as_real(pairs * overlap / overlap.abs()).flatten(-2)
