"""Damage done to pictures. Noise levels are standard deviations on the 0..255 scale."""

from __future__ import annotations

import torch
from torch import Tensor

from denoise.corruptions.base import Corrupted, Corruption, Params


class Gaussian(Corruption):
    """White Gaussian noise of one level, or of a level drawn per example; not clipped.

    Shape:
        - Input: `[B, C, H, W]`, 0..1
        - condition: `[B, 1, H, W]`, the level as a standard deviation on the 0..1 scale
    """

    def __init__(self, sigma: float | tuple[float, float] = 25.0) -> None:
        super().__init__()
        self.low, self.high = sigma if isinstance(sigma, tuple) else (sigma, sigma)

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        level = torch.rand(clean.shape[0], 1, 1, 1, generator=generator, device=clean.device)
        return {
            "sigma": (self.low + (self.high - self.low) * level) / 255,
            "noise": torch.randn(clean.shape, generator=generator, device=clean.device),
        }

    def apply(self, clean: Tensor, params: Params) -> Corrupted:
        sigma = params["sigma"]
        return Corrupted(clean + sigma * params["noise"], sigma.expand_as(clean[:, :1]), clean)
