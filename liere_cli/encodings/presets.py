"""Presets: one name for options that belong together, such as those of a published code."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from liere_cli.config.section import added
from liere_cli.config.spec import scalar_text
from liere_cli.errors import unknown


@dataclass(frozen=True)
class Preset:
    """Options that a name stands for.

    Args:
        meaning: whose setting it is.
        options: by key.
    """

    meaning: str
    options: Mapping[str, Any]


def preset_field(presets: Mapping[str, Preset]) -> Any:
    """The option ``preset`` of an encoding that has these; once read it is null again, and the
    options that it stands for have their values, so that both spellings are one run.
    """
    told = "; ".join(
        f"{name} is {_spelled(preset.options, ', ')}: {preset.meaning}"
        for name, preset in presets.items()
    )
    return added(None, description=f"other options by one name; {told}")


def spelled_out(presets: Mapping[str, Preset], values: Mapping[str, Any]) -> dict[str, Any]:
    """Options as given, with those that their preset stands for in its place.

    Raises:
        ValueError: no such preset, or it stands for another value of an option that is given too.
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
                f"preset={name} stands for {_spelled({key: value})}, but "
                f"{_spelled({key: given[key]})} is given too: leave one of the two out"
            )
    return given | dict(options)


def shortest(presets: Mapping[str, Preset], options: Mapping[str, Any], changed: set[str]) -> str:
    """Options as a spec has them, by a preset's name where that is shorter.

    Args:
        options: all of them.
        changed: keys of those that differ from their defaults.
    """
    spellings = [_spelled({key: options[key] for key in options if key in changed})]
    for name, preset in presets.items():
        if all(options[key] == value for key, value in preset.options.items()):
            rest = {key: options[key] for key in options if key in changed - set(preset.options)}
            spellings.append(_spelled({"preset": name, **rest}))
    return min(spellings, key=len)


def _spelled(options: Mapping[str, Any], between: str = ",") -> str:
    return between.join(f"{key}={scalar_text(value)}" for key, value in options.items())
