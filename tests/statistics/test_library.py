"""The statistics are a library: no module imports another package of liere."""

import ast
from pathlib import Path

import liere_cli.statistics

MODULES = sorted(Path(liere_cli.statistics.__path__[0]).glob("*.py"))


def test_statistics_import_nothing_else_of_the_package() -> None:
    imports = {
        node.module or ""
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
    }
    own = {name for name in imports if name.startswith("liere_cli")}
    assert own
    assert all(name.startswith("liere_cli.statistics") for name in own)
