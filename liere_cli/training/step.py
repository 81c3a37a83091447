"""One optimizer step: learning rate, forward and backward passes, update."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from liere_cli.config.recipe import TrainingSettings
from liere_cli.data import ByteStream, Examples
from liere_cli.data.augment.settings import Augmentation
from liere_cli.data.batches import TrainingBatches
from liere_cli.errors import UsageError
from liere_cli.model import Transformer
from liere_cli.positions.augment import Displacement
from liere_cli.positions.grid import Grid
from liere_cli.runs.build import RunSpec
from liere_cli.runs.threads import step_flops
from liere_cli.training.gradient_sum import GradientSum
from liere_cli.training.gradients import clip_gradients
from liere_cli.utils.devices import CPU, send
from liere_cli.utils.distributed import Ranks
from liere_cli.utils.execution import choose_execution
from liere_cli.utils.seeding import stream, stream_seed


class TrainingStep:
    """Takes optimizer steps, each a function of the seed, the step and the state before it."""

    def __init__(
        self,
        run_spec: RunSpec,
        model: Transformer,
        optimizer: torch.optim.Optimizer,
        examples: ByteStream | Examples,
        device: torch.device,
        ranks: Ranks,
    ) -> None:
        dataset, self.seed, parent = run_spec.dataset, run_spec.recipe.seed, run_spec.recipe.parent
        if parent is not None:  # not the batches of the parent again
            self.seed = stream_seed(self.seed, "continued", parent.generation)
        self.settings, self.device, self.ranks = run_spec.recipe.training, device, ranks
        self.model, self.optimizer = model, optimizer
        self.gradients = GradientSum(model.parameters(), ranks)
        self.rows = ranks.rows(self.settings.batch)
        self.parts = parts_of(run_spec, ranks)
        #: norms [] of the last step's gradients, as of ``clip_gradients``
        self.gradient_norms: dict[str, Tensor] = {}
        self.displacement = Displacement(**self.settings.positions.model_dump())
        self.batches = TrainingBatches(
            examples,
            batch_size=self.settings.batch,
            seed=self.seed,
            context=dataset.grid[0] if dataset.task == "language-model" else None,
            mean=dataset.mean,
            std=dataset.std,
            flips=dataset.flips and self.settings.augment,
            shift=dataset.shift if self.settings.augment else 0,
            augmentation=dataset.augmentation if self.settings.augment else Augmentation(),
            classes=dataset.classes,
            device=device,
        )
        self.execution = choose_execution(
            model,
            device,
            lambda: (self.batches.at(0, self.rows)[0], self._positions(0)),
            flops=step_flops(run_spec),
            compiled=self.settings.compile,
            half=self.settings.precision == "bfloat16",
            parts=self.parts,
            documents=isinstance(examples, ByteStream) and examples.separator is not None,
        )

    def __call__(self, step: int, share: float) -> Tensor:
        """Updates the model after ``step`` steps and that share of the budget.

        Returns the mean loss over the batch in nats, [] on the device.
        """
        settings, mixed = self.settings, self.settings.precision == "bfloat16"
        rate = settings.learning_rate * schedule(share, settings.warmup, settings.final_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        if self.execution.graphed:
            torch.compiler.cudagraph_mark_step_begin()
        inputs, targets = self.batches.at(step, self.rows)
        positions = self._positions(step)
        total = torch.zeros((), device=self.device)
        parts = self.parts * self.ranks.size
        chunks = zip(inputs.chunk(self.parts), targets.chunk(self.parts), strict=True)
        first = self.parts * self.ranks.rank
        last = first + self.parts - 1
        for index, (part, goal) in enumerate(chunks, first):
            # a stream for every part, so that it draws alike whichever rank computes it
            names = (step, index) if index else (step,)
            torch.manual_seed(stream_seed(self.seed, "dropout", *names))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
                logits = self.execution.forward(part, positions, **self._documents(part))
            rows = logits.float().flatten(0, -2)
            # probabilities of classes, where images are mixed
            goal = goal if goal.is_floating_point() else goal.flatten()
            loss = F.cross_entropy(rows, goal, label_smoothing=settings.label_smoothing)
            total += loss.detach() / parts
            if index == last:
                self.gradients.begin(total)
            (loss / parts).backward()
        total = self.gradients.finish()
        self.gradient_norms = clip_gradients(self.model, self.model.encoding, settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total

    def _documents(self, inputs: Tensor) -> dict[str, Tensor]:
        """The documents of a batch of text, as an argument; none where it has no separators."""
        examples = self.batches.examples
        documents = examples.documents(inputs) if isinstance(examples, ByteStream) else None
        return {} if documents is None else {"documents": documents}

    def _positions(self, step: int) -> Tensor | None:
        """Displaced positions [tokens, axes]; None where the recipe displaces none."""
        if not self.displacement.acts:
            return None
        tokens = self.model.token_grid
        move = self.displacement.draw(tokens, stream(self.seed, "positions", step))
        # computed on the CPU, where they are drawn, so that the device gets one copy
        positions = Grid(tokens).positions(self.model.encoding.scaling, CPU, move)
        return send(positions, self.device)


def build_optimizer(model: Transformer, settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW; ``scale`` of each parameter group multiplies the scheduled learning rate."""
    groups, decay = model.parameter_groups(), settings.weight_decay
    return torch.optim.AdamW(
        [
            {"params": groups["decayed"], "weight_decay": decay, "scale": 1.0},
            {"params": groups["plain"], "weight_decay": 0.0, "scale": 1.0},
            {"params": groups["encoding"], "weight_decay": 0.0, "scale": settings.encoding_rate},
        ],
        lr=settings.learning_rate,
        betas=settings.betas,
        fused=True,
    )


def parts_of(run_spec: RunSpec, ranks: Ranks) -> int:
    """Number of parts in which each rank computes its rows, none larger than the recipe's.

    Raises UsageError if the batch can't be split, or its parts can't be dealt out equally, which
    dropout needs, since it is drawn for whole parts.
    """
    settings, dropout = run_spec.recipe.training, run_spec.recipe.model.dropout
    ranks.rows(settings.batch)
    if dropout and settings.accumulate % ranks.size:
        raise UsageError(
            f"model.dropout {dropout:g} is drawn for each of the training.accumulate "
            f"{settings.accumulate} parts of a batch, which can't be dealt out to {ranks.size} "
            f"processes; set training.accumulate={ranks.size}, in one process too for equal numbers"
        )
    rows = settings.batch // ranks.size
    least = math.ceil(settings.accumulate / ranks.size)
    return next(parts for parts in range(least, rows + 1) if rows % parts == 0)


def schedule(share: float, warmup: float, final: float) -> float:
    """The learning rate's factor: linear warm-up, then half a cosine down to ``final``.

    ``share`` and ``warmup`` are shares of the budget.
    """
    if share < warmup:
        # never zero, so that the first step counts
        return max(share / warmup, 0.01)
    angle = math.pi * min((share - warmup) / (1 - warmup), 1.0)
    return final + (1 - final) * (1 + math.cos(angle)) / 2
