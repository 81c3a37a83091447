"""A check: a function of the device that returns what it found."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

State = Literal["ok", "failed", "skipped", "info"]
Value = str | int | float | bool | None


@dataclass(frozen=True)
class Setting:
    """Where checks run.

    Args:
        device: whose results are checked.
        folder: for temporary files.
        outputs, data_root: as for ``liere train``.
        deadline: of ``time.monotonic``, after which benchmarks are skipped.
    """

    device: torch.device
    folder: Path
    outputs: Path
    data_root: Path | None
    deadline: float

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def late(self) -> bool:
        """Whether no further benchmark is begun."""
        return time.monotonic() > self.deadline


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Args:
        subject: what was checked.
        text: what was found, in one line.
        values: the numbers behind it.
    """

    subject: str
    state: State
    text: str
    values: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """A check by name; ``run`` yields its findings, and may raise, which is a failure."""

    name: str
    summary: str
    run: Callable[[Setting], Iterable[Finding]]


def judged(
    subject: str, passed: bool, text: str, values: dict[str, Value] | None = None
) -> Finding:
    """``ok`` or ``failed``."""
    return Finding(subject, "ok" if passed else "failed", text, values or {})


def worst(subject: str, errors: dict[str, float], allowed: float, quantity: str) -> Finding:
    """The largest of errors by name, ``ok`` where all are at most ``allowed``."""
    name = max(errors, key=lambda key: errors[key] if errors[key] == errors[key] else float("inf"))
    failed = [key for key, error in errors.items() if not error <= allowed]
    text = f"{quantity} at most {errors[name]:.1e} ({name}), allowed {allowed:.0e}"
    if failed:
        text += f"; above it: {', '.join(failed)}"
    values: dict[str, Value] = {**errors, "allowed": allowed}
    return judged(subject, not failed, text, values)
