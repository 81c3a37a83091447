"""Typed sections of settings, validated by pydantic, with errors a person can act on."""

import re
from collections.abc import Mapping
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from liere_cli.errors import MAX_SHOWN, UsageError, nearest, shortened


def added(default: Any, **constraints: Any) -> Any:
    """A field that joined its section after runs existed.

    Its default means what was before it, so that at its default it is no part of an identity and
    the runs of before are found again. A default that changes makes a new ``runs.FORMAT``.
    """
    return Field(default, json_schema_extra={"added": True}, **constraints)


class Section(BaseModel):
    """A block of settings: immutable, unknown keys refused, non-finite numbers refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, values: Any) -> Any:
        """Leaves true and false to fields that mean them: pydantic reads them as 1 and 0."""
        if not isinstance(values, dict):
            return values
        taking = {key for key, field in cls.model_fields.items() if _takes_bool(field.annotation)}
        return {
            key: str(value).lower() if isinstance(value, bool) and key not in taking else value
            for key, value in values.items()
        }

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
            raise UsageError(
                f"{where}: expected settings as 'key: value', found {shortened(values)}"
            )
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise UsageError(f"{where}: {_sentence(cls, error)}") from None
        except UnicodeEncodeError as error:
            wrong = ascii(error.object)[:MAX_SHOWN]
            raise UsageError(f"{where}: {wrong} is no text in UTF-8") from None

    def identifying(self) -> dict[str, Any]:
        """The settings as JSON has them, without added ones that are at their defaults."""
        settings = self.model_dump(mode="json")
        for key, field in type(self).model_fields.items():
            value, extra = getattr(self, key), field.json_schema_extra
            if isinstance(extra, dict) and "added" in extra and value == field.get_default():
                settings.pop(key)
            elif isinstance(value, Section):
                settings[key] = value.identifying()
        return settings


#: what a value must be, by pydantic's name for the fault; {..} comes from the fault's context
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


def _sentence(section: type[BaseModel], error: ValidationError) -> str:
    fault = error.errors()[0]
    # pydantic puts the names of its own validators between the real keys
    made_up = re.compile(r"(function-|list\[|tuple\[|dict\[|nullable|constrained-|literal\[)")
    *parents, last = fault["loc"] or ("settings",)
    path = [str(part) for part in parents if not made_up.match(str(part))]
    if fault["type"] == "extra_forbidden" or not made_up.match(str(last)):
        path.append(str(last))
    key = ".".join(path)
    if fault["type"] == "extra_forbidden":
        allowed = sorted(_fields_at(section, path[:-1]))
        hint = nearest(path[-1], allowed)
        suggestion = f"; did you mean '{hint}'?" if hint else ""
        return f"unknown key '{key}'{suggestion} (allowed: {', '.join(allowed) or 'none'})"
    if fault["type"] == "missing":
        return f"'{key}' is missing"
    if fault["type"] in _MUST_BE:
        wanted = "must be " + _MUST_BE[fault["type"]].format(**fault.get("ctx", {}))
    else:
        wanted = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not fault["loc"]:
        return wanted
    return f"'{key}' is {shortened(fault['input'])}, but {wanted}"


def _fields_at(section: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = section.model_fields.get(part)
        section = _section_in(field.annotation) or section if field else section
    return list(section.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, be it optional or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _section_in(one))), None)


def _takes_bool(annotation: Any) -> bool:
    return annotation in (bool, Any, object) or any(map(_takes_bool, get_args(annotation)))
