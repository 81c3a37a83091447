"""Arguments of the public functions: checked and normalised like the settings of a recipe."""

import operator
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from liere_cli.config.spec import format_spec
from liere_cli.errors import UsageError, shortened
from liere_cli.launchers.events import Listener
from liere_cli.planning.overrides import split_specs
from liere_cli.runs.folder import Run
from liere_cli.training.loggers.observer import logger_names
from liere_cli.utils.paths import PathLike, expand

#: a recipe's path or name; or finished runs: a folder, a name, the folder of an experiment
Source = PathLike | Run
#: one spec or several, as text or as mappings with a ``name``
Names = str | Mapping[str, object] | Iterable[str | Mapping[str, object]]
#: 512, "48x48" or (48, 48)
GridLike = int | str | tuple[int, ...]


def _spec(value: object, allowed: str = "must be a name or a list of names") -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and "name" in value:
        return format_spec(value)
    raise ValueError(allowed)


def _specs(value: object) -> str | None:
    """Specs as a flag has them, separated by commas."""
    if value is None or isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        return None if value is None else _spec(value)
    specs = [_spec(part) for part in value]
    if not specs:
        raise ValueError("must name at least one")
    for spec in specs:
        split_specs(spec)  # by itself: 'share=layers' is no option of the spec before it
    return ",".join(specs)


def _data(value: object) -> str | None:
    """As :func:`_specs`; objects that hold items are refused before they are read."""
    parts = value.values() if isinstance(value, Mapping) and "name" not in value else [value]
    named = (str, Mapping, list, tuple)
    if any(hasattr(part, "__getitem__") and not isinstance(part, named) for part in parts):
        raise ValueError(
            "must be a name: data_from(object, name=..., version=...) stores an object's items and "
            "returns their name"
        )
    return _specs(value)


def _path(value: object) -> Path:
    if isinstance(value, Run):
        return value.folder
    if not isinstance(value, str | os.PathLike):
        raise ValueError("must be a path")
    return expand(value)


def _sources(value: object) -> list[str]:
    """Paths and names as text; None: there are none."""
    if value is None:
        return []
    single = isinstance(value, str | os.PathLike | Run)
    if not single and not isinstance(value, Iterable):
        raise ValueError("must be a recipe, a run, or a list of runs")
    parts = [value] if single else list(value)  # type: ignore[call-overload]
    if not parts:
        raise ValueError("must name a recipe or runs")
    # as written where that is the same path, since messages quote it
    return [
        part if isinstance(part, str) and not part.startswith("~") else str(_path(part))
        for part in parts
    ]


def _seeds(value: object) -> str | None:
    """As the flag has them: ``3`` is how many; ``4,`` and ``4,7`` are which."""
    if value is None or isinstance(value, str):
        return value
    try:
        if isinstance(value, Iterable):
            seeds = [operator.index(seed) for seed in value]
            if not seeds:
                raise ValueError("must hold at least one seed")
            return "".join(f"{seed}," for seed in seeds)
        return str(operator.index(value))  # type: ignore[arg-type]
    except TypeError:
        raise ValueError("must be how many (3) or which ([0, 1, 2])") from None


def _grids(value: object) -> list[str]:
    """Grids as text: ``512``, ``48x48``."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        value = [value]
    return [_grid(grid) for grid in value]


def _grid(grid: object) -> str:
    try:
        if isinstance(grid, str):
            return grid
        extents: Iterable[Any] = grid if isinstance(grid, Iterable) else [grid]
        return "x".join(str(operator.index(extent)) for extent in extents)
    except TypeError:
        raise ValueError("must be grids, as [512] or ['48x48']") from None


def _loggers(value: object) -> tuple[str, ...]:
    """Names of loggers, as ``"tensorboard,wandb"`` or a list."""
    if not isinstance(value, Iterable) or not all(isinstance(part, str) for part in value):
        raise ValueError("must be names of trackers, as tensorboard,wandb")
    return logger_names(value if isinstance(value, str) else ",".join(value))


def checked_listener(listener: object) -> Listener:
    """What is called with every event; raises UsageError for anything that can't be."""
    if isinstance(listener, type) or not callable(listener):
        raise UsageError(
            f"on_progress is {shortened(listener)}, but must be a function of one event, such as "
            "liere.ProgressBar()"
        )
    return listener


SpecsText = Annotated[str | None, BeforeValidator(_specs)]
DataText = Annotated[str | None, BeforeValidator(_data)]
SeedsText = Annotated[str | None, BeforeValidator(_seeds)]
SourceTexts = Annotated[list[str], BeforeValidator(_sources)]
GridTexts = Annotated[list[str], BeforeValidator(_grids)]
Folder = Annotated[Path, BeforeValidator(_path)]
LoggerNames = Annotated[tuple[str, ...], BeforeValidator(_loggers)]
#: a list of texts, or one text
Texts = Annotated[
    list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
]
