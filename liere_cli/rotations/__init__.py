"""Rotations of queries and keys: functions of tensors, usable without encodings or models."""

from liere_cli.rotations.angles import linear_angles, need_float64, product_angles, projections
from liere_cli.rotations.apply.blocks import rotate_blocks, rotate_projected_blocks
from liere_cli.rotations.apply.by_angles import (
    LayerAngles,
    layer_angles,
    rotate_projected_by_angles,
)
from liere_cli.rotations.apply.by_steps import rotate_by_steps
from liere_cli.rotations.apply.eigenbasis import change_basis, fold_basis
from liere_cli.rotations.apply.one_axis import (
    OneAxisTable,
    one_axis_table,
    rotate_one_axis,
    rotate_projected_one_axis,
)
from liere_cli.rotations.apply.planes import (
    Layout,
    phases,
    rotate_planes,
    rotate_projected,
)
from liere_cli.rotations.apply.recompute import rotate_on_grid
from liere_cli.rotations.exponential.grid_exp import grid_exp
from liere_cli.rotations.exponential.skew_exp import skew_exp
from liere_cli.rotations.precision import check_generators
from liere_cli.rotations.schur import SchurForm, real_schur
from liere_cli.rotations.skew_symmetric import skew, skew_from_upper

__all__ = [
    "LayerAngles",
    "Layout",
    "OneAxisTable",
    "SchurForm",
    "change_basis",
    "check_generators",
    "fold_basis",
    "grid_exp",
    "layer_angles",
    "linear_angles",
    "need_float64",
    "one_axis_table",
    "phases",
    "product_angles",
    "projections",
    "real_schur",
    "rotate_blocks",
    "rotate_by_steps",
    "rotate_on_grid",
    "rotate_one_axis",
    "rotate_planes",
    "rotate_projected",
    "rotate_projected_blocks",
    "rotate_projected_by_angles",
    "rotate_projected_one_axis",
    "skew",
    "skew_exp",
    "skew_from_upper",
]
