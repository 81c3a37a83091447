"""Data sets that are available, free space, locks, and Slurm."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from liere_cli.checks.base import Check, Finding, Setting, judged
from liere_cli.data.registry import available
from liere_cli.utils.files import locked, write_atomically
from liere_cli.utils.paths import cache_root

#: bytes below which a folder has too little space for checkpoints of a base model
LITTLE = 2 << 30


def _run(setting: Setting) -> Iterator[Finding]:
    here: list[str] = []
    missing: list[str] = []
    for name, cls in available().items():
        local = "path" in cls.Options.model_fields
        if not local:
            (here if cls.is_available(setting.data_root) else missing).append(name)
    text = f"without a download: {', '.join(here)}"
    text += f"; to be downloaded: {', '.join(missing)}" if missing else ""
    yield Finding("data", "info", text)
    for subject, folder in {"outputs": setting.outputs, "cache": cache_root()}.items():
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(existing).free
        text = f"{free / 2**30:.1f} GiB free at {folder}"
        yield judged(f"space for {subject}", free > LITTLE, text, {"free_bytes": free})
    yield _locks(setting.folder)
    tools = [tool for tool in ("sbatch", "squeue", "srun") if shutil.which(tool)]
    yield Finding("Slurm", "info", "available" if len(tools) == 3 else "not available")


def _locks(folder: Path) -> Finding:
    path = folder / "file"
    with locked(folder / "lock", 1.0):
        write_atomically(path, "written")
        try:
            with locked(folder / "lock", 0.0):
                held = False
        except TimeoutError:
            held = True
    passed = held and path.read_text() == "written"
    return judged("locks", passed, "files are locked and replaced atomically")


CHECK = Check("storage", "data sets, free space, locks, Slurm", _run)
