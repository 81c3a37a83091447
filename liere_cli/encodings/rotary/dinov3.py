"""DINOv3's rotary embedding: coordinates of patch centres in [-1, 1]."""

import math

from pydantic import Field

from liere_cli.encodings.base import Shape
from liere_cli.encodings.rotary.base import LAYOUTS, PlaneOptions, Rotary, axial_frequencies
from liere_cli.positions.grid import UNITS, Scaling
from liere_cli.rotations import Layout


class DINOv3Options(PlaneOptions):
    layout: Layout = Field("half-split", description=LAYOUTS)
    scaling: Scaling = Field("cell-centered", description=UNITS)
    theta: float = Field(100.0, gt=1, description="base of the periods")


class DINOv3(Rotary):
    """DINOv3's rotary embedding (arXiv 2508.10104 section 3.2; timm RotaryEmbeddingDinoV3).

    Axial: plane i of the m of axis a rotates by 2 pi p_a / theta^(i/m), with the centres of the
    patches as coordinates, so that -1 and 1 are the edges of the training grid. The paper's shift,
    jitter and rescaling of coordinates are settings of training (``training.positions``). The code
    maps the patches of every resolution to [-1, 1], as ``liere eval --extend edges`` does.
    """

    name = "dinov3"
    summary = "axial rotary on patch centres in [-1, 1], at most one period per patch edge to edge"
    source = "arXiv 2508.10104"
    formula = "plane i of axis a rotates by 2 pi p_a theta^(-i/m)"
    Options = DINOv3Options

    def __init__(self, shape: Shape, options: DINOv3Options | None = None) -> None:
        super().__init__(shape, options)
        frequencies = axial_frequencies(self.options.theta, self.planes, shape.axes)
        self.start_at(2 * math.pi * frequencies, learned=False)
