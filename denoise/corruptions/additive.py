"""Sound added to sound: recorded noise, and other voices."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from denoise.corruptions.base import Corrupted, Params
from denoise.corruptions.draws import Range, as_fraction, as_range, uniform
from denoise.corruptions.sound import SILENT, Count, SoundCorruption, Source, active_power, as_counts, from_db, whole
from denoise.corruptions.spectra import fast_length, filtered, frequencies, octave_curve, shaped_noise, slow_curve

SILENCE_GETS = 1e-4  # the power of the noise where there is no speech to compare with, -40 dBFS


class Additive(SoundCorruption):
    """Noise at a signal-to-noise ratio in decibels, over the active parts of both; a child writes `noise`.

    The ratio is to the target, so that of two noises, one after the other, each is as loud as it was asked to be.
    Silence gets noise at -40 dBFS.

    Shape:
        - Input: `[B, C, T]`, -1..1
    """

    def __init__(self, snr_db: Range = (-5.0, 20.0)) -> None:
        super().__init__()
        self.snr_db = as_range(snr_db, "snr_db", low=-100, high=100)

    def noise(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Noise of any level for the examples, `[B, 1, T]`."""
        raise NotImplementedError

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The ratio, and noise of an active power of 1."""
        ratio = uniform(self.snr_db, clean, generator)
        return {"snr_db": ratio, "noise": unit_power(self.noise(clean, generator), self.rate_hz)}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """Add the noise at its level."""
        return self.follow(Corrupted(clean, None, clean), params)

    def follow(self, before: Corrupted, params: Params) -> Corrupted:
        """Add the noise at its level below the target."""
        speech = active_power(before.target, self.rate_hz)
        level = torch.where(speech > SILENT, speech.sqrt() * from_db(-params["snr_db"]), SILENCE_GETS**0.5)
        return replace(before, observed=before.observed + level * params["noise"])


class Noise(Additive):
    """Recorded noise: one or several recordings at once, 0 to 15 dB below the loudest, some of them equalised.

    Recordings come from what `recordings` was set to, or else from the sound files in a folder; without both, noise of
    random colour that slowly rises and falls is made up. Each recording has a random sign and, with the probability
    `coloured`, passes a smooth random equaliser of up to 6 dB.

    Shape:
        - Input: `[B, C, T]`, -1..1
    """

    def __init__(
        self,
        snr_db: Range = (-5.0, 20.0),
        count: Count = (1, 3),
        folder: str | None = None,
        coloured: float = 0.5,
    ) -> None:
        super().__init__(snr_db)
        self.count = as_counts(count, "count")
        self.folder = folder
        self.coloured = as_fraction(coloured, "coloured")
        self.recordings: Source | None = None
        self._read: dict[int, Source] = {}

    def noise(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Recordings, coloured, and summed for each example."""
        counts = whole(self.count, len(clean), generator)
        owners = torch.arange(len(clean), device=counts.device).repeat_interleave(counts).to(clean.device)
        length = clean.shape[-1]
        parts = self._source().draw(len(owners), length, self.rate_hz, generator).to(clean)[:, None]
        parts = self._equalise(parts, generator)
        levels = from_db(uniform((-15.0, 0.0), parts, generator)) * _sign(parts, generator)
        summed = clean.new_zeros(len(clean), 1, length)
        return summed.index_add_(0, owners, unit_power(parts, self.rate_hz).mul_(levels))

    def _source(self) -> Source:
        if self.recordings is not None:
            return self.recordings
        if self.folder is None:
            return Generated()
        if self.rate_hz not in self._read:
            from denoise.corruptions.recordings import Recordings

            self._read[self.rate_hz] = Recordings.read(self.folder, rates_hz=[self.rate_hz])[0]
        return self._read[self.rate_hz]

    def _equalise(self, parts: Tensor, generator: torch.Generator) -> Tensor:
        rows = torch.nonzero(uniform((0.0, 1.0), parts, generator)[:, 0, 0] < self.coloured)[:, 0]
        if not len(rows):
            return parts
        chosen, size = parts[rows], fast_length(parts.shape[-1])
        curve = octave_curve(chosen.new_full((len(rows), 1, 1), 6.0), size, self.rate_hz, generator)
        return parts.index_copy(0, rows, filtered(chosen, curve, size))


class Generated:
    """A source of made-up recordings: Gaussian noise of random colour that slowly rises and falls."""

    def draw(self, count: int, length: int, rate_hz: int, generator: torch.Generator) -> Tensor:
        """Stretches of noise, each of its own kind, `[count, length]`."""
        like = torch.empty(count, 1, 1, device=generator.device)
        size = fast_length(length)
        colour = power_law(uniform((-1.0, 2.0), like, generator), size, rate_hz)
        colour *= octave_curve(torch.full_like(like, 12.0), size, rate_hz, generator)
        depth_db = uniform((0.0, 6.0), like, generator)
        return (shaped_noise(colour, length, like, generator) * slow_curve(depth_db, length, rate_hz, generator))[:, 0]


class Babble(Additive):
    """Several voices at once, 0 to 10 dB below the loudest: the other examples of the batch, shifted in time.

    Where there are not more examples than voices, these come from `recordings`; where that is None, an example that is
    alone takes them from itself, played backwards.

    Shape:
        - Input: `[B, C, T]`, -1..1
    """

    def __init__(self, snr_db: Range = (0.0, 20.0), voices: Count = (3, 8)) -> None:
        super().__init__(snr_db)
        self.voices = as_counts(voices, "voices")
        self.recordings: Source | None = None

    def noise(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Voices, shifted, and summed for each example."""
        batch, length = len(clean), clean.shape[-1]
        speakers = self._speakers(clean, generator)
        rows = whole(self.voices, batch, generator).tolist()
        total = sum(rows)
        others = whole((1, max(1, len(speakers) - 1)), total, generator).tolist()
        shifts = whole((0, length - 1), total, generator).tolist()
        levels = from_db(uniform((-10.0, 0.0), clean.new_empty(total, 1), generator)).flatten().tolist()
        summed = clean.new_zeros(batch, 1, length)
        owners = [owner for owner, count in enumerate(rows) for _ in range(count)]
        for owner, other, shift, level in zip(owners, others, shifts, levels, strict=True):
            voice, cut = speakers[(owner + other) % len(speakers)], length - shift
            summed[owner, 0, :cut].add_(voice[shift:], alpha=level)
            summed[owner, 0, cut:].add_(voice[:shift], alpha=level)
        return summed

    def _speakers(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """What the voices are taken from, of an active power of 1, `[N, T]`."""
        voices = clean.mean(1, keepdim=True)
        if len(clean) <= self.voices[1] and self.recordings is not None:
            drawn = self.recordings.draw(self.voices[1] + 1, clean.shape[-1], self.rate_hz, generator)
            voices = drawn.to(clean)[:, None]
        elif len(clean) == 1:
            voices = voices.flip(-1)
        return unit_power(voices, self.rate_hz)[:, 0]


def power_law(exponent: Tensor, size: int, rate_hz: int) -> Tensor:
    """Amplitudes of noise whose power falls as 1 / f^exponent above 20 Hz: `[B, 1, 1]` in, `[B, 1, size // 2 + 1]` out.

    There is none at 0 Hz, and at most as much below 20 Hz as there.
    """
    hz = frequencies(size, rate_hz, exponent)
    return (hz / 1000).clamp(min=0.02) ** (-exponent / 2) * (hz > 0)


def unit_power(noise: Tensor, rate_hz: int) -> Tensor:
    """A sound scaled to an active power of 1; silence stays silent."""
    return noise * active_power(noise, rate_hz).clamp(min=1e-20).rsqrt()


def _sign(parts: Tensor, generator: torch.Generator) -> Tensor:
    return uniform((-1.0, 1.0), parts, generator).sign()
