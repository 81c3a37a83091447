"""ComRoPE-LD: the generators of all axes are multiples of one."""

import torch
from torch import Tensor, nn

from liere_cli.encodings.base import Shape, Stream
from liere_cli.encodings.comrope import ComRoPE, ComRoPEOptions
from liere_cli.rotations import linear_angles


class ComRoPELD(ComRoPE):
    """ComRoPE with linear dependence (arXiv 2506.03737 section 4; Longin-Yu/ComRoPE model.py).

    Block j turns by exp((p . theta_j) (P_j - P_j^T)) with learned theta for each layer, axis and
    block, shared by its heads as in the code, initially standard normal: ``rope-mixed`` in a
    learned basis, where the planes of a block share a direction. :class:`ComRoPE` tells how the
    paper trains it.

    Raises:
        UsageError: head_dim does not divide into blocks.
    """

    name = "comrope-ld"
    summary = "learned rotations of whole blocks, each along one direction, so that all commute"
    formula = "block j turns by exp((p . theta_j) (P_j - P_j^T))"

    def __init__(self, shape: Shape, options: ComRoPEOptions | None = None) -> None:
        super().__init__(shape, options)
        self.directions = nn.Parameter(torch.empty(shape.depth, shape.axes, self.blocks))
        self.initialise()

    def initialise(self, stream: Stream = lambda name: None) -> None:
        super().initialise(stream)
        draw = torch.randn(self.directions.shape, generator=stream("directions"))
        with torch.no_grad():
            self.directions.copy_(draw)

    def steps(self, positions: Tensor) -> Tensor:
        return linear_angles(positions, self.directions)
