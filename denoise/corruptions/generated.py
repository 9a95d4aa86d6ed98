"""Noise that needs no recordings: coloured noise, hum, hiss, and clicks."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from denoise.corruptions.additive import Additive, power_law
from denoise.corruptions.base import Corrupted, Params
from denoise.corruptions.draws import Range, as_range, normal, uniform
from denoise.corruptions.sound import Count, SoundCorruption, as_counts, from_db, whole
from denoise.corruptions.spectra import fast_length, frequencies, shaped_noise

PERIOD = 4096  # samples in the table that holds one period of a hum


class ColouredNoise(Additive):
    """Gaussian noise whose power falls as 1 / f^exponent: blue -1, white 0, pink 1, brown 2.

    Shape:
        - Input: `[B, C, T]`, -1..1
    """

    def __init__(self, snr_db: Range = (-5.0, 20.0), exponent: Range = (-1.0, 2.0)) -> None:
        super().__init__(snr_db)
        self.exponent = as_range(exponent, "exponent", low=-2, high=4)

    def noise(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Noise of its colour."""
        exponent, length = uniform(self.exponent, clean, generator), clean.shape[-1]
        return shaped_noise(power_law(exponent, fast_length(length), self.rate_hz), length, clean, generator)


class Hiss(Additive):
    """White noise above a frequency, as tape and preamplifiers make it, falling by 12 dB an octave below.

    Shape:
        - Input: `[B, C, T]`, -1..1
    """

    def __init__(self, snr_db: Range = (5.0, 30.0), above_hz: Range = (1000.0, 4000.0)) -> None:
        super().__init__(snr_db)
        self.above_hz = as_range(above_hz, "above_hz", high=96_000)

    def noise(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """White noise through a high-pass filter (Butterworth, second order)."""
        above_hz, length = uniform(self.above_hz, clean, generator), clean.shape[-1]
        hz = frequencies(fast_length(length), self.rate_hz, clean).clamp(min=1.0)
        return shaped_noise((1 + (above_hz / hz) ** 4).rsqrt(), length, clean, generator)


class Hum(Additive):
    """Mains hum: a steady tone and its overtones, of random phase, that grow weaker with their number.

    Shape:
        - Input: `[B, C, T]`, -1..1
    """

    def __init__(
        self, snr_db: Range = (0.0, 30.0), frequency_hz: Range = (49.0, 61.0), harmonics: Count = (1, 20)
    ) -> None:
        super().__init__(snr_db)
        self.frequency_hz = as_range(frequency_hz, "frequency_hz", low=1, high=20_000)
        self.harmonics = as_counts(harmonics, "harmonics")

    def noise(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """One period in a table, read at the pace of the tone."""
        batch, most = len(clean), self.harmonics[1]
        tone_hz = uniform(self.frequency_hz, clean, generator)[:, 0]
        count = whole(self.harmonics, batch, generator).to(clean.device)[:, None]
        order = torch.arange(1, most + 1, device=clean.device)
        decay = uniform((0.3, 1.5), clean, generator)[:, 0]
        parts = torch.view_as_complex(normal((batch, most, 2), clean, generator))
        audible = (order <= count) & (order * tone_hz < self.rate_hz / 2)
        spectrum = torch.nn.functional.pad(parts * order**-decay * audible, (1, 0))
        table = torch.fft.irfft(spectrum, PERIOD, norm="forward")
        time_s = torch.arange(clean.shape[-1], device=clean.device, dtype=torch.float64) / self.rate_hz
        place = (tone_hz * time_s).frac() * PERIOD
        left = place.long().clamp(max=PERIOD - 1)
        share = (place - left).to(clean.dtype)
        wave = torch.lerp(table.gather(1, left), table.gather(1, (left + 1) % PERIOD), share)
        return wave[:, None]


class Clicks(SoundCorruption):
    """Clicks and crackle as of vinyl: short decaying bursts at random times (a Poisson process).

    `level_db` is the peak of the loudest clicks relative to the peak of the signal; others are up to 20 dB weaker.
    A burst falls by a factor of e in 0.05 to 1 ms. In silence the clicks are relative to -20 dBFS.

    Shape:
        - Input: `[B, C, T]`, -1..1
    """

    def __init__(self, rate_per_s: Range = (1.0, 30.0), level_db: Range = (-20.0, 0.0)) -> None:
        super().__init__()
        self.rate_per_s = as_range(rate_per_s, "rate_per_s", high=1000)
        self.level_db = as_range(level_db, "level_db", low=-100, high=40)

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The level, and clicks whose loudest has a peak of about 1."""
        batch, length = len(clean), clean.shape[-1]
        expected = uniform(self.rate_per_s, clean, generator) * (length / self.rate_hz)
        counts = torch.poisson(expected.to(generator.device), generator=generator).to(clean.device)[:, :, 0]
        most, span = int(counts.max()), self.samples(0.004)
        like = clean.new_empty(batch * most, 1)
        starts = (uniform((0.0, 1.0), like, generator) * length).long().clamp(max=length - 1).reshape(batch, most, 1)
        decay_s = uniform((5e-5, 1e-3), like, generator).reshape(batch, most, 1)
        height = from_db(uniform((-20.0, 0.0), like, generator)).reshape(batch, most, 1)
        height = height * (torch.arange(most, device=clean.device)[:, None] < counts[..., None])
        step = torch.arange(span, device=clean.device)
        burst = normal((batch, most, span), clean, generator).clamp_(-1, 1)
        burst[..., 0] = burst[..., 0].sign()
        burst *= height * torch.exp(-step / (self.rate_hz * decay_s))
        train = clean.new_zeros(batch, length + span)
        train.scatter_add_(1, (starts + step).flatten(1), burst.flatten(1))
        return {"level_db": uniform(self.level_db, clean, generator), "clicks": train[:, None, :length].contiguous()}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """Add the clicks at their level."""
        return self.follow(Corrupted(clean, None, clean), params)

    def follow(self, before: Corrupted, params: Params) -> Corrupted:
        """Add the clicks at their level relative to the target."""
        peak = before.target.abs().amax((1, 2), keepdim=True)
        level = torch.where(peak > 1e-4, peak, 0.1) * from_db(params["level_db"])
        return replace(before, observed=before.observed + level * params["clicks"])
