"""Simulated worlds: how scores of encodings might spread over seeds where none differs.

Shapes: S tables, D data sets, E encodings (the first is the baseline), n seeds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from liere_cli.statistics.samples import Array
from liere_cli.statistics.scores import Bools

Shape = tuple[int, int, int, int]
#: what is equal between encodings: the whole law of scores, or the mean alone
Equal = Literal["laws", "means"]


@dataclass(frozen=True)
class World:
    """A law of scores.

    Args:
        draw: scores [S, D, E, n] by a generator.
        equal: whether ``better`` or ``worse`` is wrong as laws are equal, or as means are.
        failed: runs that diverge, by their scores [S, D, E, n]; None: none does.
    """

    name: str
    draw: Callable[[np.random.Generator, Shape], Array]
    equal: Equal = "laws"
    failed: Callable[[Array], Bools] | None = None


def correlated(generator: np.random.Generator, shape: Shape, correlation: float) -> Array:
    """Normal scores of variance 1, correlated within a data set and seed.

    A negative correlation is that of the baseline with every other encoding.
    """
    shared = generator.standard_normal((*shape[:2], 1, shape[3]))
    own = generator.standard_normal(shape)
    sign = np.where(np.arange(shape[2]) == 0, np.sign(correlation) or 1.0, 1.0)[:, None]
    size = abs(correlation)
    return np.asarray(math.sqrt(size) * sign * shared + math.sqrt(1 - size) * own)


def _normal(correlation: float) -> Callable[[np.random.Generator, Shape], Array]:
    return lambda generator, shape: correlated(generator, shape, correlation)


def _unequal_spreads(generator: np.random.Generator, shape: Shape) -> Array:
    spreads = np.exp(generator.uniform(math.log(0.1), math.log(3), (*shape[:3], 1)))
    return np.asarray(spreads * generator.standard_normal(shape))


def _ceiling(generator: np.random.Generator, shape: Shape) -> Array:
    return np.asarray(np.minimum(99.4 + generator.standard_normal(shape), 99.9))


def _modes(*levels: float) -> Callable[[np.random.Generator, Shape], Array]:
    def draw(generator: np.random.Generator, shape: Shape) -> Array:
        noise = 0.3 * generator.standard_normal(shape)
        return np.asarray(generator.choice(levels, size=shape) + noise)

    return draw


def _lognormal(generator: np.random.Generator, shape: Shape) -> Array:
    """Of mean zero."""
    return np.asarray(np.exp(generator.standard_normal(shape)) - math.exp(0.5))


def _others(first: Array, others: Array) -> Array:
    """``first`` for the baseline, ``others`` for all other encodings."""
    return np.asarray(np.where(np.arange(first.shape[2])[:, None] == 0, first, others))


def _normal_against_lognormal(generator: np.random.Generator, shape: Shape) -> Array:
    spread = math.sqrt((math.e - 1) * math.e)
    return _others(spread * generator.standard_normal(shape), _lognormal(generator, shape))


def _bad_seeds(generator: np.random.Generator, shape: Shape) -> Array:
    """One seed in ten is 30 standard deviations worse."""
    bad = generator.random(shape) < 0.1
    return np.asarray(generator.standard_normal(shape) - 30 * bad)


def _bad_seeds_of_others(generator: np.random.Generator, shape: Shape) -> Array:
    return _others(generator.standard_normal(shape) - 3, _bad_seeds(generator, shape))


def _worst_diverge(share: float) -> Callable[[Array], Bools]:
    """The worst seeds of every encoding but the baseline diverge."""

    def failed(scores: Array) -> Bools:
        limit = np.sqrt(2) * _erfinv(2 * share - 1)
        others = np.arange(scores.shape[2])[:, None] > 0
        return np.asarray((scores < limit) & others)

    return failed


def _erfinv(value: float) -> float:
    from scipy import special

    return float(special.erfinv(value))


WORLDS = (
    World("normal, correlation .5", _normal(0.5)),
    World("normal, correlation 0", _normal(0.0)),
    World("normal, correlation -.5", _normal(-0.5)),
    World("Student's t, 3 degrees of freedom", lambda g, shape: g.standard_t(3, shape)),
    World("lognormal", _lognormal),
    World("ceiling at 99.9%", _ceiling),
    World("50, 75 or 100%, ± 0.3", _modes(50, 75, 100)),
    World("25 or 100%, ± 0.3", _modes(25, 100)),
    World("one bad seed in ten", _bad_seeds),
    World("worst 20% diverge", _normal(0.0), failed=_worst_diverge(0.2)),
    World("worst 40% diverge", _normal(0.0), failed=_worst_diverge(0.4)),
    World("worst 60% diverge", _normal(0.0), failed=_worst_diverge(0.6)),
    World("spreads from 0.1 to 3", _unequal_spreads, "means"),
    World("normal baseline, lognormal others", _normal_against_lognormal, "means"),
    World("one bad seed in ten, baseline none", _bad_seeds_of_others, "means"),
)
