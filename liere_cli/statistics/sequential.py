"""Interim analyses: the error rate that each may spend, and when to stop for futility.

A comparison that adds seeds until it is settled analyses its data several times. The analysis at n
seeds gets a share of the error rate by the power family of spending functions (Lan and DeMets 1983;
Kim and DeMets 1987): ``(n / last)**2`` of it may be spent by n seeds. The p-value of an analysis
divided by its share is valid at that analysis, and the smallest of them so far is a sequential
p-value: it is valid whenever one stops and for whatever reason, by the union bound, which also
holds for t tests of 5 seeds, where boundaries computed for normal statistics do not. Its slack also
covers who raises the last number of seeds later on. Holm's
correction over the table then applies to it as to any p-value (Liu and Anderson 2008). Stopping for
futility only ever withholds a verdict, so it needs no correction.

Shapes: [...] any; m comparisons of a table.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liere_cli.statistics.power import detectable_difference
from liere_cli.statistics.samples import Array
from liere_cli.statistics.student import CONFIDENCE, student_quantile

#: exponent of the spending function: 1 spends like Pocock's bounds, 3 like O'Brien and Fleming's
SPENDING = 2.0
#: a comparison whose most favourable true difference is shown with less power is given up
FUTILE_POWER = 0.2


@dataclass(frozen=True)
class InterimAnalyses:
    """Analyses at ``first``, ``first + 1``, ..., ``last`` seeds."""

    first: int
    last: int

    @property
    def sizes(self) -> range:
        """Seeds at each analysis."""
        return range(self.first, self.last + 1)

    def share(self, n: int) -> float:
        """The share of the error rate that the analysis at n seeds spends; all together spend 1."""
        before = 0.0 if n == self.first else ((n - 1) / self.last) ** SPENDING
        return float((n / self.last) ** SPENDING - before)

    def corrected(self, p: Array, n: int) -> Array:
        """The p-values [...] of the analysis at n seeds, corrected for all analyses."""
        return np.asarray(np.minimum(p / self.share(n), 1.0))

    def futile(
        self,
        difference: Array,
        error: Array,
        n: Array,
        alpha: float,
        margin: Array,
        min_detectable: float = 0.0,
        prior: float = 0.0,
    ) -> NDArray[np.bool_]:
        """Whether further seeds, up to ``last``, are unlikely to settle a comparison, elementwise.

        That is if neither the largest nor the smallest true difference inside the 95% interval
        would be shown, as a difference or as equivalence, with a power of 20%.

        Args:
            error: [...] standard error over the seeds so far, n [...] of at least 2.
            alpha: level of one comparison before it is shared among analyses.
            margin: [...] in units of the metric; NaN: there is none.
            min_detectable: the difference that unlimited seeds show on this test set with that
                power, in units of the metric.
            prior: degrees of freedom borrowed from other encodings.
        """
        half = student_quantile(1 - CONFIDENCE, n - 1 + prior) * error
        std = error * np.sqrt(n)
        level = alpha * self.share(self.last)
        over_seeds = detectable_difference(1.0, self.last, level, FUTILE_POWER, prior=prior) * std
        no_difference = np.abs(difference) + half < np.hypot(over_seeds, min_detectable)
        closest = np.maximum(np.abs(difference) - half, 0.0)
        at_end = student_quantile(2 * level, self.last - 1 + prior) * std / math.sqrt(self.last)
        with np.errstate(invalid="ignore"):
            no_equality = np.isnan(margin) | (margin - closest < at_end)
        return np.asarray(no_difference & no_equality)


def interim_p(p: float | None, n: int, interim: InterimAnalyses | None) -> float | None:
    """The p-value of n seeds, corrected for interim analyses if any; 1 if none has n seeds."""
    if p is None or interim is None:
        return p
    return float(interim.corrected(np.array(p), n)) if n in interim.sizes else 1.0
