"""PSNR and SSIM under one written protocol.

Pictures are float32 0..1 in the file's own encoding. The restored picture is clipped and rounded to 8 bits first; no
border is cut; PSNR is over all bands together, SSIM (Wang et al., IEEE TIP 2004: Gaussian window of 1.5 pixels, 11 wide)
is the mean over the bands. Scores of a set are means of the scores of its pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure


def round_to_8_bits(picture: Tensor) -> Tensor:
    """What an 8-bit file holds of a picture. Shape: any."""
    return (picture.clamp(0, 1) * 255).round() / 255


def psnr_db(restored: Tensor, clean: Tensor) -> float:
    """Peak signal-to-noise ratio of one picture. Shape: `[C, H, W]` twice."""
    error = (round_to_8_bits(restored).double() - clean.double()).square().mean()
    return float(-10 * torch.log10(error))


def ssim(restored: Tensor, clean: Tensor) -> float:
    """Structural similarity of one picture, at most 1. Shape: `[C, H, W]` twice, sides of at least 11."""
    score = structural_similarity_index_measure(round_to_8_bits(restored)[None], clean[None], data_range=1.0)
    return float(score)  # type: ignore[arg-type]
