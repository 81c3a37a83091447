"""Files and names from others are data: they run nothing, fill nothing and drive no terminal."""

import csv
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard
from safetensors.numpy import save
from typer.testing import CliRunner, Result

from liere_cli.cli.app import app
from liere_cli.config.files import load_recipe
from liere_cli.data import build_dataset
from liere_cli.data.sources import archives
from liere_cli.data.sources.archives import extract_into, read_bytes
from liere_cli.encodings.registry import _class_in_file
from liere_cli.errors import LiereError
from liere_cli.runs.build import RunSpec, assemble
from liere_cli.runs.item_results import FILE, item_results
from liere_cli.utils.files import parse_json, seal
from support.synthetic_runs import TINY, write_run

CPU = torch.device("cpu")
CONTROL = "\x1b[2J\x9b1m\u202e"
SETTINGS = [f"--set=model.{key}={value}" for key, value in TINY.items()]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    _class_in_file.cache_clear()  # each test has a mine.py of its own
    return tmp_path


def liere(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def refused(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    assert len(result.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in result.stderr


def run_spec_of(name: str = "verse.txt", seed: int = 0, encoding: str = "rope") -> RunSpec:
    if not Path(name).exists():
        Path(name).write_text("The quick brown fox jumps over the lazy dog. " * 40)
    flags = {
        "encoding": encoding,
        "data": {"name": "text", "path": name, "grid": 16},
        "model": TINY,
        "training": {"batch": 4, "budget": "4steps"},
        "seed": seed,
    }
    return assemble(load_recipe(flags=flags), device=CPU)


@pytest.mark.parametrize("name", [f"=1+1{CONTROL}", "\uff20SUM(1)", "[link=x]<b>&amp;[!link]|`$x$"])
def test_a_files_name_is_shown_and_does_nothing(here: Path, name: str) -> None:
    out = here / "out"
    for seed in (0, 1):
        for encoding in ("rope", "none"):
            write_run(run_spec_of(f"{name}.txt", seed, encoding), out)
    folder = next(out.iterdir())
    assert [path.name for path in out.iterdir()] == ["text"]
    for form in ("table", "markdown", "csv", "latex", "json"):
        shown = liere("compare", str(folder), f"--format={form}")
        assert shown.exit_code == 0, shown.output
        text = shown.stdout
        assert all(char.isprintable() for char in text.replace("\n", ""))
        if form == "csv":
            run_specs = [run_spec for row in csv.reader(io.StringIO(text)) for run_spec in row]
            assert not [
                run_spec
                for run_spec in run_specs
                if run_spec.startswith(("=", "@", "\uff1d", "\uff20"))
            ]
        if form == "json":
            assert json.loads(text)["tables"][0]["data"] == name
        if form == "markdown":
            tables, _, code = text.rpartition("\n\n`")
            assert "<b>" not in tables
            assert code.count("`") == 1
    trained = liere(
        "train", f"--recipe={folder / sorted(folder.iterdir())[0].name / 'recipe.yaml'}",
        f"--out={out}",
    )  # fmt: skip
    assert trained.exit_code == 0, trained.output
    assert all(char.isprintable() for char in trained.output.replace("\n", ""))
    if "link" in name:
        assert name in trained.stdout.replace("\n", "")


@pytest.mark.parametrize("name", ["..", "../x", "/tmp/x", ".hidden", "a/b", "x\x00", "x\n"])
def test_no_experiment_leads_out_of_the_outputs_folder(here: Path, name: str) -> None:
    result = liere("train", f"--set=experiment={json.dumps(name)}", *SETTINGS, "--budget=1steps")
    refused(result, 2, "experiment")
    assert not list(here.iterdir())


LAUGHS = ", ".join(
    f"x{n}: &x{n} [{', '.join([f'*x{n - 1}' if n else 'ha'] * 9)}]" for n in range(9)
)


@pytest.mark.parametrize("value", [f"{{{LAUGHS}}}", "0x" + "f" * 9000, "[" * 9000, "9" * 9000])
def test_a_flags_value_unfolds_to_nothing_huge(value: str) -> None:
    for key in ("data", "seed", "compare.tuning.grid"):
        refused(liere("train", f"--set={key}={value}"), 2)


@pytest.mark.parametrize("flag", ["--budget", "--encoding", "--data", "--set=experiment"])
def test_text_that_is_no_utf8_is_refused(flag: str) -> None:
    refused(liere("train", f"{flag}=\udce9"), 2)


@pytest.mark.parametrize(
    "text", ["1e999", "-1e999", "NaN", "[" * 90_000, "9" * 9000, '{"a": 1e400}', "1" + "0" * 400]
)
def test_json_holds_finite_numbers_alone(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|deep|digits"):
        parse_json(text)


@pytest.fixture
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES_ANYWAY", 1 << 20)


def zipped(content: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", content)
    return target.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
    ".zip": zipped,
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_bomb_is_not_unpacked(here: Path, smaller: None, suffix: str) -> None:
    path = here / f"bomb.txt{suffix}"
    path.write_bytes(PACKERS[suffix](bytes(20 << 20)))
    with pytest.raises(LiereError, match=r"bomb.txt.* unpacks to more than"):
        read_bytes(path)
    refused(liere("train", f"--data=text:{path.name}", *SETTINGS), 1, "bomb.txt", "unpacks to more")
    path.write_bytes(PACKERS[suffix](bytes(1 << 20)))
    assert len(read_bytes(path)) == 1 << 20


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> Path:
    path = Path("evil.tgz")
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, size
        archive.addfile(info, io.BytesIO(bytes(size)))
    return path


@pytest.mark.parametrize(
    ("name", "kind", "link", "size"),
    [
        ("/absolute", tarfile.REGTYPE, "", 1),
        ("link", tarfile.SYMTYPE, "/etc", 0),
        ("link", tarfile.SYMTYPE, "../..", 0),
        ("link", tarfile.LNKTYPE, "../../secret", 0),
        ("pipe", tarfile.FIFOTYPE, "", 0),
        ("device", tarfile.CHRTYPE, "", 0),
        ("bomb", tarfile.REGTYPE, "", 3 << 20),
    ],
)
def test_a_tar_archive_writes_files_inside_and_nothing_else(
    here: Path, smaller: None, name: str, kind: bytes, link: str, size: int
) -> None:
    (here / "inner").mkdir()
    archive = member(name, kind, link, size)
    if name == "/absolute":  # the leading slash is dropped
        extract_into(archive, here / "inner" / "target")
        assert [path.name for path in (here / "inner" / "target").iterdir()] == ["absolute"]
    else:
        with pytest.raises(LiereError, match="evil"):
            extract_into(archive, here / "inner" / "target")
        assert not list((here / "inner").iterdir())
    assert sorted(path.name for path in here.iterdir()) == ["evil.tgz", "inner"]


@pytest.mark.parametrize("shape", ["(10, 99999999999999)", "(9" + "9" * 30 + ",)", "(-1,)"])
def test_an_array_whose_header_lies(here: Path, shape: str) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"few"
    with zipfile.ZipFile("lies.npz", "w") as archive:
        for name in ("x.npy", "y.npy"):
            archive.writestr(name, content)
    with pytest.raises(LiereError, match=r"lies.npz is broken"):
        build_dataset("array:lies.npz")
    refused(liere("train", "--data=array:lies.npz", *SETTINGS), 1, "lies.npz is broken")


def test_an_array_of_python_objects_is_not_unpickled(here: Path) -> None:
    np.savez("objects.npz", x=np.array([{"a": 1}], dtype=object), y=np.zeros(1, int))
    refused(liere("train", "--data=array:objects.npz"), 1, "it contains Python objects")


def lying(shape: list[int], end: int, size: int) -> bytes:
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}
    header = json.dumps({"loss": entry}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


GOOD = {
    "loss": np.ones(3, np.float32), "weight": np.ones(3, np.int32), "group": np.arange(3),
}  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        b"",
        struct.pack("<Q", 1 << 62),
        struct.pack("<Q", 99_000_000) + b"{}",
        lying([1 << 40], 1 << 42, 8),
        lying([1 << 40, 0], 0, 0),
        lying([2], 4, 8),
        lying([-2], 8, 8),
        save(GOOD | {"group": np.zeros((3, 1), np.int64)}),
        save(GOOD | {"group": np.full(3, np.nan)}),
        save(GOOD | {"weight": np.array([1, 0, 1], np.int32)}),
        save(GOOD | {"weight": np.full(3, np.inf)}),
        save(GOOD | {"loss": np.full(3, np.inf, np.float32)}),
        save(GOOD | {"loss": np.ones(4, np.float32)}),
        save({"loss": np.ones(3, np.float32)}),
        b"\x80\x04\x95cos\nsystem\n",
    ],
)
def test_results_per_item_whose_file_lies(here: Path, content: bytes) -> None:
    run = write_run(run_spec_of(), here / "out")
    run.path(FILE).write_bytes(save(GOOD))
    assert item_results(run, "bits_per_byte") is not None
    run.path(FILE).write_bytes(content)
    assert item_results(run, "bits_per_byte") is None


MINE = """
from pathlib import Path
from liere_cli.encodings import EncodingOptions, PositionEncoding

Path("it-was-run").touch()

class Mine(PositionEncoding):
    name, summary, source = "mine", "for a test", "test"
    Options = EncodingOptions
"""


@pytest.mark.parametrize(
    "recipe",
    [
        "encoding: mine.py:Mine",
        "encoding: {name: 'mine.py:Mine'}",
        "compare: {encodings: [rope, 'mine.py:Mine']}",
        "compare: {baseline: 'mine.py:Mine'}",
        "compare: {data: [{data: pointing, encodings: ['mine.py:Mine']}]}",
        "compare: {interaction: {floor: 'mine.py:Mine'}}",
    ],
)
def test_a_recipe_runs_no_code_that_no_flag_names(here: Path, recipe: str) -> None:
    (here / "mine.py").write_text(MINE)
    (here / "theirs.yaml").write_text(recipe)
    commands = [["train", "--recipe=theirs.yaml", "--data=pointing"]]
    commands.append(["compare", "theirs.yaml", "--dry-run"])
    for command in commands:
        refused(liere(*command, *SETTINGS), 2, "theirs.yaml", "mine.py", "name it in a flag")
    assert not (here / "it-was-run").exists()
    named = liere(
        "compare", "theirs.yaml", "--encodings=mine.py:Mine,axial", "--data=pointing", "--dry-run",
        *SETTINGS,
    )  # fmt: skip
    assert named.exit_code == 0, named.output
    assert (here / "it-was-run").exists()


def test_a_run_is_read_without_its_code_and_measured_with_it(here: Path) -> None:
    (here / "mine.py").write_text(MINE)
    run_spec_of()
    made = liere(
        "train", "--encoding=mine.py:Mine", "--data=text:verse.txt,grid=16", "--budget=2steps",
        "--set=training.batch=2", *SETTINGS, "--json",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    folder = json.loads(made.stdout)["folder"]
    (here / "it-was-run").unlink()
    assert liere("compare", folder).exit_code == 0
    refused(liere("eval", folder), 2, "mine.py", "--encoding mine.py:Mine")
    assert not (here / "it-was-run").exists()
    (here / "elsewhere").mkdir()
    (here / "mine.py").rename(here / "elsewhere" / "same.py")
    measured = liere("eval", folder, "--encoding=elsewhere/same.py:Mine", "--json")
    assert measured.exit_code == 0, measured.output
    _class_in_file.cache_clear()
    (here / "elsewhere" / "same.py").write_text(MINE + "# edited")
    edited = liere("eval", folder, "--encoding=elsewhere/same.py:Mine")
    refused(edited, 1, "the code", "has changed since")


def test_a_sealed_summary_from_anybody_drives_no_terminal(here: Path) -> None:
    run = write_run(run_spec_of(), here / "out")
    summary = json.loads(run.path("summary.json").read_text())
    summary |= {"encoding": f"[bold]{CONTROL}", "throughput_unit": "[/x]\ud800", "error": "[/]"}
    for status in ("finished", "diverged", f"{CONTROL}[/red]"):
        summary["status"] = status
        summary["sha256"] = seal(summary, "sha256")
        run.path("summary.json").write_text(json.dumps(summary))
        for flags in ([], ["--json"]):
            shown = liere(
                "train", f"--recipe={run.path('recipe.yaml')}", f"--out={here / 'out'}", *flags
            )
            assert shown.exception is None or isinstance(shown.exception, SystemExit)
            assert all(char.isprintable() for char in shown.output.replace("\n", ""))
