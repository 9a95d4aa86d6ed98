"""A U-Net for pictures that is told how strong the noise is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from denoise.errors import UsageError
from denoise.networks.blocks import ResidualBlock


class UNet(nn.Module):
    """Subtract from the picture what does not belong to it.

    Pixel-unshuffle, plain residual blocks on every level, additive skips; no bias and no norm anywhere. The design
    follows DRUNet (Zhang et al., "Plug-and-play image restoration with deep denoiser prior", TPAMI 2021) with the
    full-resolution level left out, as FFDNet does (Zhang et al., TIP 2018): at that level convolutions have too few
    channels to use a processor well.

    Args:
        channels: bands of the picture.
        condition_channels: bands of the condition (1 for a noise-level map).
        widths: channels of each level, the finest first.
        depths: residual blocks of each level, on the way down and again on the way up (once on the last).
        unshuffle: side of the pixel block that becomes channels on the finest level.

    Shape:
        - observed: `[B, C, H, W]`, 0..1, sides a multiple of `multiple_of`
        - condition: `[B, K, H, W]`
        - Output: `[B, C, H, W]`
    """

    minimum = 1
    grows = ("widths", "depths")

    def __init__(
        self,
        channels: int = 3,
        condition_channels: int = 1,
        widths: Sequence[int] = (64, 128, 256),
        depths: Sequence[int] = (2, 2, 2),
        unshuffle: int = 2,
    ) -> None:
        super().__init__()
        if not 0 < len(widths) == len(depths) or min(widths) < 1 or min(depths) < 0:
            raise UsageError(
                f"A U-Net with widths {list(widths)} and depths {list(depths)} is not possible: give as many depths as "
                "widths, at least one of each, and no width below 1."
            )
        self.config = {
            "channels": channels,
            "condition_channels": condition_channels,
            "widths": list(widths),
            "depths": list(depths),
            "unshuffle": unshuffle,
        }
        self.channels = channels
        self.unshuffle = unshuffle
        self.multiple_of = unshuffle * 2 ** (len(widths) - 1)
        self.receptive_field = _receptive_field(depths, unshuffle)
        area = unshuffle**2
        pairs = list(itertools.pairwise(widths))
        self.head = nn.Conv2d((channels + condition_channels) * area, widths[0], 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(_stage(width, depth) for width, depth in zip(widths, depths, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2, bias=False) for fine, coarse in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2, bias=False) for fine, coarse in pairs)
        self.decoder = nn.ModuleList(
            _stage(width, depth) for width, depth in zip(widths[:-1], depths[:-1], strict=True)
        )
        self.tail = nn.Conv2d(widths[0], channels * area, 3, padding=1, bias=False)

    def forward(self, observed: Tensor, condition: Tensor) -> Tensor:
        """Restore `observed`, given what is known about its damage."""
        x = self.head(F.pixel_unshuffle(torch.cat([observed, condition], dim=1), self.unshuffle))
        skips = []
        for stage, down in zip(self.encoder[:-1], self.down, strict=True):
            x = stage(x)
            skips.append(x)
            x = down(x)
        x = self.encoder[-1](x)
        for stage, up, skip in zip(reversed(self.decoder), reversed(self.up), reversed(skips), strict=True):
            x = stage(up(x) + skip)
        # In float32 also where the rest is not: a bfloat16 residual comes in steps of up to a level of an 8-bit file.
        with torch.autocast(x.device.type, enabled=False):
            residual = self.tail(x.to(self.tail.weight.dtype))
        return observed - F.pixel_shuffle(residual, self.unshuffle)


def _stage(width: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(depth)))


def _receptive_field(depths: Sequence[int], unshuffle: int) -> int:
    """How far, in pixels, an output pixel can see in each direction.

    A 3x3 convolution on a level whose cells are s pixels wide reaches s further. Head and tail are on the finest level;
    a block has two convolutions; all levels but the last are passed twice. The place of a pixel within the coarsest
    cell adds what that cell is wide, less one.
    """
    reach = 2 * unshuffle
    for level, depth in enumerate(depths):
        cell = unshuffle << level
        reach += 2 * depth * cell * (1 if level == len(depths) - 1 else 2)
    return reach + (unshuffle << len(depths) - 1) - 1
