"""The right 8-bit image of every depth, mode and format, or a sentence."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from liere_cli.data.sources.base import Decoding
from liere_cli.data.sources.decode_image import decode_image, decoding_of
from liere_cli.errors import LiereError
from support.image_files import images

ROWS, COLUMNS = 16, 32
RAMP = (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) * 128).astype(np.uint16)
COLOUR = (200, 30, 60)


def stored(picture: Image.Image, form: str, **settings: object) -> bytes:
    content = io.BytesIO()
    picture.save(content, form, **settings)
    return content.getvalue()


def decoded(data: bytes) -> np.ndarray:
    return decode_image(data, (ROWS, COLUMNS), "it").astype(int)


def pgm(values: np.ndarray, most: int) -> bytes:
    depth = ">u2" if most > 255 else "u1"
    return b"P5 %d %d %d\n" % (*values.shape[::-1], most) + values.astype(depth).tobytes()


def tiff(values: np.ndarray, bits: int, order: str, photometric: int = 1) -> bytes:
    """A TIFF with one strip of unsigned numbers, with the values given as they are stored."""
    mark, kind = (b"II*\0", "<") if order == "little" else (b"MM\0*", ">")
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(int)
        first, second = pairs[:, 0], pairs[:, 1]
        strip = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1)
        data = strip.astype(np.uint8).tobytes()
    else:
        data = values.astype(f"{kind}u{bits // 8}").tobytes()
    tags = [(256, COLUMNS), (257, ROWS), (258, bits), (259, 1), (262, photometric), (273, 8),
            (277, 1), (278, ROWS), (279, len(data))]  # fmt: skip
    number = {2: f"{kind}u2", 4: f"{kind}u4"}

    def encoded(value: int, size: int) -> bytes:
        return np.array(value, number[size]).tobytes()

    entries = b"".join(
        encoded(t, 2) + encoded(4, 2) + encoded(1, 4) + encoded(v, 4) for t, v in tags
    )
    position = encoded(8 + len(data), 4)
    return mark + position + data + encoded(len(tags), 2) + entries + bytes(4)


DEPTHS: dict[str, bytes] = {
    "png": stored(Image.fromarray(RAMP), "png"),
    "tiff": stored(Image.fromarray(RAMP), "tiff"),
    "tiff compressed": stored(Image.fromarray(RAMP), "tiff", compression="tiff_lzw"),
    "tiff big-endian": tiff(RAMP, 16, "big"),
    "tiff little-endian": tiff(RAMP, 16, "little"),
    "tiff white is 0": tiff(65535 - RAMP, 16, "little", photometric=0),
    "tiff of 12 bits": tiff(RAMP >> 4, 12, "little"),
    "pgm": pgm(RAMP, 65535),
    "pgm up to 1023": pgm(RAMP >> 6, 1023),
    "jpeg 2000": stored(Image.fromarray(RAMP), "jpeg2000"),
    "float tiff": stored(Image.fromarray((RAMP / 65535).astype(np.float32)), "tiff"),
}


@pytest.mark.parametrize("form", DEPTHS)
def test_more_than_8_bits_keep_their_grey_levels(form: str) -> None:
    result = decoded(DEPTHS[form])
    assert np.abs(result - RAMP[None] / 257).max() <= 1
    assert len(np.unique(result)) >= 250
    assert decoding_of(DEPTHS[form], "it") == Decoding.SCALED


@given(st.integers(0, 255), st.sampled_from(["png", "tiff", "jpeg2000"]))
def test_bytes_stored_in_16_bits_are_found_again(value: int, form: str) -> None:
    for scale in (256, 257):
        grey = Image.fromarray(np.full((ROWS, COLUMNS), value * scale, np.uint16))
        assert (decoded(stored(grey, form)) == value).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_fewer_bits_are_spread_over_all_levels(bits: int) -> None:
    levels = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 2**bits
    expected = levels * 255 // (2**bits - 1)
    data = pgm(levels, 2**bits - 1)
    assert (decoded(data)[0] == expected).all()
    if bits == 1:
        picture = Image.fromarray((levels * 255).astype(np.uint8)).convert("1")
        for form in ("png", "tiff", "bmp", "gif"):
            assert (decoded(stored(picture, form))[0] == expected).all()


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        (
            Image.fromarray((RAMP / 655).astype(np.float32)),
            "float values from 0 to 99.8595, not from 0",
        ),
        (Image.fromarray(np.full((4, 4), np.nan, np.float32)), "float values from nan"),
        (Image.fromarray(RAMP.astype(np.int32)), "32-bit or signed values from 0 to 65408"),
        (Image.fromarray(RAMP.astype(np.int32) - 9), "signed values from -9"),
    ],
)
def test_values_without_a_known_scale_are_refused(picture: Image.Image, sentence: str) -> None:
    with pytest.raises(LiereError, match=sentence):
        decoded(stored(picture, "tiff"))


MODES: dict[str, tuple[str, tuple[str, ...]]] = {
    "RGB": ("RGB", ("png", "tiff", "bmp", "tga", "sgi", "qoi", "pcx", "jpeg", "webp", "avif")),
    "RGBA": ("RGBA", ("png", "tiff", "tga", "qoi", "webp", "avif", "jpeg2000")),
    "P": ("P", ("png", "tiff", "bmp", "gif", "tga", "pcx")),
    "CMYK": ("CMYK", ("tiff", "jpeg")),
    "YCbCr": ("YCbCr", ("tiff", "jpeg")),
}


@pytest.mark.parametrize(
    ("mode", "form"), [(mode, form) for mode, (_, forms) in MODES.items() for form in forms]
)
def test_every_mode_has_its_colour(mode: str, form: str) -> None:
    picture = Image.new("RGB", (COLUMNS, ROWS), COLOUR)
    picture = picture.quantize(4) if mode == "P" else picture.convert(mode)
    data = stored(picture, form)
    assert np.abs(decoded(data) - np.array(COLOUR)[:, None, None]).max() <= 4
    # opaque images have the pixels that they had before transparency was taken into account
    assert decoding_of(data, "it") == Decoding.USUAL


def test_lab_is_converted_by_its_profile() -> None:
    data = stored(Image.new("LAB", (COLUMNS, ROWS), (128, 128, 128)), "tiff")
    assert np.ptp(decoded(data)) <= 3


def transparent(mode: str, form: str) -> bytes:
    """Half of it the colour, half transparent with another colour below."""
    pixels = np.zeros((ROWS, COLUMNS, 4), np.uint8)
    pixels[:, : COLUMNS // 2] = (*COLOUR, 255)
    pixels[:, COLUMNS // 2 :] = (0, 0, 255, 0)
    picture = Image.fromarray(pixels)
    if mode == "LA":
        return stored(picture.convert("LA"), form)
    if mode == "P":
        indices = np.repeat([[0, 1]], COLUMNS // 2, 1).repeat(ROWS, 0).astype(np.uint8)
        palette = Image.fromarray(indices).convert("P")
        palette.putpalette([*COLOUR, 0, 0, 255])
        transparency: int | bytes = 1 if form == "gif" else b"\xff\x00"
        return stored(palette, form, transparency=transparency)
    if mode == "RGB":
        opaque = Image.fromarray(pixels[..., :3])
        return stored(opaque, form, transparency=(0, 0, 255))
    return stored(picture, form)


@pytest.mark.parametrize(
    ("mode", "form"),
    [("RGBA", "png"), ("RGBA", "tiff"), ("RGBA", "webp"), ("RGBA", "tga"), ("RGBA", "avif"),
     ("LA", "png"), ("LA", "tiff"), ("P", "png"), ("P", "gif"), ("RGB", "png")],
)  # fmt: skip
def test_transparent_pixels_are_shown_on_white(mode: str, form: str) -> None:
    data = transparent(mode, form)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result, decoding = decoded(data), decoding_of(data, "it")
    assert result[:, :, -1].min() >= 250
    expected = np.array(COLOUR) if mode != "LA" else np.full(3, 84)
    assert np.abs(result[:, :, 0] - expected[:, None]).max() <= 12
    assert decoding == Decoding.ON_WHITE


@pytest.mark.parametrize("form", ["jpeg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("depth", [8, 16])
def test_images_are_upright(form: str, orientation: int, depth: int) -> None:
    if depth == 16 and form in ("jpeg", "webp"):
        pytest.skip("the format has 8 bits")
    rows, columns = np.mgrid[:32, :64]
    upright = ((rows * 4 + columns) % 256).astype(np.uint8)
    flips: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
        5: np.transpose, 6: np.rot90, 7: lambda a: np.rot90(a, 2).T, 8: lambda a: np.rot90(a, -1),
    }  # fmt: skip
    turned = np.ascontiguousarray(flips[orientation](upright))
    picture = Image.fromarray(turned if depth == 8 else turned.astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = decode_image(stored(picture, form, exif=exif), (32, 64), "it").astype(int)
    assert np.abs(result[0] - upright).mean() <= 3


@pytest.mark.parametrize("form", ["gif", "png", "webp", "tiff", "avif"])
def test_of_several_frames_the_first_is_the_image(form: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (COLUMNS, ROWS), colour) for colour in (COLOUR, (0, 0, 255))]
    data = stored(frames[0], form, save_all=True, append_images=frames[1:])
    assert np.abs(decoded(data) - np.array(COLOUR)[:, None, None]).max() <= 4
    assert Decoding.FIRST_FRAME in decoding_of(data, "it")


@pytest.mark.parametrize("cut", [0, 1, 8, 20, 0.5, 0.95])
@pytest.mark.parametrize("form", ["jpeg", "png", "tiff", "gif", "bmp", "webp", "avif", "jpeg2000"])
def test_truncated_images_are_refused(form: str, cut: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (ROWS, COLUMNS, 3), np.uint8)
    data = stored(Image.fromarray(noise), form)
    data = data[: int(cut * len(data)) if isinstance(cut, float) else cut]
    with pytest.raises(LiereError, match="it is broken or not an image"):
        decoded(data)


def write_plain(folder: Path) -> None:
    """Images whose bytes no library determines."""
    for number in range(40):
        class_folder = folder / "ab"[number % 2]
        class_folder.mkdir(exist_ok=True)
        data = b"P6 8 8 255\n" + bytes([number, 77, 0]) * 64
        (class_folder / f"{number}.ppm").write_bytes(data)


def test_fingerprints_change_only_where_pixels_do(tmp_path: Path) -> None:
    write_plain(tmp_path)
    # as before images of more than 8 bits were scaled
    assert images(tmp_path).fingerprint == "1303808a67275fce"
    (tmp_path / "a/x.pgm").write_bytes(pgm(np.full((8, 8), 100 * 256), 65535))
    dataset = images(tmp_path)
    assert dataset.fingerprint != "af184f88e34a28db"
    assert "1 item: 16-bit or float values are scaled to 8 bits" in dataset.notes
    loaded = [dataset.load(split).inputs for split in ("train", "val", "test")]  # type: ignore[arg-type, union-attr]
    assert {int(item[0, 0, 0]) for items in loaded for item in items} == {*range(40), 100}


@pytest.mark.parametrize("kind", ["palette with transparency", "huge", "corrupt exif"])
def test_warnings_of_pillow_are_not_shown(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plain(tmp_path)
    data = transparent("P", "png")
    if kind == "huge":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", ROWS * COLUMNS - 1)
        data = stored(Image.new("RGB", (COLUMNS, ROWS)), "png")
    if kind == "corrupt exif":
        data = stored(Image.new("RGB", (COLUMNS, ROWS)), "tiff")
        data = data.replace(b"\x00\x01\x04\x00", b"\x00\x01\x09\x00", 1)
    (tmp_path / "a/x.png").write_bytes(data)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        for split in ("train", "val", "test"):
            images(tmp_path).load(split)  # type: ignore[arg-type]
    assert not [warning for warning in shown if "PIL" in warning.filename]
