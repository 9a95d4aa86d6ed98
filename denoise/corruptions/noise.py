"""Noise on pictures in the file's own encoding, not clipped; levels are standard deviations on the 0..255 scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from denoise.corruptions.base import Combination, Corrupted, Corruption, OneOf, Params
from denoise.corruptions.draws import Range, as_fraction, as_range, normal, uniform
from denoise.corruptions.filters import filter_rows_columns, gaussian_taps, local_level, luma


class Gaussian(Corruption):
    """White Gaussian noise of one level, or of a level drawn per example.

    Shape:
        - Input: `[B, C, H, W]`, 0..1
        - condition: `[B, 1, H, W]`, the level as a standard deviation on the 0..1 scale
    """

    def __init__(self, sigma: Range = 25.0) -> None:
        super().__init__()
        self.sigma = as_range(sigma, "sigma")

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The level and unit noise."""
        return {"sigma": uniform(self.sigma, clean, generator) / 255, "noise": normal(clean.shape, clean, generator)}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """Add the noise at its level."""
        sigma = params["sigma"]
        return Corrupted(clean + sigma * params["noise"], sigma.expand_as(clean[:, :1]), clean)


class CorrelatedGaussian(Gaussian):
    """Gaussian noise with grain: blurred, alike in the bands to some degree, and brought back to the stated level.

    Width and height of the blur (standard deviations in pixels) are drawn apart, and so is the correlation between any
    two bands (0: colour noise, 1: the same noise in all, which is noise of luma alone).

    Shape:
        - Input: `[B, C, H, W]`, 0..1
        - condition: `[B, 1, H, W]`, the level as a standard deviation on the 0..1 scale
    """

    def __init__(self, sigma: Range = 25.0, grain_px: Range = (0.3, 1.2), band_correlation: Range = (0.0, 1.0)) -> None:
        super().__init__(sigma)
        self.grain_px = as_range(grain_px, "grain_px", high=8)
        self.band_correlation = as_range(band_correlation, "band_correlation", high=1)

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The level, and noise of unit variance that is correlated already."""
        radius = math.ceil(3 * self.grain_px[1])
        batch, bands, height, width = clean.shape
        taps = [gaussian_taps(uniform(self.grain_px, clean, generator), radius) for _ in ("rows", "columns")]
        rows, columns = (t / t.square().sum(1, keepdim=True).sqrt() for t in taps)  # keeps the variance of white noise
        alike = uniform(self.band_correlation, clean, generator)
        padded = (height + 2 * radius, width + 2 * radius)
        own = normal((batch, bands, *padded), clean, generator)
        common = normal((batch, 1, *padded), clean, generator)
        white = (1 - alike).sqrt() * own + alike.sqrt() * common
        sigma = uniform(self.sigma, clean, generator) / 255
        return {"sigma": sigma, "noise": filter_rows_columns(white, rows, columns)}


class PoissonGaussian(Corruption):
    """Camera noise: shot noise that grows with the signal, and read noise that does not.

    variance(x) = (read² + shot² x) / 255², so `shot` is the level of the shot noise on white. Photon counts are drawn
    by their Gaussian approximation, which has the same mean and variance and keeps `apply` pure (Foi, Trimeche,
    Katkovnik and Egiazarian 2008, IEEE TIP, "Practical Poissonian-Gaussian noise modeling and fitting").

    Shape:
        - Input: `[B, C, H, W]`, 0..1
        - condition: `[B, 1, H, W]`, the local level as a standard deviation on the 0..1 scale
    """

    def __init__(self, shot: Range = 20.0, read: Range = 5.0) -> None:
        super().__init__()
        self.shot = as_range(shot, "shot")
        self.read = as_range(read, "read")

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """Both levels and unit noise."""
        return {
            "shot": uniform(self.shot, clean, generator) / 255,
            "read": uniform(self.read, clean, generator) / 255,
            "noise": normal(clean.shape, clean, generator),
        }

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """Add noise of the variance that each value calls for."""
        variance = params["read"] ** 2 + params["shot"] ** 2 * clean.clamp(min=0)
        return Corrupted(clean + variance.sqrt() * params["noise"], local_level(variance), clean)


class Speckle(Gaussian):
    """Multiplicative Gaussian noise, clean * (1 + n); `sigma` is its level on white.

    Shape:
        - Input: `[B, C, H, W]`, 0..1
        - condition: `[B, 1, H, W]`, the local level as a standard deviation on the 0..1 scale
    """

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """Multiply."""
        scale = params["sigma"] * clean
        return Corrupted(clean + scale * params["noise"], local_level(scale.square()), clean)


class SaltAndPepper(Corruption):
    """A fraction of all values replaced by 0 or 1, both alike often.

    Shape:
        - Input: `[B, C, H, W]`, 0..1
        - condition: `[B, 1, H, W]`, the local root mean square of the change, 0..1
    """

    def __init__(self, fraction: Range = 0.05) -> None:
        super().__init__()
        self.fraction = as_range(fraction, "fraction", high=1)

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The fraction, and a uniform number per value that decides its fate."""
        lot = torch.rand(clean.shape, generator=generator, device=generator.device).to(clean.device)
        return {"fraction": uniform(self.fraction, clean, generator), "lot": lot}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """Replace the values whose lot fell."""
        fraction, lot = params["fraction"], params["lot"]
        pepper, salt = lot < fraction / 2, lot >= 1 - fraction / 2
        observed = clean.masked_fill(pepper, 0).masked_fill(salt, 1)
        squared_change = fraction / 2 * (clean.square() + (1 - clean).square())
        return Corrupted(observed, local_level(squared_change), clean)


class Gray(OneOf):
    """A corruption that, with the given probability, meets the gray version of a colour picture.

    Clean and observed are then one band replicated, so noise is the same in all bands and a network for colour learns
    gray pictures too. Put it around everything else: it takes the luma of what it is given.
    """

    def __init__(self, corruption: Corruption, probability: float = 0.1) -> None:
        probability = as_fraction(probability, "probability")
        super().__init__([_OneBand([corruption]), corruption], [probability, 1 - probability])


class _OneBand(Combination):
    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        return {name: member.draw(luma(clean), generator) for name, member in self.members()}

    def follow(self, before: Corrupted, params: Params) -> Corrupted:
        bands = before.observed.shape[1]
        after = _on_both(luma, before)
        for name, member in self.members():
            after = member.follow(after, params[name])
        return _on_both(lambda gray: gray.repeat(1, bands, 1, 1), after)


def _on_both(change: Callable[[Tensor], Tensor], batch: Corrupted) -> Corrupted:
    """Observed and target changed, in one go where they are still the same."""
    observed = change(batch.observed)
    target = observed if batch.target is batch.observed else change(batch.target)
    return replace(batch, observed=observed, target=target)
