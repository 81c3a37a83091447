"""Flags: repeated ones, paths that begin with '~', numbers that YAML 1.1 reads otherwise."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperOption
from typer.testing import CliRunner, Result

from liere_cli.cli.app import app
from liere_cli.cli.options import DEFAULT_OUTPUTS
from liere_cli.config.spec import load_yaml, parse_scalar
from liere_cli.data.registry import mirror
from liere_cli.errors import LiereError, UsageError
from liere_cli.utils import paths
from liere_cli.utils.paths import cache_root, expand, private_temporary_folder

TINY = [
    "--set=model.layers=1", "--set=model.dim=16", "--set=model.heads=2", "--set=training.batch=4",
    "--set=training.validations=1", "--budget=2steps",
]  # fmt: skip
VERSE = "The quick brown fox jumps over the lazy dog. " * 40
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def liere(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def refused(result: Result, *words: str) -> None:
    """The command ended with code 2 and one sentence that has all the words."""
    assert result.exit_code == 2, result.output
    sentence = result.stderr.strip()
    assert result.stdout == ""
    assert sentence.startswith("error: ")
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


def options(multiple: bool) -> list[tuple[str, str]]:
    """Command and name of every option with a value, that may be repeated or not."""
    return [
        (name, option.opts[0])
        for name, command in COMMANDS.items()
        for option in command.params
        if isinstance(option, TyperOption) and not option.is_flag and option.multiple is multiple
    ]


@pytest.mark.parametrize(("command", "option"), options(multiple=False))
def test_an_option_with_one_value_is_refused_when_it_is_given_twice(
    command: str, option: str
) -> None:
    refused(liere(command, option, "1", option, "2"), option, "2 times", f"{command} --help")


@pytest.mark.parametrize("flag", ["--data", "--encodings", "--baseline"])
def test_lists_may_be_one_flag_or_several(flag: str) -> None:
    assert ("compare", flag) in set(options(multiple=True))
    values = {"--data": ["stdlib", "motion"], "--encodings": ["rope-mixed", "none:scaling=unit"]}
    first, second = values.get(flag, ["rope-mixed", "none"])
    others = (
        ["--dry-run", "--encodings=rope-mixed,none"] if flag != "--encodings" else ["--dry-run"]
    )
    once = liere("compare", flag, f"{first},{second}", *others, "--data=motion", "--baseline=none")
    twice = liere("compare", flag, first, flag, second, *others, "--data=motion", "--baseline=none")
    assert once.stdout == twice.stdout
    refused(liere("compare", flag, first, flag, "grid=32", "--dry-run"), "'grid=32'", "option")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a text and a recipe; the working folder is another one."""
    folder, here = tmp_path / "home", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    (folder / "verse.txt").write_text(VERSE)
    (folder / "mine.yaml").write_text("data: text:~/verse.txt,grid=16\nencoding: none\n")
    (folder / "mine.py").write_text(
        "from liere_cli.encodings import EncodingOptions, PositionEncoding\n"
        "class Mine(PositionEncoding):\n"
        "    name, summary, source = 'mine', 'for a test', 'test'\n"
        "    Options = EncodingOptions\n"
    )
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(here)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--recipe=~/mine.yaml", "--out=~/runs", *TINY],
        [
            "train",
            "--data=text:~/verse.txt,grid=16",
            "--encoding=~/mine.py:Mine",
            "--out=~/runs",
            *TINY,
        ],
        ["train", "--recipe=~/mine.yaml", "--data-root=~/data", "--out=~/runs", *TINY],
        ["compare", "~/mine.yaml", "--dry-run", "--encodings=none", "--baseline=none"],
        ["compare", "~/runs/mine", "--out=~/runs"],
        ["eval", "~/runs/mine/*"],
        ["encodings", "rope", "--plot=~/rope.svg", "--out=~/runs"],
        ["data", "cifar100", "--data-root=~/data"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_every_flag_takes_a_path_in_the_home_folder(home: Path, arguments: list[str]) -> None:
    (home / "data").mkdir()
    if any("runs/mine" in argument for argument in arguments):
        assert liere("train", "--recipe=~/mine.yaml", "--out=~/runs", *TINY).exit_code == 0
        (folder,) = (home / "runs" / "mine").iterdir()
        arguments = [argument.replace("*", folder.name) for argument in arguments]
    result = liere(*arguments)
    assert result.exit_code == 0, result.output
    assert list(Path.cwd().iterdir()) == []
    if "--out=~/runs" in arguments and arguments[0] == "train":
        assert list((home / "runs").glob("*/*/summary.json"))


def test_folders_of_the_environment_may_begin_with_a_tilde(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "data").mkdir()
    for name in ("LIERE_DATA", "LIERE_CACHE"):
        monkeypatch.setenv(name, "~/data")
    assert mirror() == cache_root() == mirror(Path("~/data")) == home / "data"
    assert expand("~") == home
    assert expand(DEFAULT_OUTPUTS) == DEFAULT_OUTPUTS


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As a container's user without passwd entry: no home folder, and a temporary folder."""
    import pwd

    def nobody(user: object) -> None:
        raise KeyError(user)

    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "LIERE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("getpwuid", "getpwnam"):
        monkeypatch.setattr(pwd, name, nobody)
    monkeypatch.setattr(paths.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path


def test_without_a_home_folder_the_cache_is_a_private_temporary_folder(homeless: Path) -> None:
    assert cache_root() == homeless / f"liere-{os.getuid()}" / "cache"
    assert cache_root().parent.stat().st_mode & 0o777 == 0o700
    for path in ("~", "~/x", "~nobody/x"):
        with pytest.raises(UsageError, match="home folder"):
            expand(path)
    paths.provide_home()
    assert Path.home() == cache_root().parent
    with pytest.raises(UsageError, match="home folder"):
        expand("~/x")
    cache_root().parent.chmod(0o777)
    with pytest.raises(LiereError, match="another user can write"):
        private_temporary_folder()


NOBODY = """
import pwd, sys
def nobody(user):
    raise KeyError(user)
pwd.getpwuid = pwd.getpwnam = nobody
from liere_cli.cli import main
sys.argv = ["liere", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(
    ("arguments", "cache", "code", "words"),
    [
        (["train", "--data=text:verse.txt,grid=16", "--encoding=rope", *TINY], {}, 0, "rope on"),
        (["data", "cifar100"], {"LIERE_CACHE": "cache"}, 0, "cifar100"),
        (["train", "--out=~/x"], {}, 2, "home folder"),
    ],
    ids=["train", "LIERE_CACHE", "~"],
)
def test_the_command_line_works_without_a_home_folder(
    tmp_path: Path, arguments: list[str], cache: dict[str, str], code: int, words: str
) -> None:
    (tmp_path / "verse.txt").write_text(VERSE)
    (tmp_path / "tmp").mkdir()
    kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
    environment = {**kept, "TMPDIR": str(tmp_path / "tmp"), "OMP_NUM_THREADS": "1", **cache}
    done = subprocess.run(
        [sys.executable, "-c", NOBODY, *arguments],
        capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert words in done.stdout + done.stderr
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10), ("0100", 100), ("-010", -10), ("+7", 7), ("1_000", 1000), ("08", 8),
        ("1:30", "1:30"), ("190:20:30.15", "190:20:30.15"), ("0x10", "0x10"), ("0b11", "0b11"),
        ("0o7", "0o7"), ("2026-01-31", "2026-01-31"), ("no", "no"), ("on", "on"), ("y", "y"),
        ("1e-3", "1e-3"), ("1.5", 1.5), ("1.0e-05", 1e-5), ("true", True), ("null", None),
        ("~", None), ("", None), ("=", "="),
    ],
)  # fmt: skip
def test_values_are_read_as_decimal_numbers_or_text(text: str, value: object) -> None:
    assert parse_scalar(text) == value
    assert type(parse_scalar(text)) is type(value)
    if text:
        assert load_yaml(f"a: {text}\nb: [{text}]") == {"a": value, "b": [value]}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("images:{}:grid=32", ["comma", "images:{},grid=32"]),
        ("text:{}/verse.txt:grid=16", ["comma", "text:{}/verse.txt,grid=16"]),
        ("images:a=b", ["'a=b'", "neither a path nor an option", "--set data.path"]),
        ("images:{}/a=b", ["'{}/a' is not an option", "--set data.path"]),
        ("images:gird=32", ["'gird=32'", "grid"]),
    ],
)
def test_a_near_miss_of_a_data_spec_says_how_to_write_it(
    tmp_path: Path, spec: str, words: list[str]
) -> None:
    words = [word.format(tmp_path) for word in words]
    refused(liere("train", f"--data={spec.format(tmp_path)}"), *words)


@pytest.mark.parametrize("columns", ["1", "0", "5", "junk"])
def test_output_is_readable_however_narrow_the_terminal_says_it_is(columns: str) -> None:
    result = CliRunner().invoke(app, ["data"], env={"COLUMNS": columns})
    assert result.exit_code == 0
    assert {"stdlib", "bits_per_byte", "licence"} <= set(result.stdout.split())


@pytest.mark.parametrize(
    "flag", ["--seed={}", "--set=seed={}", "--set=training.batch={}", "--data=text:x,grid={}"]
)
@pytest.mark.parametrize("value", ["1:30", "0x1f", "0b11"])
def test_other_notations_of_numbers_are_refused_wherever_they_are_written(
    flag: str, value: str
) -> None:
    refused(liere("train", flag.format(value)), value)


def test_one_number_is_the_same_in_every_flag(home: Path) -> None:
    flags = ["train", "--data=text:~/verse.txt,grid=016", "--encoding=none", *TINY]
    names = set()
    for flag in ("--seed=010", "--set=seed=010", "--seed=10"):
        result = liere(*flags, flag)
        names |= {line for line in result.stdout.splitlines() if line.startswith("run:")}
        assert "seed 10" in result.stdout
    assert len(names) == 1
