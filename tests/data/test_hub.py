"""Data sets of the hub, from a server on this machine: by name, streamed, offline, interrupted."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from liere_cli.data import ByteStream, build_dataset
from liere_cli.errors import LiereError, UsageError
from support.hub_server import Hub, served
from support.image_files import image

CODE = """
import json, sys, hashlib
from liere_cli.data import build_dataset
from liere_cli.data.videos import Ucf101
from liere_cli.errors import LiereError

# UCF101 is read as any other data set of the hub
Ucf101.repository, Ucf101.classes = "me/clips", 2

def described(spec):
    try:
        dataset = build_dataset(spec)
        splits = {}
        for name in ("train", "val", "test"):
            split = dataset.load(name)
            data = getattr(split, "data", None)
            data = split.inputs if data is None else data
            digest = hashlib.sha256(data.numpy().tobytes())
            if hasattr(split, "labels"):
                digest.update(split.labels.numpy().tobytes())
            splits[name] = [len(split), digest.hexdigest()]
        options = dataset.options
        return {"fingerprint": dataset.fingerprint, "splits": splits, "grid": dataset.grid,
                "revision": getattr(options, "revision", None), "classes": dataset.classes,
                "notes": dataset.notes}
    except LiereError as error:
        return {"error": str(error)}

for line in sys.stdin:
    print(json.dumps(described(json.loads(line))), flush=True)
"""


def parquet(start: int, count: int, **columns: Any) -> bytes:
    images = [{"bytes": image(start + n), "path": None} for n in range(count)]
    table = pa.table({"image": images, "label": [n % 2 for n in range(count)], **columns})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=16)
    return buffer.getvalue()


def tar(start: int, count: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number in range(start, start + count):
            for suffix, content in (("png", image(number)), ("cls", str(number % 2).encode())):
                member = tarfile.TarInfo(f"{number:05d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    hub = Hub()
    files = {f"data/train-0000{n}-of-00002.parquet": parquet(100 * n, 60) for n in range(2)}
    hub.push("me/pets", {**files, "data/test-00000-of-00001.parquet": parquet(900, 20)})
    hub.push("me/tars", {"train.tar": tar(0, 40), "test.tar": tar(100, 10)})
    rows = [json.dumps({"text": f"row {n} of a text, äöü", "other": n}) for n in range(200)]
    hub.push("me/words", {"train.jsonl": "\n".join(rows).encode()})
    frames = {
        "image": [{"bytes": image(n), "path": None} for n in range(240)],
        "video_id": [f"v_{n // 4}_g{n // 8:02d}_c01" for n in range(240)],
        "clip_id": [f"v_{n // 4}_g{n // 8:02d}_c01" for n in range(240)],
        "frame": [n % 4 for n in range(240)],
        "label": [n // 8 % 2 for n in range(240)],
    }
    for name, part in (("train", slice(0, 160)), ("test", slice(160, 240))):
        buffer = io.BytesIO()
        pq.write_table(pa.table({key: rows[part] for key, rows in frames.items()}), buffer)
        files[f"data/{name}-00000-of-00001.parquet"] = buffer.getvalue()
    hub.push("me/clips", {name: files[name] for name in list(files)[-2:]})
    with served(hub):
        yield hub


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


Ask = Callable[..., list[Any]]


@contextmanager
def process(home: Path, **variables: str) -> Iterator[Ask]:
    """Describes data sets in a process of its own, since libraries read variables once."""
    environment = {
        **os.environ, "HF_HOME": str(home / "huggingface"), "LIERE_CACHE": str(home / "liere"),
        "HF_HUB_DISABLE_TELEMETRY": "1", **variables,
    }  # fmt: skip
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", CODE], env=environment, **pipes) as worker:
        stdin, stdout = worker.stdin, worker.stdout
        assert stdin is not None
        assert stdout is not None

        def ask(*specs: Any) -> list[Any]:
            stdin.write("".join(json.dumps(spec) + "\n" for spec in specs))
            stdin.flush()
            return [json.loads(stdout.readline()) for _ in specs]

        yield ask
        stdin.close()


@pytest.fixture(scope="module")
def online(hub: Hub, home: Path) -> Iterator[Ask]:
    variables = {"HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0", "HF_ENDPOINT": hub.url}
    with process(home, **variables) as ask:
        yield ask


@pytest.fixture(scope="module")
def offline(home: Path) -> Iterator[Ask]:
    with process(home, HF_ENDPOINT="http://127.0.0.1:9") as ask:
        yield ask


def test_data_sets_are_read_by_name_and_again_without_a_network(
    hub: Hub, tmp_path: Path, online: Ask, offline: Ask
) -> None:
    (tmp_path / "tars").mkdir()
    for name, content in hub.revisions["me/tars"][hub.branches["me/tars"]].items():
        (tmp_path / "tars" / name).write_bytes(content)
    # the connection breaks off in the middle of a file
    hub.cut["data/train-00001-of-00002.parquet"] = [5000]
    specs = [
        {"name": "hub", "path": "me/pets", "grid": 8},
        {"name": "hub", "path": "me/tars", "grid": 8, "label": "cls"},
        {"name": "hub", "path": str(tmp_path / "tars"), "grid": 8},
        {"name": "hub", "path": "me/words", "text": "text"},
        "hub:me/pets,grid=8,split.train=train,split.test=train",
        "hub:me/pets,grid=8,split.train=trian",
        "hub:me/nothing",
        "hub:me/words,text=txet",
    ]
    pets, tars, folder, words, _, wrong_split, nothing, wrong_column = online(*specs)
    assert [size for size, _ in pets["splits"].values()] == [108, 12, 20]
    assert pets["revision"] == hub.branches["me/pets"]
    assert pets["classes"] == 2
    assert [size for size, _ in tars["splits"].values()] == [36, 4, 10]
    assert (folder["fingerprint"], folder["splits"]) == (tars["fingerprint"], tars["splits"])
    assert sum(size for size, _ in words["splits"].values()) == sum(
        len(f"row {n} of a text, äöü\n".encode()) for n in range(200)
    )
    assert "did you mean 'train'?" in wrong_split["error"]
    assert "hub:me/nothing can't be opened" in nothing["error"]
    assert "hub:FOLDER" in nothing["error"]
    assert "no column 'txet' (there are: text, other)" in wrong_column["error"]
    again = offline(*specs[:4])
    assert again == [pets, tars, folder, words]
    (unknown,) = offline("hub:me/moving,grid=8")
    assert "without a network, open it once where there is one" in unknown["error"]


def test_streamed_rows_have_the_same_bits_and_are_not_stored(
    hub: Hub, home: Path, online: Ask
) -> None:
    hub.push("me/large", {"train.parquet": parquet(0, 40), "test.parquet": parquet(99, 8)})
    (streamed,) = online("hub:me/large,grid=8,stream=true")
    content = [path for path in home.rglob("*") if path.is_file() and not path.is_symlink()]
    large = hub.revisions["me/large"][hub.branches["me/large"]].values()
    assert not [path for path in content if path.read_bytes() in large]
    assert online("hub:me/large,grid=8") == [streamed]


def test_another_revision_is_another_identity_and_the_old_one_stays(hub: Hub, online: Ask) -> None:
    first = hub.push("me/moving", {"train.parquet": parquet(0, 40), "test.parquet": parquet(99, 8)})
    (before,) = online("hub:me/moving,grid=8")
    second = hub.push(
        "me/moving", {"train.parquet": parquet(5, 40), "test.parquet": parquet(99, 8)}
    )
    after, pinned = online("hub:me/moving,grid=8", f"hub:me/moving,grid=8,revision={first}")
    assert (before["revision"], after["revision"]) == (first, second)
    assert before["fingerprint"] != after["fingerprint"]
    assert pinned == before


def test_rows_of_single_frames_are_clips(online: Ask) -> None:
    (clips,) = online("ucf101:grid=2x8x8")
    assert [size for size, _ in clips["splits"].values()] == [36, 4, 20]


def test_rows_of_text_are_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIERE_CACHE", str(tmp_path / "cache"))
    rows = ["", "two\nlines", *(f"row {n} é" * (n % 5 + 1) for n in range(198))]
    (tmp_path / "rows").mkdir()
    table = pa.table({"text": rows})
    pq.write_table(table, tmp_path / "rows" / "data.parquet")
    spec = f"hub:{tmp_path / 'rows'},text=text"
    joined, apart = build_dataset(spec), build_dataset(f"{spec},documents=true")
    splits = [apart.load(split) for split in ("train", "val", "test")]
    assert isinstance(splits[0], ByteStream)
    assert splits[0].separator == 256
    assert all(split.data[0] == 256 for split in splits)  # type: ignore[union-attr]
    tokens = torch.cat([split.data for split in splits])  # type: ignore[union-attr]
    assert apart.decode(tokens.tolist()) == "".join(f"\n{row}" for row in rows)
    assert int((tokens == 256).sum()) == len(rows)
    # both count the same bytes of text
    assert len(tokens) == sum(len(joined.load(split)) for split in ("train", "val", "test"))
    assert apart.fingerprint != joined.fingerprint
    assert apart.notes[0].endswith("of 200 documents")
    with pytest.raises(UsageError, match="'documents' is an option of text: add text=COLUMN"):
        build_dataset(f"hub:{tmp_path / 'rows'},documents=true")


def test_what_is_larger_than_the_free_disk_is_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    from liere_cli.data.sources import hub_sets

    sizes = [SimpleNamespace(size=int(2e9))] * 2
    monkeypatch.setattr(huggingface_hub.HfApi, "get_paths_info", lambda *_, **__: sizes)
    for free in (4e9, 3e9):
        usage = SimpleNamespace(free=int(free))
        monkeypatch.setattr(hub_sets.shutil, "disk_usage", lambda path, usage=usage: usage)
        expected = (
            pytest.raises(
                LiereError, match=r"4.0 GB to download, but .* has 3.0 GB free: give stre"
            )
            if free < 4e9
            else nullcontext()
        )
        with expected:
            hub_sets._check_space("me/huge", ["a.parquet", "b.parquet"], "0" * 40)
