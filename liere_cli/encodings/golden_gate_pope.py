"""PoPE with phases in evenly spread directions."""

import torch
from pydantic import Field
from torch import Tensor

from liere_cli.encodings.golden_gate import golden_directions, log_spaced
from liere_cli.encodings.pope import PolarOptions, PoPE
from liere_cli.grid import UNITS, Scaling


class GoldenGatePoPEOptions(PolarOptions):
    """Options of ``golden-gate-pope``."""

    scaling: Scaling = Field("aspect", description=UNITS)
    slowest: float = Field(0.2, gt=0, description="lowest frequency; vit-pytorch: 1")
    fastest: float = Field(20.0, gt=0, description="highest frequency; vit-pytorch: 10000")
    zero: float = Field(
        0.0, ge=0, lt=1, description="share of the channels whose phase stays where it is"
    )


class GoldenGatePoPE(PoPE):
    """PoPE on any number of axes (lucidrains/vit-pytorch vit_nd_pope.py, after arXiv 2509.10534 and
    jerryxio.ng/posts/nd-rope).

    ``pope`` with the frequencies of ``golden-gate``: channel i of head n has the phase
    w_i (p . u[n, i]), magnitudes w log-spaced, directions u quasi-uniform on the sphere.
    vit-pytorch counts positions from 0 with frequencies 1 to 10000, which turns neighbours by
    thousands of radians; ``scaling=index,slowest=1,fastest=10000`` reproduces it.

    Raises:
        UsageError: ``fastest`` below ``slowest``.
    """

    name = "golden-gate-pope"
    summary = "pope with phases in evenly spread directions, different in every head"
    source = "arXiv 2509.10534; jerryxio.ng/posts/nd-rope"
    formula = "q . k = sum_i softplus(q_i) softplus(k_i) cos(w_i ((p_k - p_q) . u_ni) + d_i)"
    Options = GoldenGatePoPEOptions

    def first_frequencies(self) -> Tensor:
        chosen, heads = self.options, self.shape.heads
        magnitudes = log_spaced(self.name, chosen.slowest, chosen.fastest, chosen.zero, self.planes)
        directions = golden_directions(heads * self.planes, self.shape.axes)
        return (directions.view(heads, self.planes, -1).mT * magnitudes).to(torch.float32)
