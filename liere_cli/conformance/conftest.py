"""The flag ``--encoding``, and the cases that each test runs on."""

from collections.abc import Iterator
from typing import get_args

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
        "NAME:key=value; repeatable; default: all registered encodings",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Raises UsageError before any test if an encoding can't be tested."""
    for spec in chosen(config):
        try:
            served = cases([spec])
        except LiereError as error:
            raise pytest.UsageError(str(error)) from None
        if not served:
            raise pytest.UsageError(f"--encoding {spec}: it serves none of 1, 2 and 3 axes")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test with a parameter ``plain``, ``whole`` or ``case`` on all cases of that kind."""
    for kind in get_args(Kind):
        if kind in metafunc.fixturenames:
            selected = cases(chosen(metafunc.config), kind)
            metafunc.parametrize(kind, selected, ids=[case.id for case in selected])


def chosen(config: pytest.Config) -> list[str]:
    """The specs of ``--encoding``, a flag that runs of other folders do not have."""
    specs: list[str] = config.getoption("--encoding", default=[])
    return specs


@pytest.fixture(autouse=True)
def _isolated_random_state() -> Iterator[None]:
    """Seeds torch's global generator for each case, and restores it."""
    before = torch.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.set_rng_state(before)
