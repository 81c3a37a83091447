"""Every encoding by name: the built-in ones, installed ones, and classes in a user's file.

Built-in encodings are found, not listed: every named class in a module of a family's package
(``encodings/rotary/`` and so on).
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard, get_args

from liere_cli.config.names import ENTRY_POINT_GROUP
from liere_cli.config.spec import parse_spec
from liere_cli.encodings.base import Family, PositionEncoding, Shape
from liere_cli.encodings.none import NoPosition
from liere_cli.encodings.presets import shortest
from liere_cli.errors import LiereError, UsageError, shortened, unknown
from liere_cli.utils.seeding import stream
from liere_cli.utils.user_code import classes_by_name, error_summary, file_digest, load_from_file

#: ``"liere:block=8"`` or ``{"name": "liere", "block": 8}``
Spec = str | Mapping[str, Any]
#: the order within a family, simple encodings first; those that are not named here follow by name
_ORDER = (
    *("absolute", "sinusoidal", "fourier"),
    *("rope", "axial", "rope-mixed", "golden-gate", "nd-rope", "dinov3", "spiral", "grape"),
    *("xpos", "fope"),
    *("cayley-string", "circulant-string", "harope"),
    *("comrope-ap", "comrope-ld", "spherical", "liere"),
    *("lrpe", "pope", "golden-gate-pope"),
    *("alibi", "t5", "kerple", "fire", "lookhere"),
)


@cache
def _built_in() -> tuple[type[PositionEncoding], ...]:
    """The built-in encodings by family, then in ``_ORDER``; base classes have no name."""
    classes: list[type[PositionEncoding]] = [NoPosition]
    for module in _family_modules():
        own = [value for value in vars(module).values() if _is_encoding(value)]
        named = (value for value in own if value.__module__ == module.__name__)
        classes += [value for value in named if "name" in vars(value)]
    families = get_args(Family)

    def rank(cls: type[PositionEncoding]) -> tuple[int, int, str]:
        listed = _ORDER.index(cls.name) if cls.name in _ORDER else len(_ORDER)
        return families.index(cls.family), listed, cls.name

    return tuple(sorted(classes, key=rank))


def _family_modules() -> Iterator[ModuleType]:
    """Every module in the packages beside this file."""
    for family in pkgutil.iter_modules([str(Path(__file__).parent)], f"{__package__}."):
        if family.ispkg:
            package = importlib.import_module(family.name)
            for module in pkgutil.iter_modules(package.__path__, f"{family.name}."):
                try:
                    yield importlib.import_module(module.name)
                except Exception as error:
                    raise LiereError(
                        f"{module.name} can't be imported: {error_summary(error)}"
                    ) from error


def _is_encoding(value: object) -> TypeGuard[type[PositionEncoding]]:
    return inspect.isclass(value) and issubclass(value, PositionEncoding)


@cache
def available() -> dict[str, type[PositionEncoding]]:
    """Every built-in or installed encoding by name; LiereError if two have one name, or an
    installed one can't be imported.
    """
    built_in = ((cls.name, cls) for cls in _built_in())
    return classes_by_name("encoding", built_in, ENTRY_POINT_GROUP, _checked)


def encoding_class(name: str) -> type[PositionEncoding]:
    """The class of that name, or of ``path/to/file.py:Class`` (which runs that file's code).

    Raises:
        UsageError: unknown name, no such file or class, or not a PositionEncoding.
        LiereError: the code of the file fails.
    """
    if ".py:" in name:
        return _class_in_file(name)
    if name.endswith(".py"):
        raise UsageError(f"encoding '{name}': add the class, as {name}:Class")
    if name not in available():
        raise unknown("encoding", name, available())
    return available()[name]


@cache
def _class_in_file(name: str) -> type[PositionEncoding]:
    return _checked(load_from_file("encoding", name, _is_encoding), name)


def _checked(value: object, name: str) -> type[PositionEncoding]:
    if _is_encoding(value):
        return value
    raise UsageError(f"encoding '{name}' is not a subclass of liere_cli.encodings.PositionEncoding")


def code_digest(cls: type[PositionEncoding]) -> str | None:
    """Hex digest of the file that defines an encoding outside liere, so that an edited class makes
    a new run; None for built-in ones.
    """
    if cls in _built_in():
        return None
    return file_digest(cls)


def resolve_spec(spec: Spec) -> dict[str, Any]:
    """An encoding's name with every option at its value, defaults included."""
    if not isinstance(spec, str | Mapping):
        raise UsageError(f"encoding {shortened(spec)}: expected NAME or NAME:key=value,...")
    given = parse_spec(spec) if isinstance(spec, str) else dict(spec)
    name = str(given.pop("name", ""))
    options = encoding_class(name).Options.validated(given, f"encoding.{name}")
    return {"name": name, **options.model_dump(mode="json")}


def recorded_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a run's resolved recipe, which lacks options that were added later: with the
    values that describe the run.
    """
    recorded = dict(spec)
    if cls := available().get(str(spec.get("name"))):
        for key, value in cls.Options.before().items():
            if value != cls.Options.model_fields[key].get_default():
                recorded.setdefault(key, value)
    return recorded


def identifying_spec(spec: Spec) -> dict[str, Any]:
    """A resolved spec without later-added options at the values that describe earlier runs."""
    options = resolve_spec(spec)
    name = options.pop("name")
    return {"name": name, **encoding_class(name).Options.model_validate(options).identifying()}


def label(spec: Spec) -> str:
    """The short form for tables: the name and the options that differ from their defaults, with a
    preset where that is shorter.
    """
    resolved = resolve_spec(spec)
    name = resolved.pop("name")
    section = encoding_class(name).Options
    defaults = section().model_dump(mode="json")
    changed = {key for key, value in resolved.items() if value != defaults[key]}
    short = name.rpartition(":")[2] if ".py:" in name else name
    return f"{short}:{shortest(section.presets, resolved, changed)}" if changed else short


def build_encoding(
    spec: Spec,
    *,
    axes: int,
    heads: int,
    head_dim: int,
    depth: int = 1,
    dim: int = 0,
    grid: tuple[int, ...] | None = None,
    seed: int | None = None,
) -> PositionEncoding:
    """An initialised encoding for a transformer.

    Args:
        spec: ``"liere:block=8"`` or ``{"name": "liere", "block": 8}``.
        axes, heads, head_dim, depth, dim, grid: see :class:`Shape`.
        seed: fixes the initial parameters; None draws from torch's global generator.

    Raises:
        UsageError: unknown name or option, or a shape that the encoding can't serve.
        LiereError: the code of an encoding outside liere fails.
    """
    resolved = resolve_spec(spec)
    cls = encoding_class(resolved.pop("name"))
    shape = Shape(axes, heads, head_dim, depth, dim, grid)
    try:
        encoding = cls(shape, cls.Options.model_validate(resolved))
        encoding.initialise(
            lambda name: None if seed is None else stream(seed, "init", "encoding", name)
        )
    except LiereError:
        raise
    except Exception as error:
        if cls in _built_in():
            raise
        reason = error_summary(error)
        raise LiereError(f"encoding '{cls.__name__}' can't be built: {reason}") from error
    return encoding
