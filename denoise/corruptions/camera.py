"""What a camera does to light on its way into a file: sensor noise, colour mosaic, tone curve, JPEG."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from denoise.corruptions.base import Compose, Corrupted, Corruption, Params, zero_level
from denoise.corruptions.degradations import Jpeg, Quantize
from denoise.corruptions.draws import Range, as_fraction, as_range, normal, uniform
from denoise.corruptions.filters import local_level, require_bands

# Noise at ISO 800 in linear light, on the 0..255 scale. Both grow with the square root of the ISO number, so that the
# noise on mid-gray in the file, behind mosaic and tone curve, is about 6, 12 and 25 at ISO 800, 3200 and 12800.
SHOT_AT_800, READ_AT_800 = 14.0, 2.0

# Bilinear interpolation of a Bayer mosaic averages 1, 2 or 4 samples: what is left of the variance of white noise, mean
# over the sites. Red and blue: 1/4 * 1 + 1/2 * 1/2 + 1/4 * 1/4; green: 1/2 * 1 + 1/2 * 1/4.
VARIANCE_KEPT = (9 / 16, 5 / 8, 9 / 16)


class Demosaic(Corruption):
    """One colour kept per pixel (Bayer pattern, its phase drawn) and the other two interpolated bilinearly.

    Noise that was there before becomes weaker and correlated between neighbours, and its level is corrected for that.
    Gray pictures pass through.

    Shape:
        - Input: `[B, C, H, W]`, 0..1, C = 1 or 3
    """

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """Which of the four phases the pattern has."""
        return {"phase": _draw_phase(clean, generator)}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """Sample and interpolate."""
        return Corrupted(demosaic(clean, params["phase"]), zero_level(clean), clean)

    def follow(self, before: Corrupted, params: Params) -> Corrupted:
        """As `apply`, with the level of white noise lowered by what interpolation averages away."""
        after = super().follow(before, params)
        if after.condition is None or before.observed.shape[1] == 1:
            return after
        kept = math.sqrt(sum(VARIANCE_KEPT) / 3)
        return Corrupted(after.observed, after.condition * kept, after.target, after.weight)


class Sensor(Corruption):
    """Sensor noise as it stands in the file: shot and read noise in linear light, mosaic, tone curve, clipping.

    The picture is taken back to linear light, noise of variance read² + shot² x is added, with the given probability
    the noise is correlated as interpolation of a Bayer mosaic does, and the sRGB curve is applied again (after Brooks
    et al. 2019, CVPR, "Unprocessing images for learned raw denoising"). The interpolation acts on the noise alone:
    cameras lose far less detail than the bilinear rule would. Both noises follow the ISO number, drawn evenly on a
    logarithmic scale: see SHOT_AT_800. Colour gains are left out.

    Shape:
        - Input: `[B, C, H, W]`, 0..1 in sRGB, C = 1 or 3 (gray: no mosaic)
        - condition: `[B, 1, H, W]`, the local level in sRGB, before clipping at white, as a standard deviation 0..1
    """

    def __init__(self, iso: Range = (100.0, 12800.0), mosaic: float = 1.0) -> None:
        super().__init__()
        self.iso = as_range(iso, "iso", low=1, high=10_000_000)
        self.mosaic = as_fraction(mosaic, "mosaic")

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The ISO number, whether and how the picture was a mosaic, and unit noise."""
        return {
            "iso": uniform((math.log(self.iso[0]), math.log(self.iso[1])), clean, generator).exp(),
            "mosaic": (uniform((0, 1), clean, generator) < self.mosaic).float(),
            "phase": _draw_phase(clean, generator),
            "noise": normal(clean.shape, clean, generator),
        }

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """From the file to light, damage, and back."""
        require_bands(clean, "sensor")
        light = to_linear(clean)
        gain = params["iso"] / 800 / 255**2
        variance = gain * (READ_AT_800**2 + SHOT_AT_800**2 * light)
        noise = variance.sqrt() * params["noise"]
        if clean.shape[1] == 3:
            mosaic = params["mosaic"]
            noise = torch.lerp(noise, demosaic(noise, params["phase"]), mosaic)
            variance = variance * (1 + mosaic * (clean.new_tensor(VARIANCE_KEPT)[:, None, None] - 1))
        return Corrupted(to_srgb(light + noise), _level_in_srgb(light, variance), clean)


class Camera(Compose):
    """Sensor noise and then the file: JPEG of the given quality, or 8 bits without compression when that is None.

    Shape:
        - Input: `[B, C, H, W]`, 0..1 in sRGB, C = 1 or 3
        - condition: `[B, 1, H, W]`, that of `Sensor` and, of a JPEG file, that of `Jpeg`; variances add
    """

    def __init__(
        self,
        iso: Range = (100.0, 12800.0),
        mosaic: float = 1.0,
        quality: Range | None = 95.0,
        half_colour: float = 0.0,
    ) -> None:
        file = Quantize() if quality is None else Jpeg(quality, half_colour)
        super().__init__([Sensor(iso, mosaic), file])


def to_linear(encoded: Tensor) -> Tensor:
    """The sRGB curve undone (IEC 61966-2-1), clipped to 0..1."""
    # Both curves are a line up to a knee and a power beyond it. As the two parts meet there, they are added up, each
    # held at the knee outside its own side, which is faster than choosing between them; and so is working in place.
    line = encoded.clamp(0, 0.04045).div_(12.92)
    power = encoded.clamp(0.04045, 1).add_(0.055).div_(1.055).pow_(2.4)
    return power.add_(line).sub_(0.04045 / 12.92)


def to_srgb(linear: Tensor, most: float = 1.0) -> Tensor:
    """The sRGB curve (IEC 61966-2-1), clipped to 0..`most`."""
    line = linear.clamp(0, 0.0031308).mul_(12.92)
    power = linear.clamp(0.0031308, most).pow_(1 / 2.4).mul_(1.055)
    return power.add_(line).sub_(0.055 + 0.0031308 * 12.92)


def demosaic(picture: Tensor, phase: Tensor) -> Tensor:
    """An RGB picture sampled by a Bayer pattern and interpolated bilinearly; a gray one as it is.

    Shape:
        - Input: `[B, C, H, W]`, C = 1 or 3; phase `[B]`, integers 0..3
        - Output: `[B, C, H, W]`
    """
    require_bands(picture, "demosaic")
    if picture.shape[1] == 1:
        return picture
    pattern = _bayer(picture.shape[2], picture.shape[3], picture.device).to(picture)
    missing = _spread(pattern) == 0  # a picture of one row or column lacks a colour: it keeps its own
    pattern = pattern + missing
    return _spread(picture * pattern[phase]) / _spread(pattern)[phase]


def _level_in_srgb(light: Tensor, variance: Tensor) -> Tensor:
    """The level of noise of the given variance behind the tone curve, `[B, 1, H, W]`, before it is clipped at white.

    Taken over the quantiles of the noise: the slope of the curve alone misleads near black, where it bends sharply and
    clips. Other noise is told as it was before the file clips it, too. One pixel in 4 x 4 is looked at.
    """
    quantiles = torch.special.ndtri((torch.arange(12, device=light.device) + 0.5) / 12)
    quantiles = quantiles / quantiles.std(correction=0)
    noise = torch.einsum("q,bchw->qbchw", quantiles, variance[:, :, ::4, ::4].sqrt())
    outcomes = to_srgb(light[:, :, ::4, ::4] + noise, most=math.inf)
    return local_level((outcomes - outcomes.mean(0)).square().mean(0), size=light.shape[-2:])


def _draw_phase(clean: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randint(4, clean.shape[:1], generator=generator, device=generator.device).to(clean.device)


def _bayer(height: int, width: int, device: torch.device) -> Tensor:
    """Where each colour is sampled, for the four phases: `[4, 3, H, W]`, ones and zeros."""
    row, column = (torch.arange(side, device=device) % 2 for side in (height, width))
    site = 2 * row[:, None] + column  # of 2 x 2 pixels: red 0, green 1 and 2, blue 3
    sites = torch.stack([site ^ phase for phase in range(4)])
    return torch.stack([sites == 0, (sites == 1) | (sites == 2), sites == 3], dim=1)


def _spread(samples: Tensor) -> Tensor:
    """Sums over the neighbours with the bilinear weights, four times too large."""
    chess = samples.new_tensor([[0, 1, 0], [1, 4, 1], [0, 1, 0]])
    square = samples.new_tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    kernel = torch.stack([square, chess, square]).repeat(len(samples), 1, 1)[:, None]
    return F.conv2d(samples.flatten(0, 1)[None], kernel, padding=1, groups=len(kernel)).reshape(samples.shape)
