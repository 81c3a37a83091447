"""The rooms of the house, as docs/architecture.md lists them, and the direction between them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "liere_cli"


def rooms() -> list[list[str]]:
    """The names in the first column of each row of the table, in order."""
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "architecture.md").read_text(), re.M)
    return [re.findall(r"`([a-z_]+)(?:\.py|/)`", row) for row in rows]


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports() -> Iterator[tuple[str, str]]:
    """Every room and what it imports from another one, inside functions too."""
    for path in sorted(PACKAGE.rglob("*.py")):
        here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in modules:
                if module.startswith("liere_cli.") and room_of(module) != here:
                    yield here, room_of(module)


def test_every_room_is_listed() -> None:
    names = {path.name.removesuffix(".py") for path in PACKAGE.iterdir()}
    there = {name for name in names if name[0] not in "_."}
    listed = [name for row in rooms() for name in row]
    assert there - {"py.typed"} == set(listed)
    assert len(listed) == len(set(listed))


def test_no_package_imports_one_above_it() -> None:
    level = {name: number for number, row in enumerate(rooms()) for name in row}
    last = len(level)
    wrong = {pair for pair in imports() if level.get(pair[1], last) < level.get(pair[0], 0)}
    assert not wrong
