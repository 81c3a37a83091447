"""``hub:OWNER/NAME``: images or text of any data set on the Hugging Face hub.

Shapes: N bytes.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from pydantic import Field

from liere_cli.config.section import Section, added
from liere_cli.data.augment.settings import AugmentationOptions
from liere_cli.data.base import BYTES, Array, ByteStream, Dataset, Examples, Split
from liere_cli.data.classification import Local, LocalOptions
from liere_cli.data.images import Images, image_table
from liere_cli.data.options import VALIDATION, ImageGrid, Share, TextGrid
from liere_cli.data.sources.arrays import growing_array
from liere_cli.data.sources.base import Source
from liere_cli.data.sources.cache import prepared
from liere_cli.data.sources.hub_sets import HubRequest, HubTables, open_hub
from liere_cli.data.sources.local import Tables
from liere_cli.data.sources.parquet import Shard
from liere_cli.data.splits import SPLITS, TRAIN, Fractions
from liere_cli.data.text import TextData
from liere_cli.data.tokens.encode import narrow, signed
from liere_cli.data.tokens.vocabulary import Bytes
from liere_cli.errors import LiereError, UsageError, counted
from liere_cli.utils.files import digest_of
from liere_cli.utils.progress import Tracker


class HubOptions(Section):
    path: str = Field(description="OWNER/NAME on the hub, or a folder that datasets opens")
    config: str | None = Field(None, description="its configuration; null: the only or default one")
    revision: str | None = Field(
        None, description="commit, branch or tag; null: the newest, whose commit is recorded"
    )
    split: dict[Split, str] = Field(
        {}, description="names of its splits, as split.train=NAME; none: found by name"
    )
    stream: bool = Field(
        False, description="read parquet over the network in place of storing it first"
    )
    documents: bool = added(False, description="keep rows of text apart, each a document")


class HubImageOptions(HubOptions, LocalOptions, AugmentationOptions):
    grid: ImageGrid = (64, 64)
    image: str | None = Field(None, description="column of images; null: found by its type")
    label: str | None = Field(None, description="column of classes; null: found by its type")
    text: str | None = Field(None, description="column of text, for a language model on bytes")


class HubTextOptions(HubOptions):
    text: str
    grid: TextGrid = (256,)
    validation: Share = Field(0.1, description=VALIDATION)


class HubImages(Local, Images):
    """Images with a class each; with the option ``text``, a text instead.

    The commit that a branch or tag means is part of a run's identity.
    """

    name = "hub"
    summary = "images or text of any data set on the Hugging Face hub"
    source = "hub:OWNER/NAME"
    licence = "the data set's own"
    Options = HubImageOptions
    options: HubImageOptions
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    def __init__(self, options: HubImageOptions, root: Path | None = None) -> None:
        self._tables = _open(options)
        revision = self._tables.revision or options.revision
        super().__init__(options.model_copy(update={"revision": revision}), root)

    @classmethod
    def build(cls, options: Section, root: Path | None) -> Dataset:
        if not isinstance(options, HubImageOptions) or options.text is None:
            if isinstance(options, HubImageOptions) and options.documents:
                raise UsageError("data.hub: 'documents' is an option of text: add text=COLUMN")
            return super().build(options, root)
        given = {name: getattr(options, name) for name in options.model_fields_set}
        if other := [name for name in given if name not in HubTextOptions.model_fields]:
            raise UsageError(
                f"data.hub: '{other[0]}' is an option of images, but text={options.text} asks for "
                "text"
            )
        return HubText(HubTextOptions.validated(given, "data.hub"), root)

    @cached_property
    def items(self) -> Source:
        options = self.options
        return image_table(Tables(self._tables.shards), options.image, options.label)


class HubText(Dataset):
    """The rows of a column of text, joined by newlines, as bytes; with ``documents``, a token that
    stands for the newline begins each row. It has no name of its own, since the option ``text`` of
    :class:`HubImages` asks for it.
    """

    summary = HubImages.summary
    source = HubImages.source
    licence = HubImages.licence
    task = "language-model"
    metric = "bits_per_byte"
    axes = 1
    Options = HubTextOptions
    options: HubTextOptions
    channels = 1
    classes = BYTES
    patch = (1,)

    def __init__(self, options: HubTextOptions, root: Path | None = None) -> None:
        tables = _open(options)
        revision = tables.revision or options.revision
        super().__init__(options.model_copy(update={"revision": revision}), root)
        self.name = HubImages.name  # type: ignore[misc]
        self.grid, self.shards = options.grid, tables.shards
        self.vocabulary = Bytes(b"\n")
        if options.documents:
            self.classes = len(self.vocabulary.tokens)
        for shard in self.shards:
            if options.text not in shard.columns():
                there = ", ".join(shard.columns())
                raise LiereError(
                    f"{shard.path} has no column '{options.text}' (there are: {there})"
                )

    @cached_property
    def fingerprint(self) -> str:
        parts = [self._part(number).data for number in range(len(SPLITS))]
        content = [digest_of(data.numpy().tobytes()) for data in parts]
        return digest_of(f"{content} {self.options.validation}", 16)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        parts = [self._part(number) for number in range(len(SPLITS))]
        sizes = ", ".join(f"{len(part):,} {name}" for part, name in zip(parts, SPLITS, strict=True))
        files = counted(len(self.shards), "file")
        note = f"read bytes of '{self.options.text}' from {files}: {sizes}"
        if self.options.documents:
            note += f", of {counted(sum(len(part.starts) for part in parts), 'document')}"
        return (note,)

    def load(self, split: Split, grid: tuple[int, ...] | None = None) -> ByteStream | Examples:
        """The bytes of the split; ``grid`` is ignored, since batches select the windows."""
        text = self._part(SPLITS.index(split))
        if len(text) < 2:
            raise LiereError(f"{self.options.path} has no text in its {split} split")
        return text

    def decode(self, tokens: list[int]) -> str:
        return self.vocabulary.decode(np.array(tokens, np.int64)).decode(errors="replace")

    def _part(self, split: int) -> ByteStream:
        """The text of a split, as the source has it, or carved out of others."""
        given = sorted({shard.split for shard in self.shards})
        if len(given) == len(SPLITS):
            return self._text(split)
        if len(given) == 1:
            return self._carved(given[0], (0.9, 0.05, 0.05))[split]
        if given[0] != TRAIN:
            raise LiereError(f"{self.options.path} has no train split")
        if split == len(SPLITS) - 1:
            return self._text(given[1])
        share = self.options.validation
        return self._carved(TRAIN, (1 - share, share, 0.0))[split]

    def _carved(self, split: int, fractions: Fractions) -> list[ByteStream]:
        return TextData.parts(self._text(split), fractions)

    def _text(self, split: int) -> ByteStream:
        shards = [shard for shard in self.shards if shard.split == split]
        stamps = [stamp for shard in shards for stamp in shard.stamp()]
        column, documents = self.options.text, self.options.documents
        content = (column, stamps, "documents") if documents else (column, stamps)
        key = f"text/{digest_of(repr(content), 32)}"
        data = prepared(key, lambda folder: _write_text(folder, shards, column, documents))["data"]
        if not documents:
            return ByteStream(torch.from_numpy(data))
        lengths = torch.from_numpy(self.vocabulary.lengths)
        return ByteStream(torch.from_numpy(signed(data)), lengths, BYTES)


def _write_text(folder: Path, shards: list[Shard], column: str, documents: bool) -> None:
    """Each row as bytes and a newline; of documents, the number ``BYTES`` and the row's bytes."""
    tracker = Tracker("reading text", sum(shard.row_count() for shard in shards))
    dtype = narrow(BYTES + 1) if documents else np.dtype(np.uint8)
    with growing_array(folder / "data.npy", dtype) as write:
        for shard in shards:
            for first, batch in shard.batches([column]):
                for offset, value in enumerate(batch.column(column).to_pylist()):
                    if not isinstance(value, str):
                        raise LiereError(
                            f"{shard.path} row {first + offset}: '{column}' is not text"
                        )
                    row: Array = np.frombuffer(value.encode(errors="surrogatepass"), np.uint8)
                    if documents:
                        write(np.array([BYTES]))
                    write(row)
                    if not documents:
                        write(np.frombuffer(b"\n", np.uint8))
                tracker.advance(batch.num_rows)


def _open(options: HubOptions) -> HubTables:
    return open_hub(
        HubRequest(options.path, options.config, options.revision, options.split, options.stream)
    )
