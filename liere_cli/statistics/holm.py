"""Holm's correction for many comparisons."""

import numpy as np
from numpy.typing import ArrayLike

from liere_cli.statistics.samples import Array


def holm(p_values: ArrayLike) -> Array:
    """Holm's step-down correction (1979) of p-values [..., m]: [..., m], for any dependence.

    If corrected values at or below 5% are rejected, the chance of any false rejection in a table
    is at most 5%. NaN marks a comparison without a test: it stays NaN and is not counted.
    """
    p = np.atleast_1d(np.asarray(p_values, dtype=np.float64))
    order = np.argsort(p, axis=-1, kind="stable")  # NaN comes last
    tests = (~np.isnan(p)).sum(axis=-1, keepdims=True)
    steps = np.maximum(tests - np.arange(p.shape[-1]), 1)
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * steps, axis=-1)
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, np.minimum(stepped, 1.0), axis=-1)
    return corrected
