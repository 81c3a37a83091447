"""The MLP of a block: plain, or gated (arXiv 2002.05202) at equal parameters."""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

MlpKind = Literal["gelu", "swiglu", "geglu"]


def hidden_width(kind: MlpKind, dim: int, ratio: float) -> int:
    """Channels between the two products of an MLP on ``dim`` channels.

    A gated MLP has three matrices in place of two, so two thirds of the width (arXiv 2002.05202,
    section 3.1), rounded to the nearest: at most ``dim`` * 1.5 parameters more or fewer.
    """
    width = int(dim * ratio)
    return width if kind == "gelu" else round(2 * width / 3)


def input_width(kind: MlpKind, hidden: int) -> int:
    """Rows of the first matrix: a gated MLP has the gate's before the gated channels'."""
    return hidden if kind == "gelu" else 2 * hidden


def activate(kind: MlpKind, x: Tensor) -> Tensor:
    """[..., input_width] to [..., hidden]: GELU (exact), or gated by SiLU or GELU."""
    if kind == "gelu":
        return F.gelu(x)
    gate, value = x.chunk(2, -1)
    return (F.silu(gate) if kind == "swiglu" else F.gelu(gate)) * value
