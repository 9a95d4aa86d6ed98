"""Filters and noise by their spectrum, batched over sounds."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from denoise.corruptions.draws import normal

LOWEST_HZ = 50.0  # of the curves over octaves; level below


@functools.cache
def fast_length(length: int) -> int:
    """The least even number of at least `length` with no prime factors but 2, 3 and 5, where FFTs are fast.

    >>> fast_length(63_997)
    64000
    """
    best = 1 << math.ceil(math.log2(max(2, length)))
    odds: list[int] = [3**threes * 5**fives for threes in range(20) for fives in range(14)]
    for odd in odds:
        if odd < best:
            best = min(best, odd << max(1, math.ceil(math.log2(length / odd))))
    return best


def frequencies(size: int, rate_hz: int, like: Tensor) -> Tensor:
    """The frequencies of the real FFT of so many points in Hz, `[size // 2 + 1]`, on the device of a tensor."""
    return torch.arange(size // 2 + 1, device=like.device) * (rate_hz / size)


def filtered(signal: Tensor, gain: Tensor, size: int) -> Tensor:
    """A signal with each frequency scaled, without delay; what is longer than `size` wraps around.

    Shape:
        - Input: `[B, C, T]`; gain `[B, 1, size // 2 + 1]`
        - Output: `[B, C, T]`
    """
    whole: Tensor = torch.fft.irfft(torch.fft.rfft(signal, size) * gain, size)
    return whole[..., : signal.shape[-1]].contiguous()


def shaped_noise(gain: Tensor, length: int, signal: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise whose spectrum has the given amplitude.

    Shape:
        - Input: gain `[B, 1, fast_length(length) // 2 + 1]`
        - Output: `[B, 1, length]`
    """
    parts = normal((len(gain), 1, gain.shape[-1], 2), signal, generator)
    whole: Tensor = torch.fft.irfft(torch.view_as_complex(parts) * gain, fast_length(length))
    return whole[..., :length].contiguous()


def octave_curve(swing_db: Tensor, size: int, rate_hz: int, generator: torch.Generator) -> Tensor:
    """The amplitudes of a random smooth equaliser: a value within -swing..swing for each octave, eased between them.

    Shape:
        - Input: `[B, 1, 1]`, decibels
        - Output: `[B, 1, size // 2 + 1]`
    """
    octaves = frequencies(size, rate_hz, swing_db).clamp(min=LOWEST_HZ).div(LOWEST_HZ).log2()
    knots = max(2, math.ceil(math.log2(max(2, rate_hz / 2 / LOWEST_HZ))) + 1)
    unit = torch.rand(len(swing_db), 1, knots, generator=generator, device=generator.device).to(swing_db.device)
    levels = swing_db * (2 * unit - 1) * (math.log(10) / 20)
    left = octaves.floor().clamp(max=knots - 2).long()
    share = (1 - torch.cos(math.pi * (octaves - left))) / 2
    return torch.lerp(levels[..., left], levels[..., left + 1], share).exp()


def slow_curve(depth_db: Tensor, length: int, rate_hz: int, generator: torch.Generator) -> Tensor:
    """The amplitudes of a slow random rise and fall, four values a second: decibels `[B, 1, 1]` in, `[B, 1, T]` out."""
    knots = 2 + math.ceil(4 * length / rate_hz)
    levels = depth_db * normal((len(depth_db), 1, knots), depth_db, generator) * (math.log(10) / 20)
    return F.interpolate(levels, length, mode="linear").exp()
