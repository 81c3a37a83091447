"""Presets: one name for several options, such as those of a published code."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from liere_cli.config.section import added
from liere_cli.config.spec import scalar_text
from liere_cli.errors import unknown


@dataclass(frozen=True)
class Preset:
    """Where a setting comes from, and the options that it sets."""

    meaning: str
    options: Mapping[str, object]


def preset_field(presets: Mapping[str, Preset]) -> Any:
    """The option ``preset`` of an encoding. Validation replaces it with the options that it sets,
    so that both spellings have one identity.
    """
    meanings = "; ".join(
        f"{name} is {_settings(preset.options, ', ')}: {preset.meaning}"
        for name, preset in presets.items()
    )
    return added(None, description=f"other options by one name; {meanings}")


def with_preset_options(
    presets: Mapping[str, Preset], values: Mapping[str, object]
) -> dict[str, object]:
    """Options as given, ``preset`` replaced with those that it sets; ValueError for an unknown
    preset, or an option that is given another value too.
    """
    given = dict(values)
    name = given.pop("preset", None)
    if name is None:
        return given
    if str(name) not in presets:
        raise ValueError(str(unknown("preset", str(name), presets)))
    options = presets[str(name)].options
    for key, value in options.items():
        if key in given and given[key] != value:
            raise ValueError(
                f"preset={name} sets {_settings({key: value})}, but {_settings({key: given[key]})} "
                "is given too: leave one of the two out"
            )
    return given | dict(options)


def shortest(
    presets: Mapping[str, Preset], options: Mapping[str, object], changed: set[str]
) -> str:
    """The shortest ``key=value,...``, with or without a preset, that sets all these options, of
    which those in ``changed`` differ from their defaults.
    """
    spellings = [_settings({key: options[key] for key in options if key in changed})]
    for name, preset in presets.items():
        if all(options[key] == value for key, value in preset.options.items()):
            rest = {key: options[key] for key in options if key in changed - set(preset.options)}
            spellings.append(_settings({"preset": name, **rest}))
    return min(spellings, key=len)


def _settings(options: Mapping[str, object], separator: str = ",") -> str:
    return separator.join(f"{key}={scalar_text(value)}" for key, value in options.items())
