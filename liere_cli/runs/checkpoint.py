"""Checkpoints, from which an interrupted run resumes, and trained weights.

A checkpoint is ``checkpoints/STEP.safetensors`` (weights, optimizer moments, the lines of
metrics.jsonl so far) and, written after it, ``checkpoints/STEP.json`` (counters and the tensors'
digest); the best weights so far are ``checkpoints/best-STEP.safetensors``. The two newest
checkpoints are kept; a damaged one is skipped. Random streams need no state: each is a function of
the seed and the step.
"""

import re
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from liere_cli import __version__
from liere_cli.errors import LiereError, shortened, unreadable
from liere_cli.runs.folder import MAX_METRICS_BYTES, Run
from liere_cli.utils.distributed import ALONE, Ranks
from liere_cli.utils.files import TEMPORARY, digest_of, read_json, read_limited, seal, to_json
from liere_cli.utils.files import write_atomically as write

KEPT = 2
FORMAT = 3
#: maximum size of a safetensors header, and of a checkpoint's JSON
MAX_HEADER_BYTES, MAX_STATE_BYTES = 1 << 24, 1 << 26
#: largest file of weights that is read without knowing its model
MAX_WEIGHTS_BYTES = 1 << 36
#: the tensor of a checkpoint that holds metrics.jsonl
METRICS = "metrics"


@dataclass
class Progress:
    """The counters of a run.

    Args:
        seconds: of training steps, without validation.
        best_step, best_value: of the best validation, once there is one.
        best_digest: of the weights saved then.
        pending: training losses of the steps since the last line of metrics.jsonl.
    """

    step: int = 0
    examples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    evaluation_seconds: float = 0.0
    validations: int = 0
    best_step: int | None = None
    best_value: float | None = None
    best_digest: str | None = None
    pending: list[float] = field(default_factory=list)


class _LaterVersion(LiereError):
    """A checkpoint of a later version of liere: resuming from an older one would delete it."""


@dataclass(frozen=True)
class Restored:
    """The state that a run resumes from, with the content of metrics.jsonl at that step."""

    progress: Progress
    metrics: bytes = b""
    warnings: tuple[str, ...] = ()


def save_checkpoint(
    run: Run,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    metrics: bytes = b"",
) -> None:
    """Writes the state after ``progress.step`` steps, then deletes all but the newest two."""
    tensors = {f"model.{name}": value for name, value in _weights(model).items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value.detach().cpu().contiguous()
    tensors[METRICS] = torch.frombuffer(bytearray(metrics or b" "), dtype=torch.uint8)
    content = save(tensors)
    stem = f"checkpoints/{progress.step:09d}"
    write(run.path(f"{stem}.safetensors"), content)
    state = {
        "format": FORMAT,
        "run": run.run_id,
        "versions": _versions(),
        "sha256": digest_of(content),
        "progress": asdict(progress),
    }
    write(run.path(f"{stem}.json"), to_json(state | {"check": seal(state, "check")}))
    for old in _steps(run)[KEPT:]:
        _remove(run, old)
    _drop_bests(run)


def load_checkpoint(
    run: Run, model: nn.Module, optimizer: torch.optim.Optimizer, ranks: Ranks = ALONE
) -> Restored:
    """Restores the newest intact checkpoint, which rank 0 reads; warns of damaged ones.

    Raises LiereError if it does not fit the model, or is of a later version of liere.
    """
    restored, tensors = ranks.broadcast(lambda: _newest(run, model))
    if tensors:
        _restore(run, model, optimizer, tensors)
    return restored


def _newest(run: Run, model: nn.Module) -> tuple[Restored, dict[str, Tensor]]:
    """The newest intact checkpoint; without tensors where there is none."""
    warnings = []
    for step in _steps(run):
        try:
            state = _state(run, step)
            progress = Progress(**state["progress"])
            tensors = _tensors(run, step, state["sha256"], model)
            metrics = tensors.pop(METRICS).numpy().tobytes().strip(b" ")
            if progress.best_step is not None:
                best_weights(run, progress)
        except _LaterVersion:
            raise
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, LiereError) as error:
            reason = shortened(str(error)).strip("'\"")
            warnings.append(f"checkpoint of step {step} is damaged ({reason}) and was skipped")
            continue
        if (before := state["versions"]) != _versions():
            names = (", ".join(f"{name} {of[name]}" for name in of) for of in (before, _versions()))
            warnings.append(
                "started with {}, resumed with {}: its last digits may differ".format(*names)
            )
        return Restored(progress, metrics, tuple(warnings)), tensors
    if warnings:
        warnings.append("no intact checkpoint is left, so training starts over")
    return Restored(Progress(), warnings=tuple(warnings)), {}


def save_best(run: Run, model: nn.Module, step: int) -> str:
    """Writes the weights of the best validation so far; returns their digest."""
    content = save(_weights(model))
    write(run.path(f"checkpoints/best-{step:09d}.safetensors"), content)
    return digest_of(content)


def best_weights(run: Run, progress: Progress) -> bytes:
    """The weights of the best validation so far, as a safetensors file; LiereError if damaged."""
    path = run.path(f"checkpoints/best-{progress.best_step or 0:09d}.safetensors")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    if digest_of(content) != progress.best_digest:
        raise LiereError(f"{path}: is damaged")
    return content


def clear_leftovers(run: Run) -> None:
    """Deletes partly written files of a killed process; only the lock's owner may call it."""
    for path in [*run.folder.glob(f"{TEMPORARY}*"), *run.folder.glob(f"checkpoints/{TEMPORARY}*")]:
        path.unlink(missing_ok=True)


def clear_checkpoints(run: Run) -> None:
    """Deletes all checkpoints; weights and summary stay."""
    for step in _steps(run):
        _remove(run, step)
    folder = run.path("checkpoints")
    for path in folder.glob("*.safetensors"):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def save_weights(run: Run, name: str, model: nn.Module) -> None:
    write(run.path(f"{name}.safetensors"), save(_weights(model)))


def load_weights(run: Run, name: str, model: nn.Module) -> None:
    """Reads NAME.safetensors into the model; raises LiereError if that can't be done."""
    tensors, _ = read_weights(run, name, _bytes_of(model))
    _load_into(model, tensors, str(run.path(f"{name}.safetensors")))


def read_weights(
    run: Run, name: str, most: int = MAX_WEIGHTS_BYTES
) -> tuple[dict[str, Tensor], str]:
    """The tensors of NAME.safetensors, of at most so many bytes, and a digest of the file.

    Raises LiereError if it is missing, damaged or larger.
    """
    path = run.path(f"{name}.safetensors")
    try:
        content = run.checked(path.name, most)
        return load(content), digest_of(content, 16)
    except FileNotFoundError:
        raise LiereError(
            f"{path}: is missing, as after 'liere runs prune --weights'; liere train --fresh "
            "trains the run again"
        ) from None
    except LiereError:
        raise
    except Exception as error:
        reason = shortened(str(error))
        raise LiereError(
            f"{path}: the file is damaged ({reason}); liere train --fresh trains the run again"
        ) from None


def save_items(run: Run, split: str, items: dict[str, Tensor]) -> None:
    """Writes results per item of a split, tensors [items]."""
    content = save({name: value.contiguous() for name, value in items.items()})
    write(run.path(f"items-{split}.safetensors"), content)


def _versions() -> dict[str, str]:
    return {"liere": __version__, "torch": torch.__version__}


def _state(run: Run, step: int) -> dict[str, Any]:
    path = run.path(f"checkpoints/{step:09d}.json")
    state = read_json(path, MAX_STATE_BYTES)
    if state["check"] != seal(state, "check") or state["progress"]["step"] != step:
        raise ValueError("its JSON was changed")
    if state["format"] > FORMAT:
        raise _LaterVersion(
            f"{path}: was written by a later version of liere (format {state['format']}); resume "
            "with that one, or start over with liere train --fresh"
        )
    if state["format"] != FORMAT:
        raise ValueError("it is of an earlier version of liere")
    if state["run"] != run.run_id:
        raise ValueError(f"it is of run {shortened(state['run'])}")
    return dict(state)


def _tensors(run: Run, step: int, digest: str, model: nn.Module) -> dict[str, Tensor]:
    # weights and two moments, and lines of metrics
    most = 3 * _bytes_of(model) + MAX_METRICS_BYTES
    content = read_limited(run.path(f"checkpoints/{step:09d}.safetensors"), most)
    if digest_of(content) != digest:
        raise ValueError("its digest differs")
    return load(content)


def _bytes_of(model: nn.Module) -> int:
    """Maximum size of a file of the model's weights."""
    sizes: list[int] = [value.nbytes for value in model.state_dict().values()]
    return MAX_HEADER_BYTES + sum(sizes)


def _drop_bests(run: Run) -> None:
    """Deletes best weights that no checkpoint refers to."""
    used = set()
    for step in _steps(run):
        try:
            used.add(_state(run, step)["progress"]["best_step"])
        except (OSError, ValueError, KeyError, TypeError, LiereError):
            return  # a damaged one may refer to any of them
    for path in run.folder.glob("checkpoints/best-*.safetensors"):
        step_of = path.stem.removeprefix("best-")
        if step_of.isdigit() and int(step_of) not in used:
            path.unlink(missing_ok=True)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}


def _steps(run: Run) -> list[int]:
    folder = run.path("checkpoints")
    names = [path.stem for path in folder.glob("*.json")] if folder.is_dir() else []
    return sorted((int(name) for name in names if re.fullmatch(r"\d{9}", name)), reverse=True)


def _remove(run: Run, step: int) -> None:
    # the JSON first: tensors without it are not a checkpoint
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
        moments = {
            key: tensors[stored].to(parameter.device)
            for key in ("step", "exp_avg", "exp_avg_sq")
            if (stored := f"optimizer.{key}.{name}") in tensors
        }
        if moments:
            optimizer.state[parameter] = moments


def _load_into(model: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    expected = model.state_dict()
    for name in expected.keys() | tensors.keys():
        ours, stored = expected.get(name), tensors.get(name)
        if ours is None or stored is None or ours.shape != stored.shape:
            raise LiereError(
                f"{source}: is of another model: '{name}' is {_shape(stored)} there, but "
                f"{_shape(ours)} in this recipe"
            )
    model.load_state_dict(tensors)


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else "x".join(map(str, tensor.shape)) or "a number"
