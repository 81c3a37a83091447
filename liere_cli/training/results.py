"""What a run's folder holds beside checkpoints and metrics: its description and its results."""

import os
import platform

import torch

from liere_cli import __version__
from liere_cli.evaluation.conditions import FOLDER as TRANSFER_FOLDER
from liere_cli.evaluation.evaluate import Evaluation
from liere_cli.model import Transformer
from liere_cli.rotations.kernels import compiler
from liere_cli.runs.build import RunSpec, signature, tested
from liere_cli.runs.checkpoint import Progress
from liere_cli.runs.folder import Run
from liere_cli.runs.summary import RunSummary
from liere_cli.training.compute import forward_flops
from liere_cli.utils import determinism
from liere_cli.utils.files import to_json, write_atomically

#: environment variable in which a worker process finds how many there are
JOBS = "LIERE_RUNS_AT_A_TIME"


def describe_run(run_spec: RunSpec, run: Run, device: torch.device, processes: int) -> None:
    """Writes recipe, signature and environment, before the model is built."""
    run.write_recipe(run_spec.recipe)
    write_atomically(run.path("signature.txt"), signature(run_spec) + "\n")
    describe_environment(run_spec, run, device, processes)


def describe_environment(
    run_spec: RunSpec, run: Run, device: torch.device, processes: int, step: str | None = None
) -> None:
    """Writes environment.json; ``step``: how training steps are executed, once it is known."""
    environment = {
        "liere": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "runs_at_a_time": int(os.environ.get(JOBS, 1)),
        "rotations": compiler.describe(device),
        "processes": processes,
        **({"deterministic": determinism.describe()} if device.type == "cuda" else {}),
        **({"step": step} if step is not None else {}),
        "data_root": str(root.resolve()) if (root := run_spec.dataset.root) else None,
    }
    write_atomically(run.path("environment.json"), to_json(environment))


def discard_results(run: Run) -> None:
    """Deletes weights and results per item, so that none are left of an end that was cut short."""
    transfer = f"{TRANSFER_FOLDER}/*.safetensors"
    for name in ("best.safetensors", "last.safetensors", "items-*.safetensors", transfer):
        for path in run.folder.glob(name):
            path.unlink()


def closing_summary(
    run_spec: RunSpec,
    model: Transformer,
    progress: Progress,
    device: torch.device,
    *,
    val: Evaluation | None = None,
    test: Evaluation | None = None,
    error: str | None = None,
) -> RunSummary:
    """The summary of a run that finished or, with ``error``, diverged."""
    parameters, encoding_parameters = model.counts()
    text = run_spec.dataset.task == "language-model"
    seen = progress.tokens if text else progress.examples
    return RunSummary(
        status="finished" if error is None else "diverged",
        id=run_spec.run_id,
        encoding=run_spec.encoding,
        data=run_spec.data,
        fingerprint=run_spec.dataset.fingerprint,
        seed=run_spec.recipe.seed,
        metric=run_spec.dataset.metric,
        higher_is_better=run_spec.dataset.metric == "top1",
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
        throughput_unit="tokens/s" if text else "examples/s",
        flops_per_token=forward_flops(model, run_spec.recipe.encoding),
        budget=str(run_spec.recipe.training.budget),
        device=str(device),
        threads=torch.get_num_threads(),
        tested=tested(run_spec.recipe.training),
        evaluation_seconds=round(progress.evaluation_seconds, 3),
        error=error,
        signature=signature(run_spec),
    )
