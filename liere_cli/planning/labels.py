"""What the data sets and encodings of a comparison are called."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from liere_cli.utils.nested import flattened

_BY_AXES = {1: "text", 2: "images", 3: "video"}
MODALITIES = tuple(_BY_AXES.values())


def modality(dataset: str, axes: int) -> str:
    """``text``, ``images`` or ``video``; arrays and volumes are named by their axes."""
    if dataset in ("array", "volumes") or axes not in _BY_AXES:
        return f"{axes}D"
    return _BY_AXES[axes]


def is_called(kind: str, label: str, name: str) -> bool:
    """Whether a name means the data set of that modality and label: ``text``, ``enwik8``."""
    return name in (kind, label, label.partition(":")[0])


def place_of(name: str) -> str:
    """An encoding's name where two ways to write one file's path are equal."""
    return os.path.abspath(name) if ".py:" in name else name


def unambiguous(encodings: Sequence[tuple[str, str]]) -> list[str]:
    """Labels of encodings, given their names and labels; one that several share gets its file."""
    names: dict[str, set[str]] = {}
    for name, label in encodings:
        names.setdefault(label, set()).add(place_of(name))
    return [
        f"{name.rpartition(':')[0]}:{label}" if len(names[label]) > 1 and ":" in name else label
        for name, label in encodings
    ]


def setting_text(key: str, value: Any) -> str:
    """``key=value`` as recipes write it: ``model.window=null``."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}".replace('"', "")


def dataset_titles(labels: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Distinct titles: the data's label and, where data sets share it, the settings that differ.

    ``settings`` are those of each data set; nested sections become ``section.key``.
    """
    named = list(zip(labels, map(flattened, settings), strict=True))
    titles = []
    for name, values in named:
        rivals = [others for label, others in named if label == name]
        detail = ", ".join(
            setting_text(key, value)
            for key, value in values.items()
            if any(others.get(key) != value for others in rivals)
        )
        titles.append(f"{name} ({detail})" if detail else name)
    return titles
