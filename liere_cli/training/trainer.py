"""The training loop."""

import math
import platform
import time
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from liere_cli import __version__
from liere_cli.config.recipe import TrainingSettings
from liere_cli.data import ByteStream, Examples
from liere_cli.data.batches import TrainingBatches
from liere_cli.data.subset import subset
from liere_cli.encodings.registry import code_digest, encoding_class, error_summary
from liere_cli.errors import LiereError, RunFailed, UsageError
from liere_cli.evaluation.conditions import FOLDER as TRANSFER_FOLDER
from liere_cli.evaluation.evaluate import Evaluation, evaluate
from liere_cli.positions.augment import Displacement
from liere_cli.positions.grid import Grid
from liere_cli.rotations.kernels import compiler
from liere_cli.runs.build import RunSpec, build_model, signature, tested
from liere_cli.runs.checkpoint import (
    best_weights,
    clear_leftovers,
    load_checkpoint,
    save_best,
    save_checkpoint,
    save_items,
    save_weights,
)
from liere_cli.runs.folder import Run, metrics_in
from liere_cli.runs.lock import RunLock
from liere_cli.runs.summary import RunSummary
from liere_cli.training.callbacks import Observer, Report
from liere_cli.training.metrics_log import MetricsLog
from liere_cli.utils.distributed import Ranks
from liere_cli.utils.files import to_json, write_atomically
from liere_cli.utils.malloc import keep_freed_memory
from liere_cli.utils.seeding import stream, stream_seed
from liere_cli.utils.signals import Stop, stoppable

#: a split below this many bytes lies on the device
DEVICE_BYTES = 4 << 30
#: between checkpoints where the recipe says nothing; more where writing would take a larger share
CHECKPOINT_SECONDS, CHECKPOINT_SHARE = 5.0, 0.02


class Diverged(Exception):
    """The loss is no longer finite."""


class Trainer:
    """One cell on its way from new weights, or from its checkpoint, to a summary."""

    def __init__(
        self,
        run_spec: RunSpec,
        run: Run,
        device: torch.device,
        observer: Observer,
        held: RunLock,
        ranks: Ranks,
    ) -> None:
        self.run_spec, self.run, self.device, self.observer = run_spec, run, device, observer
        self.claim, self.ranks = held, ranks
        self.settings: TrainingSettings = run_spec.recipe.training
        self.rows = ranks.rows(self.settings.batch)
        self.parts = parts_of(run_spec, ranks)
        self.budget = self.settings.budget
        self.text = run_spec.dataset.task == "language-model"
        self.higher_is_better = run_spec.dataset.metric == "top1"
        self.latest: float | None = None
        self.signature = signature(run_spec)

    def train(self) -> RunSummary:
        keep_freed_memory()
        if self.ranks.is_main:
            clear_leftovers(self.run)
            discard_results(self.run)
            self._describe()
        if self.device.type == "cuda":
            # warn_only: some backward kernels have no deterministic form
            torch.use_deterministic_algorithms(True, warn_only=True)
        self.model = build_model(self.run_spec).to(self.device)
        self.forward = torch.compile(self.model) if self.settings.compile else self.model
        self.optimizer = self._optimizer()
        self.train_split = subset(
            self._load("train"), self.settings.fraction, self.run_spec.recipe.seed
        )
        self.val_split = self._load("val")
        self.batches = TrainingBatches(
            self.train_split,
            batch_size=self.settings.batch,
            seed=self.run_spec.recipe.seed,
            context=self.run_spec.dataset.grid[0] if self.text else None,
            mean=self.run_spec.dataset.mean,
            std=self.run_spec.dataset.std,
            flips=self.run_spec.dataset.flips and self.settings.augment,
            shift=self.run_spec.dataset.shift if self.settings.augment else 0,
            device=self.device,
        )
        restored = load_checkpoint(self.run, self.model, self.optimizer, self.ranks)
        self.progress = restored.progress
        self.metrics = None
        if self.ranks.is_main:
            self.metrics = MetricsLog(self.run.path("metrics.jsonl"), restored.metrics)
        for line in metrics_in(restored.metrics):
            self.latest = line.get("val", self.latest)
        self.observer.started(self.run_spec, self.run, self.progress.step, list(restored.warnings))
        with stoppable(patient=self.ranks.size > 1) as stop, self.metrics or nullcontext():
            try:
                self._loop(stop)
                return self._finish(stop)
            except Diverged as error:
                self._keep_best()
                return self._summary("diverged", None, None, str(error))
            except (LiereError, KeyboardInterrupt):
                raise
            except Exception as error:
                encoding = encoding_class(self.run_spec.recipe.encoding["name"])
                if code_digest(encoding) is None:
                    raise
                # foreign code: its author needs the place, not our call stack
                raise RunFailed(
                    f"encoding '{self.run_spec.encoding}': {error_summary(error)}"
                ) from error

    def _loop(self, stop: Stop) -> None:
        losses = [torch.tensor(loss, device=self.device) for loss in self.progress.pending]
        saved_at, interval = (
            time.monotonic(),
            self.settings.checkpoint_seconds or CHECKPOINT_SECONDS,
        )
        mark = time.perf_counter()
        logged = (self.progress.examples, self.progress.seconds)
        while True:
            share = self._share()
            while share >= (self.progress.validations + 1) / self.settings.validations - 1e-12:
                self._validate(stop, losses)
                mark = time.perf_counter()
            if share >= 1:
                return
            losses.append(self._step(share))
            mark = self._count_seconds(mark)
            if len(losses) >= self.settings.log_every or self._share() >= 1:
                loss = float(torch.stack(losses).mean())
                mark = self._count_seconds(mark)
                self._report(loss, losses, logged)
                losses.clear()
                logged = (self.progress.examples, self.progress.seconds)
            self._heed(stop, losses)
            if time.monotonic() - saved_at > interval:
                began = time.monotonic()
                self._save(losses)
                saved_at, mark = time.monotonic(), time.perf_counter()
                if self.settings.checkpoint_seconds is None:
                    interval = max(CHECKPOINT_SECONDS, (saved_at - began) / CHECKPOINT_SHARE)

    def _count_seconds(self, mark: float) -> float:
        """Counts the time since ``mark``, and returns the next one."""
        now = time.perf_counter()
        self.progress.seconds += now - mark
        if self.budget.unit == "seconds":  # then the clock of rank 0 decides when all end
            self.progress.seconds, _ = self.ranks.all_reduce(self.progress.seconds, False)
        return now

    def _heed(self, stop: Stop, losses: list[Tensor]) -> None:
        """Ends here, resumably, where any rank was asked to stop."""
        _, asked = self.ranks.all_reduce(0.0, stop.asked)
        if asked:
            self._save(losses)
            self.ranks.wait()  # the first to end ends all, so the checkpoint must be there
            raise KeyboardInterrupt(stop.number)

    def _save(self, losses: list[Tensor]) -> None:
        """Writes a checkpoint, with the losses that no line of metrics.jsonl has yet."""
        if self.metrics is None:
            return
        self.claim.check()
        pending = torch.stack(losses).tolist() if losses else []
        if not all(map(math.isfinite, pending)):
            return  # the next line of metrics.jsonl ends the run, wherever checkpoints fell
        self.progress.pending = pending
        save_checkpoint(
            self.run, self.model, self.optimizer, self.progress, bytes(self.metrics.content)
        )

    def _step(self, share: float) -> Tensor:
        settings, seed = self.settings, self.run_spec.recipe.seed
        rate = settings.learning_rate * schedule(share, settings.warmup, settings.final_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        inputs, targets = self.batches.at(self.progress.step, self.rows)
        positions = self._positions()
        total = torch.zeros((), device=self.device)
        parts = self.parts * self.ranks.size
        chunks = zip(inputs.chunk(self.parts), targets.chunk(self.parts), strict=True)
        for index, (part, goal) in enumerate(chunks, self.parts * self.ranks.rank):
            # a stream for every part, so that it draws alike whichever rank computes it
            names = (self.progress.step, index) if index else (self.progress.step,)
            torch.manual_seed(stream_seed(seed, "dropout", *names))
            with torch.autocast(
                self.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"
            ):
                logits = self.forward(part, positions)
            loss = F.cross_entropy(
                logits.float().flatten(0, -2),
                goal.flatten(),
                label_smoothing=settings.label_smoothing,
            )
            (loss / parts).backward()
            total += loss.detach() / parts
        total = self.ranks.sum_gradients(self.model.parameters(), total)
        if settings.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.progress.step += 1
        self.progress.examples += settings.batch
        self.progress.tokens += settings.batch * math.prod(self.model.token_grid)
        return total

    def _positions(self) -> Tensor | None:
        """Displaced positions of this step; None where the recipe asks for none."""
        displacement = Displacement(**self.settings.positions.model_dump())
        if not displacement.acts:
            return None
        tokens = self.model.token_grid
        random = stream(self.run_spec.recipe.seed, "positions", self.progress.step)
        move = displacement.draw(tokens, random)
        return Grid(tokens).positions(self.model.encoding.scaling, self.device, move)

    def _report(self, loss: float, losses: list[Tensor], logged: tuple[int, float]) -> None:
        progress, share = self.progress, self._share()
        examples = progress.examples - logged[0]
        rate = examples / max(progress.seconds - logged[1], 1e-9)
        line = {
            "step": progress.step,
            "examples": progress.examples,
            "seconds": round(progress.seconds, 3),
            "loss": loss if math.isfinite(loss) else None,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }
        self._write(line)
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss was {loss} within steps {progress.step - len(losses) + 1} to "
                f"{progress.step}"
            )
        left = progress.seconds * (1 - share) / share
        per_second = rate * (math.prod(self.model.token_grid) if self.text else 1)
        self.observer.reported(
            Report(progress.step, min(share, 1.0), loss, self.latest, per_second, max(left, 0.0))
        )

    def _validate(self, stop: Stop, losses: list[Tensor]) -> None:
        self.observer.evaluating("val")
        result = self._evaluate(self.val_split, self.settings.validation_limit, stop, losses)
        if not result.finite:
            raise Diverged(f"the validation loss was {result.loss} at step {self.progress.step}")
        self.latest = result.value
        self.progress.validations += 1
        self._write(
            {
                "step": self.progress.step,
                "examples": self.progress.examples,
                "seconds": round(self.progress.seconds, 3),
                "val": result.value,
                "val_loss": result.loss,
            }
        )
        best = self.progress.best_value
        better = best is None or (
            result.value > best if self.higher_is_better else result.value < best
        )
        if better:
            self.progress.best_value, self.progress.best_step = result.value, self.progress.step
            if self.ranks.is_main:
                self.claim.check()
                self.progress.best_digest = save_best(self.run, self.model, self.progress.step)

    def _write(self, line: dict[str, Any]) -> None:
        if self.metrics is not None:
            self.metrics.write(line)

    def _keep_best(self) -> None:
        if self.ranks.is_main and self.progress.best_step is not None:
            content = best_weights(self.run, self.progress)
            write_atomically(self.run.path("best.safetensors"), content)

    def _finish(self, stop: Stop) -> RunSummary:
        self._save([])  # the closing evaluation may take long
        if self.ranks.is_main:
            save_weights(self.run, "last", self.model)
        self._keep_best()
        results: dict[str, Evaluation] = {}
        for split in ("val", "test") if self.settings.tested else ("val",):
            self.observer.evaluating(split)
            examples = self.val_split if split == "val" else self._load(split)
            results[split] = self._evaluate(examples, self.settings.test_limit, stop, [])
            if self.ranks.is_main:
                save_items(self.run, split, results[split].items)
            if not results[split].finite:
                raise Diverged(f"the {split} loss was {results[split].loss} after training")
        return self._summary("finished", results["val"], results.get("test"), None)

    def _evaluate(
        self,
        examples: ByteStream | Examples,
        limit: int | None,
        stop: Stop,
        losses: list[Tensor],
    ) -> Evaluation:
        def check() -> None:
            self._heed(stop, losses)

        return evaluate(
            self.model,
            self.run_spec.dataset,
            examples,
            grid=self.run_spec.dataset.grid,
            device=self.device,
            precision=self.settings.precision,
            limit=limit,
            before_batch=check,
            ranks=self.ranks,
        )

    def _summary(
        self,
        status: str,
        val: Evaluation | None,
        test: Evaluation | None,
        error: str | None,
    ) -> RunSummary:
        progress, run_spec = self.progress, self.run_spec
        parameters, encoding_parameters = self.model.counts()
        seen = progress.tokens if self.text else progress.examples
        return RunSummary(
            status=status,
            id=run_spec.run_id,
            encoding=run_spec.encoding,
            data=run_spec.data,
            fingerprint=run_spec.dataset.fingerprint,
            seed=run_spec.recipe.seed,
            metric=run_spec.dataset.metric,
            higher_is_better=self.higher_is_better,
            val=val.value if val else None,
            test=test.value if test else None,
            val_loss=val.loss if val else None,
            test_loss=test.loss if test else None,
            best={"step": progress.best_step, "val": progress.best_value},
            steps=progress.step,
            examples=progress.examples,
            tokens=progress.tokens,
            seconds=round(progress.seconds, 3),
            parameters=parameters,
            encoding_parameters=encoding_parameters,
            throughput=round(seen / max(progress.seconds, 1e-9), 2),
            throughput_unit="tokens/s" if self.text else "examples/s",
            budget=str(self.settings.budget),
            device=str(self.device),
            threads=torch.get_num_threads(),
            tested=tested(self.settings),
            error=error,
            signature=self.signature,
        )

    def _optimizer(self) -> torch.optim.Optimizer:
        groups = self.model.parameter_groups()
        settings = self.settings
        return torch.optim.AdamW(
            [
                {"params": groups["decayed"], "weight_decay": settings.weight_decay, "scale": 1.0},
                {"params": groups["plain"], "weight_decay": 0.0, "scale": 1.0},
                {
                    "params": groups["encoding"],
                    "weight_decay": 0.0,
                    "scale": settings.encoding_rate,
                },
            ],
            lr=settings.learning_rate,
            betas=settings.betas,
            fused=True,
        )

    def _load(self, split: Any) -> ByteStream | Examples:
        examples = self.run_spec.dataset.load(split)
        data = examples.data if isinstance(examples, ByteStream) else examples.inputs
        return examples.to(self.device) if data.nbytes <= DEVICE_BYTES else examples

    def _share(self) -> float:
        progress = self.progress
        return self.budget.used(
            steps=progress.step,
            examples=progress.examples,
            tokens=progress.tokens,
            seconds=progress.seconds,
        )

    def _describe(self) -> None:
        self.run.write_recipe(self.run_spec.recipe)
        write_atomically(self.run.path("signature.txt"), self.signature + "\n")
        environment = {
            "liere": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "device": str(self.device),
            "device_name": torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "rotations": compiler.describe(self.device),
            "processes": self.ranks.size,
        }
        write_atomically(self.run.path("environment.json"), to_json(environment))


def discard_results(run: Run) -> None:
    """Drops what an end writes, so that none of it is left from one that was cut short."""
    kept = f"{TRANSFER_FOLDER}/*.safetensors"
    for name in ("best.safetensors", "last.safetensors", "items-*.safetensors", kept):
        for path in run.folder.glob(name):
            path.unlink()


def parts_of(run_spec: RunSpec, ranks: Ranks) -> int:
    """Parts in which a rank computes its rows: none is larger than the recipe's.

    Raises:
        UsageError: the batch can't be split, or, with dropout, which is drawn for whole parts,
            these can't be dealt out.
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

    Args:
        share: used share of the budget, 0 to 1.
        warmup: share of the budget spent warming up.
    """
    if share < warmup:
        # never zero, so that the first step counts
        return max(share / warmup, 0.01)
    angle = math.pi * min((share - warmup) / (1 - warmup), 1.0)
    return final + (1 - final) * (1 + math.cos(angle)) / 2
