"""Short-time Fourier transform with frames of 32 ms at any sampling rate."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

HOP_S = 0.016


def hop_length(rate_hz: int) -> int:
    """Samples from frame to frame; a frame is two of them.

    Bins are 31.25 Hz apart at 8, 16, 32, 48 and 96 kHz and within 0.4% of that from 8 kHz on, so that a band has the
    same bins whatever the rate of a file, and no file needs resampling.

    >>> [hop_length(rate_hz) for rate_hz in (8_000, 16_000, 44_100, 48_000)]
    [128, 256, 706, 768]
    """
    return max(1, round(HOP_S * rate_hz))


def analyse(signal: Tensor, hop: int) -> Tensor:
    """Spectra of half-overlapping frames under a square-root Hann window; the first frame is centred on sample 0.

    A sine of amplitude 1 has a magnitude of 0.64 in its bin, at any rate.

    Shape:
        - Input: `[B, T]`
        - Output: `[B, 2, N, hop + 1]`, real and imaginary parts, N = ceil(T / hop) + 1
    """
    fill = -signal.shape[-1] % hop
    hops = F.pad(signal, (hop, hop + fill)).view(len(signal), -1, hop)
    frames = torch.cat([hops[:, :-1], hops[:, 1:]], dim=-1) * _window(hop, signal)
    return torch.view_as_real(torch.fft.rfft(frames) / hop).permute(0, 3, 1, 2)


def synthesise(spectra: Tensor, hop: int, length: int) -> Tensor:
    """The inverse of `analyse`: `[B, 2, N, hop + 1] -> [B, length]`. The squares of two windows sum to one."""
    frames = torch.fft.irfft(torch.view_as_complex(spectra.permute(0, 2, 3, 1).contiguous()) * hop, n=2 * hop)
    first, second = (frames * _window(hop, spectra)).chunk(2, dim=-1)
    signal: Tensor = (first[:, 1:] + second[:, :-1]).flatten(1)
    return signal[:, :length]


def compress(spectra: Tensor, exponent: float, floor: float) -> tuple[Tensor, Tensor]:
    """Magnitudes raised to a power, and the parts with magnitudes so raised: quiet sounds count more.

    Shape:
        - Input: `[B, 2, N, K]`; `floor` is added to its squared magnitudes
        - Output: `[B, 1, N, K]` and `[B, 2, N, K]`
    """
    power = spectra.square().sum(1, keepdim=True) + floor
    return power ** (exponent / 2), spectra * power ** ((exponent - 1) / 2)


def _window(hop: int, like: Tensor) -> Tensor:
    """`sin(pi k / 2 hop)`, the square root of the periodic Hann window."""
    return torch.sin(torch.arange(2 * hop, device=like.device, dtype=like.dtype) * (torch.pi / (2 * hop)))
