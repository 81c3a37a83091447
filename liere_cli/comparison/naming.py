"""What an arm of a comparison is called."""

from collections.abc import Mapping, Sequence
from typing import Any

_BY_AXES = {1: "text", 2: "images", 3: "video"}
MODALITIES = tuple(_BY_AXES.values())


def modality(dataset: str, axes: int) -> str:
    """``text``, ``images`` or ``video``; arrays of a user's own are named by their axes."""
    if dataset == "array" or axes not in _BY_AXES:
        return f"{axes}D"
    return _BY_AXES[axes]


def is_called(kind: str, label: str, name: str) -> bool:
    """Whether a name means the data set of that modality and label: ``text``, ``enwik8``."""
    return name in (kind, label, label.partition(":")[0])


def arm_titles(labels: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Titles that tell arms apart: the data's label and, where two share it, what differs.

    Args:
        labels: of each arm's data set.
        settings: of each arm; nested sections become ``section.key``.
    """
    flat = [_flatten(values) for values in settings]
    titles = []
    for index, name in enumerate(labels):
        rivals = [flat[other] for other, label in enumerate(labels) if label == name]
        differing = [
            key
            for key in flat[index]
            if any(rival.get(key) != flat[index][key] for rival in rivals)
        ]
        detail = ", ".join(f"{key}={flat[index][key]}" for key in differing)
        titles.append(f"{name} ({detail})" if detail else name)
    return titles


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
