"""Masks as pictures: white where there is a hole, in any mode that Pillow reads."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from denoise.errors import MediaError, UsageError
from denoise.media.audio_formats import FORMATS, READ_ONLY
from denoise.media.image_formats import png_header, white_is_zero
from denoise.media.image_frame import spread_key
from denoise.media.inputs import check_input
from denoise.media.pillow_settings import open_unmapped, pillow_settings

Mask = NDArray[np.bool_]

_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a picture that is seen upright is turned to lie as it is stored, by EXIF orientation"""


def read_mask(path: Path) -> Mask:
    """The mask in a file, upright: at least half white is a hole, transparent is none.

    Shape:
        - Output: `[H, W]`

    Raises:
        UsageError, MediaError: the file is missing, damaged or no picture.
    """
    check_input(path, "picture")
    if path.suffix.lower() in FORMATS.keys() | READ_ONLY:
        raise UsageError(f"{path} is sound and a mask is a picture; give a PNG, white on black.")
    try:
        with pillow_settings(), open_unmapped(path) as image:
            if image.format == "PNG":
                spread_key(image, png_header(path)[0])
            return mask_of_file(image)
    except Exception as error:  # decoders raise whatever the damaged bytes led to
        raise MediaError(
            f"The mask {path} is no picture, or is damaged ({error}); give a PNG, white on black."
        ) from error


def mask_of_file(image: Image.Image) -> Mask:
    """The mask in a picture as it was opened, upright. Shape: `[H, W]`."""
    with contextlib.closing(ImageOps.exif_transpose(image)) as upright:
        return mask_of(upright) ^ white_is_zero(image)


def mask_of(image: Image.Image) -> Mask:
    """Where a picture of any mode is at least half white. Shape: `[H, W]`."""
    if image.mode.startswith(("I", "F")):
        levels = np.asarray(image, dtype=np.float64)
        peak = 65_535.0 if image.mode.startswith("I;16") else max(float(levels.max(initial=0)), 1e-30)
        return np.asarray(levels >= peak / 2)
    if image.mode == "La":
        image = image.convert("LA")
    elif image.mode in ("PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    if image.mode in ("LAB", "HSV"):
        light = image.getchannel("L" if image.mode == "LAB" else "V")
    else:
        light = image.convert("L")
    mask = np.asarray(light) >= 128
    return mask if alpha is None else mask & (np.asarray(alpha) >= 128)


def as_stored(mask: Mask, orientation: int) -> Mask:
    """A mask of the upright picture, turned to how the picture is stored. Shape: `[H, W]` in, that or `[W, H]` out."""
    if orientation not in _TURNED:
        return mask
    return np.asarray(Image.fromarray(mask).transpose(_TURNED[orientation]))
