"""Items decoded each time: the bits of cached ones, augmentation as drawn, hostile files."""

import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from liere_cli.data import Examples, TrainingBatches, build_dataset, evaluation_batches
from liere_cli.data.augment.mixing import mixed
from liere_cli.data.augment.settings import Augmentation, View, draw_views
from liere_cli.data.base import Encoded
from liere_cli.data.feeding import gather as gathering
from liere_cli.errors import LiereError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIERE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def jpeg(seed: int, width: int = 40, height: int = 30) -> bytes:
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (height // 5, width // 5, 3), np.uint8)
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """30 images of two classes, in several sizes."""
    for number in range(30):
        path = tmp_path / "images" / f"class{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number, 40 + number, 30 + number % 7))
    return tmp_path / "images"


def images(path: Path, **options: object) -> Callable[..., Examples]:
    dataset = build_dataset({"name": "images", "path": str(path), "grid": 16, **options})
    load = dataset.load
    return lambda split="train", grid=None: load(split, grid)  # type: ignore[return-value]


def batches(examples: Examples, steps: int = 4, **options: object) -> list[torch.Tensor]:
    made = TrainingBatches(examples, batch_size=7, seed=3, flips=True, shift=1, **options)
    return [tensor for step in range(steps) for tensor in made.at(step)]


def unusual() -> dict[str, bytes]:
    """Images stored in ways that decoders treat differently."""
    image, exif = Image.fromarray(noise(36, 24)), Image.Exif()
    exif[0x0112] = 6
    grey = Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30) * 70)
    clear = image.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(image.size))
    images: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "rotated.jpg": (image, {"exif": exif}),
        "progressive.jpg": (image.rotate(90), {"progressive": True}),
        "cmyk.jpg": (image.convert("CMYK"), {}),
        "grey.jpg": (image.convert("L"), {}),
        "deep.png": (grey, {}),
        "palette.png": (image.quantize(7), {"transparency": 3}),
        "clear.png": (clear, {}),
        "animated.gif": (image, {"save_all": True, "append_images": [image.rotate(180)]}),
        "image.webp": (image.rotate(180), {}),
    }
    stored = {}
    for name, (content, options) in images.items():
        buffer = io.BytesIO()
        content.save(buffer, {"jpg": "JPEG"}.get(name[-3:], Path(name).suffix[1:]), **options)
        stored[name] = buffer.getvalue()
    return stored


def test_unusual_images_are_decoded_each_time_as_they_are_once(folder: Path) -> None:
    for name, content in unusual().items():
        (folder / "class1" / name).write_bytes(content)
    cached, decoded = images(folder, cache="full"), images(folder, cache="none")
    for split in ("train", "val", "test"):
        stored, encoded = cached(split).inputs, decoded(split).inputs
        assert isinstance(encoded, Encoded)
        for number, pixels in enumerate(stored):
            assert np.array_equal(pixels.numpy(), encoded.decode(number))


@pytest.mark.parametrize("kind", ["folder", "parquet"])
@pytest.mark.parametrize("eval_crop", [1.0, 0.875])
def test_decoding_each_time_and_once_are_equal_to_the_bit(
    kind: str, eval_crop: float, folder: Path, tmp_path: Path
) -> None:
    if kind == "parquet":
        rows = [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))]
        labels = [int(path.parent.name[-1]) for path in sorted(folder.rglob("*.jpg"))]
        columns = {"image": [{"bytes": row, "path": None} for row in rows], "label": labels}
        folder = tmp_path / "images.parquet"
        pq.write_table(pa.table(columns), folder, row_group_size=8)
    cached = images(folder, cache="full", eval_crop=eval_crop)
    decoded = images(folder, cache="none", eval_crop=eval_crop)
    for split in ("train", "val", "test"):
        first, second = cached(split), decoded(split)
        assert isinstance(first.inputs, torch.Tensor)
        assert isinstance(second.inputs, Encoded)
        assert second.inputs.shape == first.inputs.shape
        assert torch.equal(first.labels, second.labels)
        assert torch.equal(first.groups, second.groups)
        for a, b in zip(
            evaluation_batches(first, batch_size=4),
            evaluation_batches(second, batch_size=4),
            strict=True,
        ):
            assert torch.equal(a[0], b[0])
            assert torch.equal(a[1], b[1])
    for a, b in zip(batches(cached()), batches(decoded()), strict=True):
        assert torch.equal(a, b)


def test_how_items_are_kept_is_no_part_of_an_identity_and_what_they_undergo_is(
    folder: Path,
) -> None:
    from liere_cli.config.recipe import Recipe
    from liere_cli.runs.build import assemble

    def run_id(**options: object) -> str:
        data = {"name": "images", "path": str(folder), "grid": 16, **options}
        recipe = Recipe.validated({"encoding": {"name": "axial"}, "data": data}, "test")
        return assemble(recipe, device=torch.device("cpu")).run_id

    assert len({run_id(), run_id(cache="none"), run_id(cache="full")}) == 1
    augmented = [{"crop": 0.08}, {"crop": 0.5}, {"randaugment": 9}, {"mixup": 0.2}, {"cutmix": 1.0}]
    changes = [{}, *augmented, {"eval_crop": 0.875}]
    assert len({run_id(**options) for options in changes}) == len(changes)


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(crop=0.2),
        Augmentation(randaugment=20),
        Augmentation(mixup=0.5),
        Augmentation(crop=0.2, randaugment=9, mixup=0.2, cutmix=1.0),
    ],
)
def test_a_batch_depends_on_seed_and_step_alone(
    augmentation: Augmentation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = images(folder, cache="none")()
    made = {"augmentation": augmentation, "classes": 2}
    expected = batches(examples, **made)
    # another order of steps, other threads
    monkeypatch.setattr(gathering, "threads", lambda: 5)
    again = TrainingBatches(examples, batch_size=7, seed=3, flips=True, shift=1, **made)
    for step in (3, 0, 2, 1):
        for a, b in zip(again.at(step), expected[2 * step : 2 * step + 2], strict=True):
            assert torch.equal(a, b)
    # ranks have the rows of the batch of one process
    parts = [again.at(2, rows) for rows in (slice(0, 3), slice(3, 7))]
    for n in range(2):
        assert torch.equal(torch.cat([part[n] for part in parts]), expected[4 + n])
    plain = batches(examples)
    assert not torch.equal(plain[0], expected[0])


def test_stored_items_are_augmented_as_encoded_ones(folder: Path) -> None:
    made = {"augmentation": Augmentation(randaugment=15)}
    cached, decoded = images(folder, cache="full")(), images(folder, cache="none")()
    for a, b in zip(batches(cached, **made), batches(decoded, **made), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(LiereError, match="random crops need images that are decoded"):
        batches(cached, augmentation=Augmentation(crop=0.08))


def test_large_splits_are_decoded_each_time_unless_they_are_cached(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from liere_cli.data import classification

    monkeypatch.setattr(classification, "CACHE_BYTES", 10 * 3 * 16 * 16)
    assert isinstance(images(folder)("train").inputs, Encoded)
    assert isinstance(images(folder)("val").inputs, torch.Tensor)
    images(folder, cache="full")("train")
    assert isinstance(images(folder)("train").inputs, torch.Tensor)
    assert isinstance(images(folder, cache="none")("train").inputs, Encoded)


def test_random_crops_are_of_training_images_whatever_is_cached(folder: Path) -> None:
    made = images(folder, cache="full", crop=0.08)
    assert isinstance(made("train").inputs, Encoded)
    assert isinstance(made("val").inputs, torch.Tensor)


@given(st.integers(1, 600), st.integers(1, 600), st.floats(0.01, 1), st.integers(0, 99))
def test_a_crop_lies_in_the_image_and_has_an_allowed_area_and_shape(
    width: int, height: int, least: float, seed: int
) -> None:
    (view,) = draw_views(Augmentation(crop=least), seed, 0, 1)
    left, top, right, bottom = view.box(width, height) or (0, 0, 0, 0)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    if min(width, height) >= 100:
        columns, rows = right - left, bottom - top
        assert 0.7 <= columns / rows <= 1.4
        assert columns * rows >= 0.95 * least * min(width, height) ** 2 * 0.7


def test_crops_have_the_areas_and_shapes_of_the_field() -> None:
    """Shares of the area are uniform from ``crop`` to 1, and shapes uniform in their logarithm."""
    views = draw_views(Augmentation(crop=0.08), 0, 0, 4000)
    boxes = np.array([view.box(10_000, 10_000) for view in views])
    columns, rows = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    small = columns * rows / 1e8 < 0.5  # larger ones fail more often in extreme shapes
    assert abs((columns * rows / 1e8)[small].mean() - 0.29) < 0.02
    assert abs(np.log(columns / rows)[small].mean()) < 0.02
    assert abs(np.log(columns / rows)[small].std() - np.log(16 / 9) / 12**0.5) < 0.02


def test_without_magnitude_operations_only_those_without_one_change_an_image() -> None:
    pixels = noise(20, 20).transpose(2, 0, 1)
    changed = {
        number
        for number in range(14)
        if not np.array_equal(
            gathering.seen(pixels, View(None, (), 0, [((number + 0.5) / 14, 0.7)], ())), pixels
        )
    }
    # at its least, solarize inverts white alone
    assert changed <= {11, 12, 13}
    assert 13 in changed


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_targets_are_the_shares_of_the_images(kind: str) -> None:
    labels = torch.arange(6)
    inputs = labels.float().view(-1, 1, 1, 1).expand(-1, 3, 32, 32)
    augmentation = replace(Augmentation(), **{kind: 1.0})
    shares = []
    for step in range(40):
        images_, targets = mixed(inputs, labels, augmentation, 6, 0, step)
        assert images_.shape == (5, 3, 32, 32)
        torch.testing.assert_close(targets.sum(1), torch.ones(5))
        # each image is as bright as its number
        torch.testing.assert_close(
            images_.mean((1, 2, 3)), (targets * labels).sum(1), atol=1e-4, rtol=1e-4
        )
        shares.append(float(targets[0, 1]))
    assert min(shares) < 0.2
    assert max(shares) > 0.8


def hostile(kind: str) -> bytes:
    data = jpeg(99, 200, 150)
    return {
        "empty": b"",
        "cut": data[: len(data) // 2],
        "zeros": data[: len(data) // 2] + bytes(len(data) // 2),
        "page": b"<!DOCTYPE html><html>404</html>",
        "text": b"not an image",
        "cut png": noise_png()[:-30],
    }[kind]


def noise_png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise(30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["empty", "cut", "zeros", "page", "text", "cut png"])
def test_a_broken_file_is_refused_or_left_out_and_counted(kind: str, folder: Path) -> None:
    clean = build_dataset({"name": "images", "path": str(folder), "grid": 16})
    expected = clean.fingerprint
    (folder / "class0" / "broken.jpg").write_bytes(hostile(kind))
    for cache in ("none", "full"):
        strict = build_dataset({"name": "images", "path": str(folder), "grid": 16, "cache": cache})
        with pytest.raises(LiereError, match=r"broken.jpg is broken or not an image.*broken=skip"):
            _ = strict.fingerprint
    options = {"name": "images", "path": str(folder), "grid": 16, "broken": "skip"}
    skipping = build_dataset(options)
    assert skipping.fingerprint == expected
    assert any("1 broken item, such as" in note and "broken.jpg" in note for note in skipping.notes)


def test_a_file_that_changed_since_it_was_read_is_refused(folder: Path) -> None:
    examples = images(folder, cache="none")()
    for path in folder.rglob("*.jpg"):
        path.write_bytes(jpeg(int(path.stem) + 1000))
    with pytest.raises(LiereError, match="has changed since this command began"):
        batches(examples)


def test_zeros_after_the_end_of_an_image_are_harmless(folder: Path) -> None:
    padded = folder / "class0" / "padded.jpg"
    padded.write_bytes(jpeg(77) + bytes(4096))
    assert build_dataset({"name": "images", "path": str(folder), "grid": 16}).fingerprint


def test_an_interrupted_build_goes_on_and_has_the_same_bits(
    folder: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from liere_cli.data import images as images_module
    from liere_cli.data.sources.items import build

    monkeypatch.setattr(build, "_CHUNK", 5)
    decode = images_module.decode_image
    calls: list[str] = []

    def until(limit: int) -> None:
        def counted(*args: object) -> np.ndarray:
            if len(calls) >= limit:
                raise KeyboardInterrupt
            calls.append(str(args[2]))
            return decode(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(images_module, "decode_image", counted)

    until(12)
    with pytest.raises(KeyboardInterrupt):
        images(folder, cache="full")()
    (unfinished,) = cache.rglob(".*unfinished/done.jsonl")
    with unfinished.open("a") as file:
        file.write("\n[[1, 2")  # as a line that was being written
    calls.clear()
    until(1000)
    resumed = images(folder, cache="full")()
    total = len(resumed)
    assert len(calls) == total - 10
    assert not list(cache.rglob("*done.jsonl"))
    shutil.rmtree(cache)
    assert torch.equal(resumed.inputs, images(folder, cache="full")().inputs)


def test_a_damaged_part_of_an_interrupted_build_is_decoded_again(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from liere_cli.data import images as images_module
    from liere_cli.data.sources.items import build

    expected = images(folder, cache="full")().take(torch.arange(24)).inputs
    shutil.rmtree(cache)
    monkeypatch.setattr(build, "_CHUNK", 5)
    decode, calls = images_module.decode_image, []

    def interrupted(*args: object) -> np.ndarray:
        calls.append(1)
        if len(calls) > 12:
            raise KeyboardInterrupt
        return decode(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(images_module, "decode_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        images(folder, cache="full")()
    (inputs,) = cache.rglob(".*unfinished/inputs.npy")
    content = bytearray(inputs.read_bytes())
    content[128:] = bytes(len(content) - 128)
    inputs.write_bytes(content)
    monkeypatch.setattr(images_module, "decode_image", decode)
    assert torch.equal(images(folder, cache="full")().inputs, expected)


def test_a_scan_goes_on_where_it_was_interrupted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from liere_cli.data.sources.folders import source

    monkeypatch.setattr(source, "_PART", 4)
    read, seen, limit = source.Folder.read, [], [14]

    def until(path: Path) -> bytes:
        if len(seen) >= limit[0]:
            raise KeyboardInterrupt
        seen.append(path)
        return read(path)

    monkeypatch.setattr(source.Folder, "read", staticmethod(until))
    dataset = {"name": "images", "path": str(folder), "grid": 16}
    with pytest.raises(KeyboardInterrupt):
        _ = build_dataset(dataset).fingerprint
    first = set(seen)
    seen.clear()
    limit[0] = 1000
    assert build_dataset(dataset).fingerprint
    assert len(seen) <= 30 - 12
    assert len(first | set(seen)) == 30
