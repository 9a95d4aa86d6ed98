"""Small picture operations that several corruptions share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from denoise.errors import UsageError

BLOCK_PX = 16


def local_level(variance: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """The noise level around each pixel: the variance averaged over bands and blocks of 16 px, as a standard deviation.

    Signal-dependent noise has a level in every pixel that tells the clean value there; a network given that map would
    read the answer off it, in training only. One number per block keeps what an estimator could know. A variance known
    for a sparse grid of pixels is spread over the `size` of the picture.

    Shape:
        - Input: `[B, C, h, w]`
        - Output: `[B, 1, H, W]`, by default the size of the input
    """
    height, width = size or variance.shape[-2:]
    blocks = (math.ceil(height / BLOCK_PX), math.ceil(width / BLOCK_PX))
    coarse = F.adaptive_avg_pool2d(variance.mean(1, keepdim=True), blocks)
    return F.interpolate(coarse, (height, width), mode="bilinear").sqrt()


def luma(picture: Tensor) -> Tensor:
    """The gray picture of one or three bands (ITU-R BT.601 weights, as Pillow's mode L), `[B, 1, H, W]`."""
    if picture.shape[1] == 1:
        return picture
    require_bands(picture, "gray")
    weights = picture.new_tensor([0.299, 0.587, 0.114])
    return (picture * weights[:, None, None]).sum(1, keepdim=True)


def require_bands(picture: Tensor, name: str) -> None:
    """Refuse pictures that are neither gray nor RGB; raises UsageError."""
    if picture.shape[1] not in (1, 3):
        raise UsageError(f"{name} got a picture of {picture.shape[1]} bands: give 1 or 3.")


def gaussian_taps(std_px: Tensor, radius: int) -> Tensor:
    """Gaussian kernels that sum to 1, one per example: standard deviations `[B, 1, 1, 1]` in, `[B, 2r + 1]` out."""
    offsets = torch.arange(-radius, radius + 1, device=std_px.device) / std_px.reshape(-1, 1).clamp(min=1e-3)
    return torch.softmax(-offsets.square() / 2, dim=1)


def filter_rows_columns(picture: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """A separable filter of its own for each example, on the valid part: `rows` runs along H, `columns` along W.

    Shape:
        - Input: `[B, C, H + 2r, W + 2r]`; taps `[B, 2r + 1]`
        - Output: `[B, C, H, W]`
    """
    batch, bands = picture.shape[:2]
    along_h = rows.repeat_interleave(bands, 0)[:, None, :, None]
    along_w = columns.repeat_interleave(bands, 0)[:, None, None, :]
    result = F.conv2d(picture.reshape(1, batch * bands, *picture.shape[2:]), along_h, groups=batch * bands)
    result = F.conv2d(result, along_w, groups=batch * bands)
    return result.reshape(batch, bands, *result.shape[2:])
