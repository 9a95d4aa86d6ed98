"""Damage done to sound: every corruption of `[B, C, T]` signals under one name."""

from __future__ import annotations

from denoise.corruptions.additive import Babble, Noise
from denoise.corruptions.channel import BandLimit, Equaliser, Gain
from denoise.corruptions.distortion import Clip, Codec, Dropouts, MuLaw
from denoise.corruptions.generated import Clicks, ColouredNoise, Hiss, Hum
from denoise.corruptions.reverb import Reverb
from denoise.corruptions.sound import at_rate

__all__ = [
    "Babble",
    "BandLimit",
    "Clicks",
    "Clip",
    "Codec",
    "ColouredNoise",
    "Dropouts",
    "Equaliser",
    "Gain",
    "Hiss",
    "Hum",
    "MuLaw",
    "Noise",
    "Reverb",
    "at_rate",
]
