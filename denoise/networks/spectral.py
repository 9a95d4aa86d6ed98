"""A U-Net along frequency with a temporal network in its middle: for sound, on complex spectra."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from denoise.networks.stft import HOP_S, compress

BIN_HZ = 0.5 / HOP_S
_COMPRESSION = 0.3
_TINY = 1e-10
_FULL = math.tanh(1.2)  # from here on a mask is 1: what nothing is to be taken from keeps its level


class SpectralUNet(nn.Module):
    """Multiply a complex spectrum by a complex mask of magnitude one at most.

    Bins up to 2 kHz are bands of their own, higher ones are merged into bands as wide as the ear's (equivalent
    rectangular bandwidth: Glasberg and Moore, Hearing Research 1990). Strided convolutions halve the number of bands
    level by level; what is left of a frame becomes one vector, and dilated convolutions look over about a second of
    them in both directions (Bai et al., "An empirical evaluation of generic convolutional and recurrent networks",
    2018). The layout follows CRUSE (Braun et al., "Towards efficient models for real-time deep noise suppression",
    ICASSP 2021) with convolutions in place of its recurrence, so that a sound is restored in windows exactly.

    Args:
        widths: channels of each level, the finest first.
        bands: bands above 2 kHz; with the 64 below, a multiple of 2 to the number of levels.
        temporal: length of the vector that a frame becomes.
        dilations: of the temporal blocks.
        highest_hz: bins above it are none of the network's business and pass through.

    Shape:
        - observed: `[B, 2, N, K]`, real and imaginary parts of N frames, bins 31.25 Hz apart, any number K of them
        - Output: the same
    """

    minimum = 1
    grows = ("widths", "temporal")
    merge: Tensor

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 48, 64),
        bands: int = 96,
        temporal: int = 192,
        dilations: Sequence[int] = (1, 2, 4, 8, 16, 1, 2, 4, 8, 16),
        highest_hz: float = 24_000,
    ) -> None:
        super().__init__()
        levels = len(widths)
        if not 2 <= bands <= 256 or (_LINEAR + bands) % 2**levels:
            raise ValueError(
                f"bands {bands} do not suit {levels} widths: give 2 to 256, and with 64 more a multiple of {2**levels}"
            )
        self.config = {
            "widths": list(widths),
            "bands": bands,
            "temporal": temporal,
            "dilations": list(dilations),
            "highest_hz": highest_hz,
        }
        self.register_buffer("merge", erb_bands(bands, highest_hz), persistent=False)
        self.receptive_field = 2 * len(widths) + sum(dilations)  # frames, in each direction
        coarsest = (_LINEAR + bands) >> levels
        fine, coarse = widths[:-1], widths[1:]
        self.head = nn.Conv2d(3, widths[0], (3, 4), stride=(1, 2), padding=1)
        self.encoder = nn.ModuleList(_Mix(width) for width in fine)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, (1, 4), stride=(1, 2), padding=(0, 1)) for a, b in zip(fine, coarse, strict=True)
        )
        self.into = nn.Linear(widths[-1] * coarsest, temporal)
        self.temporal = nn.Sequential(*(_TemporalBlock(temporal, dilation) for dilation in dilations))
        self.out = nn.Linear(temporal, widths[-1] * coarsest)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(b, a, (1, 4), stride=(1, 2), padding=(0, 1)) for a, b in zip(fine, coarse, strict=True)
        )
        self.decoder = nn.ModuleList(_Mix(width) for width in fine)
        self.tail = nn.ConvTranspose2d(widths[0], 2, (3, 4), stride=(1, 2), padding=1)
        nn.init.zeros_(self.tail.weight)
        with torch.no_grad():
            self.tail.bias.copy_(torch.tensor([1.0, 0.0]))  # type: ignore[union-attr]

    def forward(self, observed: Tensor, condition: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Restore the spectra of one channel."""
        seen = observed[..., : len(self.merge)]
        x = self.head(self._features(seen))
        skips = []
        for stage, down in zip(self.encoder, self.down, strict=True):
            x = stage(x)
            skips.append(x)
            x = down(torch.relu(x))
        frame = x.permute(0, 2, 1, 3).flatten(2)
        frame = self.temporal(self.into(torch.relu(frame)).mT).mT
        x = x + self.out(torch.relu(frame)).unflatten(2, (x.shape[1], x.shape[3])).permute(0, 2, 1, 3)
        for stage, up, skip in zip(reversed(self.decoder), reversed(self.up), reversed(skips), strict=True):
            x = stage(up(torch.relu(x)) + skip)
        with torch.autocast(x.device.type, enabled=False):
            mask = self._spread(self.tail(torch.relu(x).to(self.tail.weight.dtype)), seen.shape[-1])
            restored = torch.complex(mask[:, 0], mask[:, 1]) * torch.complex(seen[:, 0], seen[:, 1])
            restored = torch.view_as_real(restored).permute(0, 3, 1, 2)
        return torch.cat([restored, observed[..., len(self.merge) :]], dim=-1)

    def _features(self, seen: Tensor) -> Tensor:
        """Magnitude and both parts, compressed to the power 0.3 and merged: `[B, 3, N, bands]`."""
        compressed = torch.cat(compress(seen, _COMPRESSION, _TINY), dim=1)
        low, high = compressed[..., :_LINEAR], compressed[..., _LINEAR:]
        merge = self.merge[_LINEAR : seen.shape[-1], _LINEAR:]
        merged = high @ merge if seen.shape[-1] > _LINEAR else high.new_zeros(*high.shape[:-1], merge.shape[1])
        low = F.pad(low, (0, _LINEAR - low.shape[-1]))
        return torch.cat([low, merged], dim=-1)

    def _spread(self, bands: Tensor, bins: int) -> Tensor:
        """The mask of every bin from that of the bands, its magnitude bounded: `[B, 2, N, bins]`."""
        spread = self.merge[_LINEAR:bins, _LINEAR:]
        share = spread / spread.sum(1, keepdim=True)
        mask = torch.cat([bands[..., : min(_LINEAR, bins)], bands[..., _LINEAR:] @ share.mT], dim=-1)
        size = (mask.square().sum(1, keepdim=True) + _TINY).sqrt()
        return mask * ((torch.tanh(size) / _FULL).clamp_max(1) / size)


_LINEAR = 64


def erb_bands(bands: int, highest_hz: float) -> Tensor:
    """Weights of the bins in the bands: the first 64 alone, then triangles spaced evenly in ERB number.

    Shape:
        - Output: `[bins, 64 + bands]`, columns sum to one
    """
    bins = round(highest_hz / BIN_HZ) + 1
    hz = torch.arange(bins) * BIN_HZ
    number = 21.4 * torch.log10(1 + 0.00437 * hz)
    centres = torch.linspace(float(number[_LINEAR]), float(number[-1]), bands)
    step = centres[1] - centres[0]
    triangles = (1 - (number[_LINEAR:, None] - centres).abs() / step).clamp_min(0)
    weights = torch.zeros(bins, _LINEAR + bands)
    weights[:_LINEAR, :_LINEAR] = torch.eye(_LINEAR)
    weights[_LINEAR:, _LINEAR:] = triangles / triangles.sum(0)
    return weights


class _Mix(nn.Module):
    """`x + conv(relu(x))`, 3 frames by 3 bands. Shape: `[B, width, N, bands]` in and out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(torch.relu(x))  # type: ignore[no-any-return]


class _TemporalBlock(nn.Module):
    """`x + mix(relu(dilated(relu(x))))`. Shape: `[B, width, N]` in and out."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilated = nn.Conv1d(width, width, 3, dilation=dilation, padding=dilation)
        self.mix = nn.Conv1d(width, width, 1)
        nn.init.zeros_(self.mix.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(torch.relu(self.dilated(torch.relu(x))))  # type: ignore[no-any-return]
