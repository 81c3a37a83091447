"""Versions, processors, GPUs and the kernels in use."""

import os
import platform
from collections.abc import Iterator

import torch

from liere_cli import __version__
from liere_cli.checks.base import Check, Finding, Setting, Value, judged
from liere_cli.launchers.resources import available_cores, available_memory
from liere_cli.rotations.kernels import compiler
from liere_cli.utils import determinism
from liere_cli.utils.devices import has_bfloat16


def _run(setting: Setting) -> Iterator[Finding]:
    versions: dict[str, Value] = {
        "liere": __version__, "torch": torch.__version__, "python": platform.python_version(),
        "cuda": torch.version.cuda, "platform": platform.platform(),
    }  # fmt: skip
    yield _info("versions", versions)
    memory = available_memory()
    processor: dict[str, Value] = {
        "name": platform.processor() or platform.machine(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "free_gib": None if memory is None else round(memory / 2**30, 1),
    }
    yield _info("processor", processor)
    text = compiler.describe(torch.device("cpu"))
    # a check, not a note: without a compiler a CPU is several times slower
    yield judged("kernels on the CPU", text.startswith("compiled"), text)
    count = torch.cuda.device_count()
    if not count:
        yield Finding("GPUs", "info", "none is visible to PyTorch", {"count": 0})
        return
    for index in range(count):
        gpu = torch.cuda.get_device_properties(index)
        values: dict[str, Value] = {
            "name": gpu.name,
            "capability": f"{gpu.major}.{gpu.minor}",
            "memory_gib": round(gpu.total_memory / 2**30, 1),
            "bfloat16": has_bfloat16(torch.device("cuda", index)),
        }
        yield _info(f"GPU {index}", values)
    yield Finding("kernels on a GPU", "info", compiler.describe(torch.device("cuda")))
    yield Finding("determinism", "info", determinism.describe())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    yield _info("driver", {"version": _driver(), "CUDA_VISIBLE_DEVICES": visible})


def _driver() -> str | None:
    try:
        with open("/proc/driver/nvidia/version", encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return None


def _info(subject: str, values: dict[str, Value]) -> Finding:
    text = ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)
    return Finding(subject, "info", text, values)


CHECK = Check("machine", "versions, processors, GPUs, kernels in use", _run)
