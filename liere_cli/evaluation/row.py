"""One row of results of a trained run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationRow:
    """A trained run on a split, at one grid.

    Args:
        grid: as ``512`` or ``48x48``.
        trained: whether that is the grid of training.
        extension: method by which the encoding serves it.
        shuffled: whether patches are in random order.
        tokens: of an example.
        metric: ``bits_per_byte`` or ``top1``.
        value: of the metric; None where a loss is not finite.
        loss: mean cross-entropy in nats; None where it is not finite.
        count: bytes or items that are scored.
    """

    grid: str
    trained: bool
    extension: str
    shuffled: bool
    tokens: int
    split: str
    metric: str
    value: float | None
    loss: float | None
    count: int
