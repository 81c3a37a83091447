"""What is saved while a run trains, and how it comes back bit for bit.

A checkpoint is ``checkpoints/STEP.safetensors`` (weights and optimizer moments) and, written after
it, ``checkpoints/STEP.json`` (counters and the tensors' digest). The two newest are kept; a damaged
one is passed over. Random streams need no state: each is a function of the seed and the step.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from liere_cli.errors import LiereError
from liere_cli.runs import Run, to_json, write_atomically
from liere_cli.schema import shortened

KEPT = 2


@dataclass
class Progress:
    """The counters of a run.

    Args:
        step: optimizer steps taken.
        examples, tokens: seen so far.
        seconds: spent in training steps, without validation.
        validations: done so far.
        best_step, best_value: of the best validation, once there is one.
        pending: training losses of the steps since the last line of metrics.jsonl.
        warnings: what was wrong with the checkpoints that were passed over.
    """

    step: int = 0
    examples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    validations: int = 0
    best_step: int | None = None
    best_value: float | None = None
    pending: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def save_checkpoint(
    run: Run, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Writes the state after ``progress.step`` steps, then drops all but the newest two."""
    tensors = {f"model.{name}": value for name, value in _weights(model).items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value.detach().cpu().contiguous()
    content = save(tensors)
    stem = f"checkpoints/{progress.step:09d}"
    write_atomically(run.path(f"{stem}.safetensors"), content)
    digest, counters = hashlib.sha256(content).hexdigest(), asdict(progress)
    state = {"sha256": digest, "progress": counters, "check": _check(digest, counters)}
    write_atomically(run.path(f"{stem}.json"), to_json(state))
    for old in _steps(run)[KEPT:]:
        _remove(run, old)


def load_checkpoint(
    run: Run, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Progress | None:
    """Restores the newest whole checkpoint, or returns None where there is none.

    Damaged ones are passed over; the returned progress says so in ``warnings``.

    Raises:
        LiereError: a whole checkpoint does not fit the model.
    """
    warnings = []
    for step in _steps(run):
        try:
            state = json.loads(run.path(f"checkpoints/{step:09d}.json").read_text())
            content = run.path(f"checkpoints/{step:09d}.safetensors").read_bytes()
            if hashlib.sha256(content).hexdigest() != state["sha256"]:
                raise ValueError("its digest differs")
            progress = Progress(**state["progress"])
            if (
                state["check"] != _check(state["sha256"], state["progress"])
                or progress.step != step
            ):
                raise ValueError("its description is not as written")
            tensors = load(content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            warnings.append(f"checkpoint of step {step} is damaged ({error}) and was passed over")
            continue
        _restore(run, model, optimizer, tensors)
        progress.warnings = warnings
        return progress
    return Progress(warnings=warnings) if warnings else None


def clear_checkpoints(run: Run) -> None:
    """Drops all training state; weights and summary stay."""
    for step in _steps(run):
        _remove(run, step)
    folder = run.path("checkpoints")
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def save_weights(run: Run, name: str, model: nn.Module) -> None:
    """Writes NAME.safetensors."""
    write_atomically(run.path(f"{name}.safetensors"), save(_weights(model)))


def load_weights(run: Run, name: str, model: nn.Module) -> None:
    """Reads NAME.safetensors into the model.

    Raises:
        LiereError: missing, damaged, or of another model.
    """
    path = run.path(f"{name}.safetensors")
    try:
        tensors = load(path.read_bytes())
    except FileNotFoundError:
        raise LiereError(f"{path}: is missing; liere train --fresh makes it anew") from None
    except Exception as error:
        reason = shortened(str(error))
        raise LiereError(
            f"{path}: the file is damaged ({reason}); liere train --fresh makes it anew"
        ) from None
    _load_into(model, tensors, str(path))


def save_items(run: Run, split: str, items: dict[str, Tensor]) -> None:
    """Writes per-item results of a split."""
    content = save({name: value.contiguous() for name, value in items.items()})
    write_atomically(run.path(f"items-{split}.safetensors"), content)


def _check(digest: str, counters: dict[str, Any]) -> str:
    """Ties the counters to the tensors, so that damage to either is noticed."""
    text = json.dumps([digest, counters], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}


def _steps(run: Run) -> list[int]:
    folder = run.path("checkpoints")
    names = [path.stem for path in folder.glob("*.json")] if folder.is_dir() else []
    return sorted((int(name) for name in names if re.fullmatch(r"\d{9}", name)), reverse=True)


def _remove(run: Run, step: int) -> None:
    # the description first: tensors without one are no checkpoint
    for suffix in ("json", "safetensors"):
        run.path(f"checkpoints/{step:09d}.{suffix}").unlink(missing_ok=True)


def _restore(
    run: Run, model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]
) -> None:
    weights = {
        name.removeprefix("model."): value
        for name, value in tensors.items()
        if name.startswith("model.")
    }
    _load_into(model, weights, str(run.path("checkpoints")))
    for name, parameter in model.named_parameters():
        moments: dict[str, Any] = {}
        for key in ("step", "exp_avg", "exp_avg_sq"):
            value = tensors.get(f"optimizer.{key}.{name}")
            if value is not None:
                moments[key] = value.to(parameter.device)
        if moments:
            optimizer.state[parameter] = moments


def _load_into(model: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    expected = model.state_dict()
    for name in expected.keys() | tensors.keys():
        here, there = expected.get(name), tensors.get(name)
        if here is None or there is None or here.shape != there.shape:
            raise LiereError(
                f"{source}: is of another model: '{name}' is {_shape(there)} there, but "
                f"{_shape(here)} in this recipe"
            )
    model.load_state_dict(tensors)


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else "x".join(map(str, tensor.shape)) or "a number"
