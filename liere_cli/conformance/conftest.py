"""The flag ``--encoding``, and which tests run on which cases."""

from typing import Any, get_args

import pytest
import torch

from liere_cli.conformance.cases import Kind, cases
from liere_cli.errors import LiereError


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--encoding",
        action="append",
        default=[],
        metavar="SPEC",
        help="test this position encoding, NAME or path/to/file.py:Class, with options as "
        "NAME:key=value; repeatable; default: all that are registered",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Raises UsageError, before any test, for an encoding that can't be tested."""
    for spec in chosen(config):
        try:
            found = cases([spec])
        except LiereError as error:
            raise pytest.UsageError(str(error)) from None
        if not found:
            raise pytest.UsageError(f"--encoding {spec}: it serves none of 1, 2 and 3 axes")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for ``plain``, ``whole`` or ``case`` runs on all cases of that kind."""
    for kind in get_args(Kind):
        if kind in metafunc.fixturenames:
            found = cases(chosen(metafunc.config), kind)
            metafunc.parametrize(kind, found, ids=[case.id for case in found])


def chosen(config: pytest.Config) -> list[str]:
    """What ``--encoding`` names. pytest knows the flag where this folder is named on its command
    line, and not where it only comes by.
    """
    specs: list[str] = config.getoption("--encoding", default=[])
    return specs


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> Any:
    """Cases do not depend on those before, nor leave anything behind in torch's global state."""
    before = torch.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.set_rng_state(before)
