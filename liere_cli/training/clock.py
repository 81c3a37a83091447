"""The seconds of training: which are counted, and when ranks exchange theirs.

On a GPU and with ``torch.compile`` the first :data:`WARMUP_STEPS` steps of a process compile
kernels, choose algorithms and reserve memory. Their time is not counted; each counts as long as the
step after them. Elsewhere every second counts.
"""

import time

import torch

from liere_cli.config.budget import Budget
from liere_cli.runs.checkpoint import Progress
from liere_cli.utils.distributed import Ranks
from liere_cli.utils.execution import WARMUP_STEPS
from liere_cli.utils.signals import Stop

#: between two exchanges of several ranks, in seconds and at most in steps
EXCHANGE_SECONDS, EXCHANGE_STEPS = 1.0, 1000


class TrainingClock:
    """Counts ``progress.seconds``, and knows whether a signal asked any rank to stop.

    Several ranks exchange both about once a second, not at every step. With a budget of time all
    use the seconds of rank 0 at the last exchange, so that they end at the same step.

    Args:
        warms_up: whether the first steps of this process are slower than others.
    """

    def __init__(
        self,
        progress: Progress,
        budget: Budget,
        device: torch.device,
        ranks: Ranks,
        stop: Stop,
        *,
        warms_up: bool,
    ) -> None:
        self.progress, self.device, self.ranks, self.stop = progress, device, ranks, stop
        self.budget = budget
        self.stop_requested = False
        self._left = WARMUP_STEPS if warms_up else -1
        self._uncounted = 0.0
        #: of this rank; those of ``progress`` where the budget is no time, or there is one rank
        self._seconds = progress.seconds
        self._agreed = ranks.size > 1 and budget.unit == "seconds"
        #: step and seconds of rank 0 at the last exchange, and steps until the next one
        self._exchanged: tuple[int, float] | None = None
        self._interval = 1
        self.resume()

    @property
    def warming_up(self) -> bool:
        """Whether no time is counted yet."""
        return self._left >= 0

    def resume(self) -> None:
        """Counts from now on."""
        self._mark = time.perf_counter()

    def count(self) -> None:
        """Counts the time since the last call."""
        elapsed = self._elapsed()
        if self.warming_up:
            self._uncounted += elapsed
        else:
            self._add(elapsed)

    def after_step(self) -> None:
        """Counts a step, and exchanges clocks and signals with other ranks where that is due."""
        if self._left in (0, 1) and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        if self._left == 0:
            self._left = -1
            self._add(self._elapsed() * (WARMUP_STEPS + 1))
        else:
            self.count()
            self._left = max(self._left - 1, -1)
        if self._exchanged is None or self.progress.step >= self._exchanged[0] + self._interval:
            self.exchange()

    def finish(self) -> None:
        """A run that ended with the steps of its warm-up has no others: their time counts."""
        if self.warming_up:
            self._left = -1
            self._add(self._uncounted)

    def exchange(self) -> None:
        """Collective: the seconds of rank 0, and whether any rank was asked to stop."""
        seconds, self.stop_requested = self.ranks.all_reduce(self._seconds, self.stop.requested)
        if self._agreed:
            self.progress.seconds = seconds
        step = self.progress.step
        if self.ranks.size > 1 and self._exchanged is not None and step > self._exchanged[0]:
            by_step = max((seconds - self._exchanged[1]) / (step - self._exchanged[0]), 1e-6)
            until = EXCHANGE_SECONDS
            if self._agreed:
                until = min(until, self.budget.amount - seconds)
            # no faster than doubled, since a GPU may be far behind this clock
            allowed = min(2 * self._interval, EXCHANGE_STEPS)
            self._interval = max(1, min(int(until / by_step), allowed))
        self._exchanged = (step, seconds)

    def _elapsed(self) -> float:
        before, self._mark = self._mark, time.perf_counter()
        return self._mark - before

    def _add(self, seconds: float) -> None:
        self._seconds += seconds
        if not self._agreed:
            self.progress.seconds = self._seconds
