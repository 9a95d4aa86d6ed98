"""Damage done to pictures: every corruption of `[B, C, H, W]` signals under one name."""

from __future__ import annotations

from denoise.corruptions.camera import Camera, Demosaic, Sensor
from denoise.corruptions.degradations import AsJpeg, Blur, Downsample, Jpeg, Quantize
from denoise.corruptions.drawings import Drawing
from denoise.corruptions.noise import CorrelatedGaussian, Gaussian, Gray, PoissonGaussian, SaltAndPepper, Speckle

__all__ = [
    "AsJpeg",
    "Blur",
    "Camera",
    "CorrelatedGaussian",
    "Demosaic",
    "Downsample",
    "Drawing",
    "Gaussian",
    "Gray",
    "Jpeg",
    "PoissonGaussian",
    "Quantize",
    "SaltAndPepper",
    "Sensor",
    "Speckle",
]
