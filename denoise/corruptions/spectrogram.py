"""Damage to log-mel spectrograms `[B, C, bands, frames]`, 0..1, where 0 is silence and 1 is full scale.

torchaudio's TimeMasking and FrequencyMasking draw from PyTorch's global generator and take no drawn parameters
(`mask_along_axis_iid` calls `torch.rand` itself), so a draw of theirs could be neither seeded nor replayed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from denoise.corruptions.base import Corrupted, Corruption, Params, zero_level
from denoise.corruptions.draws import Range, as_range, normal, uniform
from denoise.errors import UsageError


class Gaps(Corruption):
    """Rectangles of silence, so many bands high and so many frames wide, which may overlap.

    Args:
        count: rectangles in each example.
        bands: height, one number or a range; None is all bands.
        frames: width, one number or a range; None is all frames.

    Shape:
        - Input: `[B, C, bands, frames]`, 0..1
    """

    def __init__(self, count: int = 4, bands: Range | None = (4, 16), frames: Range | None = (4, 16)) -> None:
        super().__init__()
        if count < 1:
            raise UsageError(f"count={count} is not allowed: give a whole number of at least 1.")
        self.count = count
        self.bands = None if bands is None else as_range(bands, "bands")
        self.frames = None if frames is None else as_range(frames, "frames")

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """Where it is silent: `[B, 1, bands, frames]`."""
        silent = torch.zeros_like(clean[:, :1], dtype=torch.bool)
        for _ in range(self.count):
            high = _span(self.bands, 2, clean, generator)
            wide = _span(self.frames, 3, clean, generator)
            silent |= high & wide
        return {"silent": silent}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """Silence there."""
        return Corrupted(clean.masked_fill(params["silent"], 0), zero_level(clean), clean)


class TimeMask(Gaps):
    """Some frames lost in all bands (Park et al., "SpecAugment", Interspeech 2019).

    Shape:
        - Input: `[B, C, bands, frames]`, 0..1
    """

    def __init__(self, frames: Range = (0, 16), count: int = 1) -> None:
        super().__init__(count, None, frames)


class FrequencyMask(Gaps):
    """Some bands lost in all frames (Park et al., "SpecAugment", Interspeech 2019).

    Shape:
        - Input: `[B, C, bands, frames]`, 0..1
    """

    def __init__(self, bands: Range = (0, 16), count: int = 1) -> None:
        super().__init__(count, bands, None)


class MagnitudeNoise(Corruption):
    """Noise added to the magnitudes, before the logarithm: it fills the silence and hardly touches what is loud.

    `log(exp(clean) + level |n|)`, n standard normal, in the units of the spectrogram.

    Args:
        level_db: of the noise, below full scale.
        range_db: what lies between 0 and 1 of the spectrogram, 80 for `denoise.networks.logmel`.

    Shape:
        - Input: `[B, C, bands, frames]`, 0..1
        - condition: None, for on this scale the level of the noise depends on the signal
    """

    def __init__(self, level_db: Range = (-60.0, -20.0), range_db: float = 80.0) -> None:
        super().__init__()
        self.level_db = as_range(level_db, "level_db", low=-200, high=0)
        self.range_db = as_range(range_db, "range_db", low=1)[0]

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The level and unit noise."""
        return {"level_db": uniform(self.level_db, clean, generator), "noise": normal(clean.shape, clean, generator)}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """Add, in magnitude."""
        magnitude = 10 ** ((clean - 1) * self.range_db / 20) + 10 ** (params["level_db"] / 20) * params["noise"].abs()
        return Corrupted((1 + 20 / self.range_db * magnitude.log10()).clamp_max(1), None, clean)


def _span(length: tuple[float, float] | None, axis: int, clean: Tensor, generator: torch.Generator) -> Tensor:
    """True within a random span of each example: `[B, 1, bands, 1]` or `[B, 1, 1, frames]`."""
    size = clean.shape[axis]
    low, high = (size, size) if length is None else length
    long = uniform((low, high + 1), clean, generator).floor().clamp_max(min(high, size))
    start = (uniform((0, 1), clean, generator) * (size - long + 1)).floor()
    place = torch.arange(size, device=clean.device).view([-1 if k == axis else 1 for k in range(4)])
    return (place >= start) & (place < start + long)
