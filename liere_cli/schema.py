"""Typed sections of settings, validated by pydantic, with errors a person can act on."""

import re
from collections.abc import Mapping
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from liere_cli.errors import UsageError, nearest


class Section(BaseModel):
    """A block of settings: immutable, unknown keys refused, non-finite numbers refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def validated(cls, values: object, where: str) -> Self:
        """``values`` as this section.

        Args:
            where: what holds the values, for the message: a recipe's path, a flag, a key.

        Raises:
            UsageError: one sentence for the first fault: place, key, value, what is allowed and
                the nearest valid key.
        """
        if not isinstance(values, Mapping):
            raise UsageError(f"{where}: expected settings as 'key: value', found {values!r}")
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise UsageError(f"{where}: {_sentence(cls, error)}") from None


def _sentence(section: type[BaseModel], error: ValidationError) -> str:
    fault = error.errors()[0]
    # pydantic interleaves the tags of unions ("function-...", "list[...]") with the real keys
    path = [str(part) for part in fault["loc"] if not re.search(r"[\[(-]", str(part))]
    key = ".".join(path) or "settings"
    if fault["type"] == "extra_forbidden":
        allowed = sorted(_fields_at(section, path[:-1]))
        hint = nearest(path[-1], allowed)
        suggestion = f"; did you mean '{hint}'?" if hint else ""
        return f"unknown key '{key}'{suggestion} (allowed: {', '.join(allowed) or 'none'})"
    if fault["type"] == "missing":
        return f"'{key}' is missing"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"'{key}' is {fault['input']!r}, but {message}"


def _fields_at(section: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = section.model_fields.get(part)
        inner = field.annotation if field else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            section = inner
    return list(section.model_fields)


def parse_scalar(text: str) -> Any:
    """A flag's value read as YAML would read it; text that is no YAML stays text."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def scalar_text(value: object) -> str:
    """A value as a flag would have it, so that :func:`parse_scalar` reads it back."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return "x".join(map(scalar_text, value))
    return str(value)


def parse_spec(text: str) -> dict[str, Any]:
    """``name:key=value,key=value`` as ``{"name": ..., key: value}``.

    One part without '=' is a path: ``text:notes/a.txt,grid=512``. A class in a file keeps its
    colon: ``my/file.py:Class:key=value`` has the name ``my/file.py:Class``.

    Raises:
        UsageError: for a part that is neither a setting nor the only path, or a key given twice.
    """
    match = re.match(r"(.+?\.py:\w+|[^:]*)(?::(.*))?$", text, re.DOTALL)
    if match is None or not match[1].strip():
        raise UsageError(f"'{text}' names nothing: expected NAME or NAME:key=value,key=value")
    spec: dict[str, Any] = {"name": match[1].strip()}
    for part in (match[2] or "").split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not part.strip():
            continue
        if not equals:
            key, value = "path", part.strip()
        if not key or key in spec:
            raise UsageError(f"'{text}': '{part.strip()}' is no key=value, or is given twice")
        spec[key] = value if key == "path" else parse_scalar(value)
    return spec


def format_spec(spec: Mapping[str, Any]) -> str:
    """The inverse of :func:`parse_spec`, for labels."""
    settings = [
        f"{key}={scalar_text(value)}" for key, value in spec.items() if key not in ("name", "path")
    ]
    parts = [str(spec["path"])] if "path" in spec else []
    tail = ",".join(parts + settings)
    return f"{spec['name']}:{tail}" if tail else str(spec["name"])
