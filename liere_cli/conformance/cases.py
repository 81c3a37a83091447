"""What is tested: encodings at shapes, small enough to be quick, odd enough to find faults.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim, A axes,
D width of token vectors.
"""

import math
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

import torch
from torch import Tensor

from liere_cli.config.spec import format_spec, parse_spec
from liere_cli.encodings import Grid, PositionEncoding, available, build_encoding, resolve_spec
from liere_cli.encodings.registry import encoding_class
from liere_cli.errors import LiereError, UsageError

#: 48 channels divide into pairs, triples, blocks of 8 and 16, and over up to three axes
HEADS, HEAD_DIM, DEPTH = 2, 48, 2
DIM = HEADS * HEAD_DIM
#: no two axes alike in 2D
GRIDS: dict[int, tuple[int, ...]] = {1: (12,), 2: (3, 4), 3: (2, 3, 2)}
TOKENS, PREFIX, BATCH = 12, 2, 3
#: of scores that are equal but for rounding
TOLERANCE = 3e-4
#: options with numbers that take another way through the code; choices join by themselves
NUMBERS = ("liere:block=2", "liere:block=3", "liere:block=48", "rope:part=0.5", "alibi:heads=1")


Kind = Literal["plain", "whole", "case"]


@dataclass(frozen=True)
class Case:
    """An encoding with its options, at a number of axes."""

    spec: str
    axes: int

    @property
    def id(self) -> str:
        return f"{self.spec.rpartition('.py:')[2]}-{self.axes}d"

    @property
    def cls(self) -> type[PositionEncoding]:
        return encoding_class(resolve_spec(self.spec)["name"])

    def build(self, *, seed: int = 0, stirred: bool = True) -> PositionEncoding:
        """The encoding at the shape of the tests.

        Args:
            seed: of its initial parameters.
            stirred: as ``stir`` does.
        """
        try:
            encoding = build_encoding(
                self.spec, axes=self.axes, heads=HEADS, head_dim=HEAD_DIM, depth=DEPTH,
                grid=GRIDS[self.axes], seed=seed,
            )  # fmt: skip
        except LiereError as error:
            raise AssertionError(
                f"it can't be built for {HEADS} heads of {HEAD_DIM} channels on {self.axes} axes: "
                f"{error}. Set min_axes and max_axes to the axes that it serves"
            ) from error
        if stirred:
            stir(encoding)
        return encoding.eval()

    def positions(self, encoding: PositionEncoding, shift: float = 0) -> Tensor:
        """[T, A] of the training grid, moved by so many tokens, one more on each further axis."""
        moved = torch.arange(self.axes) + shift if shift else torch.zeros(self.axes)
        grid = Grid(GRIDS[self.axes])
        return grid.positions(encoding.scaling, move=lambda index: index + moved)


def stir(encoding: PositionEncoding) -> None:
    """Moves parameters off their initial values, as training does: many start at zero, where
    nothing can be seen.
    """
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in encoding.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))


def cases(specs: Iterable[str] = (), kind: Kind = "plain") -> Sequence[Case]:
    """Every spec at every number of axes that it claims; the registry's, if none are given.

    Args:
        kind: ``plain`` takes the specs as they are; ``whole`` adds NUMBERS to the registry's, and
            ``case`` to that every choice of every option. What an encoding itself refuses with
            other options than the given ones is left out.

    Raises:
        LiereError: there is no such encoding, or its file fails.
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
    every = [Case(spec, axes) for spec in specs for axes in GRIDS]
    return [case for case in every if case.cls.serves(case.axes)]


def choices(spec: str) -> Iterator[str]:
    """The spec with each other value of each option that is a switch or a choice.

    Units of positions are left out: they change the positions, which are the grid's affair.
    """
    given = parse_spec(spec)
    resolved = resolve_spec(spec)
    for key, field in encoding_class(resolved["name"]).Options.model_fields.items():
        for value in () if key == "scaling" else _values(field.annotation):
            if value != resolved[key] and key not in given:
                yield format_spec({**given, key: value})


def _values(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(value for part in get_args(annotation) for value in _values(part))
    if annotation is bool:
        return (False, True)
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def refused(case: Case) -> bool:
    """Whether an encoding says itself that these options do not go with the shape."""
    try:
        case.build()
    except AssertionError as error:
        return isinstance(error.__cause__, UsageError)
    return False


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers that do not depend on what was drawn before."""
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
    """What a layer's softmax gets, [B, N, T, T]: whatever place an encoding acts at shows here."""
    x = encoding.embed(x, positions)
    state = encoding.prepare(positions)
    q, k, _ = encoding.project(x, weight, state, layer)
    found: Tensor = q @ k.mT * HEAD_DIM**-0.5
    bias = encoding.bias(state, state, layer)
    return found if bias is None else found + bias


def logits(
    encoding: PositionEncoding, positions: Tensor, layer: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """``scored`` for random token vectors and weights."""
    return scored(encoding, *token_vectors(len(positions), dtype), positions, layer)


def attended(encoding: PositionEncoding, q: Tensor, k: Tensor, at: Tensor, layer: int) -> Tensor:
    """Scores of queries and keys encoded together, bias included: [B, N, S, S].

    A prefix gets no bias.
    """
    state = encoding.prepare(at)
    turned_q, turned_k = encoding.encode_qk(q, k, state, layer)
    found = turned_q @ turned_k.mT
    bias = encoding.bias(state, state, layer)
    if bias is None:
        return found
    prefix = q.shape[2] - len(at)
    return found + torch.nn.functional.pad(bias, (prefix, 0, prefix, 0))


def agree(found: Tensor, expected: Tensor, advice: str, tolerance: float = TOLERANCE) -> None:
    """Raises AssertionError with the advice unless two tensors are equal but for rounding."""
    assert found.shape == expected.shape, (
        f"{list(found.shape)} instead of {list(expected.shape)}: {advice}"
    )
    found, expected = found.detach(), expected.detach()
    assert bool(found.isfinite().all()), f"values that are not finite: {advice}"
    difference = float((found.double() - expected.double()).abs().max()) if found.numel() else 0.0
    allowed = tolerance * max(1.0, float(expected.abs().max()) if expected.numel() else 0.0)
    assert difference <= allowed, (
        f"{advice} (largest difference {difference:.2g}, allowed {allowed:.2g})"
    )


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference over that of what is expected."""
    found, expected = found.detach().double(), expected.detach().double()
    return math.sqrt(float((found - expected).square().mean() / expected.square().mean()))
