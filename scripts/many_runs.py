"""Makes a folder of many finished runs without training, and times the table that judges them.

    python scripts/many_runs.py FOLDER [--encodings 100] [--datasets 5] [--seeds 20] [--items 2000]

Every run has a recipe, a summary with its digests, a signature and results per test item, as
training leaves them; only the scores are drawn instead of earned. Then ``liere compare FOLDER/*``
is timed three times, each in a process of its own: without an index (cold), with the one that the
first left behind (warm), and with the index deleted. The files are in the page cache by then, so
cold means "never read by liere", not "never read by this machine".

A folder that is there already is not made anew. Exit code 1 when the warm table takes longer than
``--limit`` seconds.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save

from liere_cli.assembly import Cell, assemble, run_identity, signature, tested
from liere_cli.recipe import Recipe, dump_yaml
from liere_cli.runs import Run, digest_of, seal, to_json

DATASETS = ("pointing", "motion", "pointing:arrows=4", "stdlib", "motion:classes=8")
SEED = 987_654_321


def encodings(count: int) -> Iterator[str]:
    """``axial`` and rotary of other frequencies: all defined on any axes, all differently named."""
    yield "axial"
    yield "none"
    for index in range(count - 2):
        yield f"axial:theta={50 + index}"


def cells(count: int, datasets: int) -> Iterator[Cell]:
    """One cell a data set and encoding, of the smallest models."""
    for data in DATASETS[:datasets]:
        for encoding in encodings(count):
            settings = {
                "encoding": encoding,
                "data": data,
                "seed": SEED,
                "model": {"layers": 1, "dim": 64, "heads": 2},
                "training": {"budget": "10steps"},
            }
            yield assemble(Recipe.validated(settings, data), device=torch.device("cpu"))


def write(files: dict[str, bytes], folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def summary_of(cell: Cell, value: float) -> dict[str, object]:
    """As :mod:`liere_cli.training` writes it."""
    return {
        "status": "finished",
        "id": cell.run_id,
        "encoding": cell.encoding,
        "data": cell.data,
        "fingerprint": cell.dataset.fingerprint,
        "seed": cell.recipe.seed,
        "metric": cell.dataset.metric,
        "higher_is_better": cell.dataset.metric == "top1",
        "val": value,
        "test": value,
        "val_loss": 1.0,
        "test_loss": 1.0,
        "best": {"step": 10, "val": value},
        "steps": 10,
        "examples": 320,
        "tokens": 2048,
        "seconds": 2.0,
        "parameters": 812_345,
        "encoding_parameters": 1234,
        "throughput": 2600.0,
        "throughput_unit": "examples/s",
        "budget": cell.recipe.training.budget,
        "device": "cpu",
        "threads": 1,
        "tested": tested(cell.recipe.training),
        "error": None,
        "signature": signature(cell),
    }


def make(folder: Path, cell: Cell, text: str, seed: int, level: float, items: int) -> None:
    """One run's folder; scores are a level of the encoding and noise of the seed."""
    recipe = cell.recipe.model_copy(update={"seed": seed})
    run_id = run_identity(recipe, cell.dataset.fingerprint)
    cell = replace(cell, recipe=recipe, run_id=run_id)
    random = np.random.default_rng(seed)
    right = (random.random(items) < level).astype(np.uint8)
    losses = (1.5 + level * random.random(items)).astype(np.float32)
    results = {
        "loss": losses,
        "weight": np.ones(items, np.int32),
        "group": np.arange(items),
        "correct": right,
    }
    bits = float(losses.astype(np.float64).mean() / np.log(2))
    value = float(right.mean()) if cell.dataset.metric == "top1" else bits
    files = {
        "recipe.yaml": text.replace(str(SEED), str(seed)).encode(),
        "signature.txt": (signature(cell) + "\n").encode(),
        "items-test.safetensors": save(results),
    }
    summary = {
        **summary_of(cell, value),
        "format": 2,
        "files": {name: digest_of(content) for name, content in files.items()},
    }
    summary["sha256"] = seal(summary, "sha256")
    files["summary.json"] = to_json(summary).encode()
    write(files, Run(folder / f"{len(cell.data)}-s{seed}-{run_id}").folder)


def timed(folder: Path) -> float:
    """Seconds of ``liere compare FOLDER/*`` in a process of its own."""
    began = time.perf_counter()
    paths = sorted(os.path.relpath(path, folder) for path in folder.iterdir())
    command = [sys.executable, "-m", "liere_cli", "compare", *paths]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="outputs folder to be made, or made before")
    for name, count in (("encodings", 100), ("datasets", 5), ("seeds", 20), ("items", 2000)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--limit", type=float, default=3.0, help="seconds of the warm table")
    asked = parser.parse_args()
    runs = asked.folder / "runs"
    if not runs.is_dir():
        began = time.perf_counter()
        levels = np.random.default_rng(0)
        for cell in cells(asked.encodings, asked.datasets):
            level = 0.5 + 0.1 * levels.random()
            text = dump_yaml(cell.recipe.model_dump(mode="json"))
            for seed in range(asked.seeds):
                make(runs, cell, text, seed, level, asked.items)
        print(f"made in {time.perf_counter() - began:.1f} s")
    index = asked.folder / ".index.json"
    seconds = {}
    for name in ("cold", "warm", "index deleted"):
        if name != "warm":
            index.unlink(missing_ok=True)
        seconds[name] = timed(runs)
        print(f"{name}: {seconds[name]:.2f} s for {len(list(runs.iterdir())):,} runs")
    return int(seconds["warm"] > asked.limit)


if __name__ == "__main__":
    sys.exit(main())
