"""A trained run, opened again to be measured or sampled."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from liere_cli.assembly import Cell, assemble, build_model
from liere_cli.checkpoint import load_weights
from liere_cli.data import Split
from liere_cli.data.options import parse_grid
from liere_cli.errors import LiereError, UsageError
from liere_cli.evaluation import evaluate
from liere_cli.model import Transformer
from liere_cli.recipe import refuse_foreign_code
from liere_cli.runs import Run, open_run
from liere_cli.streams import stream


@dataclass(frozen=True)
class TrainedRun:
    """A run's folder with its model in memory."""

    run: Run
    cell: Cell
    model: Transformer
    device: torch.device

    @classmethod
    def open(
        cls,
        path: str,
        *,
        outputs: Path,
        root: Path | None,
        device: torch.device,
        weights: str,
        code: str | None = None,
    ) -> Self:
        """Rebuilds the model of a run and loads its weights.

        Args:
            code: ``FILE.py:Class`` of a run whose encoding is not one of liere's; that file is run,
                and must be the one that the run was trained with.

        Raises:
            UsageError: there is no such run, or its encoding is in a file that ``code`` does not
                name.
            LiereError: no weights yet, damaged files, or data that is not the run's.
        """
        run = open_run(path, outputs)
        recipe = run.recipe()
        if code is not None:
            recipe = recipe.model_copy(update={"encoding": {**recipe.encoding, "name": code}})
        refuse_foreign_code(recipe, str(run.folder), [code])
        cell = assemble(recipe, root=root, device=device)
        if cell.run_id != run.run_id:
            raise LiereError(
                f"{run.folder}: the data or code that this run was trained with has changed since "
                f"(identity {run.run_id}, now {cell.run_id})"
            )
        model = build_model(cell)
        load_weights(run, weights, model)
        return cls(run, cell, model.to(device).eval(), device)

    def parse_grid(self, text: str) -> tuple[int, ...]:
        """``512``, ``48x48`` or ``8x32x32`` as a grid that this model can read.

        Raises:
            UsageError: wrong number of axes, or not divided by the model's patches.
        """
        grid = parse_grid(text, len(self.cell.dataset.grid))
        self.model.shape.tokens(grid)
        return grid

    def measure(self, split: Split, grid: tuple[int, ...], limit: int | None) -> dict[str, Any]:
        """One row of results at a grid: metric, loss in nats (None if not finite), counts."""
        dataset = self.cell.dataset
        text = dataset.task == "language-model"
        examples = dataset.load(split) if text else dataset.load(split, grid)
        if text and grid[0] >= len(examples):
            raise UsageError(
                f"--grid {grid[0]}: the {split} text has {len(examples):,} bytes, and a window "
                "needs one more than its length"
            )
        result = evaluate(
            self.model,
            dataset,
            examples.to(self.device),
            grid=grid,
            device=self.device,
            precision=self.cell.recipe.training.precision,
            limit=limit,
        )
        return {
            "grid": "x".join(map(str, grid)),
            "trained": grid == dataset.grid,
            "tokens": math.prod(self.model.shape.tokens(grid)),
            "split": split,
            "metric": dataset.metric,
            "value": result.value if result.finite else None,
            "loss": result.loss if result.finite else None,
            "count": result.count,
        }

    def sample(self, length: int, *, prompt: str, temperature: float) -> str:
        """Text that a language model writes after ``prompt``, ``length`` bytes of it.

        Raises:
            UsageError: the run is no language model, or the prompt is empty.
        """
        if self.cell.dataset.task != "language-model":
            raise UsageError(
                f"--sample writes text, but {self.run.name} classifies {self.cell.data}"
            )
        if not prompt:
            raise UsageError("--prompt is empty; give at least one character")
        start = torch.tensor(list(prompt.encode()), device=self.device)
        generator = stream(self.cell.recipe.seed, "sample")
        written = self.model.generate(start, length, temperature=temperature, generator=generator)
        return bytes(written.tolist()).decode(errors="replace")
