"""Text: the same bytes from every container, complete splits, errors that name the file."""

import bz2
import gzip
import hashlib
import io
import lzma
import pickle
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from liere_cli.config.files import load_recipe
from liere_cli.data import ByteStream, build_dataset
from liere_cli.data.sources.download import Download, download
from liere_cli.data.splits import contiguous
from liere_cli.data.text import TinyShakespeare
from liere_cli.errors import LiereError
from liere_cli.runs.build import assemble

TEXT = bytes(range(1, 256)) * 40 + b"the end"


def write_zip(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/text", content)


WRITERS: dict[str, Callable[[Path, bytes], object]] = {
    ".txt": lambda path, content: path.write_bytes(content),
    ".gz": lambda path, content: path.write_bytes(gzip.compress(content)),
    ".xz": lambda path, content: path.write_bytes(lzma.compress(content)),
    ".zst": lambda path, content: path.write_bytes(zstandard.compress(content)),
    ".zip": write_zip,
}


def load(path: Path, split: str, **options: object) -> bytes:
    stream = build_dataset({"name": "text", "path": str(path), **options}).load(split)  # type: ignore[arg-type]
    assert isinstance(stream, ByteStream)
    assert stream.data.dtype == torch.uint8
    return stream.data.numpy().tobytes()


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_container_has_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path, TEXT)
    for _ in range(2):
        parts = [load(path, split) for split in ("train", "val", "test")]
        assert b"".join(parts) == TEXT
        assert [round(len(part) / len(TEXT), 2) for part in parts] == [0.9, 0.05, 0.05]
    plain = tmp_path / "plain.txt"
    plain.write_bytes(TEXT)
    fingerprints = [
        build_dataset({"name": "text", "path": str(file)}).fingerprint for file in (path, plain)
    ]
    assert fingerprints[0] == fingerprints[1]


@given(st.integers(8, 3000), st.integers(1, 98), st.integers(1, 98))
@settings(max_examples=40, deadline=None)
def test_splits_are_contiguous_and_complete(count: int, first: int, second: int) -> None:
    if first + second >= 100:
        first, second = first / 2, second / 2  # type: ignore[assignment]
    shares = (first / 100, second / 100, 1 - (first + second) / 100)
    splits = [range(count)[split] for split in contiguous(count, shares)]
    assert list(chain(*splits)) == list(range(count))
    sizes = map(len, splits)
    assert all(abs(size - share * count) <= 1 for size, share in zip(sizes, shares, strict=True))


def test_the_fingerprint_depends_on_content_and_splits(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT)
    before = build_dataset({"name": "text", "path": str(path)}).fingerprint
    other = {"name": "text", "path": str(path), "fractions": "0.8/0.1/0.1"}
    assert build_dataset(other).fingerprint != before
    assert build_dataset({"name": "text", "path": str(path), "grid": 64}).fingerprint == before
    path.write_bytes(TEXT[:-1] + b"!")
    assert build_dataset({"name": "text", "path": str(path)}).fingerprint != before


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst", ".zip"])
@pytest.mark.parametrize("damage", ["cut", "foreign"])
def test_a_broken_archive_is_named(suffix: str, damage: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path, TEXT)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"no archive at all")
    with pytest.raises(LiereError, match=rf"a\{suffix} is broken or not a {suffix} file"):
        load(path, "train")


def test_an_archive_of_two_texts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"one")
        archive.writestr("b", b"two")
    with pytest.raises(LiereError, match="contains 2 files, but exactly one"):
        load(path, "train")


@pytest.mark.parametrize("content", [b"", b"a", b"ab", b"0123456789"])
def test_a_text_too_short_to_split_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_bytes(content)
    with pytest.raises(LiereError, match=rf"short.txt has {len(content)} bytes, too few"):
        load(path, "train")


def test_a_folder_is_not_a_text(tmp_path: Path) -> None:
    with pytest.raises(LiereError, match="is a folder, but a file is expected"):
        load(tmp_path, "train")


def test_the_standard_library_is_python_source() -> None:
    first, again = build_dataset("stdlib"), build_dataset("stdlib")
    assert first.fingerprint == again.fingerprint
    stream = first.load("train")
    assert isinstance(stream, ByteStream)
    assert stream.data.numpy().tobytes().count(b"\ndef ") > 1000
    assert 1_000_000 < len(stream) <= 16_000_000


def serve(content: bytes, *, stop_after: int | None = None) -> Iterator[tuple[str, list[str]]]:
    """A loopback server for one file; yields its address and the requested ranges."""
    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            header = self.headers.get("Range", "")
            requested.append(header)
            start = int(header.removeprefix("bytes=").rstrip("-")) if header else 0
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if header else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            stop = stop_after if stop_after is not None and not header else len(content)
            self.wfile.write(content[start:stop])

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/text.txt", requested
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    yield from serve(TEXT)


@pytest.fixture
def broken_server() -> Iterator[tuple[str, list[str]]]:
    yield from serve(TEXT, stop_after=1000)


SHA = hashlib.sha256(TEXT).hexdigest()


def test_a_download_is_fetched_once(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url, requested = server
    for _ in range(3):
        path = download(Download(url, len(TEXT), SHA), tmp_path / "new" / "text.txt", "instead")
        assert path.read_bytes() == TEXT
    assert len(requested) == 1


def test_an_interrupted_download_is_resumed(
    broken_server: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, requested = broken_server
    source = Download(url, len(TEXT), SHA)
    with pytest.raises(LiereError, match=r"text.txt .* closed after 1,000 .*: use a local file"):
        download(source, tmp_path / "text.txt", "use a local file")
    assert not (tmp_path / "text.txt").exists()
    assert download(source, tmp_path / "text.txt", "").read_bytes() == TEXT
    assert requested == ["", "bytes=1000-"]


def test_a_download_with_another_digest_is_refused(
    server: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, _ = server
    with pytest.raises(LiereError, match=r"its sha256 is .* is expected"):
        download(Download(url, None, "0" * 64), tmp_path / "text.txt", "")
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_the_error_for_an_unreachable_address_names_an_alternative(tmp_path: Path) -> None:
    source = Download("http://127.0.0.1:9/text.txt", None, SHA)
    with pytest.raises(LiereError, match=r"can't be downloaded from http://127.*: do without"):
        download(source, tmp_path / "text.txt", "do without")


def test_a_corpus_is_downloaded_into_the_cache(
    server: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, requested = server
    monkeypatch.setenv("LIERE_CACHE", str(tmp_path))
    monkeypatch.setattr(TinyShakespeare, "archive", Download(url, len(TEXT), SHA, "tiny.txt"))
    monkeypatch.setattr(TinyShakespeare, "content_digest", SHA)
    assert not TinyShakespeare.is_available(None)
    for _ in range(2):
        stream = build_dataset("tinyshakespeare").load("test")
        assert isinstance(stream, ByteStream)
        assert stream.data.numpy().tobytes() == TEXT[-len(stream) :]
    assert TinyShakespeare.is_available(None)
    assert len(requested) == 1


@pytest.mark.parametrize("folder", ["", "text", "a/b"])
@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_a_corpus_is_found_in_a_mirror(
    folder: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TinyShakespeare, "content_digest", SHA)
    path = tmp_path / folder / f"tinyshakespeare{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    WRITERS[path.suffix](path, TEXT)
    assert TinyShakespeare.is_available(tmp_path)
    stream = build_dataset("tinyshakespeare", tmp_path).load("train")
    assert isinstance(stream, ByteStream)
    assert stream.data.numpy().tobytes() == TEXT[: len(stream)]
    # the fingerprint needs no file
    assert len(build_dataset("tinyshakespeare").fingerprint) == 16


def test_a_mirror_with_other_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "enwik8").write_bytes(TEXT)
    with pytest.raises(LiereError, match=r"enwik8 is not enwik8: its sha256 is"):
        build_dataset("enwik8", tmp_path).load("train")


def npy(values: np.ndarray) -> bytes:
    stored = io.BytesIO()
    np.save(stored, values)
    return stored.getvalue()


def tar(content: bytes) -> bytes:
    stored = io.BytesIO()
    with tarfile.open(fileobj=stored, mode="w") as archive:
        member = tarfile.TarInfo("a.txt")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return stored.getvalue()


def parquet(column: list[str]) -> bytes:
    stored = io.BytesIO()
    pq.write_table(pa.table({"text": column}), stored)
    return stored.getvalue()


PROSE = b"The quick brown fox jumps over the lazy dog. " * 400
TOKENS = np.random.default_rng(0).integers(0, 50257, 20_000)
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
    ".bz2": bz2.compress,
    ".zst": zstandard.compress,
}


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("name", ["a{}", "a.TXT{}", "a.txt", "a", "a.gz"])
def test_packed_text_is_recognised_by_its_content(packing: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name.format(packing)
    path.write_bytes(PACKERS[packing](PROSE))
    assert b"".join(load(path, split) for split in ("train", "val", "test")) == PROSE
    dataset = build_dataset({"name": "text", "path": str(path)})
    assert dataset.notes == (f"read {len(PROSE):,} bytes, unpacked from {packing}",)
    plain = tmp_path / "plain.txt"
    plain.write_bytes(PROSE)
    assert build_dataset({"name": "text", "path": str(plain)}).fingerprint == dataset.fingerprint


def test_a_zip_of_a_mac_has_one_text(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/text.txt", PROSE)
        archive.writestr("__MACOSX/a/._text.txt", b"x")
        archive.writestr("a/.DS_Store", b"x")
    assert PROSE.startswith(load(path, "train"))


BINARY: dict[str, tuple[bytes, str]] = {
    "parquet": (parquet(["some text"] * 200), "parquet: write its column of text"),
    "npy": (npy(TOKENS), "a NumPy array"),
    "nanoGPT's uint16": (TOKENS.astype(np.uint16).tobytes(), "such as numbers of tokens"),
    "uint32": (TOKENS.astype(np.uint32).tobytes(), "binary data"),
    "characters as uint16": (
        (TOKENS % 65).astype(np.uint16).tobytes(),
        "numbers of tokens or text in UTF-16",
    ),
    "float32": (TOKENS.astype(np.float32).tobytes(), "binary data"),
    "UTF-16": (PROSE.decode().encode("utf-16"), "iconv -f UTF-16 -t UTF-8"),
    "UTF-16 without a mark": (PROSE.decode().encode("utf-16-be"), "text in UTF-16"),
    "UTF-32": (PROSE.decode().encode("utf-32"), "iconv -f UTF-32"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "tar": (tar(PROSE), r"an archive \(tar\)"),
    "tar.gz": (gzip.compress(tar(PROSE)), r"unpacked from .gz\) is not text but an archive"),
    "gz in gz": (gzip.compress(gzip.compress(PROSE)), "another archive: unpack it"),
    "pickle": (pickle.dumps(PROSE.decode().split()), "a Python pickle"),
    "pdf": (b"%PDF-1.7\n" + PROSE, "PDF"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + PROSE, "an archive: unpack it"),
    "png": (b"\x89PNG\r\n\x1a\n" + PROSE, "use images:DIR"),
}


@pytest.mark.parametrize("kind", BINARY)
@pytest.mark.parametrize("name", ["a.txt", "a.bin", "a"])
def test_what_is_not_text_is_named_with_a_remedy(kind: str, name: str, tmp_path: Path) -> None:
    content, sentence = BINARY[kind]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(LiereError, match=sentence) as error:
        load(path, "train")
    assert str(path) in str(error.value)
    assert "raw=true" in str(error.value)
    parts = [load(path, split, raw=True) for split in ("train", "val", "test")]
    assert b"".join(parts) == content


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "koi8-r", "shift_jis"]
)
def test_text_of_single_bytes_is_text(encoding: str, tmp_path: Path) -> None:
    text = "тест " if encoding == "koi8-r" else "日本 " if encoding == "shift_jis" else "Ü ß é "
    path = tmp_path / "a.txt"
    path.write_bytes((text * 3000).encode(encoding) + b"\0")
    assert len(load(path, "train")) > 5000


def test_the_option_for_raw_bytes_leaves_identities(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(PROSE)
    specs = [{"name": "text", "path": str(path), "raw": raw} for raw in (False, True)]
    plain, raw = (
        assemble(load_recipe(flags={"data": spec}), device=torch.device("cpu")) for spec in specs
    )
    assert "raw" not in plain.recipe.data
    assert plain.dataset.fingerprint == raw.dataset.fingerprint
