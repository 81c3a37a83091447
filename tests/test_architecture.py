"""The packages as docs/architecture.md lists them, the direction between them, and their sizes."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "liere_cli"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_FILES = 400, 80, 14
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))


def rows() -> list[list[str]]:
    """The names in the first column of each row of the table, from top to bottom."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    cells = re.findall(r"^\| (`.*?) \|", text, re.M)
    return [re.findall(r"`([a-z_]+)(?:\.py|/)`", cell) for cell in cells]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports(path: Path, *, at_run_time: bool = False) -> Iterator[str]:
    """Modules of the package that a file imports, inside functions too.

    Args:
        at_run_time: without those that only a type checker imports.
    """
    tree = ast.parse(path.read_text())
    unused: set[ast.AST] = set()
    for node in ast.walk(tree):
        if at_run_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            unused |= set(ast.walk(node))
    for node in ast.walk(tree):
        if node in unused:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def unit_of(module: str) -> str:
    """The package or file right below ``liere_cli``."""
    return module.split(".")[1] if "." in module else ""


def test_every_package_is_listed() -> None:
    names = {path.name.removesuffix(".py") for path in PACKAGE.iterdir()}
    listed = [name for row in rows() for name in row]
    assert {name for name in names if name[0] not in "_."} - {"py.typed"} == set(listed)
    assert len(listed) == len(set(listed))


@each_file
def test_packages_import_downwards_only(path: Path) -> None:
    level = {name: number for number, row in enumerate(rows()) for name in row}
    unit = unit_of(module_of(path))
    if unit not in level:  # the package's own face and its __main__ are above all
        return
    imported = {unit_of(module) for module in imports(path) if module.startswith("liere_cli.")}
    assert not {name for name in imported - {unit} if level[name] < level[unit]}


def test_no_modules_import_each_other_in_a_cycle() -> None:
    graph = {
        module: {name for name in imports(path, at_run_time=True) if name in MODULES} - {module}
        for module, path in MODULES.items()
        if path.name != "__init__.py"
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@each_file
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    }
    assert not {name: lines for name, lines in long.items() if lines > MAX_FUNCTION_LINES}


def test_no_package_has_many_files_at_one_level() -> None:
    counts: dict[Path, int] = {}
    for path in PACKAGE.rglob("*"):
        if path.suffix in (".py", ".c", ".h") and path.name != "__init__.py":
            counts[path.parent] = counts.get(path.parent, 0) + 1
    assert not {folder.name: count for folder, count in counts.items() if count > MAX_FILES}
