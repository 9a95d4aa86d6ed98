import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngInfo

from denoise.media.image import open_image
from denoise.media.image_metadata import without_thumbnail

RNG = np.random.default_rng(2)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a>1</a></x:xmpmeta>'
SUFFIXES_WITH_EXIF = [".jpg", ".png", ".webp", ".tif", ".avif"]


def photo(width: int = 24, height: int = 16) -> Image.Image:
    """Smooth, so that lossy formats keep it, and different from each of its turns and mirrors."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, (across + down) / 4], axis=-1).astype(np.uint8))


def exif_block(orientation: int | None = None) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x013B] = b"Jos\xc3\xa9"
    exif[0x8769] = {0x829A: (1, 125), 0x9003: "2020:01:02 03:04:05", 0xA434: "Lens"}
    exif[0x8825] = {1: "N", 2: (48.0, 30.0, 5.5)}
    if orientation:
        exif[0x0112] = orientation
    read = Image.Exif()  # Pillow's TIFF writer wants one that was read
    read.load(exif.tobytes())
    return read


def save(source: Path, target: Path) -> None:
    with open_image(source) as picture:
        for frame in picture.frames:
            frame.write(0, frame.size[1], frame.read(0, frame.size[1]))
        picture.save(target)


def facts(path: Path) -> dict:
    with Image.open(path) as image:
        image.load()
        exif = image.getexif()
        return {
            "make": exif.get(0x010F),
            "time": exif.get_ifd(0x8769).get(0x9003),
            "lens": exif.get_ifd(0x8769).get(0xA434),
            "latitude": tuple(map(float, exif.get_ifd(0x8825).get(2, ()))),
            "icc": image.info.get("icc_profile"),
            "xmp": image.info.get("xmp"),
            "dpi": tuple(round(float(one)) for one in image.info.get("dpi", ())),
        }


FACTS = {
    "make": "Maker",
    "time": "2020:01:02 03:04:05",
    "lens": "Lens",
    "latitude": (48.0, 30.0, 5.5),
    "icc": ICC,
    "xmp": XMP,
    "dpi": (300, 150),
}


@pytest.fixture
def carrier(tmp_path):
    """Make a file that carries everything its format takes."""

    def make(suffix: str, **more) -> Path:
        path = tmp_path / f"in{suffix}"
        options = {"exif": exif_block(), "icc_profile": ICC, "dpi": (300, 150), "xmp": XMP, **more}
        if suffix == ".png":
            info = PngInfo()
            info.add_itxt("XML:com.adobe.xmp", XMP.decode())
            options["pnginfo"] = info
        if suffix == ".tif":
            options["exif"][700] = XMP
        photo().save(path, **options)
        return path

    return make


@pytest.mark.parametrize("after", SUFFIXES_WITH_EXIF)
@pytest.mark.parametrize("before", SUFFIXES_WITH_EXIF)
def test_exif_icc_xmp_and_resolution_go_from_any_format_to_any(tmp_path, carrier, before, after):
    save(carrier(before), tmp_path / f"out{after}")
    found = facts(tmp_path / f"out{after}")
    if {".webp", ".avif"} & {before, after}:  # these have no place for the resolution
        found["dpi"] = FACTS["dpi"]
    assert found == FACTS


def test_no_resolution_is_made_up(tmp_path):
    exif = exif_block()
    photo().save(tmp_path / "in.jpg", exif=exif)
    exif[282], exif[283], exif[296] = 300.0, 300.0, 2
    photo().save(tmp_path / "told.jpg", exif=exif)
    for name, density in (("in", (0, 1, 1)), ("told", (1, 300, 300))):
        save(tmp_path / f"{name}.jpg", tmp_path / "out.jpg")
        assert struct.unpack_from(">BHH", (tmp_path / "out.jpg").read_bytes(), 13) == density
    save(tmp_path / "in.jpg", tmp_path / "out.tif")
    with Image.open(tmp_path / "out.tif") as image:
        assert 282 not in image.tag_v2


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_exif_stays_byte_for_byte(tmp_path, carrier, suffix):
    source = carrier(suffix)
    save(source, tmp_path / f"out{suffix}")
    with Image.open(source) as before, Image.open(tmp_path / f"out{suffix}") as after:
        assert after.info["exif"] == before.info["exif"]


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "jpeg"])
def test_a_tiff_keeps_its_compression_and_all_its_tags(tmp_path, compression):
    source = tmp_path / "in.tif"
    private, geo = 65000, 33550
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[270] = "A description: déjà vu".encode()
    directory.tagtype[270] = 2
    directory[private] = b"own \x00 words"
    directory[geo] = (0.5, 0.25, 0.0)
    directory[0x013B] = b"Jos\xc3\xa9"
    directory.tagtype[0x013B] = 2
    photo().save(source, compression=compression, tiffinfo=directory, icc_profile=ICC, dpi=(300, 150))
    save(source, tmp_path / "out.tif")
    with Image.open(source) as before, Image.open(tmp_path / "out.tif") as after:
        assert after.info["compression"] == before.info["compression"] == compression
        for tag in (270, private, geo, 0x013B, 282, 283, 296, 34675):
            assert after.tag_v2[tag] == before.tag_v2[tag]
            assert after.tag_v2.tagtype[tag] == before.tag_v2.tagtype[tag]
        assert abs(np.array(after).astype(int) - np.array(before)).mean() < (2 if compression == "jpeg" else 1e-9)


def test_a_big_endian_tiff_keeps_its_tags(tmp_path):
    grey = RNG.integers(0, 65536, (8, 9), dtype=np.uint16).astype(">u2")
    image = Image.frombytes("I;16B", (9, 8), grey.tobytes())
    image.save(tmp_path / "in.tif", exif=exif_block(), dpi=(300, 150))
    save(tmp_path / "in.tif", tmp_path / "out.tif")
    assert (tmp_path / "out.tif").read_bytes()[:2] == b"MM"
    assert facts(tmp_path / "out.tif") == FACTS | {"icc": None, "xmp": None}


def test_tags_of_the_old_layout_do_not_follow_exif_into_a_tiff(tmp_path):
    exif = exif_block()
    for tag, value in ((256, 9999), (257, 9999), (258, 1), (273, 5), (278, 1), (284, 2)):
        exif[tag] = value
    photo().save(tmp_path / "in.jpg", exif=exif)
    save(tmp_path / "in.jpg", tmp_path / "out.tif")
    with Image.open(tmp_path / "out.tif") as after:
        assert after.size == (24, 16)
        after.load()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("after", [*SUFFIXES_WITH_EXIF, ".bmp"])
@pytest.mark.parametrize("before", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_a_viewer_sees_the_same_picture_before_and_after(tmp_path, before, after, orientation):
    source, target = tmp_path / f"in{before}", tmp_path / f"out{after}"
    photo().save(source, exif=exif_block(orientation))
    with open_image(source) as picture:
        assert picture.orientation == (1 if before == ".tif" else orientation)
        picture.save(target)
    with Image.open(source) as one, Image.open(target) as other:
        seen, shown = ImageOps.exif_transpose(one), ImageOps.exif_transpose(other)
        assert shown.size == seen.size
        assert abs(np.array(shown.convert("RGB")).astype(int) - np.array(seen.convert("RGB"))).mean() < 3


def test_a_rotated_palette_picture_comes_upright_out_of_a_gif(tmp_path):
    image = photo().quantize(16)
    image.save(tmp_path / "in.png", exif=exif_block(6))
    save(tmp_path / "in.png", tmp_path / "out.gif")
    with Image.open(tmp_path / "out.gif") as after:
        np.testing.assert_array_equal(np.array(after.convert("RGB")), np.rot90(np.array(image.convert("RGB")), -1))


def test_the_chunks_of_a_png_stay(tmp_path):
    info = PngInfo()
    info.add_text("Title", "Latin text")
    info.add_text("Zipped", "z" * 500, zip=True)
    info.add_itxt("Description", "Übung 写真", lang="de", tkey="Beschreibung")
    info.add_itxt("Long", "é" * 500, zip=True)
    info.add(b"gAMA", struct.pack(">L", 45455))
    info.add(b"cHRM", struct.pack(">8L", *range(1, 9)))
    info.add(b"sBIT", b"\5\6\5")
    info.add(b"tIME", struct.pack(">H5B", 2020, 1, 2, 3, 4, 5))
    info.add(b"prVT", b"private and unsafe to copy: it may speak of the pixels")
    info.add(b"prVt", b"private, safe to copy", after_idat=True)
    photo().save(tmp_path / "in.png", pnginfo=info)
    save(tmp_path / "in.png", tmp_path / "out.png")
    data = (tmp_path / "out.png").read_bytes()
    for name, content, _ in info.chunks:
        assert (name + content in data) == (name != b"prVT"), name
    with Image.open(tmp_path / "in.png") as before, Image.open(tmp_path / "out.png") as after:
        assert after.text == before.text
        assert after.text["Description"].lang == "de"


def test_the_segments_of_a_jpeg_stay(tmp_path):
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x05\x1c\x02\x05\0\0\0"
    extended = b"http://ns.adobe.com/xmp/extension/\0" + b"x" * 100
    extra = b"".join(
        struct.pack(">HH", marker, len(data) + 2) + data
        for marker, data in ((0xFFED, iptc), (0xFFE1, extended), (0xFFE2, b"MPF\0 places in the old file"))
    )
    photo().save(tmp_path / "in.jpg", extra=extra, comment=b"a comment", icc_profile=ICC * 300, exif=exif_block())
    save(tmp_path / "in.jpg", tmp_path / "out.jpg")
    with JpegImageFile(tmp_path / "in.jpg") as before, Image.open(tmp_path / "out.jpg") as after:
        assert after.info["icc_profile"] == ICC * 300
        assert after.info["comment"] == b"a comment"
        assert after.applist.count(("APP13", iptc)) == 1
        assert after.applist.count(("APP1", extended)) == 1
        assert len(after.applist) == len(before.applist) - 1  # but for the places


def test_all_comments_of_a_jpeg_stay(tmp_path):
    first = b"\xff\xfe\0\x07first"
    photo().save(tmp_path / "in.jpg", extra=first, comment=b"second")
    for source, target in (("in", "out"), ("out", "again")):
        save(tmp_path / f"{source}.jpg", tmp_path / f"{target}.jpg")
    with JpegImageFile(tmp_path / "again.jpg") as after:
        assert [data for name, data in after.applist if name == "COM"] == [b"first", b"second"]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize(
    "block", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # of Pillow, where this test looks at the result
def test_damaged_exif_stops_nothing(tmp_path, suffix, block):
    photo().save(tmp_path / f"in{suffix}", exif=block)
    for target in [*SUFFIXES_WITH_EXIF, ".bmp"]:
        save(tmp_path / f"in{suffix}", tmp_path / f"out{target}")
    with Image.open(tmp_path / f"out{suffix}") as after:
        assert after.info["exif"].removeprefix(b"Exif\0\0") == block[6:]


def test_what_is_too_long_for_a_jpeg_stays_behind(tmp_path):
    exif = exif_block()
    exif[0x8769] = {0x927C: b"m" * 70_000}
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "x" * 70_000)
    photo().save(tmp_path / "in.png", exif=exif, pnginfo=info, icc_profile=ICC)
    save(tmp_path / "in.png", tmp_path / "out.jpg")
    assert facts(tmp_path / "out.jpg") == dict.fromkeys(FACTS) | {"icc": ICC, "dpi": (), "latitude": ()}


def test_a_comment_goes_from_gif_to_png_and_jpeg(tmp_path):
    photo().convert("L").save(tmp_path / "in.gif", comment="Grüße")
    save(tmp_path / "in.gif", tmp_path / "out.png")
    save(tmp_path / "out.png", tmp_path / "out.jpg")
    save(tmp_path / "in.gif", tmp_path / "out.gif")
    with Image.open(tmp_path / "out.png") as png, Image.open(tmp_path / "out.jpg") as jpeg:
        assert png.text["Comment"] == "Grüße"
        assert jpeg.info["comment"] == "Grüße".encode()
    with Image.open(tmp_path / "out.gif") as gif:
        assert gif.info["comment"] == "Grüße".encode()


def test_a_grey_profile_does_not_go_onto_colour(tmp_path):
    photo().convert("L").save(tmp_path / "in.png", icc_profile=ICC)
    save(tmp_path / "in.png", tmp_path / "out.webp")
    with Image.open(tmp_path / "out.webp") as after:
        assert "icc_profile" not in after.info


@pytest.mark.parametrize("order", [b"II", b"MM"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_small_copy_of_the_old_picture_does_not_stay(tmp_path, order, suffix):
    """EXIF by hand: a directory with a maker and one with a thumbnail; nothing but the thumbnail changes."""
    endian = "<" if order == b"II" else ">"
    small = b"\xff\xd8" + bytes(range(1, 250)) + b"\xff\xd9"
    first = struct.pack(endian + "HHHL4sL", 1, 0x010F, 2, 4, b"ABC\0", 26)
    second = struct.pack(endian + "HHHLLHHLLL", 2, 513, 4, 1, 56, 514, 4, 1, len(small), 0)
    block = b"Exif\0\0" + order + struct.pack(endian + "HL", 42, 8) + first + second + small
    assert len(first) == 18 and len(second) == 30
    photo().save(tmp_path / "in.jpg", exif=block)
    save(tmp_path / "in.jpg", tmp_path / f"out{suffix}")
    data = (tmp_path / f"out{suffix}").read_bytes()
    assert small[2:100] in (tmp_path / "in.jpg").read_bytes() and small[2:100] not in data
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.getexif()[0x010F] == "ABC" and not image.getexif().get_ifd(1)
        if suffix == ".jpg":
            gone = block[:28] + bytes(4) + block[32:62] + bytes(len(small))
            assert image.info["exif"] == gone


def test_a_damaged_exif_block_loses_nothing(tmp_path):
    head = b"Exif\0\0MM\0*" + struct.pack(">L", 8)
    first = struct.pack(">HHHL4sL", 1, 0x010F, 2, 4, b"ABC\0", 26)
    for length in range(len(head + first)):
        assert without_thumbnail((head + first)[:length]) == (head + first)[:length]
    assert without_thumbnail(head + first + b"\0\2") == head + first + b"\0\2", "the second directory is cut off"
    whole = head + first[:14] + bytes(4)
    for place, size in ((0, 60), (8, 9999), (70, 4)):  # of something else, and beyond the end
        second = struct.pack(">HHHLLHHLLL", 2, 513, 4, 1, place, 514, 4, 1, size, 0)
        assert without_thumbnail(head + first + second + bytes(20)) == whole + second + bytes(20)


def test_a_thumbnail_told_in_short_numbers(tmp_path):
    first = struct.pack(">HHHL4sL", 1, 0x010F, 2, 4, b"ABC\0", 26)
    second = struct.pack(">HHHLHHHHLHHL", 2, 513, 3, 1, 56, 0, 514, 3, 1, 6, 0, 0)
    block = b"Exif\0\0MM\0*" + struct.pack(">L", 8) + first + second + b"\xff\xd8ab\xff\xd9"
    assert b"ab" in block and b"ab" not in without_thumbnail(block)


def test_a_profile_for_grey_does_not_go_onto_colour(tmp_path):
    grey = bytearray(ICC)
    grey[16:20] = b"GRAY"
    picture = photo().convert("L")
    picture.save(tmp_path / "in.png", icc_profile=bytes(grey), transparency=7)
    for suffix in (".webp", ".avif"):
        save(tmp_path / "in.png", tmp_path / f"out{suffix}")
        with Image.open(tmp_path / f"out{suffix}") as image:
            assert image.mode == "RGBA" and "icc_profile" not in image.info
    save(tmp_path / "in.png", tmp_path / "out.tif")
    with Image.open(tmp_path / "out.tif") as image:
        assert image.mode == "RGBA" and "icc_profile" not in image.info
    Image.fromarray(RNG.integers(0, 65536, (8, 8), dtype=np.uint16)).save(tmp_path / "16.png", icc_profile=bytes(grey))
    picture.convert("LA").save(tmp_path / "la.png", icc_profile=ICC)
    save(tmp_path / "la.png", tmp_path / "out.avif")
    with Image.open(tmp_path / "out.avif") as image:
        assert image.info["icc_profile"] == ICC, "one for the colours that are stored fits"
    for source in ("in.png", "16.png"):
        save(tmp_path / source, tmp_path / "out.png")
        with Image.open(tmp_path / "out.png") as image:
            assert image.info["icc_profile"] == bytes(grey)


def test_a_colour_space_that_only_avif_names_is_told(tmp_path):
    photo().save(tmp_path / "a.avif")
    data = (tmp_path / "a.avif").read_bytes()
    place = data.index(b"colrnclx") + 8
    (tmp_path / "b.avif").write_bytes(data[:place] + b"\0\x0c" + data[place + 2 :])  # Display P3
    for name, told in (("a", False), ("b", True)):
        with open_image(tmp_path / f"{name}.avif") as picture:
            assert ("counts as sRGB" in picture.left_out) == told
