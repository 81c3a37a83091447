"""Counted operations of a training step on a GPU."""

import pytest

from liere_cli.bench.operations import Operations, count_step
from liere_cli.bench.step import StepShape

SHAPE = StepShape("base", (8, 8), 512)


@pytest.fixture(scope="module")
def none() -> Operations:
    return count_step(SHAPE, "none")


@pytest.mark.parametrize(
    ("encoding", "most"),
    [
        ("rope-mixed", 1.25),
        ("liere:block=8", 1.25),
        ("liere:block=64,share=layers", 1.3),
        ("liere:block=64", 1.5),
    ],
)
def test_rotations_move_little_memory(none: Operations, encoding: str, most: float) -> None:
    """Bytes and kernels of a step of ViT-B, relative to those without position encoding."""
    step = count_step(SHAPE, encoding)
    assert any(name.startswith("liere::") for name in step.by_name)
    assert none.bytes <= step.bytes <= most * none.bytes
    assert none.kernels <= step.kernels <= 1.5 * none.kernels


def test_flops_of_a_step(none: Operations) -> None:
    """Six for each weight and token, and attention."""
    tokens, weights = 64 * 512, 12 * 12 * 768**2
    attention = 12 * 12 * 64 * 768 * tokens
    # FlashAttention's backward pass has five products instead of four
    expected = 6 * weights * tokens + attention * 7 / 6
    assert none.flops == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("encoding", ["liere:block=32", "alibi", "rope", "absolute"])
def test_language_models_are_counted(encoding: str) -> None:
    shape = StepShape("nano", (64,), 2)
    assert count_step(shape, encoding).bytes > 0
    assert count_step(shape, encoding, kernels=False).kernels > 0
