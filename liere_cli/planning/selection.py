"""Choosing runs by what they are: the filters of ``liere runs`` and of finished comparisons."""

from collections.abc import Iterable

from liere_cli.config.spec import format_spec, parse_spec
from liere_cli.errors import unknown
from liere_cli.planning.overrides import split_specs


def labels_named(what: str, flag: str, labels: Iterable[str]) -> set[str]:
    """The labels of encodings or data sets that a flag names.

    Args:
        what: ``encoding`` or ``data set``, for the error message.
        flag: as ``liere:block=8,rope``; a bare name means the label that equals it, else every
            label of that name, whatever its options.

    Raises UsageError if a name has no label.
    """
    available = sorted(set(labels))
    chosen: set[str] = set()
    for spec in split_specs(flag):
        name = format_spec(parse_spec(spec))
        alike = [label for label in available if _same_name(label, name)]
        matches = [name] if name in available else alike
        if not matches:
            raise unknown(what, name, {*available, *map(_name, available)})
        chosen |= set(matches)
    return chosen


def _same_name(label: str, name: str) -> bool:
    return _name(label) == name


def _name(label: str) -> str:
    return label.partition(":")[0]
