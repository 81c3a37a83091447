"""Volumes as files hold them, of which parts are read.

Shapes: C channels; the grid is depth, rows, columns.
"""

import hashlib
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from liere_cli.data.base import Array
from liere_cli.data.sources.cache import cached_digest, file_key, prepared
from liere_cli.errors import LiereError, UsageError, counted

#: of one volume, or of many in one array
SUFFIXES = frozenset({".nii", ".gz", ".npy", ".zarr"})
ARRAYS = frozenset({".npy", ".npz", ".zarr"})
_CHANNELS = (1, 3, 4)
#: files that say what a folder of zarr holds, in versions 3 and 2
_ZARR_HEADS = ("zarr.json", ".zarray", ".zgroup")
_BLOCK = 1 << 22
#: values that determine the window of a volume, at most
_SAMPLE = 1 << 20
_PERCENTILES = (0.5, 99.5)
Window = tuple[float, float] | Literal["volume"] | None


class _Sliced(Protocol):
    """An array in a file, whose parts are read by indexing."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, key: Any) -> Any: ...


@dataclass(frozen=True)
class Volume:
    """A volume of an array, or an array that is one.

    Args:
        row: of the array; None: the array is the volume.
        channel: axis of channels behind the row; None: there is none.
        axes: of the array behind row and channel, in the order depth, rows, columns; backward ones
            are negative minus one.
    """

    array: _Sliced
    where: str
    row: int | None = None
    channel: int | None = None
    axes: tuple[int, ...] = (0, 1, 2)

    @property
    def _inner(self) -> tuple[int, ...]:
        return self.array.shape if self.row is None else self.array.shape[1:]

    @property
    def _spatial(self) -> list[int]:
        """The axes of the grid among the inner ones."""
        return [axis for axis in range(len(self._inner)) if axis != self.channel]

    @property
    def channels(self) -> int:
        return 1 if self.channel is None else self._inner[self.channel]

    @property
    def grid(self) -> tuple[int, ...]:
        spatial = self._spatial
        return tuple(self._inner[spatial[max(axis, -axis - 1)]] for axis in self.axes)

    def read(self, region: Sequence[slice]) -> Array:
        """Values of a part of the grid, [C, *part]. Raises LiereError: it can't be read."""
        key: list[Any] = [slice(None)] * len(self._inner)
        for axis, part, extent in zip(self.axes, region, self.grid, strict=True):
            inner = self._spatial[max(axis, -axis - 1)]
            key[inner] = part if axis >= 0 else slice(extent - part.stop, extent - part.start)
        with reading(self.where):
            values = np.asarray(self.array[(*(() if self.row is None else (self.row,)), *key)])
        channel = values[None] if self.channel is None else np.moveaxis(values, self.channel, 0)
        order = [0, *(1 + max(axis, -axis - 1) for axis in self.axes)]
        flips = (slice(None), *(slice(None, None, 1 if axis >= 0 else -1) for axis in self.axes))
        return channel.transpose(order)[flips]

    def planes(self, start: int, stop: int) -> Array:
        """[C, stop - start, rows, columns]."""
        _, rows, columns = self.grid
        return self.read([slice(start, stop), slice(0, rows), slice(0, columns)])


@contextmanager
def reading(where: object) -> Iterator[None]:
    try:
        yield
    except LiereError:
        raise
    except ImportError as error:
        raise LiereError(
            f"{where}: reading it needs {error.name}: pip install 'liere[volumes]'"
        ) from None
    except Exception as error:  # the libraries raise errors of any class on broken files
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LiereError(f"{where} is broken or not a volume: {reason}") from None


def row_path(path: Path, name: str, row: int) -> Path:
    """What a row of an array of a file is called; :func:`open_volume` opens it."""
    return path / f"{name}[{row}]"


def container_of(path: Path) -> tuple[Path, str, int] | None:
    """The file, the array's name and the row of a :func:`row_path`; None for a file."""
    match = re.fullmatch(r"(.*)\[(\d+)\]", path.name)
    return (path.parent, match[1], int(match[2])) if match else None


def open_volume(path: Path) -> Volume:
    """The volume of a file, or of a row of an array. Raises LiereError: a file that is broken or no
    volume.
    """
    if place := container_of(path):
        container, name, row = place
        return _checked(_row(arrays_in(container)[name], row, str(path)))
    if path.suffix.lower() in ARRAYS:
        array = arrays_in(path).get("")
        if array is None:
            raise LiereError(f"{path} is a group of arrays, but one volume is expected")
        return _checked(_single(array, str(path)))
    with reading(path):
        key = file_key(path)
    return _checked(_nifti(path, key))


def _checked(volume: Volume) -> Volume:
    if np.dtype(volume.array.dtype).kind not in "buif" or not all(volume.grid):
        kind = f"{volume.array.dtype} values and extents {volume.grid}"
        raise LiereError(f"{volume.where} has {kind}, but numbers are expected")
    return volume


def _row(array: _Sliced, row: int, where: str) -> Volume:
    shape = array.shape
    if len(shape) == 4:
        return Volume(array, where, row)
    if len(shape) == 5 and (shape[-1] in _CHANNELS or shape[1] in _CHANNELS):
        return Volume(array, where, row, channel=3 if shape[-1] in _CHANNELS else 0)
    raise LiereError(
        f"{where}: an array of shape {shape} holds no volumes: [N, depth, rows, columns], with 1, "
        "3 or 4 channels behind N or at the end, is expected"
    )


def _single(array: _Sliced, where: str) -> Volume:
    shape = array.shape
    if len(shape) == 3:
        return Volume(array, where)
    if len(shape) == 4 and (shape[-1] in _CHANNELS or shape[0] in _CHANNELS):
        return Volume(array, where, channel=3 if shape[-1] in _CHANNELS else 0)
    raise LiereError(
        f"{where}: an array of shape {shape} is no volume: [depth, rows, columns], with 1, 3 or 4 "
        "channels before or behind, is expected"
    )


def arrays_in(path: Path) -> Mapping[str, _Sliced]:
    """The arrays of a file by name; the name of a single one is empty. Nothing is read but headers.
    Raises LiereError: a file that is broken, or that can't be read in parts.
    """
    heads = [path] if path.is_file() else [path / name for name in _ZARR_HEADS]
    with reading(path):
        key = tuple(file_key(head) for head in heads if head.is_file())
        return _arrays_in(path, key)


def status_of(path: Path) -> tuple[object, ...]:
    """Changes with a file, or with the files of a folder."""
    with reading(path):
        return tuple(file_key(file) for file in _files_of(path))


def _files_of(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


@lru_cache(maxsize=64)
def _arrays_in(path: Path, key: tuple[object, ...]) -> Mapping[str, _Sliced]:
    match path.suffix.lower():
        case ".zarr":
            return _zarr(path)
        case ".npz":
            return _stored_arrays(path)
    return {"": np.load(path, mmap_mode="r", allow_pickle=False)}


def _zarr(path: Path) -> Mapping[str, _Sliced]:
    import zarr

    opened = zarr.open(str(path), mode="r")
    arrays = {"": opened} if isinstance(opened, zarr.Array) else dict(opened.arrays())
    for array in arrays.values():
        # a codec that runs code from the file
        if "pickle" in str(array.metadata.to_dict()):
            raise ValueError("it holds pickled objects, which are not read")
    return arrays


def _stored_arrays(path: Path) -> dict[str, _Sliced]:
    """The arrays of an ``.npz`` file, mapped."""
    arrays: dict[str, _Sliced] = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(
                    f"{member.filename} is compressed and can't be mapped: use array:{path}, or "
                    "numpy.savez"
                )
            # the local header has extra fields of its own
            file.seek(member.header_offset + 26)
            lengths = np.frombuffer(file.read(4), "<u2")
            file.seek(int(lengths.sum()), 1)
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = read_header(file)
            if dtype.hasobject:
                raise ValueError("it holds pickled objects, which are not read")
            order: Literal["F", "C"] = "F" if fortran else "C"
            arrays[member.filename.removesuffix(".npy")] = np.memmap(
                path, dtype, "r", file.tell(), shape, order
            )
    return arrays


@lru_cache(maxsize=64)
def _nifti(path: Path, key: tuple[object, ...]) -> Volume:
    """A NIfTI file with its axes from left to right, back to front and below to above, as columns,
    rows and depth, and its values scaled as the header says.
    """
    with reading(path):
        import nibabel

        image: Any = nibabel.load(path)
        shape = image.shape
        extra = shape[3:]
        if len(shape) < 3 or any(extent != 1 for extent in extra):
            raise ValueError(f"its shape is {shape}, but 3 axes are expected")
        orientation = nibabel.io_orientation(image.affine)  # type: ignore[no-untyped-call]
        if np.isnan(orientation).any():
            raise ValueError("its header says no orientation")
        array: _Sliced = image.dataobj
        if path.suffix == ".gz":
            # parts of a packed file can't be read
            digest = cached_digest(("volume", *key), lambda: digest_of_volume(path).hex())
            packed = array
            array = prepared(
                f"volumes/{digest}", lambda folder: np.save(folder / "data.npy", np.asarray(packed))
            )["data"]
        # of each of the axes x, y, z: the file's axis, and its direction
        at = {int(axis): (file, step) for file, (axis, step) in enumerate(orientation[:3])}
        axes = tuple(at[axis][0] if at[axis][1] > 0 else -at[axis][0] - 1 for axis in (2, 1, 0))
        if extra:
            array = _WithoutLast(array)
        return Volume(array, str(path), axes=axes)


@dataclass(frozen=True)
class _WithoutLast:
    """An array without trailing axes of extent 1."""

    array: _Sliced

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape[:3]

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    def __getitem__(self, key: Any) -> Any:
        ones = (0,) * (len(self.array.shape) - 3)
        return np.asarray(self.array[(*key, *ones)])


def digest_of_volume(path: Path) -> bytes:
    """32 bytes of SHA-256 over the content of a volume: of its file or its files by name, or of a
    row of an array, read in parts.
    """
    digest = hashlib.sha256()
    if container_of(path) is None:
        with reading(path):
            for file in _files_of(path):
                if path.is_dir():
                    digest.update(str(file.relative_to(path)).encode() + b"\0")
                with file.open("rb") as stream:
                    while block := stream.read(_BLOCK):
                        digest.update(block)
        return digest.digest()
    volume = open_volume(path)
    depth, step = volume.grid[0], max(1, _BLOCK // max(volume.planes(0, 1).nbytes, 1))
    digest.update(f"{volume.array.dtype} {volume.channels} {volume.grid}".encode())
    for start in range(0, depth, step):
        digest.update(volume.planes(start, min(start + step, depth)).tobytes())
    return digest.digest()


def window_of(volume: Volume, window: Window) -> tuple[float, float]:
    """The values that become 0 and 255. Raises UsageError: values of no known scale."""
    kind = np.dtype(volume.array.dtype)
    if window is None:
        if kind in (np.uint8, np.bool_):
            return (0, 255) if kind == np.uint8 else (0, 1)
        raise UsageError(
            f"{volume.where} has {kind} values: say which of them become black and white, as "
            "window=-1000/400, or window=volume for each volume's own range"
        )
    if window != "volume":
        return window
    depth, rows, columns = volume.grid
    step = max(1, -(-depth * rows * columns // _SAMPLE))
    planes = [volume.planes(n, n + 1) for n in range(min(step // 2, depth - 1), depth, step)]
    values = np.concatenate([plane.astype(np.float32).ravel() for plane in planes])
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise LiereError(f"{volume.where} has no finite values")
    low, high = np.percentile(finite, _PERCENTILES).tolist()
    return low, high if high > low else low + 1


def to_bytes(values: Array, window: tuple[float, float]) -> Array:
    """float32 from 0 to 255, of values from one end of the window to the other."""
    low, high = window
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    finite: Array = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0)
    return finite.clip(0, 255)


def described(volume: Volume) -> str:
    return f"{'x'.join(map(str, volume.grid))} with {counted(volume.channels, 'channel')}"
