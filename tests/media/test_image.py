import errno
import os
import stat
import subprocess
import sys
import threading
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps, PngImagePlugin

from denoise.errors import MediaError, UsageError
from denoise.media import atomic
from denoise.media.image import is_image, open_image

RNG = np.random.default_rng(0)
LOSSLESS = [
    (mode, suffix)
    for suffix, modes in {
        ".png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
        ".tif": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B", "CMYK"),
        ".bmp": ("1", "L", "P", "RGB"),
        ".gif": ("L", "P"),
    }.items()
    for mode in modes
]


def sample(mode: str, width: int = 23, height: int = 17) -> Image.Image:
    """A picture of random samples in any mode handled."""
    noise = RNG.integers(0, 256, (height, width, 4), dtype=np.uint8)
    if mode == "1":
        return Image.fromarray(noise[..., 0] > 127)
    if mode == "P":
        image = Image.fromarray(noise[..., 0] % 40).convert("P")
        image.putpalette(RNG.integers(0, 256, 120, dtype=np.uint8).tobytes())
        return image
    if mode.startswith("I;16"):
        deep = RNG.integers(0, 65536, (height, width), dtype=np.uint16)
        data = deep.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
        return Image.frombytes(mode, (width, height), data)
    return Image.frombytes(mode, (width, height), noise[..., : len(mode)].tobytes())


def pixels_of(path: Path, mode: str | None = None) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert(mode) if mode else image)


def rewrite(source: Path, target: Path, rows: int = 5) -> None:
    """Read and write back every band, change nothing, save."""
    with open_image(source) as picture:
        for frame in picture.frames:
            height = frame.size[1]
            for start in range(0, height, rows):
                stop = min(start + rows, height)
                frame.write(start, stop, frame.read(start, stop))
        picture.save(target)


@pytest.mark.parametrize(("mode", "suffix"), LOSSLESS)
@pytest.mark.parametrize("size", [(23, 17), (1, 1), (1, 19), (31, 1)])
def test_what_is_read_and_written_unchanged_comes_out_bit_for_bit(tmp_path, mode, suffix, size):
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    image = sample(mode, *size)
    image.save(source)
    rewrite(source, target)
    with Image.open(source) as before, Image.open(target) as after:
        assert (after.mode[:4], after.size) == (before.mode[:4], before.size)
        np.testing.assert_array_equal(np.array(after), np.array(before))
        assert after.getpalette() == before.getpalette()


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_two_and_four_bits_keeps_its_depth(tmp_path, bits):
    step = 255 // (2**bits - 1)
    grey = RNG.integers(0, 2**bits, (9, 11), dtype=np.uint8) * step
    Image.fromarray(grey).save(tmp_path / "in.png", bits=bits)
    with open_image(tmp_path / "in.png") as picture:
        assert picture.depth == bits
        (frame,) = picture.frames
        frame.write(0, 9, frame.read(0, 9) + 0.4 * step / 255)  # less than half a step
        picture.save(tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes()[24] == bits
    np.testing.assert_array_equal(pixels_of(tmp_path / "out.png"), grey)


ON_ITS_SIDE = {
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16", "I;16B"])
@pytest.mark.parametrize("orientation", ON_ITS_SIDE)
def test_a_tiff_on_its_side_comes_upright(tmp_path, mode, orientation):
    """Uncompressed and in one strip, as Pillow writes it, such a file is one that Pillow would map wrongly."""
    image = sample(mode)
    image.save(tmp_path / "in.tif", tiffinfo={274: orientation})
    rewrite(tmp_path / "in.tif", tmp_path / "out.tif")
    with Image.open(tmp_path / "out.tif") as after:
        assert (after.mode[:4], after.tag_v2.get(274, 1)) == (mode[:4], 1)
        np.testing.assert_array_equal(np.array(after), ON_ITS_SIDE[orientation](np.array(image)))


@pytest.mark.parametrize(
    ("mode", "channels", "depth", "words"),
    [
        ("1", 1, 1, "black and white, 1 bit"),
        ("L", 1, 8, "grey, 8 bit"),
        ("LA", 1, 8, "grey with alpha, 8 bit"),
        ("P", 3, 8, "palette, 8 bit"),
        ("RGB", 3, 8, "RGB, 8 bit"),
        ("RGBA", 3, 8, "RGB with alpha, 8 bit"),
        ("I;16", 1, 16, "grey, 16 bit"),
    ],
)
def test_a_picture_says_what_it_is(tmp_path, mode, channels, depth, words):
    sample(mode).save(tmp_path / "in.png")
    with open_image(tmp_path / "in.png") as picture:
        assert (picture.size, picture.mode, picture.depth) == ((23, 17), mode, depth)
        assert (picture.format, picture.n_frames, picture.orientation) == ("PNG", 1, 1)
        assert picture.describe() == f"PNG, {words}, 23x17"
        (frame,) = picture.frames
        assert (frame.size, frame.channels) == ((23, 17), channels)
        band = frame.read(3, 8)
        assert (band.shape, band.dtype) == ((channels, 5, 23), np.float32)
        assert band.min() >= 0 and band.max() <= 1


def test_the_frames_can_be_asked_for_again_and_keep_what_was_written(tmp_path):
    sample("RGB").save(tmp_path / "in.png")
    with open_image(tmp_path / "in.png") as picture:
        for frame in picture.frames:
            frame.write(0, 17, np.full((3, 17, 23), 0.5, dtype=np.float32))
        for frame in picture.frames:
            np.testing.assert_allclose(frame.read(0, 17), 128 / 255)


@pytest.mark.parametrize("name", ["Ünï cødé 写真 .png", "a b/c d.JPG", "x.jpeg", "x.TIFF", "x.webp"])
def test_paths_of_any_letters_as_str_and_as_path(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    sample("RGB").save(path)
    for source in (path, str(path)):
        assert is_image(source)
        with open_image(source) as picture:
            picture.save(path.with_stem("out"))
            picture.save(str(path.with_stem("out 2")))
    assert path.with_stem("out").read_bytes() == path.with_stem("out 2").read_bytes()


def test_pillow_keeps_the_settings_of_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # warns above 100, refuses above 200
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no")
    filters = list(warnings.filters)
    rewrite(tmp_path / "a.png", tmp_path / "c.png", rows=30)
    with pytest.raises(MediaError):
        open_image(tmp_path / "b.png")
    threads = [threading.Thread(target=open_image, args=(tmp_path / "a.png",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Image.MAX_IMAGE_PIXELS == 100
    assert PngImagePlugin.MAX_TEXT_CHUNK == 2**20
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert warnings.filters == filters


def test_the_output_is_checked_before_the_work(tmp_path, monkeypatch):
    sample("RGB").save(tmp_path / "a.png")
    with open_image(tmp_path / "a.png") as picture:
        picture.check_output(str(tmp_path / "b.jpg"))
        with pytest.raises(UsageError, match=r"suffix \.xyz"):
            picture.check_output(tmp_path / "b.xyz")
        with pytest.raises(UsageError, match="of no format"):
            picture.check_output(tmp_path / "b")
        with pytest.raises(UsageError, match="does not exist"):
            picture.check_output(tmp_path / "none" / "b.png")
        (tmp_path / "c.png").mkdir()
        with pytest.raises(UsageError, match="is a folder"):
            picture.check_output(tmp_path / "c.png")
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(UsageError, match="may not be written"):
            picture.check_output(tmp_path / "b.png")


@pytest.mark.parametrize("call", ["fsync", "replace", "encode"])
def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, call):
    sample("RGB").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"as it was")
    before = (tmp_path / "a.png").read_bytes()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    target = {"fsync": (atomic.os, "fsync"), "replace": (Path, "replace"), "encode": (Image.Image, "save")}[call]
    with open_image(tmp_path / "a.png") as picture:
        monkeypatch.setattr(*target, full)
        for name in ("a.png", "b.png", "c.png"):
            with pytest.raises(MediaError, match=r"could not be written \(No space left on device\) and is as it was"):
                picture.save(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
    assert (tmp_path / "a.png").read_bytes() == before
    assert (tmp_path / "b.png").read_bytes() == b"as it was"


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".avif", ".bmp"])
def test_writing_that_really_fails_leaves_nothing_behind(tmp_path, suffix):
    resource = pytest.importorskip("resource")
    sample("RGB", 300, 200).save(tmp_path / "a.png")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_image(tmp_path / "a.png") as picture:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            with pytest.raises(MediaError, match="could not be written"):
                picture.save(tmp_path / f"b{suffix}")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    sample("RGB").save(tmp_path / "a.png")

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with open_image(tmp_path / "a.png") as picture:
        monkeypatch.setattr(Image.Image, "save", interrupt)
        with pytest.raises(KeyboardInterrupt):
            picture.save(tmp_path / "b.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.skipif(os.name == "nt", reason="permission bits of POSIX")
def test_permissions_are_those_of_a_new_file_or_of_the_file_replaced(tmp_path):
    sample("RGB").save(tmp_path / "a.png")
    (tmp_path / "old.png").touch()
    (tmp_path / "old.png").chmod(0o600)
    before = os.umask(0o027)
    try:
        with open_image(tmp_path / "a.png") as picture:
            picture.save(tmp_path / "new.png")
            picture.save(tmp_path / "old.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.png").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "old.png").stat().st_mode) == 0o600


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_is_followed(tmp_path):
    sample("RGB").save(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "b.png")
    with open_image(tmp_path / "a.png") as picture:
        picture.save(tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert is_image(tmp_path / "b.png") and (tmp_path / "b.png").is_file()
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "none" / "c.png")
    with open_image(tmp_path / "a.png") as picture, pytest.raises(UsageError, match="none does not exist"):
        picture.check_output(tmp_path / "nowhere.png")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".gif", ".jpg", ".webp", ".bmp"])
def test_a_file_can_replace_itself(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    sample("L", 40, 30).save(path)
    before = pixels_of(path, "L").astype(int)
    rewrite(path, path)
    assert np.abs(pixels_of(path, "L") - before).mean() < 3


PEAK = """
import resource, sys
from denoise.media.image import open_image
with open_image(sys.argv[1]) as picture:
    for frame in picture.frames:
        height = frame.size[1]
        for start in range(0, height, 64):
            stop = min(start + 64, height)
            frame.write(start, stop, frame.read(start, stop))
    picture.save(sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of the peak")
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_memory_grows_by_little_more_than_the_raster(tmp_path, suffix):
    peaks, sizes = [], [(1000, 500), (1000, 5000)]
    for size in sizes:
        path = tmp_path / f"in{suffix}"
        Image.linear_gradient("L").resize(size).convert("RGB").save(path)
        command = [sys.executable, "-c", PEAK, str(path), str(tmp_path / f"out{suffix}")]
        peaks.append(1024 * int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    assert (peaks[1] - peaks[0]) / 4.5e6 < 8  # bytes a pixel; the raster itself takes 4


def test_metadata_of_more_than_a_megabyte(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("long", "x" * 2**21, zip=True)
    sample("RGB").save(tmp_path / "a.png", pnginfo=text)
    rewrite(tmp_path / "a.png", tmp_path / "b.png")
    monkey = {"MAX_TEXT_CHUNK": 2**22}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in monkey.items():
            patch.setattr(PngImagePlugin, name, value)
        with Image.open(tmp_path / "b.png") as image:
            assert image.text["long"] == "x" * 2**21


def test_further_pictures_of_a_jpeg_are_told(tmp_path):
    sample("RGB").save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[sample("RGB"), sample("RGB")])
    with open_image(tmp_path / "a.jpg") as picture:
        assert picture.n_frames == 1 and "only the first is kept" in picture.left_out
    data = (tmp_path / "a.jpg").read_bytes()
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x hdrgm:Version="1.0"/>'
    (tmp_path / "c.jpg").write_bytes(data[:2] + b"\xff\xe1" + (len(xmp) + 2).to_bytes(2, "big") + xmp + data[2:])
    with open_image(tmp_path / "c.jpg") as picture:
        assert "only the first is kept" in picture.left_out, "one with a gain map"
    sample("RGB").save(tmp_path / "b.jpg")
    with open_image(tmp_path / "b.jpg") as picture:
        assert picture.left_out == ""


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_seen_upright(tmp_path, suffix, mode, orientation):
    image, path = sample(mode), tmp_path / f"a{suffix}"
    image.getexif()[274] = orientation
    image.save(path, exif=image.getexif())
    expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    with open_image(path) as picture:
        np.testing.assert_allclose(picture.seen() * 255, expected.transpose(2, 0, 1), atol=1e-3)


@pytest.mark.parametrize(("orientation", "most"), [(1, 1.5), (6, 2.75)])
def test_a_picture_is_seen_in_little_memory(tmp_path, orientation, most):
    exif = Image.Exif()
    exif[274] = orientation
    Image.new("RGB", (700, 500)).save(tmp_path / "a.png", exif=exif)
    with open_image(tmp_path / "a.png") as picture:
        picture.seen()  # what is imported on the way does not count
        tracemalloc.start()
        try:
            size = picture.seen().nbytes
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < most * size
