"""Images with a class each: CIFAR, imagewoof, and any local folder or parquet file."""

from dataclasses import fields
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from liere_cli.config.section import Section
from liere_cli.data.augment.settings import Augmentation, AugmentationOptions, View
from liere_cli.data.base import Array
from liere_cli.data.classification import (
    Labelled,
    LabelledOptions,
    Local,
    LocalOptions,
)
from liere_cli.data.options import ImageGrid
from liere_cli.data.sources.archives import extract_into
from liere_cli.data.sources.base import Decoding, Source, check_unchanged
from liere_cli.data.sources.decode_image import SUFFIXES, decode_image, decoding_of
from liere_cli.data.sources.download import Download, download
from liere_cli.data.sources.folders.source import Folder
from liere_cli.data.sources.folders.tree import Tree, read_tree
from liere_cli.data.sources.hub import find_parquet, find_paths, is_published_available
from liere_cli.data.sources.hub_sets import published_shards
from liere_cli.data.sources.local import Tables, local_files
from liere_cli.data.sources.parquet import Shard
from liere_cli.data.sources.table import Table, find_table
from liere_cli.utils.files import locked
from liere_cli.utils.paths import cache_root

_IMAGE_COLUMNS = ("image", "img", "picture")


class ImageOptions(LabelledOptions, AugmentationOptions):
    grid: ImageGrid = (32, 32)


class Images(Labelled):
    axes = 2
    Options: ClassVar[type[Section]] = ImageOptions

    def __init__(self, options: LabelledOptions, root: Path | None = None) -> None:
        super().__init__(options, root)
        if isinstance(options, AugmentationOptions):
            names = [field.name for field in fields(Augmentation)]
            self.augmentation = Augmentation(**{name: getattr(options, name) for name in names})
            self.eval_crop = options.eval_crop
            if options.crop is not None and options.shift is None:
                self.shift = 0  # a crop moves images already


class _Cifar(Images):
    """Val is held out of the training images, the same number of every class."""

    repository: ClassVar[str]
    label_column: str

    @classmethod
    def is_available(cls, root: Path | None) -> bool:
        return is_published_available(cls.name, cls.repository, root)

    @cached_property
    def items(self) -> Source:
        shards = published_shards(self.name, self.repository, self.root)
        image = "img" if "img" in shards[0].columns() else "image"
        return Table(shards, image, self.label_column)


class Cifar10(_Cifar):
    name = "cifar10"
    summary = "50,000 + 10,000 images of 32x32, 10 classes"
    source = "https://huggingface.co/datasets/uoft-cs/cifar10"
    licence = "none stated; cite Krizhevsky 2009"
    repository = "uoft-cs/cifar10"
    label_column = "label"
    classes = 10
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)


class Cifar100Options(ImageOptions):
    labels: Literal["fine", "coarse"] = Field("fine", description="fine: 100 classes; coarse: 20")


class Cifar100(_Cifar):
    name = "cifar100"
    summary = "50,000 + 10,000 images of 32x32, 100 classes (or 20 coarse ones)"
    source = "https://huggingface.co/datasets/uoft-cs/cifar100"
    licence = "none stated; cite Krizhevsky 2009"
    repository = "uoft-cs/cifar100"
    Options = Cifar100Options
    options: Cifar100Options
    mean = (0.5071, 0.4867, 0.4408)
    std = (0.2675, 0.2565, 0.2761)

    def __init__(self, options: Cifar100Options, root: Path | None = None) -> None:
        super().__init__(options, root)
        self.label_column = f"{options.labels}_label"
        self.classes = {"fine": 100, "coarse": 20}[options.labels]


class ImagewoofOptions(ImageOptions):
    grid: ImageGrid = (128, 128)


class Imagewoof(Images):
    """Ten dog breeds from ImageNet; the published ``val`` is the test split here.

    A mirror holds the archive, the folder ``imagewoof2-160`` that it unpacks to, or the hub's
    parquet files in ``imagewoof-160px`` (jerpint/imagenette).
    """

    name = "imagewoof"
    summary = "9,025 + 3,929 images of 160 pixels, 10 dog breeds"
    source = "https://s3.amazonaws.com/fast-ai-imageclas/imagewoof2-160.tgz"
    licence = "Apache 2.0 (the collection); ImageNet terms for the images"
    Options = ImagewoofOptions
    classes = 10
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    FOLDER = "imagewoof2-160"
    # no digest of the whole archive is published
    archive = Download(source, 92_612_825, "")

    @classmethod
    def _local(cls, root: Path | None) -> list[Shard] | Path | None:
        shards = find_parquet(root, ("imagewoof-160px", "imagewoof"))
        if shards:
            return shards
        downloads = cache_root() / "downloads"
        folders, archives = (cls.FOLDER, "imagewoof"), (cls.archive.file_name,)
        places = (root, folders), (downloads, folders[:1]), (root, archives), (downloads, archives)
        return next(chain.from_iterable(find_paths(*place) for place in places), None)

    @classmethod
    def is_available(cls, root: Path | None) -> bool:
        return cls._local(root) is not None

    @cached_property
    def items(self) -> Source:
        files, downloads = self._local(self.root), cache_root() / "downloads"
        if isinstance(files, list):
            return image_table(Tables(files))
        if files is None:
            files = download(
                self.archive,
                downloads / self.archive.file_name,
                "put it into the folder that --data-root or LIERE_DATA names, or use images:DIR "
                "or the built-in pointing",
            )
        if files.is_file():
            files = _unpacked(files, downloads / self.FOLDER)
        return ImageFolder(read_tree(files, SUFFIXES), SUFFIXES)


class ImagePathOptions(LocalOptions, AugmentationOptions):
    grid: ImageGrid = (64, 64)
    image: str | None = Field(None, description="parquet column of images; null: found by name")


class ImagePath(Local, Images):
    """Any local images: a folder by class, or parquet.

    Parquet is a file, a folder of files or a pattern such as ``DIR/birds-*.parquet``; train, val or
    test in a file's name is its split.
    """

    name = "images"
    summary = "any local folder by class, or parquet with an image and a label column"
    source = "images:PATH"
    Options = ImagePathOptions
    options: ImagePathOptions
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    @cached_property
    def items(self) -> Source:
        files = local_files(self.name, self.options.path, SUFFIXES)
        if isinstance(files, Tree):
            return ImageFolder(files, SUFFIXES)
        return image_table(files, self.options.image, self.options.label)


class ImageFolder(Folder):
    def decoding_of(self, path: Path, data: bytes) -> Decoding:
        return decoding_of(data, str(path))

    def decode(self, path: Path, grid: tuple[int, ...]) -> Array:
        return decode_image(self.read(path), grid, str(path))

    def decode_at(
        self,
        rows: Array,
        grid: tuple[int, ...],
        digest: bytes,
        view: View | None = None,
        share: float = 1.0,
    ) -> Array:
        path = self.files[int(rows[0])].path
        data = self.read(path)
        check_unchanged([data], digest, str(path))
        return decode_image(data, grid, str(path), view, share)


def image_table(tables: Tables, image: str | None = None, label: str | None = None) -> Table:
    return find_table(tables, image, label, "image", _IMAGE_COLUMNS)


def _unpacked(archive: Path, folder: Path) -> Path:
    """The folder that a tar archive is unpacked to once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            extract_into(archive, folder)
    return folder
