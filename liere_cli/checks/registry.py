"""All checks, in the order in which they run."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from liere_cli.checks import (
    compiled,
    conformance,
    machine,
    orthogonality,
    ranks,
    speed,
    storage,
    training,
)
from liere_cli.checks.base import Check, Finding, Setting
from liere_cli.utils.determinism import reserve_workspaces

CHECKS = (
    machine.CHECK,
    storage.CHECK,
    conformance.CHECK,
    orthogonality.CHECK,
    training.DETERMINISM,
    training.RESUME,
    training.WAITS,
    compiled.CHECK,
    ranks.CHECK,
    speed.CHECK,
)
#: after which no further benchmark is begun
BENCHMARK_SECONDS = 720.0


@dataclass(frozen=True)
class CheckReport:
    """Findings of all checks on a device, by check."""

    device: str
    seconds: float
    findings: dict[str, list[Finding]]

    @property
    def failed(self) -> list[str]:
        """What failed, as ``check: subject``."""
        return [
            f"{check}: {finding.subject}"
            for check, findings in self.findings.items()
            for finding in findings
            if finding.state == "failed"
        ]

    def to_record(self) -> dict[str, object]:
        """As JSON values."""
        checks = {
            name: [asdict(finding) for finding in findings]
            for name, findings in self.findings.items()
        }
        record = {"device": self.device, "seconds": round(self.seconds, 1), "failed": self.failed}
        return {**record, "checks": checks}


def run_checks(
    device: torch.device,
    *,
    outputs: Path,
    data_root: Path | None = None,
    checks: tuple[Check, ...] = CHECKS,
    on_progress: Callable[[str], None] = lambda name: None,
) -> CheckReport:
    """Runs checks one after the other; one that raises is a failure, and the others go on."""
    reserve_workspaces()
    began = time.monotonic()
    findings: dict[str, list[Finding]] = {}
    with tempfile.TemporaryDirectory(prefix="liere-check-") as folder:
        deadline = began + BENCHMARK_SECONDS
        setting = Setting(device, Path(folder), outputs, data_root, deadline)
        for check in checks:
            on_progress(check.summary)
            findings[check.name] = list(_findings(check, setting))
    return CheckReport(str(device), time.monotonic() - began, findings)


def _findings(check: Check, setting: Setting) -> Iterator[Finding]:
    try:
        yield from check.run(setting)
    except Exception as error:
        # whatever fails on an unknown machine is what the table is for
        reason = (str(error) or "no reason given").splitlines()[0]
        yield Finding(check.summary, "failed", f"{type(error).__name__}: {reason}")
