"""PSNR and SSIM under one written protocol.

Pictures are float32 0..1 in the file's own encoding. The restored picture is clipped and rounded to 8 bits first, and
so is the noisy one where it is scored. PSNR is over all bands and pixels together, no border cut; where holes were
filled, over the holes alone. SSIM (Wang et al., IEEE TIP 2004: Gaussian window of 1.5 pixels, 11 wide) is the mean over
bands and over the pixels whose window lies inside the picture, as in the authors' own code. Scores of a set are means
of the scores of its pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from denoise.errors import UsageError

_WINDOW_PX = 11


def round_to_8_bits(picture: Tensor) -> Tensor:
    """What an 8-bit file holds of a picture. Shape: any."""
    return (picture.clamp(0, 1) * 255).round() / 255


def psnr_db(restored: Tensor, clean: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio of one picture, or of its pixels in a mask; infinite when they are equal.

    Shape: `[C, H, W]` twice, mask `[1, H, W]` or None
    """
    error = (round_to_8_bits(restored).double() - clean.double()).square()
    mean = error.mean() if mask is None else error[(mask > 0).expand_as(error)].mean()
    return float(-10 * torch.log10(mean))


def ssim(restored: Tensor, clean: Tensor) -> float:
    """Structural similarity of one picture, at most 1; raises UsageError below 11x11. Shape: `[C, H, W]` twice."""
    require_size(clean)
    _, values = structural_similarity_index_measure(
        round_to_8_bits(restored)[None], clean[None], data_range=1.0, return_full_image=True
    )
    border = _WINDOW_PX // 2
    return float(values[..., border:-border, border:-border].mean())


def require_size(clean: Tensor) -> None:
    """Raise UsageError when a picture is too small for SSIM. Shape: `[C, H, W]`."""
    if min(clean.shape[1:]) < _WINDOW_PX:
        raise UsageError(
            f"A picture of {clean.shape[2]}x{clean.shape[1]} pixels is too small for SSIM; "
            f"use pictures of at least {_WINDOW_PX}x{_WINDOW_PX}."
        )
