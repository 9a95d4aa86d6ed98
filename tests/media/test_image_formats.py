from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from denoise.errors import UsageError
from denoise.media.image import open_image

RNG = np.random.default_rng(3)


def photo(mode: str = "RGB", width: int = 32, height: int = 24, shift: int = 0) -> Image.Image:
    """A smooth picture."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    bands = [across, down, (across + down) / 2, 255 - across]
    pixels = np.roll(np.stack(bands, axis=-1), shift, axis=1).astype(np.uint8)
    if mode in {"1", "P"}:
        return Image.fromarray(pixels[..., :3]).convert(mode)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    return Image.frombytes(mode, (width, height), pixels[..., : len(mode)].tobytes())


def save(source: Path, target: Path) -> None:
    with open_image(source) as picture:
        for frame in picture.frames:
            frame.write(0, frame.size[1], frame.read(0, frame.size[1]))
        picture.save(target)


def all_frames(path: Path, mode: str = "RGBA") -> list[np.ndarray]:
    with Image.open(path) as image:
        frames = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            frames.append(np.array(image.convert(mode)))
        return frames


def difference(one: Path, other: Path, mode: str = "RGB") -> float:
    first, second = all_frames(one, mode), all_frames(other, mode)
    assert len(first) == len(second)
    return max(float(np.abs(a.astype(int) - b).mean()) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("mode", "before", "after", "kept"),
    [
        ("1", ".png", ".jpg", "L"),
        ("1", ".png", ".bmp", "1"),
        ("1", ".png", ".tif", "1"),
        ("1", ".png", ".webp", "RGB"),
        ("1", ".png", ".avif", "L"),
        ("L", ".png", ".jpg", "L"),
        ("L", ".png", ".gif", "L"),
        ("L", ".png", ".avif", "L"),
        ("L", ".bmp", ".png", "L"),
        ("LA", ".png", ".tif", "LA"),
        ("LA", ".png", ".webp", "RGBA"),
        ("LA", ".png", ".avif", "RGBA"),
        ("P", ".png", ".jpg", "RGB"),
        ("P", ".png", ".gif", "P"),
        ("P", ".gif", ".png", "P"),
        ("P", ".png", ".bmp", "P"),
        ("P", ".png", ".tif", "P"),
        ("P", ".tif", ".webp", "RGB"),
        ("RGB", ".jpg", ".png", "RGB"),
        ("RGB", ".bmp", ".tif", "RGB"),
        ("RGB", ".png", ".jpg", "RGB"),
        ("RGB", ".tif", ".avif", "RGB"),
        ("RGB", ".webp", ".bmp", "RGB"),
        ("RGBA", ".png", ".webp", "RGBA"),
        ("RGBA", ".webp", ".tif", "RGBA"),
        ("RGBA", ".tif", ".avif", "RGBA"),
        ("I;16", ".png", ".tif", "I;16"),
        ("I;16", ".tif", ".png", "I;16"),
        ("CMYK", ".tif", ".jpg", "CMYK"),
        ("CMYK", ".jpg", ".tif", "CMYK"),
    ],
)
def test_a_picture_goes_from_one_format_to_another(tmp_path, mode, before, after, kept):
    source, target = tmp_path / f"in{before}", tmp_path / f"out{after}"
    photo(mode).save(source)
    save(source, target)
    with Image.open(target) as image:
        assert image.mode == kept
    if mode == "I;16":
        assert all_frames(target, mode)[0].tolist() == all_frames(source, mode)[0].tolist()
    else:
        lossy = {".jpg", ".webp", ".avif"} & {after}
        assert difference(source, target, "RGBA") <= (10 if mode in {"1", "P"} and lossy else 2 if lossy else 0)


@pytest.mark.parametrize(
    ("mode", "before", "after", "reason"),
    [
        ("RGBA", ".png", ".jpg", "transparency"),
        ("RGBA", ".png", ".bmp", "transparency"),
        ("RGBA", ".png", ".gif", "transparency"),
        ("LA", ".png", ".jpg", "transparency"),
        ("RGB", ".png", ".gif", "256 colours"),
        ("I;16", ".png", ".jpg", "16 bits a channel; choose .png or .tif"),
        ("I;16", ".tif", ".webp", "16 bits"),
        ("I;16", ".tif", ".bmp", "16 bits"),
        ("I;16", ".png", ".avif", "16 bits"),
        ("CMYK", ".jpg", ".png", "CMYK; choose .tif or .jpg"),
        ("CMYK", ".tif", ".webp", "CMYK"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before_the_work(tmp_path, mode, before, after, reason):
    photo(mode).save(tmp_path / f"in{before}")
    with open_image(tmp_path / f"in{before}") as picture:
        for ask in (picture.check_output, picture.save):
            with pytest.raises(UsageError, match=reason):
                ask(tmp_path / f"out{after}")
    assert not (tmp_path / f"out{after}").exists()


def test_transparent_colours_and_indices_are_refused_or_become_alpha(tmp_path):
    photo("L").save(tmp_path / "key.png", transparency=8)
    photo("P").save(tmp_path / "some.png", transparency=bytes([0, 128] * 128))
    photo("P").save(tmp_path / "one.png", transparency=3)
    photo("I;16").save(tmp_path / "deep.png", transparency=8 * 257)
    for name, suffix in (("key", ".jpg"), ("some", ".bmp"), ("some", ".gif"), ("one", ".jpg"), ("deep", ".tif")):
        with open_image(tmp_path / f"{name}.png") as picture, pytest.raises(UsageError, match="transparen"):
            picture.check_output(tmp_path / f"out{suffix}")
    for name, suffix in (("key", ".tif"), ("some", ".tif"), ("one", ".tif"), ("one", ".gif"), ("some", ".webp")):
        save(tmp_path / f"{name}.png", tmp_path / f"out{suffix}")
        seen, shown = all_frames(tmp_path / f"{name}.png")[0], all_frames(tmp_path / f"out{suffix}")[0]
        np.testing.assert_array_equal(shown[..., 3], seen[..., 3])


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_transparent_shade_of_few_bits_is_so_in_every_format(tmp_path, bits):
    step = 255 // (2**bits - 1)
    grey = RNG.integers(0, 2**bits, (9, 11), dtype=np.uint8) * step
    Image.fromarray(grey).save(tmp_path / "in.png", bits=bits, transparency=int(grey[4, 4]) // step)
    clear = grey == grey[4, 4]
    for suffix in (".webp", ".tif", ".avif", ".gif"):
        save(tmp_path / "in.png", tmp_path / f"out{suffix}")
        np.testing.assert_array_equal(all_frames(tmp_path / f"out{suffix}")[0][..., 3] == 0, clear)
    save(tmp_path / "in.png", tmp_path / "out.png")
    with Image.open(tmp_path / "in.png") as before, Image.open(tmp_path / "out.png") as after:
        assert after.info["transparency"] == before.info["transparency"]


def test_a_picture_too_long_for_a_format_is_refused(tmp_path):
    Image.new("L", (16_384, 1)).save(tmp_path / "in.png")
    with open_image(tmp_path / "in.png") as picture, pytest.raises(UsageError, match="no side longer than 16383"):
        picture.check_output(tmp_path / "out.webp")


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 75, 98])
def test_a_jpeg_keeps_its_tables_and_its_subsampling(tmp_path, quality, subsampling):
    photo().save(tmp_path / "in.jpg", quality=quality, subsampling=subsampling)
    save(tmp_path / "in.jpg", tmp_path / "out.jpg")
    with Image.open(tmp_path / "in.jpg") as before, Image.open(tmp_path / "out.jpg") as after:
        assert after.quantization == before.quantization
        assert get_sampling(after) == get_sampling(before) == subsampling
        assert abs(np.array(after).astype(int) - np.array(before)).mean() < 2


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_jpeg_of_another_kind_keeps_its_tables(tmp_path, mode):
    photo(mode).save(tmp_path / "in.jpg", quality=60)
    save(tmp_path / "in.jpg", tmp_path / "out.jpg")
    with Image.open(tmp_path / "in.jpg") as before, Image.open(tmp_path / "out.jpg") as after:
        assert after.mode == mode
        assert np.all(np.array(after.quantization[0]) <= np.array(before.quantization[0]))
        assert abs(np.array(after).astype(int) - np.array(before)).mean() < 3


def test_a_jpeg_stored_as_rgb_stays_so(tmp_path):
    photo().save(tmp_path / "in.jpg", quality=60, keep_rgb=True)
    save(tmp_path / "in.jpg", tmp_path / "out.jpg")
    with Image.open(tmp_path / "in.jpg") as before, Image.open(tmp_path / "out.jpg") as after:
        assert [layer[0] for layer in after.layer] == [layer[0] for layer in before.layer] == [82, 71, 66]
        assert after.quantization[0] == before.quantization[0]
        assert abs(np.array(after).astype(int) - np.array(before)).mean() < 1


def test_a_jpeg_with_unusual_subsampling_becomes_finer(tmp_path):
    photo().save(tmp_path / "in.jpg", quality=80, subsampling=0)
    data = bytearray((tmp_path / "in.jpg").read_bytes())
    frame = data.index(b"\xff\xc0")
    with Image.open(tmp_path / "in.jpg") as image:
        assert data[frame + 11] == 0x11
    data[frame + 11] = 0x12  # luma twice as high as chroma: 4:4:0, which Pillow cannot write
    (tmp_path / "in.jpg").write_bytes(data)
    with open_image(tmp_path / "in.jpg") as picture:
        picture.save(tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as image:
        assert get_sampling(image) == 0


def test_a_new_jpeg_is_fine(tmp_path):
    photo().save(tmp_path / "in.png")
    photo().save(tmp_path / "ref.jpg", quality=95, subsampling=0)
    save(tmp_path / "in.png", tmp_path / "out.jpg")
    with Image.open(tmp_path / "ref.jpg") as expected, Image.open(tmp_path / "out.jpg") as image:
        assert image.quantization == expected.quantization
        assert get_sampling(image) == 0


def test_of_a_jpeg_with_more_pictures_the_first_is_restored(tmp_path):
    photo().save(tmp_path / "in.jpg", "MPO", save_all=True, append_images=[photo(shift=9)])
    with open_image(tmp_path / "in.jpg") as picture:
        assert (picture.format, picture.n_frames) == ("JPEG", 1)
        picture.save(tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.format == "JPEG"


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_lossless_webp_stays_lossless(tmp_path, mode):
    noise = RNG.integers(0, 256, (20, 30, len(mode)), dtype=np.uint8)
    noise[:5, :, 3:] = 0
    Image.frombytes(mode, (30, 20), noise.tobytes()).save(tmp_path / "in.webp", lossless=True, exact=True)
    save(tmp_path / "in.webp", tmp_path / "out.webp")
    assert b"VP8L" in (tmp_path / "out.webp").read_bytes()[:64]
    np.testing.assert_array_equal(all_frames(tmp_path / "out.webp", mode)[0], noise)


def test_a_lossy_webp_stays_close_with_its_alpha(tmp_path):
    photo("RGBA").save(tmp_path / "in.webp", quality=50)
    save(tmp_path / "in.webp", tmp_path / "out.webp")
    assert b"VP8L" not in (tmp_path / "out.webp").read_bytes()
    before, after = all_frames(tmp_path / "in.webp")[0], all_frames(tmp_path / "out.webp")[0]
    np.testing.assert_array_equal(after[..., 3], before[..., 3])
    assert np.abs(after.astype(int) - before).mean() < 2


def test_an_avif_of_ten_bits_is_refused(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    deep = RNG.integers(0, 1024, (16, 16, 3), dtype=np.uint16)
    (tmp_path / "in.avif").write_bytes(imagecodecs.avif_encode(deep, bitspersample=10))
    with pytest.raises(UsageError, match="more than 8 bits"):
        open_image(tmp_path / "in.avif")


def test_the_pages_of_a_tiff_keep_size_mode_and_compression(tmp_path):
    pages = [photo("RGB"), photo("L", 10, 40), photo("1", 33, 5), photo("I;16", 7, 7), photo("CMYK"), photo("P")]
    names = ["tiff_lzw", "tiff_adobe_deflate", "group4", "packbits", "raw", "raw"]
    for number, (page, name) in enumerate(zip(pages, names, strict=True)):
        page.encoderinfo = {"compression": name, "tiffinfo": {270: f"page {number}"}, "dpi": (100 + number,) * 2}
    pages[0].save(tmp_path / "in.tif", save_all=True, append_images=pages[1:])
    with open_image(tmp_path / "in.tif") as picture:
        assert picture.describe() == "TIFF, RGB, 8 bit, 32x24, 6 pages"
        assert [frame.size for frame in picture.frames] == [page.size for page in pages]
        assert [frame.channels for frame in picture.frames] == [3, 1, 1, 1, 4, 3]
        with pytest.raises(UsageError, match="the pages of a TIFF"):
            picture.check_output(tmp_path / "out.png")
    save(tmp_path / "in.tif", tmp_path / "out.tif")
    with Image.open(tmp_path / "in.tif") as before, Image.open(tmp_path / "out.tif") as after:
        assert after.n_frames == before.n_frames == 6
        for number, name in enumerate(names):
            before.seek(number)
            after.seek(number)
            assert (after.mode, after.info["compression"]) == (before.mode, name)
            assert (after.tag_v2[270], after.info["dpi"]) == (f"page {number}", (100 + number,) * 2)
            np.testing.assert_array_equal(np.array(after), np.array(before))


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_where_white_is_zero_the_picture_looks_the_same(tmp_path, suffix):
    """Of 16 bits Pillow gives the numbers in the file, whatever they mean."""
    deep = RNG.integers(0, 65536, (6, 5), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "in.tif", tiffinfo={262: 0})
    with open_image(tmp_path / "in.tif") as picture:
        seen = next(picture.frames).read(0, 6)[0]
    np.testing.assert_allclose(seen, 1 - deep / 65535, atol=1e-6)
    save(tmp_path / "in.tif", tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert suffix == ".png" or image.tag_v2[262] == 1
        np.testing.assert_array_equal(np.array(image), 65535 - deep)
