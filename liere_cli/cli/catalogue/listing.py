"""How options are listed, of encodings and of data sets alike."""

from typing import Any

#: columns of a terminal below which rows of a table become blocks of lines
NARROW = 70


def option_rows(section: type[Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": key,
            "default": None
            if field.is_required()
            else field.get_default(call_default_factory=True),
            "required": field.is_required(),
            "meaning": field.description or "",
        }
        for key, field in section.model_fields.items()
    ]


def option_text(value: Any) -> str:
    """An option's value as a spec has it: ``8x64x64``, ``0.8/0.1/0.1``, ``true``."""
    from liere_cli.config.spec import scalar_text

    if isinstance(value, tuple) and any(isinstance(part, float) for part in value):
        return "/".join(map(str, value))
    return scalar_text(value)
