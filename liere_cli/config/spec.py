"""YAML scalars and ``NAME:key=value,...`` specs, read the same way everywhere."""

import re
from collections.abc import Hashable, Mapping
from typing import Any

import yaml

from liere_cli.errors import UsageError


class _Loader(yaml.SafeLoader):
    """Refuses what settings never need: two equal keys, of which PyYAML keeps the last in silence,
    and aliases, by which a small file unfolds into a huge one.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*) are not used here", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key '{key.value}' stands twice", problem_mark=key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_yaml(text: str) -> Any:
    """A YAML value of plain types, without aliases or equal keys.

    Raises:
        yaml.YAMLError, ValueError, RecursionError: the text is no such value.
    """
    return yaml.load(text, Loader=_Loader)


def parse_scalar(text: str) -> Any:
    """A flag's value read as YAML would read it; text that is no YAML stays text."""
    try:
        return load_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError):
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
        if not key:
            raise UsageError(f"'{text}': '{part.strip()}' is no key=value")
        if not equals and "path" in spec:
            raise UsageError(
                f"'{text}': '{part.strip()}' is no key=value; a path with a comma goes into a "
                "recipe, or --set data.path=..."
            )
        if key in spec:
            raise UsageError(f"'{text}': '{key}' is given twice")
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
