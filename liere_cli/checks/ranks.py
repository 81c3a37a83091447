"""Two processes that train one run, against one process."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import torch

from liere_cli.checks.base import Check, Finding, Setting, judged
from liere_cli.checks.training import spec_of
from liere_cli.launchers.spanning import train_spanning
from liere_cli.training.callbacks import Callbacks
from liere_cli.training.run import train_run

#: seconds for the two processes
PATIENCE = 300.0


def _run(setting: Setting) -> Iterator[Finding]:
    if setting.on_gpu and torch.cuda.device_count() < 2:
        yield Finding("two processes", "skipped", "needs two GPUs")
        return
    run_spec = spec_of("liere:block=8", 2, setting.device, accumulate=2)
    alone, both = setting.folder / "alone", setting.folder / "both"
    train_run(run_spec, outputs=alone, device=setting.device)
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=_train, args=(setting.device, both))
    process.start()
    process.join(PATIENCE)
    if process.is_alive():
        process.kill()
    weights = [run_spec.run(outputs).path("last.safetensors") for outputs in (alone, both)]
    backend = "NCCL" if setting.on_gpu else "Gloo"
    if process.exitcode or not weights[1].is_file():
        text = f"{backend}: the processes ended with exit code {process.exitcode}"
        yield judged("two processes", False, text)
        return
    equal = weights[0].read_bytes() == weights[1].read_bytes()
    text = (
        f"{backend}: the bits of one process"
        if equal
        else f"{backend}: other bits than one process"
    )
    yield judged("two processes", equal, text)


def _train(device: torch.device, outputs: Path) -> None:
    run_spec = spec_of("liere:block=8", 2, device, accumulate=2)
    train_spanning(
        run_spec, outputs=outputs, device=device, fresh=False, callbacks=Callbacks(), processes=2
    )


CHECK = Check("ranks", "two processes learn what one does", _run)
