"""Typed sections of settings, validated by pydantic, with one-sentence errors."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from liere_cli.errors import MAX_SHOWN, UsageError, nearest, shortened, synonym

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def added(default: Any, *, before: Any = ..., **constraints: Any) -> Any:
    """A field added to its section after runs existed.

    At the value that describes earlier runs it is not part of an identity, so that they are found
    again. That is the default, or ``before`` where new runs have another default. A change of the
    default requires a new ``FORMAT`` in :mod:`liere_cli.runs.identity`.
    """
    before = default if before is ... else before
    return Field(default, json_schema_extra={"added": {"before": before}}, **constraints)


class Section(BaseModel):
    """A section of settings: immutable, without unknown keys and non-finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_booleans_for_numbers(cls, values: object) -> object:
        """Refuses true and false in other fields, where pydantic would read them as 1 and 0."""
        if not isinstance(values, dict):
            return values
        boolean = {key for key, field in cls.model_fields.items() if _takes_bool(field.annotation)}
        return {
            key: str(value).lower() if isinstance(value, bool) and key not in boolean else value
            for key, value in values.items()
        }

    @classmethod
    def validated(cls, values: object, where: str) -> Self:
        """``values`` as this section.

        Raises UsageError with one sentence about the first error: ``where`` the values come from (a
        path, flag or key), key, value, what is allowed and the nearest valid key.
        """
        if not isinstance(values, Mapping):
            raise UsageError(
                f"{where}: expected settings as 'key: value', found {shortened(values)}"
            )
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise UsageError(f"{where}: {_sentence(cls, error)}") from None
        except UnicodeEncodeError as error:
            wrong = ascii(error.object)[:MAX_SHOWN]
            raise UsageError(f"{where}: {wrong} is not text in UTF-8") from None

    def identifying(self) -> dict[str, Any]:
        """The settings as JSON values, without those :func:`added` later whose values describe
        earlier runs.
        """
        settings, before = self.model_dump(mode="json"), self.before()
        for key in type(self).model_fields:
            value = getattr(self, key)
            if key in before and value == before[key]:
                settings.pop(key)
            elif isinstance(value, Section):
                settings[key] = value.identifying()
        return settings

    @classmethod
    def before(cls) -> dict[str, Any]:
        """The fields :func:`added` later, with the values that describe earlier runs."""
        extras = {key: field.json_schema_extra for key, field in cls.model_fields.items()}
        return {
            key: extra["added"]["before"]  # type: ignore[index, call-overload]
            for key, extra in extras.items()
            if isinstance(extra, dict) and "added" in extra
        }


#: what a value must be, by pydantic's type of error; {..} comes from the error's context
_MUST_BE = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a section of 'key: value' settings",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of a usual size",
    "int_type": "a whole number",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_type": "a section of 'key: value' settings",
    "string_type": "text",
    "too_long": "a list of at most {max_length}",
    "too_short": "a list of at least {min_length}",
    "tuple_type": "a list",
}


def violated_rule(error: "ErrorDetails") -> str:
    """What a value must be, by the error that pydantic reports for it."""
    if error["type"] in _MUST_BE:
        return "must be " + _MUST_BE[error["type"]].format(**error.get("ctx", {}))
    return error["msg"].removeprefix("Value error, ").removeprefix("Input ")


def _sentence(section: type[BaseModel], error: ValidationError) -> str:
    """The first of the errors, in one sentence."""
    first = error.errors()[0]
    # pydantic puts the names of its own validators between the real keys
    internal = re.compile(r"(function-|list\[|tuple\[|dict\[|nullable|constrained-|literal\[)")
    *parents, last = first["loc"] or ("settings",)
    path = [str(part) for part in parents if not internal.match(str(part))]
    if first["type"] == "extra_forbidden" or not internal.match(str(last)):
        path.append(str(last))
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        allowed = sorted(_fields_at(section, path[:-1]))
        called = synonym(path[-1], allowed) or next(_keys_called(section, path[-1]), None)
        hint = called or nearest(path[-1], allowed)
        suggestion = f"; did you mean '{hint}'?" if hint else ""
        return f"unknown key '{key}'{suggestion} (allowed: {', '.join(allowed) or 'none'})"
    if first["type"] == "missing":
        return f"'{key}' is missing"
    rule = violated_rule(first)
    if not first["loc"]:
        return rule
    return f"'{key}' is {shortened(first['input'])}, but {rule}"


def _fields_at(section: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = section.model_fields.get(part)
        section = section_in(field.annotation) or section if field else section
    return list(section.model_fields)


def _keys_called(section: type[BaseModel], name: str) -> Iterator[str]:
    """Keys of any section, with their paths, of that name or one that other tools use."""
    for key, field in section.model_fields.items():
        inner = section_in(field.annotation)
        if inner is not None:
            if called := name if name in inner.model_fields else synonym(name, inner.model_fields):
                yield f"{key}.{called}"
            yield from (f"{key}.{path}" for path in _keys_called(inner, name))


def section_in(annotation: object) -> type[BaseModel] | None:
    """The section that a field holds, also where it is optional or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(section_in, get_args(annotation))), None)


def _takes_bool(annotation: object) -> bool:
    return annotation in (bool, Any, object) or any(map(_takes_bool, get_args(annotation)))
