"""What a JPEG file keeps of a picture, computed where the tensors are: Pillow's encoder works on a processor alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

# Quantisation at quality 50 (ITU-T T.81, annex K), rows of vertical frequency.
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# JFIF: R, G, B -> Y, Cb, Cr without the offset of 128, and back
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def through_jpeg(codes: Tensor, quality: Tensor, half_colour: Tensor) -> Tensor:
    """Encode and decode as libjpeg does with its standard tables, but for rounding in its integer transforms.

    Args:
        codes: `[B, C, H, W]`, whole numbers 0..255, C = 1 or 3.
        quality: `[B, 1, 1, 1]`, whole numbers 1..100.
        half_colour: `[B, 1, 1, 1]`, whether colour is stored at half the resolution (4:2:0).

    Returns:
        `[B, C, H, W]`, whole numbers 0..255.
    """
    if codes.shape[1] == 1:
        return (_stored(codes - 128, _LUMA, quality) + 128).clamp(0, 255)
    ycc = torch.einsum("dc,bchw->bdhw", codes.new_tensor(_TO_YCC), codes).round()
    luma, colour = ycc[:, :1] - 128, ycc[:, 1:]
    luma = _stored(luma, _LUMA, quality) + 128
    whole = _stored(colour, _CHROMA, quality)
    halved = _doubled(_stored(_halved(colour), _CHROMA, quality))[..., : codes.shape[2], : codes.shape[3]]
    colour = torch.where(half_colour, halved, whole)
    rgb = torch.einsum("dc,bchw->bdhw", codes.new_tensor(_TO_RGB), torch.cat([luma, colour], dim=1))
    return rgb.round().clamp(0, 255)


def finest_step(quality: Tensor) -> Tensor:
    """The finest step that brightness is rounded to, of 255. Shape: `[B, 1, 1, 1]` twice."""
    return _steps(_LUMA, quality).amin((2, 3), keepdim=True)


def _stored(samples: Tensor, table: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """Samples around 0 after the cosine transform of blocks of 8 by 8, quantisation and the way back."""
    height, width = samples.shape[-2:]
    padded = F.pad(samples, (0, -width % 8, 0, -height % 8), mode="replicate")
    rows, columns = (side // 8 for side in padded.shape[-2:])
    blocks = padded.reshape(*samples.shape[:2], rows, 8, columns, 8).transpose(3, 4)
    steps = _steps(table, quality)[:, :, None, None]
    basis = cosines(samples)
    held = (basis @ blocks @ basis.mT / steps).round() * steps
    back = (basis.mT @ held @ basis).round().clamp(-128, 127)
    return back.transpose(3, 4).reshape(padded.shape)[..., :height, :width]


def _steps(table: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """What the frequencies are rounded to at qualities `[B, 1, 1, 1]`: `[B, 1, 8, 8]`."""
    scale = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    return ((quality.new_tensor(table) * scale + 50) / 100).floor().clamp(1, 255)


def cosines(like: Tensor) -> Tensor:
    """The orthonormal cosine transform (DCT-II) of 8 samples, a row for each frequency."""
    frequency = torch.arange(8, device=like.device, dtype=like.dtype)[:, None]
    rows = torch.cos(math.pi / 8 * frequency * (frequency.mT + 0.5)) / 2
    return torch.cat([rows[:1] / math.sqrt(2), rows[1:]])


def _halved(colour: Tensor) -> Tensor:
    """Means of two by two samples; of halves every other one is rounded up."""
    height, width = colour.shape[-2:]
    padded = F.pad(colour, (0, width % 2, 0, height % 2), mode="replicate")
    sums = 4 * F.avg_pool2d(padded, 2)
    bias = 1 + torch.arange(sums.shape[-1], device=sums.device) % 2
    return ((sums + bias) / 4).floor()


def _doubled(colour: Tensor) -> Tensor:
    """Twice the resolution: three parts of the nearest sample and one of the next, in both directions."""
    for axis in (2, 3):
        size = colour.shape[axis]
        before = torch.cat([colour.narrow(axis, 0, 1), colour.narrow(axis, 0, size - 1)], axis)
        after = torch.cat([colour.narrow(axis, 1, size - 1), colour.narrow(axis, size - 1, 1)], axis)
        colour = torch.stack([3 * colour + before, 3 * colour + after], axis + 1).flatten(axis, axis + 1)
    bias = 8 - torch.arange(colour.shape[-1], device=colour.device) % 2
    return ((colour + bias) / 16).floor()
