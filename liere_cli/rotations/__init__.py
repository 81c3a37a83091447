"""Rotations: the numeric heart, usable on its own.

It knows tensors only: no encoding, no model.
"""

from liere_cli.rotations.apply.blocks import rotate_blocks, rotate_projected_blocks
from liere_cli.rotations.apply.one_axis import (
    LineTable,
    change_basis,
    fold_line,
    line_table,
    rotate_line,
    turn_line,
    turn_steps,
)
from liere_cli.rotations.apply.planes import (
    Layout,
    linear_angles,
    phases,
    rotate_planes,
    rotate_projected,
)
from liere_cli.rotations.apply.recompute import rotate_on_grid
from liere_cli.rotations.exponential.grid_exp import grid_exp
from liere_cli.rotations.exponential.skew_exp import skew_exp
from liere_cli.rotations.precision import check_generators
from liere_cli.rotations.schur import Spectrum, spectrum

__all__ = [
    "Layout",
    "LineTable",
    "Spectrum",
    "change_basis",
    "check_generators",
    "fold_line",
    "grid_exp",
    "line_table",
    "linear_angles",
    "phases",
    "rotate_blocks",
    "rotate_line",
    "rotate_on_grid",
    "rotate_planes",
    "rotate_projected",
    "rotate_projected_blocks",
    "skew_exp",
    "spectrum",
    "turn_line",
    "turn_steps",
]
