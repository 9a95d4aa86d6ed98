from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from denoise.errors import MediaError, UsageError
from denoise.media.mask import as_stored, mask_of, read_mask

HOLES = np.zeros((6, 9), dtype=bool)
HOLES[1:3, 2:7] = True
HOLES[5, 0] = True


def drawn(mode: str) -> Image.Image:
    """White holes on black in any mode of Pillow."""
    levels = np.where(HOLES, 255, 0).astype(np.uint8)
    gray = Image.fromarray(levels)
    match mode:
        case "I":
            return Image.fromarray(levels.astype(np.int32) * 1000)
        case "F":
            return Image.fromarray(levels.astype(np.float32) / 255)
        case "I;16":
            return Image.fromarray(levels.astype(np.uint16) * 257)
        case "LAB":
            zero = Image.new("L", gray.size)
            return Image.merge("LAB", (gray, zero, zero))
        case "La" | "RGBa":
            return gray.convert(mode.upper()).convert(mode)
        case "PA":
            return gray.convert("P").convert("PA")
        case "RGBX":
            return gray.convert("RGB").convert("RGBX")
        case "HSV":
            return gray.convert("RGB").convert("HSV")
    return gray.convert(mode)


MODES = [
    "1",
    "L",
    "P",
    "LA",
    "La",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "I;16",
    "F",
]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode(mode: str) -> None:
    image = drawn(mode)
    assert image.mode == mode
    assert np.array_equal(mask_of(image), HOLES)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("1", "png"), ("L", "png"), ("P", "gif"), ("RGBA", "png"), ("RGB", "bmp"), ("I;16", "png"), ("F", "tif")],
)
def test_files(mode: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"mask.{suffix}"
    drawn(mode).save(path)
    assert np.array_equal(read_mask(path), HOLES)


def test_transparent_white_is_no_hole(tmp_path: Path) -> None:
    image = Image.new("RGBA", (4, 2), (255, 255, 255, 0))
    image.putpixel((1, 1), (255, 255, 255, 255))
    image.save(tmp_path / "mask.png")
    assert np.argwhere(read_mask(tmp_path / "mask.png")).tolist() == [[1, 1]]


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_transparent_white_of_few_bits_is_no_hole(bits: int, tmp_path: Path) -> None:
    drawn("L").save(tmp_path / "mask.png", bits=bits, transparency=2**bits - 1)
    assert not read_mask(tmp_path / "mask.png").any()


def test_where_white_is_zero_in_16_bits(tmp_path: Path) -> None:
    deep = np.where(HOLES, 32_767, 32_768).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "mask.tif", tiffinfo={262: 0})
    assert np.array_equal(read_mask(tmp_path / "mask.tif"), HOLES)


def test_half_white_is_a_hole() -> None:
    assert mask_of(Image.fromarray(np.array([[0, 127, 128, 255]], dtype=np.uint8))).tolist() == [
        [False, False, True, True]
    ]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_nothing_white_in_32_bits(mode: str) -> None:
    assert not mask_of(Image.new(mode, (5, 4))).any()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_seen_upright(orientation: int, tmp_path: Path) -> None:
    """A viewer turns photo and mask alike; turned back the mask lies on the photo as it is stored."""
    stored = Image.fromarray(np.where(HOLES, 255, 0).astype(np.uint8))
    exif = stored.getexif()
    exif[274] = orientation
    stored.save(tmp_path / "stored.png", exif=exif)
    with Image.open(tmp_path / "stored.png") as image:
        upright = np.asarray(ImageOps.exif_transpose(image)) > 0
    assert np.array_equal(read_mask(tmp_path / "stored.png"), upright)
    assert np.array_equal(as_stored(upright, orientation), HOLES)


def test_a_tiff_on_its_side_is_seen_upright(tmp_path: Path) -> None:
    drawn("L").save(tmp_path / "mask.tif", tiffinfo={274: 6})
    assert np.array_equal(read_mask(tmp_path / "mask.tif"), np.rot90(HOLES, -1))


def test_a_mask_may_be_as_large_as_a_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn("L").save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HOLES.size // 3)  # Pillow refuses what is over twice of that
    assert np.array_equal(read_mask(tmp_path / "a.png"), HOLES)


def test_what_is_no_mask(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        read_mask(tmp_path / "none.png")
    with pytest.raises(UsageError, match="is a folder"):
        read_mask(tmp_path)
    (tmp_path / "voice.wav").write_bytes(b"RIFF")
    with pytest.raises(UsageError, match="is sound and a mask is a picture"):
        read_mask(tmp_path / "voice.wav")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(MediaError, match="is no picture, or is damaged"):
        read_mask(tmp_path / "text.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(MediaError, match="is empty"):
        read_mask(tmp_path / "empty.png")
    drawn("RGB").save(tmp_path / "cut.png")
    data = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError, match="is damaged"):
        read_mask(tmp_path / "cut.png")
