"""The flag ``--encoding``, and the cases that each test runs on."""

from collections.abc import Iterator
from typing import get_args

import pytest
import torch

from liere_cli.conformance.cases import Kind, cases
from liere_cli.errors import LiereError

GENERATED = ("pointing:train=40,val=20,test=20", "motion:noise=20,train=40,val=20,test=20")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--encoding",
        action="append",
        default=[],
        metavar="SPEC",
        help="test this position encoding, NAME or path/to/file.py:Class, with options as "
        "NAME:key=value; repeatable; default: all registered encodings",
    )

    parser.addoption(
        "--data",
        action="append",
        default=[],
        metavar="SPEC",
        help="test this data set, NAME or path/to/file.py:Class, with options as NAME:key=value; "
        "repeatable; default: generated ones; without --encoding no encoding is tested then",
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
    if "data_spec" in metafunc.fixturenames:
        metafunc.parametrize("data_spec", chosen_data(metafunc.config))
    for kind in get_args(Kind):
        if kind in metafunc.fixturenames:
            selected = cases(chosen(metafunc.config), kind)
            metafunc.parametrize(kind, selected, ids=[case.id for case in selected])


def chosen(config: pytest.Config) -> list[str]:
    """The specs of ``--encoding``, a flag that runs of other folders do not have."""
    specs: list[str] = config.getoption("--encoding", default=[])
    return specs


def chosen_data(config: pytest.Config) -> list[str]:
    """The specs of ``--data``; generated data sets where neither flag is given."""
    specs: list[str] = config.getoption("--data", default=[])
    return specs or ([] if chosen(config) else list(GENERATED))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With one of the flags alone, only what it names is tested."""
    encodings, data = bool(chosen(config)), bool(config.getoption("--data", default=[]))
    if encodings != data:
        items[:] = [
            item for item in items if ("data_spec" in getattr(item, "fixturenames", ())) == data
        ]


@pytest.fixture(autouse=True)
def _isolated_random_state() -> Iterator[None]:
    """Seeds torch's global generator for each case, and restores it."""
    before = torch.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.set_rng_state(before)
