"""Parsing of YAML values and of specs such as ``NAME:key=value,key=value``."""

import re
from collections.abc import Hashable, Mapping
from typing import Any

import yaml

from liere_cli.errors import UsageError


class _Loader(yaml.SafeLoader):
    """Reads plain values as YAML 1.2 does, in which numbers are decimal.

    YAML 1.1, PyYAML's, reads 010 as 8, 1:30 as 90, 2026-01-31 as a date and no as false; here 010
    is 10, and the others are text, which a field of numbers refuses. Duplicate keys (PyYAML keeps
    the last) and aliases, which can expand hugely, are refused.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*) are not supported", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key '{key.value}' appears twice", problem_mark=key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        return int(self.construct_scalar(node))


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+(_[0-9]+)*", list("-+0123456789")),
    (
        "float",
        r"[-+]?([0-9]+(_[0-9]+)*\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)"
        r"|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"({_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_decimal)


def load_yaml(text: str) -> Any:
    """A YAML value of plain types; raises yaml.YAMLError, ValueError or RecursionError."""
    return yaml.load(text, Loader=_Loader)


def parse_scalar(text: str) -> Any:
    """A flag's value, parsed as in a recipe; text that is not YAML is returned as it is."""
    try:
        return load_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def scalar_text(value: object) -> str:
    """A value as text that :func:`parse_scalar` reads back."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return "x".join(map(scalar_text, value))
    return str(value)


def parse_spec(text: str) -> dict[str, Any]:
    """``name:key=value,key=value`` as ``{"name": ..., key: value}``.

    A part without '=' is the path: ``text:notes/a.txt,grid=512``. The name of a class in a file
    includes a colon: ``my/file.py:Class:key=value`` has the name ``my/file.py:Class``. Raises
    UsageError for a part that is neither a setting nor the only path, or a duplicate key.
    """
    match = re.match(r"(.+?\.py:\w+|[^:]*)(?::(.*))?$", text, re.DOTALL)
    if match is None or not match[1].strip():
        raise UsageError(f"'{text}' has no name: expected NAME or NAME:key=value,key=value")
    spec: dict[str, Any] = {"name": match[1].strip()}
    for part in (match[2] or "").split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not part.strip():
            continue
        if not equals:
            key, value = "path", part.strip()
        if not key:
            raise UsageError(f"'{text}': '{part.strip()}' is not key=value")
        path, colon, option = key.rpartition(":")
        if equals and colon and re.fullmatch(r"\w+", option):
            raise UsageError(
                f"'{text}': options follow a comma: {match[1]}:{path},{option}={value}"
            )
        if equals and not re.fullmatch(r"[\w-]+(\.[\w-]+)?", key):
            raise UsageError(
                f"'{text}': '{key}' is not an option; a path with '=' goes into a recipe, or --set "
                "data.path=..."
            )
        if not equals and "path" in spec:
            raise UsageError(
                f"'{text}': '{part.strip()}' is not key=value; a path with a comma goes into a "
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
