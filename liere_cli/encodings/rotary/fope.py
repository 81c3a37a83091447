"""FoPE: planes whose cosines and sines are sums of several frequencies.

Shapes: N heads, T tokens with a position, L depth, P planes, D frequencies kept, O planes mixed.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from liere_cli.encodings.base import Shape, Stream
from liere_cli.encodings.rotary.base import (
    LAYOUTS,
    Rotary,
    RotaryOptions,
    RotaryState,
    geometric,
    part_field,
)
from liere_cli.positions.grid import Grid
from liere_cli.rotations import Layout
from liere_cli.rotations.precision import full_precision


class FoPEOptions(RotaryOptions):
    layout: Layout = Field("half-split", description=LAYOUTS)
    theta: float = Field(10_000.0, gt=1, description="base of the frequencies")
    length: int | None = Field(
        None,
        ge=2,
        description="tokens over which a frequency must complete a period to be kept; null: those "
        "of the training grid",
    )
    gain: float = Field(
        0.3,
        ge=0,
        le=100,
        description="scale of the random part of the coefficients; the code has 0.3 to 0.6, more "
        "for larger models",
    )
    form: Literal["paper", "code"] = Field(
        "paper",
        description="paper: every kept frequency dominates a plane, and the other planes are "
        "unchanged; code: at most half of the planes are dominated, by every n-th frequency, and "
        "the products of all others count twice",
    )
    heads: Literal["own", "same"] = Field(
        "own", description="coefficients of each head, or the same for all heads of a layer"
    )
    waves: Literal["own", "same"] = Field(
        "own", description="coefficients of cosines and sines, or the same for both"
    )
    learned: bool = Field(
        False, description="learn the coefficients; otherwise they stay as drawn, as in the code"
    )
    part: float = part_field()


class FoPE(Rotary):
    """Fourier position embedding (arXiv 2412.17739; code in TsinghuaC3I/Fourier-Position-Embedding
    olmo/model.py).

    Of RoFormer's frequencies the D of at least 2 pi / length are kept: lower ones never complete a
    period in training. Plane o of head n in layer l maps (x, y) by the matrix (c, -s; s, c) with
    c = sum_d C[l, n, d, o] cos(p f_d) and s = sum_d S[l, n, d, o] sin(p f_d). Both coefficients are
    the identity plus normal numbers of variance 2 gain^2 / (O (D + N)), which is Xavier's rule on
    the code's tensors of all heads (2 gain^2 / (D + O) for ``heads=same``). Planes without a
    frequency are unchanged; the code pads their sines with ones too, a rotation by 45 degrees and a
    scaling by sqrt 2, which ``form=code`` reproduces.

    With mixed frequencies scores depend on both positions, and norms change.

    Raises:
        UsageError: the training length is unknown, or no frequency completes a period over it.
    """

    name = "fope"
    summary = "rotary with random mixtures of the frequencies that fit the training length"
    source = "arXiv 2412.17739"
    formula = "plane o: c = sum_d C_do cos(p f_d), s = sum_d S_do sin(p f_d), f_d >= 2 pi / length"
    max_axes = 1
    Options = FoPEOptions

    def __init__(self, shape: Shape, options: FoPEOptions | None = None) -> None:
        super().__init__(shape, options)
        chosen = self.options
        kept = self._kept_frequencies(super().count_rotated(self.planes))
        self.start_at(kept[None], learned=False)
        as_paper = chosen.form == "paper"
        self.mixed = len(kept) if as_paper else min(len(kept), max(1, shape.head_dim // 4))
        heads = shape.heads if chosen.heads == "own" else 1
        waves = 2 if chosen.waves == "own" else 1
        #: C and S, or one for both: [L, N or 1, 2 or 1, D, O]; random, so saved with the weights
        coefficients = torch.empty(shape.depth, heads, waves, len(kept), self.mixed)
        if chosen.learned:
            self.coefficients: Tensor = nn.Parameter(coefficients)
        else:
            self.register_buffer("coefficients", coefficients)
        self.relative = chosen.gain == 0 and not chosen.learned
        self.orthogonal = self.relative and as_paper
        self.initialise()

    def count_rotated(self, planes: int) -> int:
        return planes  # ``table`` leaves those without a frequency unchanged

    def _kept_frequencies(self, rotated: int) -> Tensor:
        shape, length = self.shape, self.options.length
        if length is None:
            if shape.grid is None:
                remedy = "pass grid=(256,), or the option length=256"
                raise self.error(f"needs the training length: {remedy}")
            (length,) = shape.grid
        first, second = Grid((2,), (length,)).positions(self.scaling).flatten().tolist()
        frequencies = geometric(self.options.theta, rotated)
        kept = frequencies[frequencies >= 2 * math.pi / (length * (second - first))]
        if not len(kept):
            raise self.error(
                "keeps frequencies that complete a period in training, and none does over "
                f"{length} tokens with scaling={self.scaling}; with scaling=index 7 tokens suffice"
            )
        return kept

    def initialise(self, stream: Stream = lambda name: None) -> None:
        *_, frequencies, mixed = self.coefficients.shape
        fans = frequencies + mixed
        if self.options.heads == "own":
            fans = mixed * (frequencies + self.shape.heads)
        identity = torch.zeros(frequencies, mixed)
        numbers = torch.arange(0, frequencies, math.ceil(frequencies / mixed))
        identity[numbers, torch.arange(len(numbers))] = 1.0
        noise = torch.randn(self.coefficients.shape, generator=stream("coefficients"))
        with torch.no_grad():
            self.coefficients.copy_(identity + self.options.gain * math.sqrt(2 / fans) * noise)

    def table(self, state: RotaryState, layer: int) -> Tensor:
        waves = super().table(state, layer)[0].permute(2, 0, 1)  # [2, T, D]
        with full_precision(waves):
            cos, sin = (waves @ self.coefficients[layer]).unbind(1)  # each [N or 1, T, O]
        unchanged = (0, self.planes - self.mixed)
        padding = 0.0 if self.options.form == "paper" else self.amplitude
        cos, sin = F.pad(cos, unchanged, value=self.amplitude), F.pad(sin, unchanged, value=padding)
        return torch.stack((cos, sin), -1)
