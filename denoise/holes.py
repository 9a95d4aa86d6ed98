"""Where a picture has holes: by a mask, by a colour or by transparency."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from denoise.errors import UsageError
from denoise.media.image import Frame, Picture
from denoise.media.mask import Mask, as_stored, mask_of, mask_of_file, read_mask
from denoise.options import Options, rgb

_LOSSY = {"JPEG", "WEBP", "AVIF"}
_LOSSY_LEVELS = 16
_BLED_LEVELS, _BLED_PX = 80, 8  # how far compression takes the border of a painted place from its colour, and where
_ROWS = 256
_OVERSHOT = 1.5
"""The most that a mask of floats reaches which was scaled by a bicubic filter; beyond that its white is not 1"""

_PEAKS = (1, 255, 65_535)
"""White in whole numbers; beside these the most that the type can hold"""


def find_holes(picture: Picture, frame: Frame, options: Options) -> Mask:
    """The holes of a frame as it is stored, widened as asked. Shape: `[H, W]`.

    Raises:
        UsageError: the mask is not of the size of the picture, leaves nothing of it, or there is no transparency.
        MediaError: the mask cannot be read.
    """
    if options.mask_color is not None:
        mask = _of_colour(frame, options.mask_color, picture.format in _LOSSY)
    elif options.by_alpha:
        mask = _transparent(picture, frame)
    else:
        mask = _fitted(as_mask(options.mask), picture, frame)
    mask = dilate(mask, options.dilate_px)
    check_holes(mask, picture.path.name)
    return mask


def note_on_holes(picture: Picture, mask: Mask, options: Options) -> list[str]:
    """What to know of what `find_holes` found, in a sentence; none where it is as asked for."""
    if not mask.any():
        return ["Nothing is marked as a hole, so nothing was filled."]
    if options.mask_color is not None and picture.format in _LOSSY:
        return ["Lossy compression mixes thin lines with what is beside them, so some may be left; then give a mask."]
    return []


def count_hidden(frame: Frame, mask: Mask) -> int:
    """How many pixels in holes are transparent, which filling leaves as they are."""
    return int((mask & _whole(frame.hidden, len(mask))).sum()) if frame.has_transparency else 0


def with_mask_read(options: Options) -> Options:
    """The same options with their mask as booleans, which frames and files share; errors as of `as_mask`.

    As a picture in a file is seen, so is a mask that comes as a PIL image: upright.
    """
    mask = options.mask
    if mask is None or options.by_alpha:
        return options
    return replace(options, mask=mask_of_file(mask) if isinstance(mask, Image.Image) else as_mask(mask))


def as_mask(mask: Any) -> Mask:
    """A mask as `[H, W]` of booleans: from a file, a PIL image, a NumPy array or a tensor; at least half is a hole.

    Raises:
        UsageError: it is none of these, or of floats that are not 0..1.
    """
    if isinstance(mask, str | os.PathLike):
        return read_mask(Path(mask))
    if isinstance(mask, Image.Image):
        return mask_of(mask)
    if isinstance(mask, torch.Tensor):
        mask = mask.detach().cpu()
        mask = (mask.float() if mask.is_floating_point() else mask).numpy()
    if not isinstance(mask, np.ndarray) or mask.dtype.kind not in "buif":
        raise UsageError(f"A {type(mask).__name__} is no mask; give a file, a PIL image, an array or a tensor.")
    while mask.ndim > 2 and mask.shape[0] == 1:
        mask = mask[0]
    if mask.ndim != 2 or mask.size == 0:
        raise UsageError(f"A mask of shape {list(mask.shape)} does not fit; give one of [H, W].")
    if mask.dtype == bool:
        return np.asarray(mask)
    if mask.dtype.kind == "f":
        if not (white := float(mask.max())) <= _OVERSHOT:  # NaN is not either
            raise UsageError(f"A mask of floats is 0..1 and this one reaches {white:g}; divide it by its white.")
        return np.asarray(mask >= 0.5)
    largest, full = int(mask.max()), int(np.iinfo(mask.dtype).max)
    peak = next(peak for peak in (*(usual for usual in _PEAKS if usual < full), full) if largest <= peak)
    if peak > max(_PEAKS) and largest < peak:
        raise UsageError(f"A mask of whole numbers up to {largest} does not fit; give 0..1, 0..255 or 0..65535.")
    return np.asarray(mask >= peak / 2)


def masks_for(mask: Any, shape: Sequence[int]) -> list[Mask]:
    """A mask for each picture of a batch `[B, C, H, W]`: the same for all, or one each of a tensor `[B, 1, H, W]`.

    Raises:
        UsageError: the mask is none, or not of their size.
    """
    number, _, height, width = shape
    several = isinstance(mask, torch.Tensor) and mask.ndim == 4 and len(mask) == number
    masks = [as_mask(one) for one in mask] if several else [as_mask(mask)] * number
    for one in masks:
        if one.shape != (height, width):
            raise UsageError(
                f"The mask is {one.shape[1]}x{one.shape[0]} and the picture is {width}x{height}; make them of one size."
            )
    return masks


def widened(mask: Any, by_px: int) -> Any:
    """A mask for a picture in memory, or a tensor of one for each of a batch, `[B, 1, H, W]`, with wider holes."""
    if isinstance(mask, str) and mask == "alpha":
        raise UsageError("Transparency marks holes in files; for a picture in memory give a mask.")
    if isinstance(mask, torch.Tensor) and mask.ndim == 4 and len(mask) > 1:
        return torch.stack([torch.from_numpy(dilate(as_mask(one), by_px))[None] for one in mask])
    return dilate(as_mask(mask), by_px)


def dilate(mask: Mask, by_px: int) -> Mask:
    """Holes grown by so many pixels to all sides, corners included. Shape: `[H, W]` in and out."""
    if by_px == 0 or not mask.any():
        return mask
    from scipy.ndimage import maximum_filter

    reach = min(by_px, max(mask.shape))  # more has no effect, and SciPy cannot count that far
    return np.asarray(maximum_filter(mask, 2 * reach + 1, mode="constant"))


def check_holes(mask: Mask, name: str) -> None:
    """Raise UsageError for a mask that leaves nothing."""
    if mask.all():
        raise UsageError(f"The mask covers all of {name}; mark only what is missing.")


def has_square(mask: Mask, side: int) -> bool:
    """Whether a square hole of that side fits into the holes."""
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    if len(rows) < side or len(columns) < side:
        return False
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    from scipy.ndimage import minimum_filter

    return bool(minimum_filter(part, side, mode="constant").any())


def _fitted(mask: Mask, picture: Picture, frame: Frame) -> Mask:
    """A mask of the picture as a viewer shows it, as the picture is stored; one that only fits so is left."""
    width, height = frame.size
    turned = as_stored(mask, picture.orientation)
    for candidate in (turned, mask):
        if candidate.shape == (height, width):
            return candidate
    raise UsageError(
        f"The mask is {mask.shape[1]}x{mask.shape[0]} and {picture.path.name} is {width}x{height}; "
        "make them of one size."
    )


def _of_colour(frame: Frame, colour: str, lossy: bool) -> Mask:
    """Where that colour is, give or take what lossy compression does to it, above all at the border of the place."""
    wanted = np.array(rgb(colour), dtype=np.float32)
    if frame.channels not in (1, 3):
        raise UsageError("A colour marks holes in gray and RGB pictures only; give a mask picture.")
    parts = []
    for start in range(0, frame.size[1], _ROWS):
        rows = frame.read(start, min(start + _ROWS, frame.size[1]))
        parts.append(np.abs(rows - wanted[:, None, None] / 255).max(0) * 255)
    off = np.concatenate(parts)
    if not lossy:
        return np.asarray(off <= 0.5)
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(off <= _LOSSY_LEVELS + 0.5, iterations=_BLED_PX, mask=off <= _BLED_LEVELS))


def _transparent(picture: Picture, frame: Frame) -> Mask:
    if not frame.has_transparency:
        raise UsageError(f"{picture.path.name} has no transparency; give a mask picture or a colour.")
    return _whole(frame.transparent, frame.size[1])


def _whole(look: Callable[[int, int], Mask], height: int) -> Mask:
    return np.concatenate([look(start, min(start + _ROWS, height)) for start in range(0, height, _ROWS)])
