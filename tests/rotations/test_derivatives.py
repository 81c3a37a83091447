"""Second derivatives of the rotations, compiled and not, and what is refused."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from liere_cli.errors import UsageError
from liere_cli.rotations import (
    change_basis,
    fold_basis,
    grid_exp,
    linear_angles,
    one_axis_table,
    phases,
    real_schur,
    rotate_blocks,
    rotate_by_steps,
    rotate_on_grid,
    rotate_one_axis,
    rotate_planes,
    rotate_projected,
    rotate_projected_blocks,
    rotate_projected_one_axis,
    skew,
    skew_exp,
)
from liere_cli.rotations.kernels.compiler import without_kernels

HEADS, BLOCKS, ROWS, TOKENS, PREFIX = 2, 1, 4, 3, 1
CHANNELS = BLOCKS * ROWS

Function = Callable[..., Tensor | tuple[Tensor, ...]]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


POSITIONS = torch.tensor([[0.3, -1.0], [0.0, 0.5], [1.2, 0.7]], dtype=torch.float64)
X, Y = drawn(2, HEADS, TOKENS + PREFIX, CHANNELS), drawn(2, HEADS, TOKENS, CHANNELS, seed=1)
#: x and weights of a projection, so that the projection itself can be overwritten
TOKEN_VECTORS, WEIGHT = drawn(2, TOKENS, 3, seed=2), drawn(3 * HEADS * CHANNELS, 3, seed=3)
FREQUENCIES = drawn(HEADS, 2, CHANNELS // 2, seed=4)
GENERATORS = drawn(HEADS, BLOCKS, 2, ROWS, ROWS, seed=5)
GENERATOR = drawn(HEADS, BLOCKS, ROWS, ROWS, seed=6)
STEPS = drawn(TOKENS, BLOCKS, seed=7)


def table(frequencies: Tensor) -> Tensor:
    return phases(linear_angles(POSITIONS, frequencies))


def projected(x: Tensor, weight: Tensor) -> Tensor:
    return torch.nn.functional.linear(x, weight).unflatten(-1, (3, HEADS, CHANNELS))


def one_axis(a: Tensor, x: Tensor) -> Tensor:
    schur = real_schur(skew(a), POSITIONS[:, 0])
    (y,) = rotate_one_axis(schur, one_axis_table(schur, POSITIONS[:, 0]), POSITIONS[:, 0], x)
    return y @ y.mT


def projected_one_axis(a: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    at = POSITIONS[:, 0]
    schur = real_schur(skew(a), at)
    qkv = projected(x, fold_basis(schur, weight))
    q, k, v = rotate_projected_one_axis(schur, one_axis_table(schur, at), at, qkv)
    return q @ k.mT, v


def by_steps(a: Tensor, steps: Tensor, x: Tensor) -> Tensor:
    schur = real_schur(skew(a), steps.detach())
    (y,) = rotate_by_steps(schur, steps, change_basis(schur, x))
    return y @ y.mT


FUNCTIONS: dict[str, tuple[Function, tuple[Tensor, ...]]] = {
    "rotate_planes": (lambda x, f: rotate_planes(x, table(f)), (X, FREQUENCIES)),
    "rotate_planes, half-split": (
        lambda x, f: rotate_planes(x, table(f), "half-split"),
        (X, FREQUENCIES),
    ),
    "rotate_planes, fixed": (
        lambda x: rotate_planes(x, table(FREQUENCIES.detach())).square(),
        (X,),
    ),
    "rotate_projected": (
        lambda x, w, f: rotate_projected(projected(x, w), 1.5 * table(f)),
        (TOKEN_VECTORS, WEIGHT, FREQUENCIES),
    ),
    "rotate_projected, half-split": (
        lambda x, w, f: rotate_projected(projected(x, w), table(f), "half-split"),
        (TOKEN_VECTORS, WEIGHT, FREQUENCIES),
    ),
    "rotate_projected, fixed": (
        lambda x, w: rotate_projected(projected(x, w), table(FREQUENCIES.detach())),
        (TOKEN_VECTORS, WEIGHT),
    ),
    "skew_exp": (lambda a: skew_exp(skew(a)), (GENERATOR,)),
    "grid_exp": (lambda a: grid_exp(skew(a), POSITIONS), (GENERATORS,)),
    "rotate_blocks": (
        lambda a, x: rotate_blocks(grid_exp(skew(a), POSITIONS), x),
        (GENERATORS, X),
    ),
    "rotate_blocks, fixed": (
        lambda x: [
            y.square() for y in rotate_blocks(grid_exp(skew(GENERATORS.detach()), POSITIONS), x)
        ],
        (X,),
    ),
    "rotate_projected_blocks": (
        lambda a, x, w: rotate_projected_blocks(grid_exp(skew(a), POSITIONS), projected(x, w)),
        (GENERATORS, TOKEN_VECTORS, WEIGHT),
    ),
    "rotate_on_grid": (lambda a, x: rotate_on_grid(skew(a), POSITIONS, x), (GENERATORS, X)),
    "rotate_one_axis": (one_axis, (GENERATOR, X)),
    "rotate_projected_one_axis": (projected_one_axis, (GENERATOR, TOKEN_VECTORS, WEIGHT)),
    "rotate_by_steps": (by_steps, (GENERATOR, STEPS, Y)),
}


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_second_derivatives_agree_with_finite_differences(name: str, compiled: bool) -> None:
    function, inputs = FUNCTIONS[name]
    with nullcontext() if compiled else without_kernels():
        # without kernels the eigenvectors of one axis have fewer digits
        tolerance = 1e-5 if compiled else 1e-3
        assert torch.autograd.gradgradcheck(
            lambda *x: tuple(y) if isinstance(y := function(*x), list) else y,
            inputs,
            atol=tolerance,
            fast_mode=True,
        )


def test_third_derivatives_pass_through_the_schur_form() -> None:
    def function(t: Tensor) -> Tensor:
        return one_axis(GENERATOR.detach() + t * torch.ones_like(GENERATOR).tril(), X).sin().sum()

    t = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    value = function(t)
    for _ in range(3):
        (value,) = torch.autograd.grad(value, t, create_graph=True)
    expected = torch.func.grad(torch.func.hessian(function))(t.detach())
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("compiled", [True, False])
def test_equal_frequencies_have_second_derivatives(compiled: bool) -> None:
    # eigenvectors of equal eigenvalues have no derivative, but scores do
    with nullcontext() if compiled else without_kernels():
        a = torch.zeros_like(GENERATOR).requires_grad_()
        (grad,) = torch.autograd.grad(one_axis(a, X).sin().sum(), a, create_graph=True)
        (second,) = torch.autograd.grad(grad.square().sum(), a)
    expected = torch.func.grad(
        lambda a: torch.func.grad(lambda a: one_axis(a, X).sin().sum())(a).square().sum()
    )(a.detach())
    assert bool(expected.any())
    torch.testing.assert_close(second, expected, rtol=1e-5, atol=1e-5)


def test_a_schur_form_that_is_used_by_other_functions_refuses_second_derivatives() -> None:
    schur = real_schur(skew(GENERATOR), POSITIONS[:, 0])
    with pytest.raises(UsageError, match="real_schur: second derivatives"):
        torch.autograd.grad(
            schur.frequencies.sum() + schur.basis.sum(), GENERATOR, create_graph=True
        )


def test_the_old_way_of_vectorised_gradients_is_refused() -> None:
    frequencies = FREQUENCIES.detach()
    with pytest.raises(UsageError, match=r"is_grads_batched.*torch\.func\.jacrev"):
        torch.autograd.functional.jacobian(
            lambda x: rotate_planes(x, table(frequencies)).sum((0, 1, 2)), X, vectorize=True
        )


def test_norms_without_a_correct_digit_are_nan_in_compositions_too() -> None:
    large = 1e9 * skew(GENERATOR.detach().float())
    assert bool(torch.func.vmap(skew_exp)(large).isnan().all())
    assert bool(skew_exp(large).isnan().all())
