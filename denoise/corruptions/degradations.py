"""Damage to pictures that is not noise: blur, lost resolution, lost precision, compression."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from denoise.corruptions.base import Compose, Corrupted, Corruption, OneOf, Params, require_undamaged, zero_level
from denoise.corruptions.draws import Range, as_fraction, as_range, uniform
from denoise.corruptions.filters import filter_rows_columns, gaussian_taps, require_bands
from denoise.corruptions.jpeg_codec import finest_step, through_jpeg
from denoise.errors import UsageError

_LONGEST_JPEG_PX = 65_500


class Blur(Corruption):
    """Gaussian blur, borders replicated.

    Shape:
        - Input: `[B, C, H, W]`, 0..1
    """

    def __init__(self, std_px: Range = (0.5, 2.0)) -> None:
        super().__init__()
        self.std_px = as_range(std_px, "std_px", high=100)

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The standard deviation in pixels."""
        return {"std_px": uniform(self.std_px, clean, generator)}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """Filter along both axes, with a kernel cut at 4 standard deviations."""
        radius = math.ceil(4 * self.std_px[1])
        taps = gaussian_taps(params["std_px"], radius)
        padded = F.pad(clean, (radius,) * 4, mode="replicate")
        return Corrupted(filter_rows_columns(padded, taps, taps), zero_level(clean), clean)


class Downsample(Corruption):
    """Resolution lost: made smaller by a factor (`bicubic` with antialiasing, or `area`) and brought back by bicubic.

    Shape:
        - Input: `[B, C, H, W]`, 0..1
    """

    def __init__(self, factor: Range = 2.0, method: Literal["bicubic", "area"] = "bicubic") -> None:
        super().__init__()
        self.factor = as_range(factor, "factor", low=1)
        if method not in ("bicubic", "area"):
            raise UsageError(f"method={method} is not allowed: give bicubic or area.")
        self.method = method

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The factor."""
        return {"factor": uniform(self.factor, clean, generator)}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """Resize each example down and up."""
        factors = params["factor"].flatten().tolist()
        observed = torch.cat([self._resize(one[None], factor) for one, factor in zip(clean, factors, strict=True)])
        return Corrupted(observed, zero_level(clean), clean)

    def _resize(self, picture: Tensor, factor: float) -> Tensor:
        height, width = picture.shape[-2:]
        size = max(1, round(height / factor)), max(1, round(width / factor))
        small = F.interpolate(picture, size, mode=self.method, antialias=self.method == "bicubic")
        return F.interpolate(small, (height, width), mode="bicubic")


class Quantize(Corruption):
    """Clipped to 0..1 and rounded to the values that so many bits can hold.

    Shape:
        - Input: `[B, C, H, W]`, 0..1
    """

    def __init__(self, bits: int = 8) -> None:
        super().__init__()
        if not 1 <= bits <= 16:
            raise UsageError(f"bits={bits} is not allowed: give a whole number within 1..16.")
        self.bits = bits

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:  # noqa: ARG002
        """Nothing is random."""
        return {}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]  # noqa: ARG002
        """Clip and round."""
        steps = 2**self.bits - 1
        return Corrupted((clean.clamp(0, 1) * steps).round() / steps, zero_level(clean), clean)


class Jpeg(Corruption):
    """Through a JPEG encoder and back, at a whole quality drawn per example.

    The encoder is Pillow's, and on an accelerator `through_jpeg`, which differs from it by a rounding here and there.
    With the given probability the colour of an RGB picture is stored at half the resolution (4:2:0), else at full
    (4:4:4). Values are clipped and rounded to 8 bits on the way.

    The level that is told is the deviation that rounding leaves at the finest step of brightness, step / sqrt(12): 0.6,
    1.4, 3.8 and 7.2 of 255 at a quality of 90, 75, 40 and 20. Told so, `photo` undoes more than told of no noise.

    Shape:
        - Input: `[B, C, H, W]`, 0..1, C = 1 or 3
    """

    def __init__(self, quality: Range = (60.0, 100.0), half_colour: float = 0.5) -> None:
        super().__init__()
        self.quality = as_range(quality, "quality", low=1, high=100)
        self.half_colour = as_fraction(half_colour, "half_colour")

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The quality and whether colour is stored at half the resolution."""
        half = uniform((0, 1), clean, generator) < self.half_colour
        return {"quality": uniform(self.quality, clean, generator).round(), "half_colour": half}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """Encode and decode each example."""
        require_bands(clean, "jpeg")
        if max(clean.shape[-2:]) > _LONGEST_JPEG_PX:
            raise UsageError(
                f"A side of {max(clean.shape[-2:])} pixels is too long for JPEG: {_LONGEST_JPEG_PX} at most."
            )
        encode = _through_pillow if clean.device.type == "cpu" else through_jpeg
        observed = encode((clean.clamp(0, 1) * 255).round(), params["quality"], params["half_colour"]) / 255
        level = finest_step(params["quality"]) / math.sqrt(12) / 255
        return Corrupted(observed, zero_level(clean) + level, clean)


class AsJpeg(OneOf):
    """A corruption that, with the given probability, meets the picture as a JPEG file holds it.

    What the file holds is then the target; its compression is not damage. Most photographs, those of the usual
    benchmarks too, were JPEG files once, which left their colours softer and their finest detail coarser. It goes
    around all other damage, for a file holds no target beside a damaged picture: in a `Compose` behind something that
    damages, applying it raises UsageError.
    """

    def __init__(
        self,
        corruption: Corruption,
        probability: float = 0.5,
        quality: Range = (88.0, 97.0),
        half_colour: float = 1.0,
    ) -> None:
        probability = as_fraction(probability, "probability")
        stored = _Stored([Jpeg(quality, half_colour), corruption])
        super().__init__([stored, corruption], [probability, 1 - probability])


class _Stored(Compose):
    def follow(self, before: Corrupted, params: Params) -> Corrupted:
        (first, file), (second, corruption) = self.members()
        require_undamaged(before, "AsJpeg")
        held = file.apply(before.target, params[first]).observed
        return corruption.follow(replace(before, observed=held, target=held), params[second])


def _through_pillow(codes: Tensor, quality: Tensor, half_colour: Tensor) -> Tensor:
    pictures = codes.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    qualities, halves = quality.flatten().tolist(), half_colour.flatten().tolist()
    decoded = np.stack([_jpeg(*one) for one in zip(pictures, qualities, halves, strict=True)])
    return torch.from_numpy(decoded).permute(0, 3, 1, 2).contiguous().float()


def _jpeg(codes: NDArray[np.uint8], quality: float, half_colour: bool) -> NDArray[np.uint8]:
    picture = Image.fromarray(codes.squeeze(2) if codes.shape[2] == 1 else codes)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(quality), subsampling="4:2:0" if half_colour else "4:4:4")
    return np.asarray(Image.open(file)).reshape(codes.shape)
