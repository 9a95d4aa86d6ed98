"""A U-Net for pictures, conditioned on a noise-level map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from denoise.models.blocks import ResidualBlock


class UNet(nn.Module):
    def __init__(
        self,
        channels: int = 3,
        condition_channels: int = 1,
        widths: Sequence[int] = (64, 128, 256),
        depths: Sequence[int] = (2, 2, 2),
        unshuffle: int = 2,
    ) -> None:
        super().__init__()
        self.unshuffle = unshuffle
        self.multiple_of = unshuffle * 2 ** (len(widths) - 1)
        area = unshuffle**2
        self.head = nn.Conv2d((channels + condition_channels) * area, widths[0], 3, padding=1, bias=False)
        self.tail = nn.Conv2d(widths[0], channels * area, 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(_stage(w, d) for w, d in zip(widths, depths, strict=True))
        self.decoder = nn.ModuleList(_stage(w, d) for w, d in zip(widths[:-1], depths[:-1], strict=True))
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2, bias=False) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2, bias=False) for a, b in pairs)

    def forward(self, observed: Tensor, condition: Tensor) -> Tensor:
        x = F.pixel_unshuffle(torch.cat([observed, condition], dim=1), self.unshuffle)
        x = self.head(x)
        skips = []
        for stage, down in zip(self.encoder, self.down):
            x = stage(x)
            skips.append(x)
            x = down(x)
        x = self.encoder[-1](x)
        for stage, up, skip in zip(reversed(self.decoder), reversed(self.up), reversed(skips), strict=True):
            x = stage(up(x) + skip)
        return observed - F.pixel_shuffle(self.tail(x), self.unshuffle)


def _stage(width: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(depth)))
