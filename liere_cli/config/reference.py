"""Every key of a recipe, with its meaning: for completion and for ``liere schema``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from liere_cli.config.recipe import Recipe
from liere_cli.config.section import section_in
from liere_cli.config.spec import format_spec, scalar_text


@dataclass(frozen=True)
class Key:
    """One key.

    Args:
        section: ``""`` for the top level, else as ``training.positions``.
        key: as ``--set`` writes it.
        default: as text; None: the key must be given.
        values: what is allowed, where those are few.
    """

    section: str
    key: str
    default: str | None
    meaning: str
    values: tuple[str, ...] = ()


def keys() -> list[Key]:
    """The keys that ``--set`` takes, in the order of the sections."""
    return sorted(_keys(Recipe, ""), key=lambda key: key.section.count(".") + bool(key.section))


def _keys(section: type[BaseModel], path: str) -> Iterator[Key]:
    for name, field in section.model_fields.items():
        key = f"{path}.{name}" if path else name
        inner = section_in(field.annotation)
        if inner is not None and not _is_list(field.annotation):
            yield from _keys(inner, key)
            continue
        yield Key(path, key, _default(field), field.description or "", _values(field.annotation))


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(map(_is_list, get_args(annotation)))


def _default(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    return _text(field.get_default(call_default_factory=True))


def _text(value: Any) -> str:
    """A default as a recipe may have it."""
    if isinstance(value, dict) and "name" in value:
        return format_spec(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    return "empty" if value in ("", {}) else scalar_text(value)


def _values(annotation: Any) -> tuple[str, ...]:
    """The values of a field that allows few: ``true``, ``float32``."""
    if annotation is bool:
        return ("true", "false")
    texts = [argument for argument in get_args(annotation) if isinstance(argument, str)]
    inner = [value for part in get_args(annotation) for value in _values(part)]
    return (*texts, *inner)
