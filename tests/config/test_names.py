"""Names are known without imports, and those of the other kind are explained."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from liere_cli.cli.app import app
from liere_cli.config.names import Kind, check_name, names_of
from liere_cli.data import available as datasets
from liere_cli.encodings import available as encodings
from liere_cli.errors import UsageError


def test_the_names_in_the_source_are_those_of_the_registries() -> None:
    assert names_of("encoding") == set(encodings())
    assert names_of("data set") == set(datasets())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "cifar10"], ["'cifar10' is a data set", "did you mean --data cifar10?"]),
        (["compare", "images:DIR"], ["a data set", "--data images:DIR?"]),
        (["compare", "rope,liere"], ["an encoding", "--encodings rope,liere?"]),
        (["train", "--recipe=motion"], ["a data set", "--data motion?"]),
        (["train", "--recipe=rope"], ["an encoding", "--encoding rope?"]),
        (["train", "--data=rope"], ["'rope' is an encoding, not a data set"]),
        (["train", "--encoding=motion"], ["'motion' is a data set, not an encoding"]),
        (["compare", "--data=stdlib,moton"], ["unknown data set 'moton'", "'motion'"]),
        (["compare", "--encodings=rope,lire"], ["unknown encoding 'lire'", "'liere'"]),
        (["compare", "--baseline=lire"], ["unknown encoding 'lire'", "'liere'"]),
        (["compare", "--set=encoding=lire"], ["unknown encoding 'lire'", "'liere'"]),
        (["encodings", "stdlib"], ["'stdlib' is a data set"]),
        (["data", "liere"], ["'liere' is an encoding"]),
    ],
)
def test_a_wrong_name_is_one_sentence_that_names_the_right_one(
    arguments: list[str], words: list[str]
) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "\n" not in result.stderr.strip()
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["train", "--encoding=lire"], ["train", "--data=moton"], ["compare", "--encodings=lire,rope"]],
)
def test_a_wrong_name_is_refused_before_torch_is_imported(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom liere_cli.cli.app import app\n"
        f"try:\n    app({arguments!r})\nexcept SystemExit as done:\n    code = done.code\n"
        "print(code, {'torch', 'datasets', 'scipy'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "2 set()\n", done.stderr


@pytest.mark.parametrize("kind", ["encoding", "data set"])
def test_every_name_passes(kind: Kind) -> None:
    for name in names_of(kind):
        check_name(kind, name)
    check_name(kind, "mine.py:Mine")
    with pytest.raises(UsageError, match="allowed"):
        check_name(kind, "nosuch")
