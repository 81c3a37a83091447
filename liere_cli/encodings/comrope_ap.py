"""ComRoPE-AP: each block turns with one axis."""

import torch
from torch import Tensor

from liere_cli.encodings.base import Shape
from liere_cli.encodings.comrope import ComRoPE, ComRoPEOptions


class ComRoPEAP(ComRoPE):
    """ComRoPE with axial partition (arXiv 2506.03737 section 4; Longin-Yu/ComRoPE model.py).

    Block j turns by exp(p_a (P_j - P_j^T)) with a = j mod A: ``axial`` in a learned basis, with
    learned frequencies. The code wants as many blocks for each axis; here the first axes get one
    more where they don't divide. :class:`ComRoPE` tells how the paper trains it.

    Raises:
        UsageError: head_dim does not divide into blocks, or there are fewer than axes.
    """

    name = "comrope-ap"
    summary = "learned rotations of whole blocks, each with one axis, so that all commute"
    formula = "block j turns by exp(p_a (P_j - P_j^T)), a = j mod A"
    axis_has_block = True

    def __init__(self, shape: Shape, options: ComRoPEOptions | None = None) -> None:
        super().__init__(shape, options)
        self.register_buffer("_axes", torch.arange(self.blocks) % shape.axes, persistent=False)
        self._axes: Tensor
        self.initialise()

    def steps(self, positions: Tensor) -> Tensor:
        return positions[None, :, self._axes]
