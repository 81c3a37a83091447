"""Rotations: the numeric heart, usable on its own.

It knows tensors only: no encoding, no model.
"""

from liere_cli.rotations.blocks import rotate_blocks
from liere_cli.rotations.lattice import grid_exp
from liere_cli.rotations.planes import Layout, linear_angles, phases, rotate_planes
from liere_cli.rotations.precision import check_generators
from liere_cli.rotations.skew import skew_exp

__all__ = [
    "Layout",
    "check_generators",
    "grid_exp",
    "linear_angles",
    "phases",
    "rotate_blocks",
    "rotate_planes",
    "skew_exp",
]
