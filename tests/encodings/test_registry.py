"""Encodings as another transformer calls them."""

from typing import Any

import pytest
import torch
from torch import Tensor

from liere_cli.encodings import Grid, PositionEncoding, build_encoding
from liere_cli.encodings.base import Shape
from liere_cli.errors import UsageError

SHAPE = {"axes": 1, "heads": 2, "head_dim": 8}


class Bias(PositionEncoding):
    name = "slopes"

    def bias(self, state_q: Any, state_k: Any, layer: int) -> Tensor:
        return torch.zeros(1, 4, 4)


def inputs(heads: int = 2, head_dim: int = 8) -> tuple[Tensor, Tensor]:
    return torch.randn(1, heads, 4, head_dim), Grid((4,)).positions()


@pytest.mark.parametrize("name", ["absolute", "sinusoidal"])
def test_what_acts_on_embeddings_is_not_called_on_queries(name: str) -> None:
    encoding = build_encoding(name, grid=(4,), **SHAPE)
    q, positions = inputs()
    with pytest.raises(UsageError, match=rf"'{name}' adds to the token embeddings: call embed\("):
        encoding(q, q, positions)
    assert not torch.equal(encoding.embed(torch.zeros(1, 4, 16), positions), torch.zeros(1, 4, 16))


def test_what_acts_on_logits_is_not_called_on_queries() -> None:
    q, positions = inputs()
    with pytest.raises(UsageError, match=r"'slopes' adds to the attention logits: call bias\("):
        Bias(Shape(**SHAPE))(q, q, positions)


def test_nothing_is_done_by_none() -> None:
    q, positions = inputs()
    assert build_encoding("none", **SHAPE)(q, q, positions)[0] is q


@pytest.mark.parametrize("name", ["rope", "liere:block=8", "none"])
def test_queries_of_another_shape_are_refused(name: str) -> None:
    encoding = build_encoding(name, depth=2, **SHAPE)
    q, positions = inputs()
    for wrong, part in [(inputs(heads=3)[0], "heads=2"), (inputs(head_dim=4)[0], "head_dim=8")]:
        with pytest.raises(UsageError, match=f"q must be .*{part}"):
            encoding(wrong, q, positions)
        with pytest.raises(UsageError, match=f"k must be .*{part}"):
            encoding(q, wrong, positions)
    with pytest.raises(UsageError, match="q must be"):
        encoding(q[0], q[0], positions)
    for layer in (-1, 2):
        with pytest.raises(UsageError, match="layer must be from 0 to 1"):
            encoding(q, q, positions, layer)
    encoding(q, q, positions, 1)


@pytest.mark.parametrize("name", ["axes", "heads", "head_dim", "depth", "dim"])
@pytest.mark.parametrize("value", [2.0, "3", True, -1])
def test_sizes_are_whole_numbers(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name} must be a whole number from"):
        build_encoding("rope", **{**SHAPE, name: value})


def test_the_training_grid_is_a_tuple() -> None:
    for grid in (4, [4], (4.0,)):
        with pytest.raises(UsageError, match="grid must be a tuple of whole numbers"):
            build_encoding("absolute", grid=grid, **SHAPE)  # type: ignore[arg-type]
