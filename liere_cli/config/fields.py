"""Types of settings that several sections share."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from liere_cli.config.spec import parse_scalar, parse_spec


def _as_spec(value: object) -> object:
    return parse_spec(value) if isinstance(value, str) else value


def _has_name(spec: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(spec.get("name"), str):
        raise ValueError("must be a name, 'name:key=value', or a mapping with 'name'")
    return spec


def _as_ints(value: object) -> object:
    if isinstance(value, str):
        return [parse_scalar(part) for part in value.lower().split("x")]
    return [value] if isinstance(value, int) else value


Spec = Annotated[
    dict[str, Any],
    BeforeValidator(_as_spec, json_schema_input_type=str | dict[str, Any]),
    AfterValidator(_has_name),
]
_Ints = tuple[Annotated[int, Field(ge=1)], ...]
Extent = Annotated[_Ints, BeforeValidator(_as_ints, json_schema_input_type=int | str | _Ints)]
