import importlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from denoise.errors import UsageError
from denoise.media.image import open_image

imagecodecs = pytest.importorskip("imagecodecs")
tifffile = pytest.importorskip("tifffile")

RNG = np.random.default_rng(4)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MODES = {2: "LA", 3: "RGB", 4: "RGBA"}


def noise(samples: int, height: int = 11, width: int = 13) -> np.ndarray:
    return RNG.integers(0, 65536, (height, width, samples), dtype=np.uint16)


def write_png(path: Path, pixels: np.ndarray, chunks: bytes = b"") -> None:
    data = imagecodecs.png_encode(pixels)
    path.write_bytes(data[:33] + chunks + data[33:])


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))


def save(source: Path, target: Path, change=lambda band: band) -> None:
    with open_image(source) as picture:
        for frame in picture.frames:
            frame.write(0, frame.size[1], change(frame.read(0, frame.size[1])))
        picture.save(target)


@pytest.mark.parametrize("samples", [2, 3, 4])
@pytest.mark.parametrize("size", [(11, 13), (1, 1), (1, 5)])
def test_a_png_of_16_bits_comes_out_bit_for_bit(tmp_path, samples, size):
    pixels = noise(samples, *size)
    write_png(tmp_path / "in.png", pixels)
    with open_image(tmp_path / "in.png") as picture:
        assert (picture.mode, picture.depth, picture.size) == (MODES[samples], 16, size[::-1])
        assert "16 bit" in picture.describe()
    save(tmp_path / "in.png", tmp_path / "out.png")
    np.testing.assert_array_equal(imagecodecs.png_decode((tmp_path / "out.png").read_bytes()), pixels)


@pytest.mark.parametrize(
    ("samples", "options"),
    [
        (3, {}),
        (3, {"compression": "lzw", "predictor": True}),
        (3, {"compression": "zlib"}),
        (3, {"planarconfig": "separate"}),
        (3, {"byteorder": ">"}),
        (3, {"tile": (16, 16), "compression": "zstd"}),
        (4, {"extrasamples": ["unassalpha"]}),
        (4, {"extrasamples": ["assocalpha"]}),
        (4, {"extrasamples": ["unspecified"]}),
        (4, {"photometric": "separated"}),
    ],
)
def test_a_tiff_of_16_bits_comes_out_bit_for_bit(tmp_path, samples, options):
    pixels = noise(samples)
    stored = pixels.transpose(2, 0, 1) if "planarconfig" in options else pixels
    tifffile.imwrite(tmp_path / "in.tif", stored, metadata=None, **{"photometric": "rgb", **options})
    save(tmp_path / "in.tif", tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "in.tif") as before, tifffile.TiffFile(tmp_path / "out.tif") as after:
        np.testing.assert_array_equal(after.pages[0].asarray(), pixels)
        for fact in ("photometric", "extrasamples", "compression", "predictor"):
            assert getattr(after.pages[0], fact) == getattr(before.pages[0], fact), fact


def test_values_are_rounded_to_16_bits_and_alpha_stays(tmp_path):
    pixels = noise(4)
    pixels[:3, :, 3] = 0
    write_png(tmp_path / "in.png", pixels)
    save(tmp_path / "in.png", tmp_path / "out.png", lambda band: band * 0.5)
    after = imagecodecs.png_decode((tmp_path / "out.png").read_bytes())
    np.testing.assert_array_equal(after[..., 3], pixels[..., 3])
    np.testing.assert_array_equal(after[:3], pixels[:3])
    np.testing.assert_allclose(after[3:, :, :3], pixels[3:, :, :3] / 2, atol=0.51)


def test_a_transparent_colour_becomes_alpha(tmp_path):
    pixels = noise(3)
    write_png(tmp_path / "in.png", pixels, chunk(b"tRNS", struct.pack(">3H", *pixels[0, 0].tolist())))
    for name in ("out.png", "out.tif"):
        save(tmp_path / "in.png", tmp_path / name)
    for after in (
        imagecodecs.png_decode((tmp_path / "out.png").read_bytes()),
        tifffile.imread(tmp_path / "out.tif"),
    ):
        np.testing.assert_array_equal(after[..., :3], pixels)
        assert after[0, 0, 3] == 0 and after[1:, :, 3].min() == 65535


@pytest.fixture
def annotated(tmp_path):
    """A PNG of 16-bit colour that carries all a PNG can."""
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = 6
    exif[0x8769] = {0x829A: (1, 125), 0x9003: "2020:01:02 03:04:05"}
    text = PngInfo()
    text.add_text("Title", "words")
    text.add_itxt("XML:com.adobe.xmp", "<x/>")
    pixels = noise(3)
    chunks = chunk(b"iCCP", b"name\0\0" + zlib.compress(ICC)) + chunk(b"pHYs", struct.pack(">LLB", 11811, 5906, 1))
    chunks += chunk(b"eXIf", exif.tobytes()[6:]) + b"".join(chunk(name, data) for name, data, _ in text.chunks)
    write_png(tmp_path / "in.png", pixels, chunks)
    return tmp_path / "in.png"


@pytest.mark.parametrize("names", [["out.png"], ["out.tif"], ["a.tif", "b.tif"], ["a.tif", "b.tif", "out.png"]])
def test_metadata_go_along(tmp_path, annotated, names):
    source = annotated
    for name in names:
        save(source, tmp_path / name)
        source = tmp_path / name
    with Image.open(source) as image:  # only the header: Pillow would turn and cut the pixels
        exif = image.getexif()
        assert (exif[0x010F], exif[0x0112]) == ("Maker", 6)
        assert exif.get_ifd(0x8769) == {0x829A: (1, 125), 0x9003: "2020:01:02 03:04:05"}
        assert image.info["icc_profile"] == ICC
        assert image.info["xmp"] == b"<x/>"
        assert [round(float(one)) for one in image.info["dpi"]] == [300, 150]
        if names == ["out.png"]:
            assert image.text["Title"] == "words"
    with open_image(source) as picture:
        assert picture.orientation == 6
        (frame,) = picture.frames
        before = imagecodecs.png_decode(annotated.read_bytes())
        np.testing.assert_array_equal(np.rint(frame.read(0, 11) * 65535).transpose(1, 2, 0), before)


def test_pages_stay_apart(tmp_path):
    pages = [noise(3), noise(4, 5, 6), noise(3, 7, 2)]
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        for number, page in enumerate(pages):
            writer.write(page, photometric="rgb", description=f"page {number}", metadata=None)
    save(tmp_path / "in.tif", tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert [page.description for page in file.pages] == ["page 0", "page 1", "page 2"]
        for page, before in zip(file.pages, pages, strict=True):
            np.testing.assert_array_equal(page.asarray(), before)


@pytest.mark.parametrize(("samples", "suffix"), [(3, ".jpg"), (3, ".webp"), (4, ".bmp"), (3, ".avif"), (2, ".tif")])
def test_formats_that_would_cut_it_are_refused(tmp_path, samples, suffix):
    write_png(tmp_path / "in.png", noise(samples))
    with (
        open_image(tmp_path / "in.png") as picture,
        pytest.raises(UsageError, match=r"16 bits a channel; choose \.png"),
    ):
        picture.check_output(tmp_path / f"out{suffix}")


def test_pages_of_mixed_depth_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        writer.write(noise(3), photometric="rgb", metadata=None)
        writer.write(noise(3).astype(np.uint8), photometric="rgb", metadata=None)
    with pytest.raises(UsageError, match="mixes 16-bit colour"):
        open_image(tmp_path / "in.tif")


@pytest.mark.parametrize("samples", [3, 4])
def test_animated_colour_of_16_bits_is_refused(tmp_path, samples):
    (tmp_path / "in.png").write_bytes(imagecodecs.apng_encode(np.stack([noise(samples)] * 2), delay=100))
    with pytest.raises(UsageError, match="is animated 16-bit colour; save the frames"):
        open_image(tmp_path / "in.png")


def test_frames_of_16_bit_grey_go_into_a_tiff_only(tmp_path):
    frames = [noise(1)[..., 0] // 256 + 256 * number for number in (7, 7, 9)]
    (tmp_path / "in.png").write_bytes(imagecodecs.apng_encode(np.stack(frames), delay=100))
    with open_image(tmp_path / "in.png") as picture, pytest.raises(UsageError, match=r"of 16 bits; choose \.tif"):
        picture.check_output(tmp_path / "out.png")
    save(tmp_path / "in.png", tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        np.testing.assert_array_equal([page.asarray() for page in file.pages], frames)


def test_the_pixels_are_counted_before_anything_is_decoded(tmp_path, monkeypatch):
    write_png(tmp_path / "in.png", noise(3))

    def decoded(data):
        raise AssertionError("the picture was decoded")

    monkeypatch.setattr(imagecodecs, "png_decode", decoded)
    with pytest.raises(UsageError, match="more than the 100 pixels"):
        open_image(tmp_path / "in.png", max_pixels=100)


def test_missing_libraries_are_named(tmp_path, monkeypatch):
    write_png(tmp_path / "in.png", noise(3))

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UsageError, match=r"pip install 'denoise-toolkit\[formats\]'"):
        open_image(tmp_path / "in.png")
