"""The exceptions of the package, each explained by one sentence.

    LiereError            exit code 1: a run or a file failed
    ├── RunFailed         a run ended without a result
    └── UsageError        exit code 2: a flag, key, name or value is not valid

Only the command line turns these into exit codes; every other package raises them.
"""

import reprlib
from collections.abc import Iterable
from difflib import get_close_matches


class LiereError(Exception):
    """A failure that one sentence explains; never shown as a traceback."""

    exit_code = 1
    #: another process of the same run reports it
    reported = False


class RunFailed(LiereError):
    """A run that ended without a result."""


class UsageError(LiereError):
    """A name, key, flag or value that the user can correct."""

    exit_code = 2


#: what other tools call a key, by our name of it
_SYNONYMS = {
    "learning_rate": ("lr", "max_lr"), "batch": ("bs", "batch_size", "minibatch"),
    "budget": ("epochs", "steps", "max_steps", "iterations", "max_iters", "duration"),
    "weight_decay": ("wd", "decay"), "betas": ("beta", "beta1", "beta2"),
    "layers": ("depth", "n_layer", "n_layers", "num_layers", "num_hidden_layers"),
    "heads": ("n_head", "n_heads", "num_heads", "num_attention_heads"),
    "dim": ("d_model", "width", "hidden", "hidden_size", "n_embd", "embed_dim"),
    "warmup": ("warmup_steps", "warmup_ratio"), "clip": ("grad_clip", "max_grad_norm"),
    "patch": ("patch_size",), "precision": ("dtype", "amp", "bf16"),
    "grid": ("context", "block_size", "seq_len", "sequence_length", "image_size", "resolution"),
    "validations": ("eval_interval", "eval_every", "val_every"), "data": ("dataset", "datasets"),
    "encoding": ("pe", "position_encoding"), "encodings": ("encoding", "methods"),
    "accumulate": ("grad_accum", "gradient_accumulation_steps"), "seeds": ("seed", "repeats"),
}  # fmt: skip


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The valid choice most like ``name``, or None when nothing is alike.

    Names that other tools use count as alike: ``lr`` for ``learning_rate``.
    """
    allowed = list(choices)
    matches = get_close_matches(name, allowed, n=1, cutoff=0.5)
    return synonym(name, allowed) or (matches[0] if matches else None)


def synonym(name: str, choices: Iterable[str]) -> str | None:
    """The valid choice that other tools call ``name``, if any."""
    plain = name.lower().replace("-", "_")
    return next((choice for choice in choices if plain in _SYNONYMS.get(choice, ())), None)


def unknown(what: str, name: str, choices: Iterable[str]) -> UsageError:
    """The error for ``name`` outside ``choices``: says what is allowed and what is nearest."""
    allowed = sorted(choices)
    hint = nearest(name, allowed)
    suggestion = f"; did you mean '{hint}'?" if hint else ""
    return UsageError(
        f"unknown {what} '{name}'{suggestion} (allowed: {', '.join(allowed) or 'none'})"
    )


def unreadable(path: object, reason: OSError | ValueError | str, remedy: str = "") -> LiereError:
    """The error for a file or folder that can't be read: ``PATH: can't be read (REASON)``."""
    return LiereError(f"{path}: can't be read ({_reason(reason)}){remedy and f'; {remedy}'}")


def unwritable(path: object, reason: OSError | str, remedy: str = "") -> LiereError:
    """The error for a file or folder that can't be written: ``PATH: can't be written (REASON)``."""
    return LiereError(f"{path}: can't be written ({_reason(reason)}){remedy and f'; {remedy}'}")


def _reason(reason: OSError | ValueError | str) -> object:
    """The operating system's words, without the path that its errors repeat."""
    return getattr(reason, "strerror", None) or reason


#: characters of a wrong value that a message shows
MAX_SHOWN = 80
_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother = 2, 60, 60


def shortened(value: object) -> str:
    """A value as Python writes it, cut where it would flood a message."""
    try:
        text = _REPR.repr(value)
    except ValueError:  # Python writes no whole number of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def counted(number: int, noun: str) -> str:
    """``1 seed``, ``2 seeds``"""
    return f"{number} {noun}{'' if number == 1 else 's'}"
