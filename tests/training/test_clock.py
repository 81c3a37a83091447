"""Which seconds of training count, and how often ranks exchange them."""

import pytest
import torch

from liere_cli.config.budget import Budget
from liere_cli.runs.checkpoint import Progress
from liere_cli.training import clock as clock_module
from liere_cli.training.clock import TrainingClock
from liere_cli.utils.distributed import ALONE, Ranks
from liere_cli.utils.execution import WARMUP_STEPS
from liere_cli.utils.signals import Stop

CPU = torch.device("cpu")


class Time:
    """A clock that is set by hand."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(clock_module, "time", made)
    return made


def clock_of(
    progress: Progress, budget: str = "100steps", ranks: Ranks = ALONE, warms_up: bool = False
) -> TrainingClock:
    return TrainingClock(progress, Budget.parse(budget), CPU, ranks, Stop(), warms_up=warms_up)


def step(clock: TrainingClock, time: Time, seconds: float) -> None:
    time.now += seconds
    clock.progress.step += 1
    clock.after_step()


def test_on_a_cpu_every_second_of_a_step_counts(time: Time) -> None:
    clock = clock_of(Progress(seconds=5.0))
    for seconds in (4.0, 1.0, 1.0):
        step(clock, time, seconds)
    time.now += 2.0
    clock.count()
    time.now += 7.0
    clock.resume()
    step(clock, time, 1.0)
    assert clock.progress.seconds == 5 + 4 + 1 + 1 + 2 + 1


def test_steps_of_the_warm_up_count_as_the_one_after_them(time: Time) -> None:
    clock = clock_of(Progress(seconds=5.0), warms_up=True)
    for number in range(WARMUP_STEPS):
        step(clock, time, 60.0 - number)
        time.now += 3.0
        clock.count()
        assert clock.warming_up
        assert clock.progress.seconds == 5.0
    step(clock, time, 2.0)
    assert not clock.warming_up
    assert clock.progress.seconds == 5 + 2 * (WARMUP_STEPS + 1)
    step(clock, time, 3.0)
    assert clock.progress.seconds == 5 + 2 * (WARMUP_STEPS + 1) + 3


def test_a_run_of_no_other_steps_counts_its_warm_up(time: Time) -> None:
    clock = clock_of(Progress(), warms_up=True)
    step(clock, time, 60.0)
    step(clock, time, 2.0)
    clock.finish()
    assert clock.progress.seconds == 62.0


class Counting(Ranks):
    """Rank 0 of 2, alone in its process, that counts exchanges."""

    exchanges: list[float]

    def all_reduce(self, seconds: float, stop: bool) -> tuple[float, bool]:
        self.exchanges.append(seconds)
        return seconds, stop


@pytest.mark.parametrize(("seconds", "most"), [(0.01, 20), (0.3, 200), (5.0, 400)])
def test_ranks_exchange_about_once_a_second(time: Time, seconds: float, most: int) -> None:
    ranks = Counting(0, 2)
    object.__setattr__(ranks, "exchanges", [])
    clock = clock_of(Progress(), ranks=ranks)
    for _ in range(400):
        step(clock, time, seconds)
    assert len(ranks.exchanges) <= most
    assert len(ranks.exchanges) >= 400 * seconds / 2 or seconds > 1


def test_a_budget_of_time_is_exceeded_by_a_step_at_most(time: Time) -> None:
    ranks = Counting(0, 2)
    object.__setattr__(ranks, "exchanges", [])
    clock = clock_of(Progress(), "10s", ranks)
    while clock.progress.seconds < 10:
        step(clock, time, 0.03)
    assert clock.progress.seconds < 10 + 2 * 0.03
