"""Random displacement of positions in training, the same for every encoding.

Shapes: T tokens, A axes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Displacement:
    """How far positions are moved at random in a training step; 0 and 1 turn a part off.

    All parts are drawn once a step and shared by the batch. They act on indices, so that encodings
    in whatever units see the same scene moved the same way.

    Args:
        jitter: each token moves within its own patch by a normal number of this half a patch,
            cut at half a patch (ComRoPE, arXiv 2506.03737; its code's perturbation intensity).
            As there, frames of a video keep their places.
        shift: each axis moves by a uniform number in [-shift, shift] of half the grid.
        stretch: each axis is stretched around the middle by a log-uniform factor in
            [1/stretch, stretch].
        rescale: so are all axes by a common factor. The last three are DINOv3's (arXiv 2508.10104;
            shift, jitter and rescale of its code's coordinates).
    """

    jitter: float = 0.0
    shift: float = 0.0
    stretch: float = 1.0
    rescale: float = 1.0

    @property
    def acts(self) -> bool:
        return self != Displacement()

    def draw(
        self, shape: tuple[int, ...], generator: torch.Generator
    ) -> Callable[[Tensor], Tensor]:
        """The move of one step, for :meth:`liere_cli.positions.grid.Grid.positions`.

        Args:
            shape: tokens along each axis.
            generator: on the CPU. All parts are drawn whatever is in use, so that turning one on
                changes no other.
        """
        axes = len(shape)
        noise = torch.randn(math.prod(shape), axes, generator=generator)
        uniform = 2 * torch.rand(2, axes, generator=generator) - 1
        common = 2 * torch.rand((), generator=generator) - 1
        extent = torch.tensor(shape, dtype=torch.float32)
        within = (noise * self.jitter / 2).clamp(-0.5, 0.5)
        if axes == 3:
            within[:, 0] = 0
        factor = self.stretch ** uniform[0] * self.rescale**common
        offset = self.shift * uniform[1] * extent / 2
        middle = (extent - 1) / 2

        def move(index: Tensor) -> Tensor:
            place = index.device
            turned = (index + within.to(place) - middle.to(place)) + offset.to(place)
            return turned * factor.to(place) + middle.to(place)

        return move
