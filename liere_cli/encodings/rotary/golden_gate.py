"""Golden-gate rotary: planes along directions spread evenly over the sphere."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from liere_cli.encodings.base import Shape
from liere_cli.encodings.rotary.base import LAYOUTS, Learned, PlaneOptions, Rotary
from liere_cli.errors import UsageError
from liere_cli.positions.grid import UNITS, Scaling
from liere_cli.rotations import Layout

#: steps of the recurrence for the generalised golden ratio, as in the source
_STEPS = 10


class GoldenGateOptions(PlaneOptions):
    layout: Layout = Field("half-split", description=LAYOUTS)
    scaling: Scaling = Field("aspect", description=UNITS)
    slowest: float = Field(
        0.2, gt=0, description="lowest frequency; archibox: 0.2 on ImageNet, 1 on CIFAR"
    )
    fastest: float = Field(
        20.0, gt=0, description="highest frequency; archibox: 20 on ImageNet, 100 on CIFAR"
    )
    zero: float = Field(0.0, ge=0, lt=1, description="share of the planes that do not rotate")
    directions: Literal["recurrence", "spiral"] = Field(
        "recurrence",
        description="recurrence (any axes, vit-pytorch) or spiral (two axes, archibox: direction i "
        "at the angle i pi (1 - sqrt 5) / 2)",
    )
    learned: Learned = False


class GoldenGate(Rotary):
    """Golden-gate rotary (Jerry Xiong, On N-dimensional Rotary Positional Embeddings, 2025,
    jerryxio.ng/posts/nd-rope; code in jxiong21029/archibox ropend/positional_embeddings.py and
    lucidrains/vit-pytorch vit_nd_rotary.py).

    Plane i of head n rotates by w_i * (p . u[n, i]): magnitudes w log-spaced from ``slowest`` to
    ``fastest``, after a share of zeros, unit directions u quasi-uniform on the sphere and different
    in every head. vit-pytorch counts positions from 0 and uses frequencies 1 to 10000, which
    rotates neighbours by thousands of radians; ``scaling=index,slowest=1,fastest=10000`` reproduces
    it. archibox keeps the ends of the coordinates at other resolutions, as ``liere eval --extend
    refit`` does.

    Raises:
        UsageError: ``fastest`` below ``slowest``, or spiral directions on other than two axes.
    """

    name = "golden-gate"
    summary = "rotary with fixed frequencies in evenly spread directions, different in every head"
    source = "jerryxio.ng/posts/nd-rope"
    formula = "plane i of head n rotates by w_i (p . u_ni)"
    Options = GoldenGateOptions

    def __init__(self, shape: Shape, options: GoldenGateOptions | None = None) -> None:
        super().__init__(shape, options)
        chosen = self.options
        magnitudes = log_spaced(self.name, chosen.slowest, chosen.fastest, chosen.zero, self.planes)
        count = shape.heads * self.planes
        if chosen.directions == "spiral":
            if shape.axes != 2:
                only = f"has directions=spiral for two axes, not {shape.axes}"
                raise self.error(f"{only}; directions=recurrence serves any number")
            directions = _spiral(count)
        else:
            directions = golden_directions(count, shape.axes)
        frequencies = directions.view(shape.heads, self.planes, shape.axes).mT * magnitudes
        self.start_at(frequencies.to(torch.float32), chosen.learned)


def log_spaced(name: str, slowest: float, fastest: float, zero: float, planes: int) -> Tensor:
    """A share of zeros, then magnitudes evenly spaced in their logarithm: [planes] float64;
    UsageError if the highest is below the lowest.
    """
    if fastest < slowest:
        bounds = f"fastest={fastest:g} is below slowest={slowest:g}"
        raise UsageError(f"encoding '{name}': {bounds}; it must not be lower")
    zeros = round(zero * planes)
    steps = torch.linspace(0, 1, planes - zeros, dtype=torch.float64)
    magnitudes = slowest * (fastest / slowest) ** steps
    return torch.cat([torch.zeros(zeros, dtype=torch.float64), magnitudes])


def golden_directions(count: int, axes: int) -> Tensor:
    """Unit vectors [count, axes] float64 from an additive recurrence with the powers of the
    generalised golden ratio (x^(axes + 1) = x + 1), mapped from the cube to the sphere by the
    inverse error function.
    """
    ratio = 2.0
    for _ in range(_STEPS):
        ratio = (1 + ratio) ** (1 / (axes + 1))
    steps = (1 / ratio) ** torch.arange(1, axes + 1, dtype=torch.float64)
    points = torch.arange(1, count + 1, dtype=torch.float64)[:, None] * steps % 1.0
    normal = torch.erfinv(2 * points - 1)
    unit: Tensor = normal / normal.norm(dim=1, keepdim=True)
    return unit


def _spiral(count: int) -> Tensor:
    """Directions [count, 2] float64, at multiples of the golden angle."""
    angles = torch.arange(count, dtype=torch.float64) * (math.pi * (1 - math.sqrt(5)) / 2)
    return torch.stack((angles.cos(), angles.sin()), 1)
