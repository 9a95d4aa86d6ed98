import numpy as np
import pytest
from PIL import Image

from denoise.media.image import open_image
from denoise.media.image_frame import pillow_frame

RNG = np.random.default_rng(1)


def written(tmp_path, image, change, suffix=".png", **options):
    """The samples of a picture after `change` was applied to all its bands."""
    image.save(tmp_path / f"in{suffix}", **options)
    with open_image(tmp_path / f"in{suffix}") as picture:
        (frame,) = picture.frames
        height = frame.size[1]
        frame.write(0, height, change(frame.read(0, height)))
        picture.save(tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as after:
        return after.copy()


@pytest.mark.parametrize(("dtype", "peak"), [(np.uint8, 255), (np.uint16, 65535)])
def test_values_are_clipped_and_rounded_to_the_depth(tmp_path, dtype, peak):
    asked = np.array([[-1, 0, 0.25, 0.5, 1, 7]], dtype=np.float32)
    image = Image.fromarray(np.zeros((1, 6), dtype=dtype))
    after = written(tmp_path, image, lambda _: asked[None])
    expected = np.rint(np.clip(asked.astype(np.float64), 0, 1) * peak)
    np.testing.assert_array_equal(np.array(after), expected)


def test_the_rows_given_are_not_changed(tmp_path):
    rows = RNG.random((1, 4, 5), dtype=np.float32) * 3 - 1
    before = rows.copy()
    written(tmp_path, Image.new("L", (5, 4)), lambda _: rows)
    np.testing.assert_array_equal(rows, before)


def test_only_the_rows_asked_for_change(tmp_path):
    pixels = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    with open_image(tmp_path / "in.png") as picture:
        (frame,) = picture.frames
        frame.write(2, 5, np.ones((3, 3, 7), dtype=np.float32))
        picture.save(tmp_path / "out.png")
    pixels[2:5] = 255
    with Image.open(tmp_path / "out.png") as after:
        np.testing.assert_array_equal(np.array(after), pixels)


@pytest.mark.parametrize(("mode", "colours"), [("LA", 1), ("RGBA", 3)])
def test_alpha_stays_and_so_does_colour_where_nothing_shows(tmp_path, mode, colours):
    pixels = RNG.integers(0, 256, (20, 30, colours + 1), dtype=np.uint8)
    pixels[:10, :, -1] = 0
    image = Image.frombytes(mode, (30, 20), pixels.tobytes())
    after = np.array(written(tmp_path, image, lambda band: 1 - band))
    np.testing.assert_array_equal(after[..., -1], pixels[..., -1])
    np.testing.assert_array_equal(after[:10], pixels[:10])
    shown = pixels[10:, :, -1] > 0
    np.testing.assert_array_equal(after[10:, :, :-1][shown], 255 - pixels[10:, :, :-1][shown])


def palette_image(colours, index):
    image = Image.fromarray(index.astype(np.uint8)).convert("P")
    image.putpalette(np.asarray(colours, dtype=np.uint8).tobytes())
    return image


def test_a_palette_picture_takes_the_nearest_of_its_colours(tmp_path):
    colours = RNG.integers(0, 256, (50, 3))
    index = RNG.integers(0, 50, (20, 30))
    asked = RNG.random((3, 20, 30), dtype=np.float32)
    after = written(tmp_path, palette_image(colours, index), lambda _: asked)
    assert after.mode == "P"
    want = np.rint(asked * 255).transpose(1, 2, 0)
    best = ((want[:, :, None] - colours) ** 2).sum(-1).min(-1)
    got = ((want - np.array(after.convert("RGB"))) ** 2).sum(-1)
    np.testing.assert_array_equal(got, best)


def test_an_index_whose_colour_is_right_stays_though_another_has_the_same_colour(tmp_path):
    index = RNG.integers(0, 4, (6, 8))
    image = palette_image([[9, 9, 9], [9, 9, 9], [200, 0, 0], [200, 0, 0]], index)
    np.testing.assert_array_equal(np.array(written(tmp_path, image, lambda band: band)), index)


@pytest.mark.parametrize("transparency", [2, bytes([255, 128, 0, 128])])
def test_the_alpha_of_a_palette_picture_stays(tmp_path, transparency):
    index = RNG.integers(0, 4, (16, 16))
    image = palette_image([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], index)
    asked = RNG.random((3, 16, 16), dtype=np.float32)
    after = written(tmp_path, image, lambda _: asked, transparency=transparency)
    alpha = np.full(4, 255)
    if isinstance(transparency, int):
        alpha[transparency] = 0
    else:
        alpha = np.frombuffer(transparency, dtype=np.uint8)
    assert after.info["transparency"] == transparency
    np.testing.assert_array_equal(np.array(after.convert("RGBA"))[..., 3], alpha[index])
    np.testing.assert_array_equal(np.array(after)[index == 2], 2)
    assert (np.array(after) != index).any()


@pytest.mark.parametrize(("mode", "key"), [("L", 255), ("L", 7), ("RGB", (10, 20, 30)), ("I;16", 300)])
def test_a_transparent_colour_stays_where_it_is_and_appears_nowhere_else(tmp_path, mode, key):
    shape = (8, 8, 3) if mode == "RGB" else (8, 8)
    pixels = RNG.integers(0, 200, shape).astype(np.uint16 if mode == "I;16" else np.uint8)
    pixels[:4] = key
    peak = 65535 if mode == "I;16" else 255
    asked = np.tile(np.reshape(key, (-1, 1, 1)) / np.float32(peak), (1, 8, 8)).astype(np.float32)
    after = written(tmp_path, Image.fromarray(pixels), lambda _: asked, transparency=key)
    assert after.info["transparency"] == key
    clear = (np.array(after).reshape(8, 8, -1) == key).all(-1)
    assert clear[:4].all()
    assert not clear[4:].any()
    assert np.abs(np.array(after)[4:].astype(int) - np.array(key)).max() <= 1


def test_cmyk_shows_four_bands(tmp_path):
    pixels = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
    image = Image.frombytes("CMYK", (5, 6), pixels.tobytes())
    after = written(tmp_path, image, lambda band: 1 - band, ".tif")
    np.testing.assert_array_equal(np.array(after), 255 - pixels)


def test_black_and_white_is_cut_at_one_half(tmp_path):
    asked = RNG.random((1, 6, 13), dtype=np.float32)
    after = written(tmp_path, Image.new("1", (13, 6)), lambda _: asked)
    np.testing.assert_array_equal(np.array(after), asked[0] > 0.5)


def revealed(tmp_path, image, mask, **options):
    """A picture whose holes were made opaque and painted green, and which pixels it said were transparent before."""
    image.save(tmp_path / "in.png", **options)
    with open_image(tmp_path / "in.png") as picture:
        (frame,) = picture.frames
        height = frame.size[1]
        clear = frame.transparent(0, height)
        frame.reveal(0, mask)
        green = np.array([0.0, 1.0, 0.0] if frame.channels == 3 else [0.5], dtype=np.float32)[:, None, None]
        frame.write(0, height, np.where(mask, green, frame.read(0, height)))
        picture.save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as after:
        return np.array(after.convert("RGBA")), clear


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_holes_by_alpha_become_opaque(tmp_path, mode):
    pixels = RNG.integers(0, 256, (9, 12, len(mode)), dtype=np.uint8)
    pixels[..., -1] = 200
    pixels[2:5, 3:7, -1] = 0
    pixels[7, 7, -1] = 127
    image = Image.frombytes(mode, (12, 9), pixels.tobytes())
    mask = pixels[..., -1] < 128
    after, clear = revealed(tmp_path, image, mask)
    np.testing.assert_array_equal(clear, mask)
    assert (after[mask, 3] == 255).all() and (after[~mask, 3] == 200).all()
    np.testing.assert_array_equal(after[mask][0, :3], [0, 255, 0] if mode == "RGBA" else [128] * 3)


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (3, 5, 7)), ("L", 255)])
def test_holes_by_a_transparent_colour_become_opaque(tmp_path, mode, key):
    image = Image.new(mode, (6, 4), 100 if mode == "L" else (100, 90, 80))
    image.putpixel((2, 1), key)
    mask = np.zeros((4, 6), dtype=bool)
    mask[1, 2] = True
    after, clear = revealed(tmp_path, image, mask, transparency=key)
    np.testing.assert_array_equal(clear, mask)
    assert (after[..., 3] == 255).all()
    np.testing.assert_array_equal(after[1, 2, :3], [0, 255, 0] if mode == "RGB" else [128] * 3)


def test_holes_by_a_transparent_palette_entry_become_opaque(tmp_path):
    image = Image.new("P", (6, 4), 1)
    image.putpalette([10, 10, 10, 100, 100, 100, 0, 255, 0, 50, 0, 0])
    image.putpixel((2, 1), 3)
    mask = np.zeros((4, 6), dtype=bool)
    mask[1, 2] = True
    after, clear = revealed(tmp_path, image, mask, transparency=3)
    np.testing.assert_array_equal(clear, mask)
    np.testing.assert_array_equal(after[1, 2], [0, 255, 0, 255])


def test_16_bit_alpha(tmp_path):
    pixels = RNG.integers(0, 65536, (5, 8, 4)).astype(np.uint16)
    pixels[..., 3] = 65535
    pixels[1, 2, 3] = 9
    imagecodecs = pytest.importorskip("imagecodecs", reason="pip install 'denoise-toolkit[formats]'")
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(pixels))
    with open_image(tmp_path / "deep.png") as picture:
        (frame,) = picture.frames
        assert frame.has_transparency
        mask = frame.transparent(0, 5)
        assert np.argwhere(mask).tolist() == [[1, 2]]
        frame.reveal(0, mask)
        picture.save(tmp_path / "out.png")
    after = imagecodecs.png_decode((tmp_path / "out.png").read_bytes())
    assert (after[..., 3] == 65535).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "P"])
def test_nothing_is_transparent_without_alpha(tmp_path, mode):
    suffix = ".tif" if mode == "CMYK" else ".png"
    Image.new("RGB", (5, 4), (9, 8, 7)).convert(mode).save(tmp_path / f"in{suffix}")
    with open_image(tmp_path / f"in{suffix}") as picture:
        (frame,) = picture.frames
        assert not frame.has_transparency
        assert not frame.transparent(0, 4).any()


def on_white(image):
    """As Pillow lays a picture on white. Shape: `[3, H, W]`, 0..255"""
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")).transpose(2, 0, 1)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "RGBa"])
def test_white_is_seen_through_what_is_transparent(mode):
    pixels = RNG.integers(0, 256, (7, 9, 4), dtype=np.uint8)
    pixels[:2, :, 3], pixels[2:4, :, 3] = 0, 255
    image = Image.frombytes("RGBA", (9, 7), pixels.tobytes()).convert(mode)
    seen = pillow_frame(image, 8).seen(1, 6) * 255
    np.testing.assert_allclose(seen, on_white(image)[:, 1:6], atol=1.5)
    np.testing.assert_array_equal(seen[:, 0], 255)
    opaque = np.asarray(image.convert("RGBA").convert("RGB")).transpose(2, 0, 1)[:, 2:4]
    np.testing.assert_allclose(seen[:, 1:3], opaque, atol=1e-3)


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (3, 5, 7)), ("P", 3), ("P", bytes([255, 128, 0]))])
def test_white_is_seen_in_place_of_a_transparent_colour(tmp_path, mode, key):
    image = Image.new(mode, (6, 4), 1 if mode == "P" else 100 if mode == "L" else (100, 90, 80))
    if mode == "P":
        image.putpalette([10, 10, 10, 100, 100, 100, 0, 255, 0, 50, 0, 0])
    image.putpixel((2, 1), 3 if mode == "P" else key)
    image.putpixel((3, 1), 2 if mode == "P" else key)
    image.save(tmp_path / "in.png", transparency=key)
    with open_image(tmp_path / "in.png") as picture, Image.open(tmp_path / "in.png") as stored:
        np.testing.assert_allclose(picture.seen() * 255, on_white(stored), atol=1.5)


def test_no_colour_exceeds_the_alpha_it_is_multiplied_by():
    pixels = np.full((4, 5, 4), 60, np.uint8)
    pixels[2:, :, :3] = 90  # which is wrong, and stays where it is asked for
    image = Image.frombytes("RGBa", (5, 4), pixels.tobytes())
    pillow_frame(image, 8).write(0, 4, np.full((3, 4, 5), 200 / 255, np.float32))
    after = np.frombuffer(image.tobytes(), np.uint8).reshape(4, 5, 4)
    np.testing.assert_array_equal(after[:2], 60)
    np.testing.assert_array_equal(after[2:, :, :3], 90)
