"""Fixed sinusoidal positions.

Shapes: B batch, T tokens, A axes.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from liere_cli.config.section import added
from liere_cli.encodings.additive.base import Additive
from liere_cli.encodings.base import PositionedOptions, Shape, Stream
from liere_cli.rotations import product_angles
from liere_cli.rotations.precision import accumulation_dtype


class SinusoidalOptions(PositionedOptions):
    theta: float = Field(10_000.0, gt=1, description="longest wavelength / 2 pi, in positions")
    scale: float | None = Field(
        None, gt=0, description="initial value of the learned factor on the vectors; null: dim^-0.5"
    )
    learned: bool = added(True, description="learn that factor")


class Sinusoidal(Additive):
    """Sines and cosines of each coordinate, added to the embedding.

    sin(p w_i), cos(p w_i) with w_i = theta^(-i/n), the channels split evenly over the axes
    (arXiv 1706.03762, section 3.5; several axes as in MAE, arXiv 2111.06377). One factor scales
    them, as in x-transformers' ScaledSinusoidalEmbedding, initially dim^-0.5: the paper multiplies
    embeddings by sqrt(dim) instead (section 3.4). Channels left over by 2 * axes stay zero.
    """

    name = "sinusoidal"
    summary = "fixed sines and cosines of each coordinate, added to the embedding"
    source = "arXiv 1706.03762 section 3.5"
    formula = "x + s [sin(p_a w_i), cos(p_a w_i)], w_i = theta^(-i/n)"
    Options = SinusoidalOptions

    def __init__(self, shape: Shape, options: SinusoidalOptions | None = None) -> None:
        super().__init__(shape, options)
        self.waves = shape.dim // (2 * shape.axes)
        if self.waves < 1:
            needed = f"needs at least {2 * shape.axes} channels for {shape.axes} axes"
            raise self.error(f"{needed}, not dim={shape.dim}")
        self.scale = nn.Parameter(torch.ones(()), requires_grad=self.options.learned)

    def initialise(self, stream: Stream = lambda name: None) -> None:
        nn.init.constant_(self.scale, self.options.scale or self.shape.dim**-0.5)

    def at(self, positions: Tensor) -> Tensor:
        """As the base class: axis by axis, sines before cosines."""
        positions = positions.to(accumulation_dtype(positions.dtype))
        order = torch.arange(self.waves, device=positions.device, dtype=torch.float32) / self.waves
        # frequencies are those of float32 in every dtype
        rates = (self.options.theta**-order).to(positions.dtype)
        angles = product_angles([positions[:, :, None]], [rates])  # [T, A, waves]
        vectors = torch.cat([angles.sin(), angles.cos()], -1).flatten(1) * self.scale
        return nn.functional.pad(vectors, (0, self.shape.dim - vectors.shape[1]))
