"""The launcher on this machine, and the interface of all launchers.

A launcher trains runs, reports events to a listener, and returns every outcome. A run
that fails does not stop the others; one that another process trains is left for the end, waited
for, and taken over where its owner dies.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from liere_cli.launchers.events import Listener, ignore
from liere_cli.launchers.pool import Pool
from liere_cli.launchers.spanning import train_spanning
from liere_cli.launchers.worker import POLL_SECONDS, TrainFunction, Waiting, train_planned_run
from liere_cli.planning.plan import PlannedRun
from liere_cli.planning.progress import Outcome
from liere_cli.runs.context import Context
from liere_cli.training.run import train_run
from liere_cli.utils.signals import handled

#: takes runs in their order, where to train them, and a listener, called in this process; returns
#: the outcome of each run by identity. Raises KeyboardInterrupt after SIGINT or SIGTERM, once all
#: of its work in this process and its children has stopped
Launcher = Callable[[Sequence[PlannedRun], Context, Listener], dict[str, Outcome]]


def launch(
    runs: Sequence[PlannedRun],
    context: Context,
    listener: Listener = ignore,
    *,
    jobs: int = 1,
    trainer: TrainFunction | None = None,
) -> dict[str, Outcome]:
    """Trains runs on this machine, in their order.

    With ``jobs`` above 1, worker processes share the cores and take one GPU each, in turn, or
    ``context.gpus_per_run`` of them. A run's bits don't depend on ``jobs``: its model decides how
    many threads it has. ``trainer`` is called in place of ``train_run``; it is importable by name,
    so that workers find it, and has one GPU. Returns and raises as every :data:`Launcher`.
    """
    spans = trainer is None and context.gpus_per_run > 1
    if trainer is None:
        trainer = partial(train_spanning, processes=context.gpus_per_run) if spans else train_run
    if not spans:
        context = replace(context, gpus_per_run=1)
    with terminated_as_interrupt():
        if spans or (jobs > 1 and len(runs) > 1):
            return Pool(runs, context, min(jobs, len(runs)), listener, trainer).run()
        return _one_after_the_other(runs, context, listener, trainer)


def _one_after_the_other(
    runs: Sequence[PlannedRun], context: Context, listener: Listener, trainer: TrainFunction
) -> dict[str, Outcome]:
    queue, waiting = deque(runs), Waiting(listener)
    results: dict[str, Outcome] = {}
    while queue or waiting:
        while queue:
            planned = queue.popleft()
            outcome = train_planned_run(planned, context, trainer, listener)
            if outcome is None:
                waiting.add(planned)
            else:
                results[planned.run_id] = outcome
        if waiting:
            time.sleep(POLL_SECONDS)
            over, free = waiting.poll()
            results |= over
            queue.extend(free)
    return results


@contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a comparison like Ctrl-C, so that workers stop."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    with handled(["SIGTERM"], interrupt):
        yield
