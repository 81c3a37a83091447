"""A comparison with every kind of verdict and failure, for tests of what is shown."""

from liere_cli.comparison.tables.build import ComparisonTable, make_table
from liere_cli.planning.plan import Plan
from support.synthetic_tables import Result, dataset_of

SEEDS = 10
_NOISE = [0.004, -0.006, 0.002, 0.007, -0.003, -0.005, 0.001, 0.006, -0.002, -0.004]
_OTHER = [-0.002, 0.003, 0.001, -0.001, 0.002, -0.003, 0.002, -0.001, -0.002, 0.001]


def _scores(mean: float, own: float = 1.0, spread: float = 1.0) -> list[Result]:
    pairs = zip(_NOISE, _OTHER, strict=True)
    return [round(mean + spread * (shared + own * other), 4) for shared, other in pairs]


def judged_example() -> ComparisonTable:
    """Two data sets of ten seeds: one with a margin and failures, and one in bits."""
    diverged = _scores(0.35)
    diverged[3:8] = ["diverged"] * 5
    images = {
        "none": _scores(0.21),
        "axial": _scores(0.31, 0.0),
        "liere:block=8,share=layers": _scores(0.43),
        "rope-mixed": _scores(0.311),
        "spherical": _scores(0.318, 6.0),
        "absolute": diverged,
        "rope": [],
    }
    bits = {
        "rope": _scores(2.31, 0.0, 10.0),
        "liere": _scores(2.313, 1.0, 10.0),
        "none": _scores(2.8, 1.0, 10.0),
    }
    parts = [
        dataset_of(images, margin=0.015),
        dataset_of(bits, metric="bits_per_byte", title="stdlib", baseline="rope"),
    ]
    plan = Plan("quick", tuple(dataset for dataset, _ in parts), tuple(range(SEEDS)))
    return make_table(plan, {key: state for _, by_id in parts for key, state in by_id.items()})
