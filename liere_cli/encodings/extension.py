"""Extending a trained encoding to longer text or larger grids, without further training.

Shapes: T tokens, A axes, N heads, L depth, P planes.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from liere_cli.encodings.base import PositionEncoding
from liere_cli.encodings.rotary.base import Rotary
from liere_cli.errors import UsageError, unknown
from liere_cli.positions.grid import Grid

Method = Literal["none", "pi", "refit", "edges", "ntk", "yarn", "yarn-paper"]
MEANINGS: dict[str, str] = {
    "none": "positions continue beyond the trained ones",
    "pi": "positions are divided by the growth of each axis",
    "refit": "the first and the last position of each axis stay those of training",
    "edges": "the edges of the first and the last cell of each axis stay those of training",
    "ntk": "low frequencies are divided by the growth, high ones are kept",
    "yarn": "frequencies of less than one period in training are divided by the growth, high ones "
    "are kept, those between are blended by their rank, and logits grow a little; one axis only",
    "yarn-paper": "yarn, but frequencies between are blended by their periods",
}
#: periods over the training length at which a frequency is kept, and at which it is divided by the
#: growth
YARN_PERIODS = (32.0, 1.0)


@dataclass(frozen=True)
class Extension:
    """The trained encoding, or a copy with other frequencies, and positions of a new grid, [T, A]
    float32 in its units.
    """

    encoding: PositionEncoding
    positions: Tensor


def methods_for(encoding: PositionEncoding) -> tuple[Method, ...]:
    if encoding.scaling == "resized" or not encoding.places:
        return ("none",)
    if not _rotates_by_single_axes(encoding):
        return ("none", "pi", "refit", "edges")
    methods: tuple[Method, ...] = get_args(Method)
    return methods if encoding.shape.axes == 1 else methods[: methods.index("yarn")]


def extend(encoding: PositionEncoding, method: str, grid: Grid) -> Extension:
    """Extends what was trained on ``grid.train_shape`` to ``grid.shape``.

    With s_a the growth of an axis, at least 1:

    ``pi`` position interpolation, p -> p / s (arXiv 2306.15595, equation 4).
    ``refit`` maps the ends of each axis to those of the training grid, as the comparison in LieRE's
    paper (arXiv 2406.10322, figure 7) and golden-gate's code (jxiong21029/archibox
    ropend/positional_embeddings.py resize_to) do. ``edges`` stretches the grid over that of
    training instead, edge to edge: what DINOv3's (dinov3/layers/rope_position_encoding.py) and
    ComRoPE's code (Longin-Yu/ComRoPE model.py) compute at every resolution.
    ``ntk`` NTK-aware scaling: base theta -> theta s^(d/(d-2)) (bloc97; arXiv 2309.00071, section
    3.1), so that plane i of the m of an axis gets the frequency f_i s^(-i/(m-1)); each axis by its
    own growth as in FiT (arXiv 2402.12376, section 3.3). Planes are ranked by frequency.
    ``yarn-paper`` (arXiv 2309.00071, sections 3.2 and 3.3): a plane of r periods over the training
    length gets the frequency ((1 - g) / s + g) f, g rising from 0 at r = 1 to 1 at r = 32, and
    queries and keys are multiplied by 0.1 ln s + 1. ``yarn`` is what the paper's code
    (jquesnelle/yarn scaled_rope/) and Hugging Face's transformers (modeling_rope_utils.py) compute,
    and checkpoints were made with: g falls with the rank of a plane, from 1 at the rank where
    r = 32, rounded down, to 0 where r = 1, rounded up.

    Raises:
        UsageError: an unknown method, or one that does not apply to the encoding.
    """
    if method not in get_args(Method):
        raise unknown("extension", method, get_args(Method))
    allowed = methods_for(encoding)
    if method not in allowed:
        reason = "resizes its table itself" if encoding.scaling == "resized" else "can't use it"
        raise UsageError(
            f"extension '{method}': encoding '{encoding.name}' {reason}; it can be extended by "
            f"{', '.join(allowed)}"
        )
    growth = [max(n / m, 1.0) for n, m in zip(grid.shape, grid.train_shape, strict=True)]
    move = _move(method, grid, growth)
    if method in ("ntk", "yarn", "yarn-paper") and max(growth) > 1:
        assert isinstance(encoding, Rotary)
        encoding = _with_frequencies(encoding, method, grid, growth)
    return Extension(encoding, grid.positions(encoding.scaling, move=move))


def _move(method: str, grid: Grid, growth: list[float]) -> Callable[[Tensor], Tensor] | None:
    if method == "pi":
        return lambda index: index / torch.tensor(growth, dtype=index.dtype, device=index.device)
    if method == "refit":
        pairs = zip(grid.shape, grid.train_shape, strict=True)
        factors = [(m - 1) / max(n - 1, 1) for n, m in pairs]
        return lambda index: index * torch.tensor(factors, dtype=index.dtype, device=index.device)
    if method == "edges":
        pairs = zip(grid.shape, grid.train_shape, strict=True)
        cells = [m / n for n, m in pairs]

        def keep_edges(index: Tensor) -> Tensor:
            size = torch.tensor(cells, dtype=index.dtype, device=index.device)
            return (index + 0.5) * size - 0.5

        return keep_edges
    return None


def _rotates_by_single_axes(encoding: PositionEncoding) -> bool:
    """Whether it is rotary and each plane rotates with one axis only."""
    # frequencies that an encoding computes from other parameters can't be changed
    frequencies = getattr(encoding, "frequencies", None)
    if not isinstance(encoding, Rotary) or frequencies is None:
        return False
    if encoding.shape.axes == 1:
        return True
    fixed = not isinstance(frequencies, nn.Parameter)
    return fixed and bool(((frequencies != 0).sum(-2) <= 1).all())


def _with_frequencies(encoding: Rotary, method: str, grid: Grid, growth: list[float]) -> Rotary:
    """A copy with the frequencies of ``ntk`` or a form of ``yarn``."""
    copy = deepcopy(encoding)
    step = _units_per_token(grid, encoding)
    with torch.no_grad():
        for axis, s in enumerate(growth):
            frequencies = copy.frequencies[..., axis, :]  # [..., P], a view
            if method == "ntk":
                frequencies.mul_(_ntk_factors(frequencies, s))
            else:
                periods = frequencies.abs() * step[axis] * grid.train_shape[axis] / (2 * math.pi)
                keep = _kept_by_rank(periods) if method == "yarn" else _kept_by_periods(periods)
                frequencies.mul_((1 - keep) / s + keep)
    if method != "ntk":
        copy.amplitude = 0.1 * math.log(growth[0]) + 1
    return copy


def _kept_by_periods(periods: Tensor) -> Tensor:
    """The share of each frequency that ``yarn-paper`` keeps."""
    high, low = YARN_PERIODS
    return ((periods - low) / (high - low)).clamp(0, 1)


def _kept_by_rank(periods: Tensor) -> Tensor:
    """The share of each frequency that ``yarn`` keeps.

    The code knows the rank at which a plane would have so many periods from the base. Here it is
    interpolated between the logarithms of neighbours, and continued beyond the ends, which is the
    same for a geometric spectrum.
    """
    planes = periods.shape[-1]
    keep = torch.ones(periods.shape, device=periods.device)
    rows = zip(periods.reshape(-1, planes), keep.view(-1, planes), strict=True)
    for row, kept in rows:
        rotating = row.nonzero().squeeze(1)
        order = rotating[row[rotating].argsort(descending=True, stable=True)]
        logs, most = row[order].double().log(), 2 * len(order) - 1
        high, low = (_rank_at(logs, math.log(count)) for count in YARN_PERIODS)
        first, last = max(math.floor(high), 0), min(math.ceil(low), most)
        rank = torch.arange(len(order), dtype=torch.float64)
        ramp = (rank - first) / (last - first if last != first else 1e-3)
        kept[order] = (1 - ramp.clamp(0, 1)).to(kept)
    return keep


def _rank_at(logs: Tensor, value: float) -> float:
    """Where descending logarithms have that value."""
    if len(logs) < 2:
        return 0.0
    i = min(max(int((logs > value).sum()) - 1, 0), len(logs) - 2)
    step = float(logs[i + 1] - logs[i])
    return i + (value - float(logs[i])) / step if step else float(i)


def _ntk_factors(frequencies: Tensor, s: float) -> Tensor:
    """s^(-i/(m-1)) for the plane of rank i of the m that rotate with the axis; 1 for the rest."""
    rotating = frequencies != 0
    count = rotating.sum(-1, keepdim=True)
    order = frequencies.abs().sort(dim=-1, descending=True, stable=True).indices
    rank = order.sort(-1).indices
    factors = s ** (-rank / (count - 1).clamp(min=1))
    return torch.where(rotating, factors, torch.ones_like(factors)).to(frequencies.dtype)


def _units_per_token(grid: Grid, encoding: PositionEncoding) -> list[float]:
    """Distance of neighbouring tokens of the training grid on each axis, in units of positions."""
    trained = Grid(grid.train_shape)
    indices = torch.tensor([[0.0] * grid.axes, [1.0] * grid.axes], dtype=torch.float32)
    first, second = trained.positions(encoding.scaling, move=lambda index: indices)
    return [float(distance) for distance in second - first]
