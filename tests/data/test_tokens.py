"""Tokens: no byte of a text is lost, documents are kept apart, scores are those of the text."""

import json
import math
import re
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import liere_cli as liere
from liere_cli.config.files import load_recipe
from liere_cli.data import ByteStream, Dataset, build_dataset
from liere_cli.data.base import numbers
from liere_cli.data.tokens import encode as encoding
from liere_cli.data.tokens.vocabulary import Bytes
from liere_cli.errors import LiereError, UsageError
from liere_cli.runs.build import assemble
from liere_cli.runs.item_results import item_results

END = "<|endoftext|>"
SENTENCES = [
    "the cat sat on the mat. ",
    "a dog, then; another\n",
    "naïve café 漢字 🙂\n\n",
    "12 + 30 = 42 ",
]
TEXT = "".join(
    f"{END}{''.join(SENTENCES[(n * n + k) % 4] for k in range(2 + n % 5))}" for n in range(120)
)
SMALL = [
    "model.layers=1", "model.dim=16", "model.heads=2", "training.batch=4", "training.validations=1"
]  # fmt: skip


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE as GPT-2's, with a template that adds a token to every text."""
    tokenizers = pytest.importorskip("tokenizers")
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    level = tokenizers.pre_tokenizers.ByteLevel
    bpe.pre_tokenizer, bpe.decoder = level(add_prefix_space=True), tokenizers.decoders.ByteLevel()
    bpe.normalizer = tokenizers.normalizers.NFC()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, special_tokens=[END], initial_alphabet=level.alphabet(), show_progress=False
    )
    bpe.train_from_iterator([TEXT], trainer)
    bpe.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{END} $A", special_tokens=[(END, 0)]
    )
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    bpe.save(str(path))
    return path


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "stories.txt"
    path.write_text(TEXT)
    return path


def load(dataset: Dataset, split: str) -> ByteStream:
    stream = dataset.load(split)  # type: ignore[arg-type]
    assert isinstance(stream, ByteStream)
    return stream


def whole(dataset: Dataset) -> list[int]:
    parts = [numbers(load(dataset, split).data).tolist() for split in ("train", "val", "test")]
    return list(chain(*parts))


@pytest.mark.parametrize("separator", [None, END])
def test_tokens_stand_for_every_byte_of_the_text(
    separator: str | None, text: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_PART", 100)
    options = {"path": str(text), "tokenizer": str(tokenizer), "separator": separator}
    dataset = build_dataset({"name": "text", **options})
    assert dataset.decode(whole(dataset)) == TEXT
    parts = [load(dataset, split) for split in ("train", "val", "test")]
    lengths = parts[0].token_bytes
    assert lengths is not None
    assert sum(int(lengths[numbers(p.data)].sum()) for p in parts) == len(TEXT.encode())
    assert len(lengths) == dataset.classes
    if separator:
        # no document is divided between splits
        assert all(numbers(part.data[:1]).item() == part.separator for part in parts)
        assert sum(len(part.starts) for part in parts) == 120


@given(st.lists(st.sampled_from(["ab", "a", "|", "|-", "-|", "\n", " ", "é", "b" * 30])))
def test_documents_begin_where_the_separator_is(pieces: list[str]) -> None:
    content = "".join(pieces).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_PART", 7)
        blocks = list(encoding._blocks(BytesIO(content), b"|-"))
    assert b"".join(blocks) == content
    vocabulary = Bytes(b"|-")
    tokens = [int(t) for part in encoding._encode(blocks, vocabulary, b"|-", 256, "") for t in part]
    assert tokens.count(256) == content.count(b"|-")
    assert vocabulary.decode(np.array(tokens, np.int64)) == content


def test_the_identity_has_the_content_of_the_tokenizer_and_not_its_path(
    text: Path, tokenizer: Path, tmp_path: Path
) -> None:
    def identity(path: Path) -> str:
        data = {"name": "text", "path": str(text), "tokenizer": str(path)}
        flags = {"encoding": "rope", "data": data}
        return assemble(load_recipe(flags=flags), device=torch.device("cpu")).run_id

    copy, other = tmp_path / "copy.json", tmp_path / "other.json"
    copy.write_bytes(tokenizer.read_bytes())
    settings = json.loads(tokenizer.read_text())
    settings["model"]["merges"] = settings["model"]["merges"][:-1]
    other.write_text(json.dumps(settings))
    assert identity(tokenizer) == identity(copy) != identity(other)


@pytest.mark.parametrize("encoding_name", ["rope", "alibi"])
@pytest.mark.parametrize("tokens", [False, True])
def test_bits_per_byte_are_those_of_the_text(
    encoding_name: str, tokens: bool, text: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data = {"name": "text", "path": str(text), "grid": 24, "separator": END}
    if tokens:
        data["tokenizer"] = str(request.getfixturevalue("tokenizer"))
    run = liere.train(
        encoding=encoding_name, data=data, budget="3steps", assignments=SMALL, out=tmp_path / "runs"
    )
    trained = liere.open_trained(run)
    model, dataset = trained.model, trained.run_spec.dataset
    stream = load(dataset, "test")
    text_tokens = numbers(stream.data)
    content = dataset.decode(text_tokens.tolist()).encode()
    losses: dict[int, float] = {}
    bits = 0.0
    with torch.no_grad():
        for target in range(1, len(text_tokens)):
            # its window, without what belongs to earlier documents
            begin = (target - 1) // 24 * 24
            document = max(int(n) for n in [-1, *stream.starts.tolist()] if n < target)
            inputs = text_tokens[max(begin, document) : target]
            logits = model(inputs[None])[0, -1].double()
            loss = -float(logits.log_softmax(0)[text_tokens[target]]) / math.log(2)
            bits += loss
            losses[document] = losses.get(document, 0) + loss
    first = dataset.decode([int(text_tokens[0])]).encode()
    summary = run.summary()
    assert summary is not None
    assert summary.metric == "bits_per_byte"
    assert summary.test == pytest.approx(bits / len(content[len(first) :]), rel=1e-4)
    items = item_results(run, "bits_per_byte")
    assert items is not None
    by_document = [float(items.scores[items.groups == g].sum()) for g in np.unique(items.groups)]
    assert by_document == pytest.approx(list(losses.values()), rel=1e-4)


def test_too_few_documents_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "two.txt"
    path.write_text(f"{END}one story{END}another")
    with pytest.raises(LiereError, match="has 2 documents of 18 tokens, too few to be split"):
        build_dataset({"name": "text", "path": str(path), "separator": END}).load("train")


def write_tokens(folder: Path, **files: list[int]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, values in files.items():
        (folder / f"{name}.bin").write_bytes(np.array(values, np.uint16).tobytes())
    return folder


def test_a_folder_of_nanogpt_has_its_splits(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path / "openwebtext", train=[*range(1000)], val=[*range(500, 700)])
    dataset = build_dataset(f"tokens:{folder},vocab=50257,validation=0.1")
    splits = {name: numbers(load(dataset, name).data).tolist() for name in ("train", "val", "test")}
    assert splits == {
        "train": [*range(900)], "val": [*range(900, 1000)], "test": [*range(500, 700)]
    }  # fmt: skip
    assert dataset.metric == "bits_per_token"
    before = dataset.fingerprint
    (folder / "val.bin").write_bytes(np.array([7] * 200, np.uint16).tobytes())
    assert build_dataset(f"tokens:{folder},vocab=50257,validation=0.1").fingerprint != before


def test_the_same_tokens_in_another_type_or_behind_a_header_are_the_same(tmp_path: Path) -> None:
    values = np.arange(3000) % 1000
    header = np.zeros(256, np.int32)
    header[:3] = [20240520, 1, len(values)]
    (tmp_path / "a.bin").write_bytes(values.astype(np.uint16).tobytes())
    (tmp_path / "b.bin").write_bytes(values.astype(np.uint32).tobytes())
    (tmp_path / "c.bin").write_bytes(header.tobytes() + values.astype(np.uint16).tobytes())
    specs = ["a.bin,vocab=1000", "b.bin,vocab=1000,dtype=uint32", "c.bin,vocab=1000"]
    datasets = [build_dataset(f"tokens:{tmp_path}/{spec}") for spec in specs]
    assert len({dataset.fingerprint for dataset in datasets}) == 1
    assert all(whole(dataset) == values.tolist() for dataset in datasets)


def test_large_numbers_are_read_as_unsigned(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path / "x", train=[65535, 1, 50256] * 40, val=[40000] * 9)
    dataset = build_dataset(f"tokens:{folder},vocab=65536,separator=50256")
    assert numbers(load(dataset, "test").data).tolist() == [40000] * 9
    assert load(dataset, "train").starts[:3].tolist() == [2, 5, 8]


def test_tokens_are_trained_and_scored_in_bits_per_token(tmp_path: Path) -> None:
    values = [n * n % 97 for n in range(3000)]
    folder = write_tokens(tmp_path / "x", train=values, val=values[:300])
    run = liere.train(
        encoding="rope", data=f"tokens:{folder},vocab=100,grid=16", budget="2steps",
        assignments=SMALL, out=tmp_path / "runs",
    )  # fmt: skip
    summary = run.summary()
    assert summary is not None
    assert (summary.metric, summary.higher_is_better) == ("bits_per_token", False)
    assert summary.test is not None
    assert 5 < summary.test < 8
    with pytest.raises(LiereError, match="tokenizer="):
        liere.open_trained(run).sample(3, prompt="a", temperature=0)


BROKEN: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "beyond": (np.array([5, 300] * 40, np.uint16).tobytes(), {"vocab": 256}, "has token 300, but"),
    "cut": (b"\1\0" * 50 + b"\1", {"vocab": 256}, "101 bytes, which is no whole number of uint16"),
    "wide": (np.arange(100, dtype=np.uint32).tobytes(), {"vocab": 256}, "give dtype=uint32"),
    "text": (b"plain text, and more of it" * 9, {"vocab": 50257}, "is text: use text:FILE"),
    "empty": (b"", {"vocab": 256}, "is empty"),
    "numpy": (b"\x93NUMPY" + bytes(200), {"vocab": 50257}, "is a NumPy array"),
    "short": (b"\1\0" * 4, {"vocab": 256}, "too few"),
    "vocab": (b"\1\0" * 99, {}, "'vocab' is missing"),
    "separator": (b"\1\0" * 99, {"vocab": 9, "separator": "end"}, "without tokenizer="),
    "outside": (b"\1\0" * 99, {"vocab": 9, "separator": 9}, "tokens are 0 to 8"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_of_other_content_is_refused(kind: str, tmp_path: Path) -> None:
    content, options, message = BROKEN[kind]
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    with pytest.raises(LiereError, match=re.escape(message)):
        load(build_dataset({"name": "tokens", "path": str(path), **options}), "val")


def test_a_tokenizer_that_loses_text_is_refused(tmp_path: Path, text: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"the": 0, "?": 1}, unk_token="?"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    path = tmp_path / "words.json"
    words.save(str(path))
    dataset = build_dataset({"name": "text", "path": str(text), "tokenizer": str(path)})
    with pytest.raises(LiereError, match=r"does not encode .* without loss"):
        dataset.load("train")


@pytest.mark.parametrize("content", [b"", b"{}", b"[1, 2]", b"not json", b"{" * 100_000])
def test_a_file_that_is_no_tokenizer_is_named(content: bytes, tmp_path: Path, text: Path) -> None:
    pytest.importorskip("tokenizers")
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(LiereError, match="is broken or not a tokenizer"):
        build_dataset({"name": "text", "path": str(text), "tokenizer": str(path)})


def test_a_separator_that_is_no_token_is_refused(text: Path, tokenizer: Path) -> None:
    options = {"path": str(text), "tokenizer": str(tokenizer), "separator": "<|endoftex|>"}
    with pytest.raises(UsageError, match=re.escape("did you mean '<|endoftext|>'")):
        build_dataset({"name": "text", **options}).load("train")


def test_text_that_is_not_utf8_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("naïve ".encode("latin-1") * 100)
    with pytest.raises(LiereError, match="is not UTF-8"):
        build_dataset({"name": "text", "path": str(path), "tokenizer": str(tokenizer)}).load("val")
