"""Samples over seeds: checked vectors, paired differences, mean and standard deviation."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def vector(values: ArrayLike) -> Array:
    """``values`` as [n] float64; raises ValueError for more axes or a number that is not finite."""
    array = np.atleast_1d(np.array(values, dtype=np.float64))
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError("expected a vector of finite numbers")
    return array


def paired_differences(values: ArrayLike, baseline: ArrayLike) -> Array:
    """``values - baseline``, [n]; differences that rounding alone tells apart are made equal."""
    first, second = vector(values), vector(baseline)
    if first.shape != second.shape:
        raise ValueError(f"{first.size} values can't be paired with {second.size}")
    differences = first - second
    if first.size:
        # 0.31 - 0.30 and 0.41 - 0.40 differ in their last digits only: no noise over seeds
        grain = 8 * np.finfo(np.float64).eps * max(np.abs(first).max(), np.abs(second).max())
        if np.ptp(differences) <= grain:
            differences[:] = differences.mean() if abs(differences.mean()) > grain else 0.0
    return differences


def standard_deviation(array: Array) -> float:
    """Standard deviation (ddof 1) of [n]; what rounding alone could cause counts as zero."""
    std = float(array.std(ddof=1))
    return 0.0 if std <= 4 * np.finfo(np.float64).eps * np.abs(array).max() else std


def mean_and_std(values: ArrayLike) -> tuple[float | None, float | None]:
    """Mean and standard deviation (ddof 1) of values [n]; None where there are too few."""
    array = vector(values)
    mean = float(array.mean()) if array.size else None
    return mean, standard_deviation(array) if array.size > 1 else None
