"""The tested encodings, at shapes that are small and irregular, and helpers of the tests.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim, A axes,
D width of token vectors.
"""

import math
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, Union, get_args, get_origin

import torch
from torch import Tensor
from torch.nn import functional as F

from liere_cli.config.spec import format_spec, parse_spec
from liere_cli.encodings import Grid, PositionEncoding, available, build_encoding, resolve_spec
from liere_cli.encodings.registry import encoding_class
from liere_cli.errors import LiereError, UsageError

#: 48 channels divide into pairs, triples and blocks of 8 and 16, for up to three axes
HEADS, HEAD_DIM, DEPTH = 2, 48, 2
DIM = HEADS * HEAD_DIM
#: training grids; in 2D the axes differ
GRIDS: dict[int, tuple[int, ...]] = {1: (12,), 2: (3, 4), 3: (2, 3, 2)}
TOKENS, PREFIX, BATCH = 12, 2, 3
#: for scores that are equal except for rounding
TOLERANCE = 3e-4
#: numeric options that select other code paths; choices are added automatically
NUMBERS = ("liere:block=2", "liere:block=3", "liere:block=48", "rope:part=0.5", "alibi:heads=1")


Kind = Literal["plain", "whole", "case"]


@dataclass(frozen=True)
class Case:
    """An encoding with options, at a number of axes."""

    spec: str
    axes: int

    @property
    def id(self) -> str:
        return f"{self.spec.rpartition('.py:')[2]}-{self.axes}d"

    @property
    def cls(self) -> type[PositionEncoding]:
        return encoding_class(resolve_spec(self.spec)["name"])

    def build(self, *, seed: int = 0, perturbed: bool = True) -> PositionEncoding:
        """The encoding at the shape of the tests, its initial parameters ``perturb``-ed or not."""
        try:
            encoding = build_encoding(
                self.spec, axes=self.axes, heads=HEADS, head_dim=HEAD_DIM, depth=DEPTH,
                grid=GRIDS[self.axes], seed=seed,
            )  # fmt: skip
        except LiereError as error:
            raise AssertionError(
                f"it can't be built for {HEADS} heads of {HEAD_DIM} channels on {self.axes} axes: "
                f"{error}. Set min_axes and max_axes to the numbers of axes that it serves"
            ) from error
        if perturbed:
            perturb(encoding)
        return encoding.eval()

    def positions(self, encoding: PositionEncoding, shift: float = 0) -> Tensor:
        """Positions [T, A] of the training grid, moved by ``shift`` tokens on the first axis and by
        one more on each further axis.
        """
        moved = torch.arange(self.axes) + shift if shift else torch.zeros(self.axes)
        grid = Grid(GRIDS[self.axes])
        return grid.positions(encoding.scaling, move=lambda index: index + moved)


def perturb(encoding: PositionEncoding) -> None:
    """Moves parameters off their initial values, as training does: many start at zero, where they
    have no effect.
    """
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in encoding.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))


def cases(specs: Iterable[str] = (), kind: Kind = "plain") -> Sequence[Case]:
    """Every spec at every number of axes that it serves; by default all registered encodings.

    ``plain`` takes the specs as they are; ``whole`` adds NUMBERS if no specs are given; ``case``
    also adds every choice of every option, but for those that the encoding refuses at a shape.

    Raises:
        LiereError: an unknown encoding, or one whose file fails.
    """
    return _cases(tuple(specs), kind)


@cache
def _cases(given: tuple[str, ...], kind: Kind) -> Sequence[Case]:
    chosen = given or tuple(available())
    added = [] if given or kind == "plain" else list(NUMBERS)
    if kind == "case":
        added += [choice for spec in chosen for choice in choices(spec)]
    more = [case for case in at_every_axes(added) if not refused(case)]
    return (*at_every_axes(chosen), *more)


def at_every_axes(specs: Iterable[str]) -> list[Case]:
    pairs = [Case(spec, axes) for spec in specs for axes in GRIDS]
    return [case for case in pairs if case.cls.serves(case.axes)]


def choices(spec: str) -> Iterator[str]:
    """The spec with each other value of each boolean option or choice; not of units, which change
    the grid's positions and not the encoding.
    """
    given, resolved = parse_spec(spec), resolve_spec(spec)
    for key, field in encoding_class(resolved["name"]).Options.model_fields.items():
        for value in () if key == "scaling" else _values(field.annotation):
            if value != resolved[key] and key not in given:
                yield format_spec({**given, key: value})


def _values(annotation: object) -> tuple[object, ...]:
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(value for part in get_args(annotation) for value in _values(part))
    if annotation is bool:
        return (False, True)
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def refused(case: Case) -> bool:
    """Whether the encoding raises UsageError for these options at this shape."""
    try:
        case.build()
    except AssertionError as error:
        return isinstance(error.__cause__, UsageError)
    return False


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers that depend only on shape and seed."""
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.to(dtype)


def queries_and_keys(
    tokens: int = TOKENS, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Two tensors [B, N, S, H]."""
    q, k = random(2, BATCH, HEADS, tokens, HEAD_DIM, dtype=dtype).unbind()
    return q, k


def token_vectors(
    tokens: int = TOKENS, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Token vectors [B, T, D], and weights [3 * N * H, D] of queries, keys and values."""
    weight = random(3 * DIM, DIM, seed=1, dtype=torch.float64) * DIM**-0.5
    return random(BATCH, tokens, DIM, dtype=dtype), weight.to(dtype)


def scored(
    encoding: PositionEncoding, x: Tensor, weight: Tensor, positions: Tensor, layer: int
) -> Tensor:
    """The attention logits of a layer, [B, N, T, T], on which every kind of encoding acts."""
    x = encoding.embed(x, positions)
    state = encoding.prepare(positions)
    q, k, _ = encoding.project(x, weight, state, layer)
    scores: Tensor = q @ k.mT * HEAD_DIM**-0.5
    bias = encoding.bias(state, state, layer)
    return scores if bias is None else scores + bias


def logits(
    encoding: PositionEncoding, positions: Tensor, layer: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """``scored`` for random token vectors and weights."""
    return scored(encoding, *token_vectors(len(positions), dtype), positions, layer)


def attended(
    encoding: PositionEncoding, q: Tensor, k: Tensor, positions: Tensor, layer: int, prefix: int = 0
) -> Tensor:
    """Scores [B, N, S, S] of queries and keys encoded together, with bias except for the prefix."""
    state = encoding.prepare(positions)
    encoded_q, encoded_k = encoding.encode_qk(q, k, state, layer, prefix_tokens=prefix)
    scores = encoded_q @ encoded_k.mT
    bias = encoding.bias(state, state, layer)
    return scores if bias is None else scores + F.pad(bias, (prefix, 0, prefix, 0))


def agree(actual: Tensor, expected: Tensor, advice: str, tolerance: float = TOLERANCE) -> None:
    """Raises AssertionError with the advice unless two tensors are equal except for rounding."""
    assert actual.shape == expected.shape, (
        f"{list(actual.shape)} instead of {list(expected.shape)}: {advice}"
    )
    actual, expected = actual.detach(), expected.detach()
    assert bool(actual.isfinite().all()), f"values that are not finite: {advice}"
    difference = float((actual.double() - expected.double()).abs().max()) if actual.numel() else 0.0
    allowed = tolerance * max(1.0, float(expected.abs().max()) if expected.numel() else 0.0)
    assert difference <= allowed, (
        f"{advice} (largest difference {difference:.2g}, allowed {allowed:.2g})"
    )


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference over that of the expected values."""
    actual, expected = actual.detach().double(), expected.detach().double()
    return math.sqrt(float((actual - expected).square().mean() / expected.square().mean()))
