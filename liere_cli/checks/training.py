"""Training on the device: equal bits in three runs and after an interruption, no waiting."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from liere_cli.checks.base import Check, Finding, Setting, judged
from liere_cli.config.files import load_recipe
from liere_cli.encodings import available
from liere_cli.runs.build import RunSpec, assemble, build_model
from liere_cli.training.callbacks import Callbacks, Report
from liere_cli.training.run import train_run
from liere_cli.training.step import TrainingStep, build_optimizer
from liere_cli.utils.determinism import deterministic
from liere_cli.utils.distributed import ALONE

DATA = {
    1: "stdlib:grid=64",
    2: "pointing:train=64,val=20,test=20",
    3: "motion:train=64,val=20,test=20",
}
REPEATS, STEPS = 3, 5
#: on a CPU, where other tests cover all encodings
FEW = ("none", "rope-mixed", "liere:block=8", "t5")


def spec_of(encoding: str, axes: int, device: torch.device, **settings: Any) -> RunSpec:
    """A small run."""
    flags = {
        "encoding": encoding,
        "data": DATA[axes],
        "model": {"layers": 2, "dim": 128, "heads": 2, "dropout": 0.1},
        "training": {
            "batch": 8, "budget": "12steps", "log_every": 2, "validations": 2,
            "positions": {"jitter": 1.0}, "validation_limit": 20, "test_limit": 20, **settings,
        },
    }  # fmt: skip
    return assemble(load_recipe(flags=flags), device=device)


def _axes(encoding: str) -> int:
    """2, or the number that the encoding serves."""
    cls = available()[encoding.partition(":")[0]]
    return next(axes for axes in (2, 1, 3) if cls.serves(axes))


def encodings(setting: Setting) -> list[str]:
    """Those that are trained: all on a GPU, with LieRE's blocks."""
    if not setting.on_gpu:
        return list(FEW)
    return [*available(), "liere:block=2", "liere:block=8"]


def _step(run_spec: RunSpec, device: torch.device) -> tuple[TrainingStep, dict[str, Tensor]]:
    model = build_model(run_spec).to(device)
    optimizer = build_optimizer(model, run_spec.recipe.training)
    examples = run_spec.dataset.load("train").to(device)
    return TrainingStep(run_spec, model, optimizer, examples, device, ALONE), model.state_dict()


def _determinism(setting: Setting) -> Iterator[Finding]:
    differing = []
    for encoding in encodings(setting):
        run_spec = spec_of(encoding, _axes(encoding), setting.device)
        results = []
        with deterministic(setting.device):
            for _ in range(REPEATS):
                step, state = _step(run_spec, setting.device)
                for number in range(STEPS):
                    step(number, number / STEPS)
                results.append({name: value.cpu() for name, value in state.items()})
        first = results[0]
        if not all(torch.equal(other[name], first[name]) for other in results for name in first):
            differing.append(encoding)
    count = len(encodings(setting))
    text = f"{REPEATS} times {STEPS} steps of {count} encodings have equal bits"
    if differing:
        text = f"{REPEATS} times {STEPS} steps differ for {', '.join(differing)}"
    yield judged("determinism", not differing, text)


class _StopAt(Callbacks):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_report(self, report: Report) -> None:
        if report.step == self.step:
            signal.raise_signal(signal.SIGINT)


def _resume(setting: Setting) -> Iterator[Finding]:
    for axes in (1, 2):
        run_spec = spec_of("liere:block=8", axes, setting.device)
        results = []
        for name in ("whole", "parts"):
            outputs = setting.folder / f"{name}-{axes}"
            if name == "parts":
                try:
                    train_run(
                        run_spec, outputs=outputs, device=setting.device, callbacks=_StopAt(6)
                    )
                    raise AssertionError("the run did not stop at the signal")
                except KeyboardInterrupt:
                    pass
            summary = train_run(run_spec, outputs=outputs, device=setting.device)
            weights = run_spec.run(outputs).path("last.safetensors").read_bytes()
            results.append((summary.test, weights))
        equal = results[0] == results[1]
        text = "an interrupted run ends with the bits of a whole one"
        if not equal:
            text = f"test {results[0][0]} in one piece, {results[1][0]} after an interruption"
        yield judged(f"resume, {axes} axes", equal, text)
        yield _executed(run_spec, setting.folder / f"whole-{axes}")


def _executed(run_spec: RunSpec, outputs: Path) -> Finding:
    environment = json.loads(run_spec.run(outputs).path("environment.json").read_text())
    step, precision = environment.get("step", "eager"), run_spec.recipe.training.precision
    return Finding(f"steps, {len(run_spec.dataset.grid)} axes", "info", f"{step}, {precision}")


def _waits(setting: Setting) -> Iterator[Finding]:
    if not setting.on_gpu:
        yield Finding("waiting for the device", "skipped", "needs a GPU")
        return
    waiting: dict[str, str] = {}
    for encoding in encodings(setting):
        with deterministic(setting.device):
            step, _ = _step(spec_of(encoding, _axes(encoding), setting.device), setting.device)
            step(0, 0.0)
            torch.cuda.synchronize(setting.device)
            torch.cuda.set_sync_debug_mode("error")
            try:
                step(1, 0.1)
            except RuntimeError as error:
                waiting[encoding] = str(error).splitlines()[0]
            finally:
                torch.cuda.set_sync_debug_mode("default")
    text = f"no step of {len(encodings(setting))} encodings waits"
    if waiting:
        text = "; ".join(f"{name}: {reason}" for name, reason in waiting.items())
    yield judged("waiting for the device", not waiting, text, dict(waiting))


DETERMINISM = Check("determinism", "equal bits in three runs", _determinism)
RESUME = Check("resume", "equal bits after an interruption", _resume)
WAITS = Check("waits", "no step waits for the device", _waits)
