"""The training loop."""

import math
import time
from contextlib import nullcontext
from functools import partial

import torch

from liere_cli.data import ByteStream, Examples, Split
from liere_cli.data.subset import subset
from liere_cli.encodings.registry import code_digest, encoding_class, error_summary
from liere_cli.errors import LiereError, RunFailed, counted
from liere_cli.evaluation.evaluate import Evaluation, evaluate
from liere_cli.runs import checkpoint
from liere_cli.runs.build import RunSpec, build_model
from liere_cli.runs.folder import Run, metrics_in
from liere_cli.runs.lock import RunLock
from liere_cli.runs.summary import RunSummary
from liere_cli.training.callbacks import Callbacks, Report
from liere_cli.training.estimate import PROBE_STEPS, evaluation_time, timed_items
from liere_cli.training.metrics_log import MetricsLog
from liere_cli.training.results import closing_summary
from liere_cli.training.step import TrainingStep, build_optimizer
from liere_cli.utils.distributed import Ranks
from liere_cli.utils.files import write_atomically
from liere_cli.utils.malloc import keep_freed_memory
from liere_cli.utils.signals import Stop, stoppable

#: a split smaller than this is kept on the device
DEVICE_BYTES = 4 << 30
#: items of a split below which its scores are said to be coarse
FEW_ITEMS = 20
#: between checkpoints where the recipe says nothing; more where writing would take a larger share
CHECKPOINT_SECONDS, CHECKPOINT_SHARE = 5.0, 0.02


class Diverged(Exception):
    """The loss is no longer finite."""


class Trainer:
    """Trains a run from new weights, or from its newest checkpoint, to its summary.

    Construction builds the model, loads the data and restores the checkpoint; raises LiereError if
    these can't be used.
    """

    def __init__(
        self,
        run_spec: RunSpec,
        run: Run,
        device: torch.device,
        callbacks: Callbacks,
        lock: RunLock,
        ranks: Ranks,
    ) -> None:
        keep_freed_memory()
        if device.type == "cuda":
            # warn_only: some backward kernels have no deterministic form
            torch.use_deterministic_algorithms(True, warn_only=True)
        self.run_spec, self.run, self.device, self.callbacks = run_spec, run, device, callbacks
        self.lock, self.ranks = lock, ranks
        self.settings = run_spec.recipe.training
        self.model = build_model(run_spec).to(device)
        self.optimizer = build_optimizer(self.model, self.settings)
        train_split = subset(self._load("train"), self.settings.fraction, run_spec.recipe.seed)
        self.val_split = self._load("val")
        self.take_step = TrainingStep(
            run_spec, self.model, self.optimizer, train_split, device, ranks
        )
        restored = checkpoint.load_checkpoint(run, self.model, self.optimizer, ranks)
        self.progress = restored.progress
        self.warnings = [*restored.warnings, *self._small_splits()]
        #: training losses [] of the steps since the last line of metrics.jsonl
        self.losses = [torch.tensor(loss, device=device) for loss in self.progress.pending]
        self.latest: float | None = None
        #: step and result of the last validation in this process
        self.last_validation: tuple[int, Evaluation] | None = None
        self.earlier = list(metrics_in(restored.metrics))
        for line in self.earlier:
            self.latest = line.get("val", self.latest)
        self.metrics_log = (
            MetricsLog(run.path("metrics.jsonl"), restored.metrics) if ranks.is_main else None
        )
        self.evaluation_time = evaluation_time(run_spec)
        #: share of the budget and seconds after the first step here, which is slower than others
        self.after_first_step: tuple[float, float] | None = None
        self.stop = Stop()
        self._summary = partial(closing_summary, run_spec, self.model, self.progress, device)

    def train(self) -> RunSummary:
        """Trains and evaluates; raises as :func:`train_run`, RunFailed for a user's encoding."""
        self.callbacks.on_start(self.run_spec, self.run, self.progress.step, self.warnings)
        patient = self.ranks.size > 1
        with stoppable(patient, self.stop), self.metrics_log or nullcontext():
            try:
                for line in self.earlier:
                    self.callbacks.on_log(line)
                self._loop()
                return self._finish()
            except Diverged as error:
                self._keep_best()
                return self._summary(error=str(error))
            except (LiereError, KeyboardInterrupt):
                raise
            except Exception as error:
                encoding = encoding_class(self.run_spec.recipe.encoding["name"])
                if code_digest(encoding) is None:
                    raise
                # the user's own code: its line matters, not this package's call stack
                raise RunFailed(
                    f"encoding '{self.run_spec.encoding}': {error_summary(error)}"
                ) from error

    def _loop(self) -> None:
        progress = self.progress
        saved_at = time.monotonic()
        interval = self.settings.checkpoint_seconds or CHECKPOINT_SECONDS
        mark = time.perf_counter()
        logged = (progress.examples, progress.seconds)
        first_step = progress.step
        while True:
            share = self._share()
            # a long step may pass several points of the schedule: one validation serves them all
            due = math.floor(self.settings.validations * (share + 1e-12))
            if due > progress.validations:
                self._validate(due)
                mark = time.perf_counter()
            if share >= 1:
                return
            self.losses.append(self.take_step(progress.step, share))
            progress.step += 1
            progress.examples += self.settings.batch
            progress.tokens += self.settings.batch * math.prod(self.model.token_grid)
            mark = self._count_seconds(mark)
            self.after_first_step = self.after_first_step or (self._share(), progress.seconds)
            due_line = len(self.losses) >= self.settings.log_every or self._share() >= 1
            if due_line or progress.step == first_step + PROBE_STEPS:
                loss = float(torch.stack(self.losses).mean())
                mark = self._count_seconds(mark)
                if self.evaluation_time.item_seconds is None:
                    self._probe_evaluation()
                    mark = time.perf_counter()
                if due_line:
                    self._write_losses(loss)
                self._report(loss, logged)
                mark = time.perf_counter()
            if due_line:
                self.losses.clear()
                logged = (progress.examples, progress.seconds)
            self._check_stop()
            if time.monotonic() - saved_at > interval:
                began = time.monotonic()
                self._save()
                saved_at, mark = time.monotonic(), time.perf_counter()
                if self.settings.checkpoint_seconds is None:
                    interval = max(CHECKPOINT_SECONDS, (saved_at - began) / CHECKPOINT_SHARE)

    def _share(self) -> float:
        """Used share of the budget; 1 when it is spent."""
        progress = self.progress
        used = self.settings.budget.used(
            steps=progress.step,
            examples=progress.examples,
            tokens=progress.tokens,
            seconds=progress.seconds,
        )
        return min(used, 1.0)

    def _count_seconds(self, mark: float) -> float:
        """Counts the time since ``mark``, and returns the next one."""
        now = time.perf_counter()
        self.progress.seconds += now - mark
        if self.settings.budget.unit == "seconds":  # all ranks end by the clock of rank 0
            self.progress.seconds, _ = self.ranks.all_reduce(self.progress.seconds, False)
        return now

    def _check_stop(self) -> None:
        """Saves a checkpoint and raises KeyboardInterrupt if a signal reached any rank."""
        _, requested = self.ranks.all_reduce(0.0, self.stop.requested)
        if requested:
            self._save()
            self.ranks.wait()  # the first to end ends all, so the checkpoint must be there
            raise KeyboardInterrupt(self.stop.number)

    def _save(self) -> None:
        """Writes a checkpoint, with the losses that no line of metrics.jsonl has yet."""
        if self.metrics_log is None:
            return
        self.lock.check()
        pending = torch.stack(self.losses).tolist() if self.losses else []
        if not all(map(math.isfinite, pending)):
            return  # the next line of metrics.jsonl ends the run, whenever checkpoints are due
        self.progress.pending = pending
        checkpoint.save_checkpoint(
            self.run, self.model, self.optimizer, self.progress, bytes(self.metrics_log.content)
        )

    def _write_losses(self, loss: float) -> None:
        """Logs the mean loss of the steps since the line before; raises Diverged."""
        finite, progress = math.isfinite(loss), self.progress
        self._log(loss=loss if finite else None, learning_rate=self.optimizer.param_groups[0]["lr"])
        if not finite:
            first = progress.step - len(self.losses) + 1
            raise Diverged(f"the loss was {loss} within steps {first} to {progress.step}")

    def _report(self, loss: float, logged: tuple[int, float]) -> None:
        """Reports the mean loss; ``logged`` is examples and seconds at the last line."""
        progress, share = self.progress, self._share()
        rate = (progress.examples - logged[0]) / max(progress.seconds - logged[1], 1e-9)
        if self.run_spec.dataset.task == "language-model":
            rate *= math.prod(self.model.token_grid)
        training = progress.seconds / share
        if self.after_first_step is not None and share > self.after_first_step[0]:
            share_before, seconds_before = self.after_first_step
            training = (progress.seconds - seconds_before) / (share - share_before)
        self.evaluation_time.expect_steps(progress.step / share)
        left = training * (1 - share) + self.evaluation_time.left(progress.validations)
        whole = training + self.evaluation_time.left()
        report = Report(
            progress.step, share, loss, self.latest, rate, left, progress.seconds, whole
        )
        self.callbacks.on_report(report)

    def _probe_evaluation(self) -> None:
        """Times a few items on every rank, where no evaluation has been measured."""
        timed = timed_items(self.run_spec, self.model, self.val_split, self.device)
        self.evaluation_time.measured(*timed)

    def _log(self, **values: float | None) -> None:
        """Writes a line of metrics.jsonl."""
        if self.metrics_log is not None:
            seconds = round(self.progress.seconds, 3)
            seen = {"step": self.progress.step, "examples": self.progress.examples}
            line = {**seen, "seconds": seconds, **values}
            self.metrics_log.write(line)
            self.callbacks.on_log(line)

    def _validate(self, due: int) -> None:
        """Validates; ``due``: how many validations of the schedule are then done."""
        self.callbacks.on_evaluate("val")
        progress = self.progress
        result = self._evaluate(self.val_split, self.settings.validation_limit)
        if not result.finite:
            raise Diverged(f"the validation loss was {result.loss} at step {progress.step}")
        self.latest = result.value
        progress.validations = due
        self.last_validation = (progress.step, result)
        self._log(val=result.value, val_loss=result.loss)
        sign = 1 if self.run_spec.dataset.metric == "top1" else -1
        if progress.best_value is None or sign * result.value > sign * progress.best_value:
            progress.best_value, progress.best_step = result.value, progress.step
            if self.ranks.is_main:
                self.lock.check()
                progress.best_digest = checkpoint.save_best(self.run, self.model, progress.step)

    def _evaluate(self, examples: ByteStream | Examples, limit: int | None) -> Evaluation:
        began = time.perf_counter()
        result = evaluate(
            self.model,
            self.run_spec.dataset,
            examples,
            grid=self.run_spec.dataset.grid,
            device=self.device,
            precision=self.settings.precision,
            limit=limit,
            before_batch=self._check_stop,
            ranks=self.ranks,
        )
        seconds = time.perf_counter() - began
        self.progress.evaluation_seconds += seconds
        self.evaluation_time.measured(seconds, result.passes)
        return result

    def _finish(self) -> RunSummary:
        """Writes the weights, and evaluates on the validation and test splits."""
        self._save()  # the closing evaluation may take long
        if self.ranks.is_main:
            checkpoint.save_weights(self.run, "last", self.model)
        self._keep_best()
        results: dict[Split, Evaluation] = {}
        splits: tuple[Split, ...] = ("val", "test") if self.settings.tested else ("val",)
        for split in splits:
            self.callbacks.on_evaluate(split)
            result = results[split] = self._closing_evaluation(split)
            if self.ranks.is_main:
                checkpoint.save_items(self.run, split, result.items)
            if not result.finite:
                raise Diverged(f"the {split} loss was {result.loss} after training")
        return self._summary(val=results["val"], test=results.get("test"))

    def _closing_evaluation(self, split: Split) -> Evaluation:
        """On the split; the last validation is reused where it is the same evaluation."""
        limits_agree = self.settings.validation_limit == self.settings.test_limit
        if split == "val" and limits_agree and self.last_validation is not None:
            step, result = self.last_validation
            if step == self.progress.step:
                return result
        examples = self.val_split if split == "val" else self._load(split)
        return self._evaluate(examples, self.settings.test_limit)

    def _keep_best(self) -> None:
        """Writes best.safetensors, where there was a validation."""
        if self.ranks.is_main and self.progress.best_step is not None:
            content = checkpoint.best_weights(self.run, self.progress)
            write_atomically(self.run.path("best.safetensors"), content)

    def _small_splits(self) -> list[str]:
        """Warnings of splits of so few items that a score is coarse."""
        if isinstance(self.val_split, ByteStream) or len(self.val_split) >= FEW_ITEMS:
            return []
        splits: dict[str, ByteStream | Examples] = {"val": self.val_split}
        if self.settings.tested:
            splits["test"] = self._load("test")
        counts = {name: len(items) for name, items in splits.items() if len(items) < FEW_ITEMS}
        return [
            f"the {name} split has {counted(count, 'item')}, each worth {1 / count:.0%} of a score"
            for name, count in counts.items()
        ]

    def _load(self, split: Split) -> ByteStream | Examples:
        """A split, on the device where it is small enough."""
        examples = self.run_spec.dataset.load(split)
        data = examples.data if isinstance(examples, ByteStream) else examples.inputs
        fits = isinstance(data, torch.Tensor) and data.nbytes <= DEVICE_BYTES
        return examples.to(self.device) if fits else examples
