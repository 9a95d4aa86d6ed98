"""Where the blocks of JPEG lie in a picture: in one that was cut out of a larger one they begin anywhere.

Networks with cells of 8 pixels learn from pictures whose blocks begin where cells do. Of others, as they stand, they
hardly take away what JPEG did, nor all of the noise that went through it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from denoise.corruptions.filters import luma
from denoise.corruptions.jpeg_codec import cosines
from denoise.windows import Read

_BLOCK = 8
_TILE, _TILES = 72, 4  # so many tiles each way, of so many pixels a side, tell of a picture of any size
_SMALLEST_PX = 32
_PEAK = 0.5  # half its width, in levels of 8 bits: coefficients that were rounded to 0 lie within
_CLEAR = 5.0  # standard deviations above the places that share no edge of blocks with it: rare by chance

Lead = tuple[int, int]
"""Rows and columns to put before a picture"""


def find_lead(read: Read, shape: Sequence[int]) -> Lead:
    """How many rows and columns, 0..7, lack before a picture so that blocks of JPEG begin at multiples of 8.

    Where they begin, most coefficients were rounded to 0. So of the 64 places that are possible that one is taken where
    the coefficients are the likeliest under a distribution with a sharp peak at 0 (Cauchy's); (0, 0) where no place
    stands out. After Nikoukhah et al., "JPEG grid detection based on the number of DCT zeros and its application to
    automatic and localized forgery detection", CVPR Workshops 2019, who count zeros.

    Shape:
        - Read: `[C, stop - start, W]`, 0..1
        - shape: `(C, H, W)`
    """
    _, height, width = shape
    if min(height, width) < _SMALLEST_PX:
        return 0, 0
    likely = torch.zeros(_BLOCK, _BLOCK, dtype=torch.float64)
    with torch.autocast("cpu", enabled=False):  # the caller's
        for row in _places(height):
            rows = read(row, min(row + _TILE, height))
            for column in _places(width):
                likely += _likelihood(_brightness(rows[..., column : column + _TILE]))
    row, column = divmod(int(likely.argmax()), _BLOCK)
    apart = torch.ones_like(likely, dtype=torch.bool)
    apart[row], apart[:, column] = False, False
    if not likely[row, column] > likely[apart].mean() + _CLEAR * likely[apart].std():
        return 0, 0
    return -row % _BLOCK, -column % _BLOCK


def led(read: Read, shape: Sequence[int], lead: Lead) -> tuple[Read, tuple[int, ...]]:
    """A reader of the picture with that many rows and columns before it, mirrored, and its shape."""
    if lead == (0, 0):
        return read, tuple(shape)
    channels, height, width = shape
    above, before = lead

    def led_rows(start: int, stop: int) -> Tensor:
        index = _mirrored(start - above, stop - above, height)
        first = int(index.min())
        rows = read(first, int(index.max()) + 1)
        rows = rows.index_select(1, (index - first).to(rows.device))
        return rows.index_select(2, _mirrored(-before, width, width).to(rows.device))

    return led_rows, (channels, height + above, width + before)


def _mirrored(start: int, stop: int, length: int) -> Tensor:
    return torch.arange(start, stop).abs().clamp(max=length - 1)


def _places(length: int) -> list[int]:
    """Where tiles begin along a side, evenly spread, at multiples of a block."""
    room = max(length - _TILE, 0)
    count = min(_TILES, 1 + -(-room // _TILE))
    return sorted({room * k // max(count - 1, 1) // _BLOCK * _BLOCK for k in range(count)})


def _brightness(rows: Tensor) -> Tensor:
    """Of a tile of any number of bands, in levels of 8 bits. Shape: `[C, H, W] -> [1, 1, H, W]`."""
    picture = rows[None].cpu()
    return 255 * (luma(picture) if len(rows) == 3 else picture.mean(1, keepdim=True))


def _likelihood(light: Tensor) -> Tensor:
    """Log likelihood of the coefficients of all whole blocks, by the row and column where they begin.

    Shape: `[1, 1, H, W] -> [8, 8]`.
    """
    basis = cosines(light)
    by_column = F.conv2d(light, basis[:, None, None, :])
    coefficients = F.conv2d(by_column, basis[:, None, :, None].repeat(_BLOCK, 1, 1, 1), groups=_BLOCK)[0, 1:]
    likely = -(coefficients / _PEAK).square().log1p().mean(0)
    rows, columns = (side // _BLOCK for side in likely.shape)
    whole = likely[: rows * _BLOCK, : columns * _BLOCK].double()
    return whole.reshape(rows, _BLOCK, columns, _BLOCK).sum((0, 2))
