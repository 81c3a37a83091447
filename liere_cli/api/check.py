"""Checks the machine, and the results of its device."""

from collections.abc import Callable

from liere_cli.checks.registry import CheckReport, run_checks
from liere_cli.runs.build import choose_device
from liere_cli.utils.files import to_json, write_atomically
from liere_cli.utils.paths import PathLike, expand


def check(
    device: str = "auto",
    *,
    out: PathLike = "outputs",
    data_root: PathLike | None = None,
    json: PathLike | None = None,
    on_progress: Callable[[str], None] = lambda name: None,
) -> CheckReport:
    """Checks versions, data, storage and every encoding, and on a GPU determinism, waiting,
    compilation, several GPUs and speed: see docs/gpu.md.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        out: folder of outputs, whose space is checked; nothing is written there.
        json: file that gets all findings.
        on_progress: called with each check before it runs.

    Raises:
        UsageError: there is no such device.
        LiereError: the file can't be written.
    """
    chosen = choose_device(device)
    root = None if data_root is None else expand(data_root)
    report = run_checks(chosen, outputs=expand(out), data_root=root, on_progress=on_progress)
    if json is not None:
        write_atomically(expand(json), to_json(report.to_record()))
    return report
