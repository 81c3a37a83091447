"""A process that is killed while it builds the cache: the next goes on, or begins again, with the
bits of a build that nothing interrupted, and leaves nothing behind.
"""

import hashlib
import lzma
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.image_files import image

pytestmark = pytest.mark.stress

#: kills itself at the given call of a function that builds call for each part
CODE = """
import hashlib, importlib, os, signal, sys
spec, target, fatal = sys.argv[1], sys.argv[2], int(sys.argv[3])
from liere_cli.data import build_dataset
from liere_cli.data import images, text
from liere_cli.data.sources.folders import source
from liere_cli.data.sources.items import build
from liere_cli.data.tokens import encode

text._SAMPLE, encode._PART, encode._PARTS, source._PART, build._CHUNK = 1000, 1000, 1, 8, 5
calls = 0
module, name = target.split(":")
owner = importlib.import_module(module)
original = getattr(owner, name)

def until(*args, **options):
    global calls
    calls += 1
    if calls == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **options)

setattr(owner, name, until)
dataset = build_dataset(spec)
train = dataset.load("train")
content = train.data if hasattr(train, "data") else train.inputs
print(dataset.fingerprint, hashlib.sha256(content.numpy().tobytes()).hexdigest(), calls)
"""
#: a data set, a function, the call of it that kills, and the calls that are not repeated then
SITES = {
    "unpacking": ("text:{root}/a.txt.xz", "numpy:ascontiguousarray", 5, 0),
    "encoding": ("text:{root}/a.txt,separator=line ", "liere_cli.data.tokens.encode:_encode", 5, 4),
    "scanning": (
        "images:{root}/images,grid=8,cache=full",
        "liere_cli.data.images:decoding_of",
        29,
        24,
    ),
    "decoding": (
        "images:{root}/images,grid=8,cache=full",
        "liere_cli.data.images:decode_image",
        30,
        25,
    ),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    lines = "".join(f"line {n} {hashlib.sha256(bytes([n])).hexdigest()}\n" for n in range(250))
    (root / "a.txt").write_text(lines)
    (root / "a.txt.xz").write_bytes(lzma.compress(lines.encode()))
    for label in ("a", "b"):
        (root / "images" / label).mkdir(parents=True)
        for number in range(30):
            path = root / "images" / label / f"{number}.png"
            path.write_bytes(image(number + 100 * (label == "b")))
    return root


@pytest.mark.parametrize("site", SITES)
def test_the_build_after_a_killed_one_has_the_same_bits(
    site: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, target, fatal, saved = SITES[site]

    def build(cache: Path, fatal: int) -> list[str]:
        monkeypatch.setenv("LIERE_CACHE", str(cache))
        command = [sys.executable, "-c", CODE, spec.format(root=root), target, str(fatal)]
        result = subprocess.run(command, capture_output=True, text=True)
        if fatal:
            assert result.returncode == -signal.SIGKILL, result.stderr
            assert list(cache.glob("prepared/**/.*/")), "killed before it had begun"
        else:
            assert result.returncode == 0, result.stderr
        return result.stdout.split()

    build(tmp_path / "killed", fatal)
    again = build(tmp_path / "killed", 0)
    whole = build(tmp_path / "whole", 0)
    assert again[:2] == whole[:2]
    assert int(again[2]) == int(whole[2]) - saved
    left = {path.relative_to(tmp_path / "killed") for path in (tmp_path / "killed").rglob("*")}
    expected = {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*")}
    assert {path for path in left if path.suffix != ".json"} == {
        path for path in expected if path.suffix != ".json"
    }
