"""What each picture format can hold, and how a picture is written in it."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps, features
from PIL.JpegImagePlugin import JpegImageFile, get_sampling
from PIL.TiffImagePlugin import TiffImageFile

from denoise.errors import UsageError
from denoise.media.image_frame import Frame, PillowRaster
from denoise.media.image_metadata import Carried, add_tiff_tags, jpeg_options, parse_exif, png_options

FORMATS = {
    ".png": "PNG",
    ".apng": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".avif": "AVIF",
}

# Of lossy files that are new, and of lossy WebP, AVIF and TIFF, which do not tell the quality they came with.
QUALITY = 95

_ANIMATED = {"PNG", "WEBP", "GIF", "AVIF"}
_TRANSPARENCY = {"JPEG": {""}, "BMP": {""}, "GIF": {"", "mask"}}
_LARGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535, "AVIF": 65_535}
_DEEP = {"PNG": {"I;16", "LA", "RGB", "RGBA"}, "TIFF": {"I;16", "RGB", "RGBA", "RGBa", "RGBX", "CMYK"}}
_TIFF_COMPRESSIONS = {"raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "zstd", "lzma"}
_TIFF_COMPRESSIONS |= {"group3", "group4", "jpeg"}
_TIFF_PREDICTED = {"tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "zstd", "lzma"}

_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Source:
    """What a picture is, as far as it decides which formats can hold it."""

    format: str
    mode: str
    depth: int
    size: tuple[int, int]
    n_frames: int
    transparency: str  # as in Carried


def format_of(path: Path) -> str:
    """The format a suffix stands for."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        known = ", ".join(FORMATS)
        raise UsageError(
            f"{path.name} has the suffix {path.suffix or 'of no format'}; pictures end in {known}; give it such a name."
        ) from None


def check_target(source: Source, path: Path) -> None:
    """Raise UsageError if the format of `path` cannot hold the picture."""
    target = format_of(path)
    if obstacle := _obstacle(source, target):
        raise UsageError(f"{path.name} cannot be the output: {target} {obstacle}.")


def _obstacle(source: Source, target: str) -> str:
    paged = source.format == "TIFF"
    if target == "AVIF" and not features.check("avif"):
        return "is missing in this build of Pillow; choose .png"
    if source.depth == 16 and source.mode not in _DEEP.get(target, {}):
        fitting = [suffix for suffix, name in ((".png", "PNG"), (".tif", "TIFF")) if source.mode in _DEEP[name]]
        return f"does not hold {source.mode} of 16 bits a channel; choose {' or '.join(fitting)}"
    if source.n_frames > 1 and target != "TIFF" and (paged or target not in _ANIMATED):
        choice = "the pages of a TIFF; choose .tif" if paged else "an animation; choose .png, .webp or .gif"
        return f"does not hold {choice}"
    if source.n_frames > 1 and source.depth == 16 and target == "PNG":
        return "is not written here as an animation of 16 bits; choose .tif"  # Pillow drops frames alike in 8 bits
    if source.mode == "CMYK" and target not in {"JPEG", "TIFF"}:
        return "does not hold CMYK; choose .tif or .jpg"
    if source.transparency not in _TRANSPARENCY.get(target, {"", "mask", "alpha"}):
        return "does not hold the transparency of this picture; choose .png or .webp"
    if source.transparency == "mask" and source.mode == "I;16" and target == "TIFF":
        return "does not hold a transparent shade of grey; choose .png"
    if target == "GIF" and source.format != "GIF" and source.mode not in {"1", "L", "P"}:
        return "holds no more than 256 colours; choose .png or .webp"
    if max(source.size) > _LARGEST_SIDE.get(target, 2**31 - 1):
        return f"holds no side longer than {_LARGEST_SIDE[target]} pixels; choose .png or .tif"
    return ""


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """A stored picture as a viewer shows it, by its EXIF orientation."""
    return image.transpose(_TO_UPRIGHT[orientation]) if orientation in _TO_UPRIGHT else image


def native_options(image: Image.Image, path: Path) -> dict[str, Any]:
    """How the opened file was encoded, as options for writing it the same way again."""
    if isinstance(image, JpegImageFile):
        return _jpeg_encoding(image)
    if image.format == "WEBP":
        # Frames that leave out what stays as it was need alpha; where there is none, all are whole.
        whole = {"kmin": 0, "kmax": 1} if image.mode == "RGB" else {}
        return {**whole, "lossless": True, "quality": 80} if _lossless_webp(path) else whole  # quality means effort
    if image.format == "PNG" and image.mode == "L":
        return {"bits": png_header(path)[0], "transparency": image.info.get("transparency")}
    if isinstance(image, TiffImageFile):
        return _tiff_encoding(image)
    return {}


def white_is_zero(image: Image.Image) -> bool:
    """Whether white is zero in a TIFF, which Pillow turns over for 1 and 8 bits only."""
    return isinstance(image, TiffImageFile) and image.mode == "I;16" and image.tag_v2.get(262) == 0


def png_header(path: Path) -> tuple[int, int]:
    """Bits a sample and colour type, from the header of a PNG."""
    with path.open("rb") as file:
        file.seek(24)
        bits, colour_type = file.read(2)
    return bits, colour_type


def avif_is_deep(path: Path) -> bool:
    """Whether an AVIF has more than 8 bits a sample (its AV1 configuration says so), which Pillow would drop."""
    with path.open("rb") as file:
        head = file.read(65_536)
    place = head.find(b"av1C")
    return 0 <= place < len(head) - 6 and bool(head[place + 6] & 0x40)


def avif_primaries(path: Path) -> int:
    """The colour primaries that an AVIF names by code points (ITU-T H.273): 1 those of sRGB, 2 none."""
    with path.open("rb") as file:
        head = file.read(65_536)
    place = head.find(b"colrnclx")
    return int.from_bytes(head[place + 8 : place + 10], "big") if place >= 0 else 2


def encode(file: IO[bytes], target: str, source: str, frames: Sequence[Frame], carried: Sequence[Carried]) -> None:
    """Write the frames of a picture of format `source` into an open file, the encoder reading the rasters in place."""
    images = [_fit(_image(frame), target, one) for frame, one in zip(frames, carried, strict=True)]
    if target == "TIFF":
        carried = [_with_fitting_profile(one, image.mode, target) for one, image in zip(carried, images, strict=True)]
        for image, one in zip(images, carried, strict=True):
            image.encoderinfo = _tiff_options(image, one.native if source == target else {})
        images[0].save(file, "TIFF", save_all=len(images) > 1, append_images=images[1:])
        add_tiff_tags(file, carried)
        return
    options = _options(target, images[0], carried[0])
    if source == target:
        options |= carried[0].native
    if len(images) > 1:
        options |= _animation(target, images, [one.duration_ms for one in carried], _plays(source, images[0]))
    images[0].save(file, target, **options)


def _image(frame: Frame) -> Image.Image:
    assert isinstance(frame.raster, PillowRaster)
    return frame.raster.image


def _fit(image: Image.Image, target: str, carried: Carried) -> Image.Image:
    """The image itself wherever the format takes it, else one it takes."""
    if carried.orientation != 1 and target in {"BMP", "GIF"}:  # these have no EXIF to say how to hold the picture
        image = upright(image, carried.orientation)
    if target == "GIF" and image.mode in {"RGB", "RGBA"}:
        return _with_palette(image)
    if "transparency" in image.info and target in {"WEBP", "AVIF", "TIFF"}:
        return image.convert("RGBA")
    if target == "JPEG" and image.mode == "P":
        return image.convert("RGB")
    return image


def _with_palette(image: Image.Image) -> Image.Image:
    """A palette image with the very colours of an RGB or RGBA one if there are at most 255, else with the best."""
    if image.mode == "RGB":
        return image.quantize(256)
    opaque = image.getchannel("A").point([0] * 128 + [255] * 128)
    colours = Image.new("RGB", image.size)
    colours.paste(image.convert("RGB"), mask=opaque)
    indexed = colours.quantize(255)
    indexed.paste(255, mask=ImageOps.invert(opaque))
    indexed.info["transparency"] = 255
    return indexed


def _with_fitting_profile(carried: Carried, mode: str, target: str) -> Carried:
    """Without a profile for grey where what is stored is colour; WebP has none at all of a grey picture."""
    grey = mode in {"1", "L", "LA", "I;16", "I;16B"}
    colours = not grey or target == "WEBP" or (target == "AVIF" and mode == "LA")
    unfit = colours and (carried.icc[16:20] == b"GRAY" or (grey and target == "WEBP"))
    return replace(carried, icc=b"") if unfit else carried


def _options(target: str, image: Image.Image, carried: Carried) -> dict[str, Any]:
    carried = _with_fitting_profile(carried, image.mode, target)
    if target == "PNG":
        return png_options(carried)
    if target == "JPEG":
        return {"quality": QUALITY, "subsampling": 0, **jpeg_options(carried)}
    if target == "WEBP":
        blocks = {"exif": carried.exif, "xmp": carried.xmp, "icc_profile": carried.icc}
        return {"quality": QUALITY, "exact": True, **blocks}
    if target == "AVIF":
        exif = carried.exif if len(parse_exif(carried.exif)) else b""
        blocks = {"exif": exif, "xmp": carried.xmp, "icc_profile": carried.icc}
        return {"quality": QUALITY, "subsampling": "4:0:0" if image.mode in {"1", "L"} else "4:4:4", **blocks}
    if target == "GIF":
        return {"optimize": False, "comment": carried.comment}
    return {"dpi": carried.dpi} if carried.dpi else {}


def _plays(source: str, first: Image.Image) -> int:
    """How often an animation is shown, 0 for without end: GIF counts repetitions, and without a count plays once."""
    if source != "GIF":
        return int(first.info.get("loop", 0))
    loop = first.info.get("loop")
    return 1 if loop is None else loop + 1 if loop else 0


def _animation(target: str, images: Sequence[Image.Image], durations: Sequence[float], plays: int) -> dict[str, Any]:
    rounded = [round(duration) for duration in durations]  # milliseconds
    options: dict[str, Any] = {"save_all": True, "append_images": images[1:], "duration": rounded}
    options["loop"] = min(plays, 65_535)  # GIF and WebP have two bytes for it
    if target == "PNG":
        hidden = bool(images[0].info.get("default_image"))  # the still picture for viewers without animation
        options |= {"default_image": hidden, "duration": durations[hidden:], "disposal": 0, "blend": 0}
    if target == "GIF":
        options["loop"] = None if plays == 1 else min(max(plays - 1, 0), 65_535)
        # a transparent pixel shows what is below, so what was below has to go
        options["disposal"] = 2 if any("transparency" in image.info for image in images) else 1
    return options


def _jpeg_encoding(image: JpegImageFile) -> dict[str, Any]:
    """The quantisation tables and subsampling of the file, or finer ones where Pillow cannot write them."""
    tables = [image.quantization[layer[3]] for layer in image.layer]
    if len(tables) == 3 and image.info.get("adobe_transform") != 0:
        luma, chroma = tables[0], np.minimum(tables[1], tables[2]).tolist()
        return {"quality": -1, "qtables": [luma, chroma], "subsampling": max(get_sampling(image), 0)}
    return {
        "quality": -1,
        "qtables": [np.min(tables, axis=0).tolist()],
        "subsampling": 0 if len(tables) == 3 else -1,
        "keep_rgb": image.mode == "RGB",
    }


def _lossless_webp(path: Path) -> bool:
    """Whether all bitstreams of a WebP are of the lossless kind."""
    found = set()
    with path.open("rb") as file:
        file.seek(12)
        while len(header := file.read(8)) == 8:
            name, length = struct.unpack("<4sL", header)
            found.add(name)
            file.seek(16 if name == b"ANMF" else length + length % 2, 1)  # a frame's own chunks follow its 16 bytes
    return b"VP8L" in found and b"VP8 " not in found


def _tiff_encoding(image: TiffImageFile) -> dict[str, Any]:
    tags = image.tag_v2
    options: dict[str, Any] = {"compression": image.info.get("compression"), "tiffinfo": {}}
    if 317 in tags:
        options["tiffinfo"][317] = tags[317]  # predictor
    return options


def _tiff_options(image: Image.Image, native: Mapping[str, Any]) -> dict[str, Any]:
    compression = native.get("compression", "tiff_adobe_deflate")
    if compression not in _TIFF_COMPRESSIONS or (compression in {"group3", "group4"} and image.mode != "1"):
        compression = "tiff_adobe_deflate"
    tags = {key: value for key, value in native.get("tiffinfo", {}).items() if key != 317}
    if compression in _TIFF_PREDICTED and image.mode != "1":
        tags[317] = native.get("tiffinfo", {317: 2}).get(317, 1)
    options = {"compression": compression, "tiffinfo": tags, "icc_profile": b""}
    return {**options, "quality": QUALITY} if compression == "jpeg" else options
