"""Runs small enough to be trained in a test."""

import signal
from pathlib import Path
from typing import Any

import torch

from liere_cli.config.files import load_recipe
from liere_cli.runs.build import RunSpec, assemble
from liere_cli.runs.folder import Run
from liere_cli.training.callbacks import Callbacks, Report

CPU = torch.device("cpu")
SMALL = {
    "model": {"layers": 1, "dim": 16, "heads": 2, "dropout": 0.1},
    "training": {"batch": 4, "budget": "12steps", "log_every": 2, "validations": 3},
}
DATA = {
    "text": "stdlib:grid=16",
    "images": "pointing:train=40,val=20,test=20",
    "video": "motion:train=40,val=20,test=20",
}


def run_spec_of(text_file: Path, *, data: str = "text", seed: int = 0, **training: Any) -> RunSpec:
    spec: Any = DATA[data]
    if data == "text":
        spec = {"name": "text", "path": str(text_file), "grid": 16}
    flags = {
        "encoding": "liere",
        "data": spec,
        "seed": seed,
        "model": SMALL["model"],
        "training": {**SMALL["training"], **training},
    }
    return assemble(load_recipe(flags=flags), device=CPU)


def losses(run: Run) -> list[Any]:
    return [
        {key: value for key, value in line.items() if key != "seconds"} for line in run.metrics()
    ]


class StopAt(Callbacks):
    """Sends Ctrl-C when a step is reported."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.resumed_at: int | None = None
        self.warnings: list[str] = []

    def on_start(self, run_spec: RunSpec, run: Run, step: int, warnings: list[str]) -> None:
        self.resumed_at, self.warnings = step, warnings

    def on_report(self, report: Report) -> None:
        if report.step == self.step:
            signal.raise_signal(signal.SIGINT)
