"""Random displacement of positions in training, the same for every encoding.

Shapes: T tokens, A axes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Displacement:
    """Random displacement of positions in a training step; 0 (or 1, for factors) disables a part.

    All parts are drawn once a step and shared by the batch. They act on indices, so that all
    encodings see the same displacement whatever their units.

    Args:
        jitter: each token moves within its patch by a normal number with standard deviation
            jitter / 2 patches, clamped at half a patch (ComRoPE, arXiv 2506.03737; its code's
            perturbation intensity). As there, frames of a video do not move.
        shift: each axis moves by a uniform number in [-shift, shift] of half the grid.
        stretch: each axis is stretched around the middle by a log-uniform factor in
            [1/stretch, stretch].
        rescale: all axes are stretched by a common factor likewise. The last three are DINOv3's
            (arXiv 2508.10104; shift, jitter and rescale of its code's coordinates).
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
        """The displacement of one step, for ``Grid.positions(move=...)`` of a grid of that shape.
        All parts are drawn, on the CPU, so that enabling one does not change the others.
        """
        axes = len(shape)
        kind: dict[str, Any] = {"dtype": torch.float32, "device": "cpu", "generator": generator}
        noise = torch.randn(math.prod(shape), axes, **kind)
        uniform = 2 * torch.rand(2, axes, **kind) - 1
        common = 2 * torch.rand((), **kind) - 1
        extent = torch.tensor(shape, dtype=torch.float32, device="cpu")
        within = (noise * self.jitter / 2).clamp(-0.5, 0.5)
        if axes == 3:
            within[:, 0] = 0
        factor = self.stretch ** uniform[0] * self.rescale**common
        offset = self.shift * uniform[1] * extent / 2
        middle = (extent - 1) / 2

        def move(index: Tensor) -> Tensor:
            device = index.device
            moved = (index + within.to(device) - middle.to(device)) + offset.to(device)
            return moved * factor.to(device) + middle.to(device)

        return move
