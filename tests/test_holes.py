from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from denoise.errors import UsageError
from denoise.holes import as_mask, check_holes, dilate, find_holes, has_square, note_on_holes, with_mask_read
from denoise.media.image import open_image
from denoise.media.image_frame import pillow_frame
from denoise.media.mask import Mask
from denoise.options import Options
from tests.conftest import photo


def spots(height: int = 40, width: int = 56, seed: int = 0) -> Mask:
    return np.random.default_rng(seed).random((height, width)) < 0.02


def found(path: Path, **options: object) -> Mask:
    with open_image(path) as picture:
        return find_holes(picture, next(picture.frames), Options(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("by_px", [0, 1, 3])
def test_dilation_reaches_so_many_pixels_to_all_sides(by_px: int) -> None:
    mask = spots()
    mask[0, 0] = mask[-1, 20] = True
    expected = np.zeros_like(mask)
    for row, column in np.argwhere(mask):
        expected[max(row - by_px, 0) : row + by_px + 1, max(column - by_px, 0) : column + by_px + 1] = True
    assert np.array_equal(dilate(mask, by_px), expected)


@pytest.mark.parametrize("by_px", [55, 10**9, 10**20])
def test_dilation_may_reach_beyond_the_picture(by_px: int) -> None:
    mask = np.zeros((40, 56), dtype=bool)
    mask[0, 0] = True
    assert dilate(mask, by_px).all()
    assert not dilate(mask, 54)[0, -1]


@pytest.mark.parametrize("side", [1, 5, 6, 7])
def test_the_largest_square(side: int) -> None:
    mask = spots()
    mask[:] = False
    mask[10:16, 3:40] = True
    mask[30:39, 50:55] = True
    assert has_square(mask, side) == (side <= 6)
    assert not has_square(np.zeros_like(mask), 1)
    assert has_square(np.ones((7, 7), dtype=bool), 7)


def test_masks_in_memory() -> None:
    mask = spots()
    levels = mask.astype(np.uint8)
    kinds = [
        mask,
        levels,
        levels * 255,
        levels.astype(np.uint16) * 65_535,
        np.where(mask, 255, 0),
        torch.from_numpy(levels).int() * 65_535,
        levels.astype(np.int8) * 127,
        levels.astype(np.int16) * 32_767,
        levels.astype(np.int32) * (2**31 - 1),
        torch.from_numpy(mask).bfloat16(),
        levels.astype(np.float64),
        Image.fromarray(mask),
        Image.fromarray(levels * 255),
        torch.from_numpy(mask),
        torch.from_numpy(levels)[None].float(),
        torch.from_numpy(mask)[None, None],
    ]
    for kind in kinds:
        assert np.array_equal(as_mask(kind), mask)
    assert not as_mask(levels.astype(np.uint16) * 30_000).any(), "less than half of white"


@pytest.mark.parametrize(
    "wrong",
    [
        3,
        None,
        np.zeros(5),
        np.zeros((2, 4, 4)),
        np.zeros((0, 4)),
        np.array([["a"]]),
        np.full((4, 4), 70_000),
    ],
)
def test_what_is_no_mask(wrong: object) -> None:
    with pytest.raises(UsageError, match=r"is no mask|does not fit"):
        as_mask(wrong)


@pytest.mark.parametrize("reached", [2.0, 255.0, float("nan"), float("inf")])
def test_a_mask_of_floats_ends_at_1_or_little_above(reached: float) -> None:
    mask = np.zeros((4, 4), np.float32)
    mask[1, 2] = reached
    for kind in (mask, torch.from_numpy(mask).bfloat16()):
        with pytest.raises(UsageError, match=rf"is 0\.\.1 and this one reaches {reached:g}; divide it by its white"):
            as_mask(kind)
    mask[1, 2] = 1.2
    assert as_mask(mask).sum() == 1


def test_a_mask_that_leaves_nothing() -> None:
    check_holes(spots(), "photo.png")
    with pytest.raises(UsageError, match=r"covers all of photo\.png"):
        check_holes(np.ones((4, 4), dtype=bool), "photo.png")


def test_a_mask_of_another_size(noisy_png: Path) -> None:
    with pytest.raises(UsageError, match=r"The mask is 56x40 and noisy photo ü\.png is 64x48; make them of one size"):
        found(noisy_png, mask=spots())


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_mask_lies_on_the_photo_as_it_is_seen(orientation: int, tmp_path: Path) -> None:
    image = Image.fromarray(photo(40, 56))
    exif = image.getexif()
    exif[274] = orientation
    image.save(tmp_path / "photo.jpg", exif=exif)
    stored = spots()
    turns = {1: 0, 3: 2, 6: -1, 8: 1}[orientation]  # counter-clockwise quarters that a viewer turns it by
    assert np.array_equal(found(tmp_path / "photo.jpg", mask=np.rot90(stored, turns).copy()), stored)


def test_a_mask_of_the_stored_sides_is_taken_as_it_is(tmp_path: Path) -> None:
    image = Image.fromarray(photo(40, 56))
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "photo.jpg", exif=exif)
    assert np.array_equal(found(tmp_path / "photo.jpg", mask=spots()), spots())


@pytest.mark.parametrize(
    ("suffix", "mode"), [("png", "RGB"), ("png", "P"), ("jpg", "RGB"), ("tif", "RGB"), ("bmp", "RGB")]
)
def test_holes_of_a_colour(suffix: str, mode: str, tmp_path: Path) -> None:
    pixels = photo(40, 56) // 2
    mask = np.zeros((40, 56), dtype=bool)
    mask[8:24, 16:40] = True
    pixels[mask] = [255, 0, 255]
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(pixels).convert(mode).save(path, **({"quality": 95, "subsampling": 0} if suffix == "jpg" else {}))
    marked = found(path, mask_color="#ff00ff")
    inner = np.zeros_like(mask)
    inner[9:23, 17:39] = True
    assert marked[inner].all() and not marked[~mask].any()
    assert np.array_equal(found(path, mask_color="magenta"), marked)
    assert not found(path, mask_color="#00ff00").any()


def test_gray_pictures_have_gray_holes(tmp_path: Path) -> None:
    pixels = photo(20, 30, 1)[..., 0].clip(1, 254)
    pixels[3:5, 4:9] = 255
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    assert np.array_equal(found(tmp_path / "photo.png", mask_color="white"), pixels == 255)


def test_no_colour(noisy_png: Path) -> None:
    with pytest.raises(UsageError, match="'purplish' is no colour"):
        found(noisy_png, mask_color="purplish")


def test_a_colour_in_four_bands(tmp_path: Path) -> None:
    Image.fromarray(photo(20, 30)).convert("CMYK").save(tmp_path / "photo.tif")
    with pytest.raises(UsageError, match="gray and RGB pictures only"):
        found(tmp_path / "photo.tif", mask_color="white")


def test_no_transparency(noisy_png: Path) -> None:
    with pytest.raises(UsageError, match="has no transparency"):
        found(noisy_png, mask="alpha")


@pytest.mark.parametrize(
    "wrong",
    [
        {"mask": "m.png", "mask_color": "red"},
        {"dilate_px": 2},
        {"mask": "m.png", "dilate_px": -1},
        {"mask": "m.png", "dilate_px": "2"},
        {"mask": "m.png", "dilate_px": 1.5},
        {"mask_color": (255, 0, 0)},
        {"mask": "alpha", "strength": 0.5},
    ],
)
def test_options_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"one of the two|is not allowed|is no text|no colour to mix with"):
        Options(**wrong)  # type: ignore[arg-type]


def test_a_colour_is_found_where_compression_has_changed_it(tmp_path: Path) -> None:
    """Chroma at half the resolution takes the border of a painted place far from its colour."""
    rows = photo(120, 160)
    painted = np.zeros((120, 160), dtype=bool)
    painted[20:29, 10:150] = painted[40:110, 70:78] = True
    rows[painted] = 255, 0, 255
    Image.fromarray(rows).save(tmp_path / "a.jpg", quality=90, subsampling=2)
    mask = found(tmp_path / "a.jpg", mask_color="#ff00ff")
    assert mask[painted].mean() > 0.97 and mask[~painted].mean() < 0.02
    Image.fromarray(rows).save(tmp_path / "a.png")
    assert np.array_equal(found(tmp_path / "a.png", mask_color="#ff00ff"), painted)


@pytest.mark.parametrize(
    ("suffix", "colour", "note"),
    [(".png", "#ff00fe", "Nothing is marked"), (".jpg", "#ff00ff", "Lossy compression"), (".png", "#ff00ff", "")],
)
def test_what_is_noted_on_holes(tmp_path: Path, suffix: str, colour: str, note: str) -> None:
    rows = photo()
    rows[10:30, 10:30] = 255, 0, 255
    Image.fromarray(rows).save(tmp_path / f"a{suffix}")
    options = Options(mask_color=colour)
    with open_image(tmp_path / f"a{suffix}") as picture:
        notes = note_on_holes(picture, find_holes(picture, next(picture.frames), options), options)
    assert len(notes) == bool(note) and all(one.startswith(note) for one in notes)


def test_a_mask_in_memory_is_seen_as_the_file_it_came_from(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[2:5, 3:9] = 255
    exif = Image.Exif()
    exif[274] = 3
    Image.fromarray(mask).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as opened:
        assert with_mask_read(Options(mask=opened)).mask[15:18, 21:27].all()
        np.testing.assert_array_equal(with_mask_read(Options(mask=opened)).mask, as_mask(tmp_path / "turned.png"))


def test_a_palette_without_an_opaque_colour_cannot_be_filled() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 9, 9, 9])
    image.info["transparency"] = bytes([0, 200])
    frame = pillow_frame(image, 8)
    image.putpixel((0, 0), 0)
    frame.reveal(0, frame.transparent(0, 8))
    assert image.getpixel((0, 0)) == 1
    image.info["transparency"] = bytes([0, 100])
    with pytest.raises(UsageError, match="No colour of the palette is opaque"):
        pillow_frame(image, 8).reveal(0, np.ones((8, 8), bool))
