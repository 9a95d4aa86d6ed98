"""Colour of 16 bits a channel, which Pillow would cut to 8: read and written through imagecodecs and tifffile."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import getchunks
from PIL.TiffImagePlugin import TiffImageFile

from denoise.errors import UsageError
from denoise.media.image_formats import png_header
from denoise.media.image_frame import ArrayRaster, Frame, Samples
from denoise.media.image_metadata import Carried, add_tiff_tags, png_options

_COMPRESSIONS = {1: None, 5: "lzw", 8: "zlib", 32946: "zlib", 34925: "lzma", 50000: "zstd"}
_EXTRA = {"RGBA": ["unassalpha"], "RGBa": ["assocalpha"], "RGBX": ["unspecified"]}


def deep_mode(image: Image.Image, path: Path) -> str | None:
    """The mode of the current frame if it has several samples of 16 bits a pixel, else None."""
    if image.format == "PNG":
        keyed = "transparency" in image.info  # the decoder makes alpha of a transparent colour
        return {(16, 2): "RGBA" if keyed else "RGB", (16, 4): "LA", (16, 6): "RGBA"}.get(png_header(path))
    if isinstance(image, TiffImageFile) and 16 in image.tag_v2.get(258, ()) and image.tag_v2.get(277, 1) > 1:
        if image.mode == "CMYK" or image.tag_v2[277] == 3:
            return image.mode
        return {(0,): "RGBX", (1,): "RGBa"}.get(image.tag_v2.get(338, ()), "RGBA")
    return None


def read_deep(path: Path, source_format: str, page: int, mode: str) -> Frame:
    """Decode a PNG, or one page of a TIFF."""
    imagecodecs, tifffile = _libraries()
    if source_format == "PNG":
        array = imagecodecs.png_decode(path.read_bytes())
    else:
        with tifffile.TiffFile(path) as file:
            array = file.pages[page].asarray()
            if file.pages[page].planarconfig == 2:  # band after band
                array = np.moveaxis(array, 0, -1)
    return Frame(ArrayRaster(np.ascontiguousarray(array, dtype=np.uint16)), mode, bits=16)


def deep_options(image: Image.Image) -> dict[str, Any]:
    """How the pixels of a TIFF were compressed, as options for tifffile."""
    if not isinstance(image, TiffImageFile):
        return {}
    compression = _COMPRESSIONS.get(image.tag_v2.get(259, 1), "zlib")
    return {"compression": compression, "predictor": compression is not None and image.tag_v2.get(317, 1) == 2}


def encode_deep(file: IO[bytes], target: str, frames: Sequence[Frame], carried: Sequence[Carried]) -> None:
    """Write the frames into an open PNG or TIFF."""
    imagecodecs, tifffile = _libraries()
    if target == "PNG":
        file.writelines(_with_chunks(imagecodecs.png_encode(_array(frames[0])), carried[0]))
        return
    with tifffile.TiffWriter(file, bigtiff=False) as writer:
        for frame, one in zip(frames, carried, strict=True):
            writer.write(
                _array(frame),
                photometric="separated" if frame.mode == "CMYK" else "rgb",
                extrasamples=_EXTRA.get(frame.mode),
                metadata=None,
                software=False,
                **(one.native or {"compression": "zlib", "predictor": True}),
            )
    add_tiff_tags(file, carried)


def _array(frame: Frame) -> Samples:
    assert isinstance(frame.raster, ArrayRaster)
    return frame.raster.array


def _with_chunks(png: bytes, carried: Carried) -> Sequence[bytes]:
    """The parts of a PNG that has, after its header, the chunks Pillow writes for what is carried."""
    header = 8 + 25  # signature, IHDR
    chunks = [
        struct.pack(">L", len(data)) + name + data + crc
        for name, data, crc in getchunks(Image.new("RGB", (1, 1)), **png_options(carried))
        if name not in {b"IHDR", b"IDAT", b"IEND"}
    ]
    return [png[:header], *chunks, png[header:]]


def _libraries() -> tuple[Any, Any]:
    try:
        return importlib.import_module("imagecodecs"), importlib.import_module("tifffile")
    except ImportError:
        raise UsageError(
            "Colour of 16 bits a channel needs two more libraries; run: pip install 'denoise-toolkit[formats]'."
        ) from None
