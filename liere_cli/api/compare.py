"""Compares encodings, or judges finished runs."""

from collections.abc import Sequence
from typing import Literal

from liere_cli.api.comparison import Comparison
from liere_cli.api.request import ComparisonRequest, Names, PathLike, Source
from liere_cli.launchers.events import Listener, ignore


def compare(
    source: Source | Sequence[Source] | None = None,
    *,
    encodings: Names | None = None,
    data: Names | None = None,
    seeds: int | str | Sequence[int] | None = None,
    baseline: Names | None = None,
    assignments: Sequence[str] = (),
    budget: str | None = None,
    until_settled: bool = False,
    max_seeds: int | None = None,
    time: str | None = None,
    against_itself: bool = False,
    jobs: int | None = None,
    launcher: Literal["local", "slurm"] = "local",
    slurm: Sequence[str] = (),
    device: str = "auto",
    out: PathLike = "outputs",
    data_root: PathLike | None = None,
    on_progress: Listener = ignore,
) -> Comparison:
    """Compares encodings over data sets and seeds, and says which differences are real.

    Finished runs are reused and interrupted ones continue. Defaults, identities and files are those
    of ``liere compare``, which calls this.

    Args:
        source: a recipe's path or built-in name; or finished runs, by folder, name or the folder of
            an experiment, which are judged as they are. None: only what ``encodings`` and ``data``
            name, or the recipe ``quick`` where they are None too.
        encodings, data: such as ``["rope", "liere:block=8"]`` or ``"rope,liere:block=8"``.
        seeds: how many, or which.
        baseline: the encoding that the others are compared with; of several, the first that takes
            part and is defined on the data.
        assignments: further keys of the recipe, as ``["training.batch=64"]``.
        budget: of every run, as ``"2000steps"`` or ``"10m"``.
        until_settled: add seeds until each verdict is settled, at most ``max_seeds``, within the
            training ``time`` of all runs together.
        against_itself: also compare the baseline with itself, at other seeds.
        jobs: runs at a time.
        launcher: ``local`` or ``slurm``; ``slurm`` is what each job asks for, as ``["gpus=1"]``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        out: folder that runs land in.
        data_root: folder of local copies of the data sets.
        on_progress: called with every event of :mod:`liere_cli.launchers.events`; see
            :class:`liere_cli.ProgressBar`.

    Raises:
        UsageError: a value that the caller can correct.
        LiereError: data or files that can't be used. A failed run raises nothing: the table counts
            it.
        KeyboardInterrupt: the same call continues.
    """
    request = ComparisonRequest(
        source,
        encodings,
        data,
        seeds,
        baseline,
        assignments,
        budget,
        until_settled,
        max_seeds,
        time,
        against_itself,
        jobs,
        launcher,
        slurm,
        device,
        out,
        data_root,
    )
    return request.run(on_progress)
