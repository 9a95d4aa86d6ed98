"""What corruptions of sound have in common: a sample rate, levels in decibels, and speech that is not always there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from denoise.corruptions.base import Combination, Corruption, Identity
from denoise.errors import UsageError

Count = int | tuple[int, int]
M = TypeVar("M", bound=nn.Module)

FRAME_S = 0.02
ACTIVE_DB = 40.0
SILENT = 1e-9  # power, -90 dBFS


class Source(Protocol):
    """Where recordings come from."""

    def draw(self, count: int, length: int, rate_hz: int, generator: torch.Generator) -> Tensor:
        """Random stretches of recordings, `[count, length]`, float32."""
        ...


class SoundCorruption(Corruption):
    """A corruption of sound. It says nothing to the network: its condition is None.

    `rate_hz` is what `at_rate` sets: the samples per second of the signals that it is given.

    Shape:
        - Input: `[B, C, T]`, float32, -1..1; channels share their draws
    """

    rate_hz: int = 48_000

    def samples(self, seconds: float) -> int:
        """So many seconds in samples, at least one."""
        return max(1, round(seconds * self.rate_hz))

    def extra_repr(self) -> str:
        """The public settings, without the rate and the recordings."""
        hidden = ("training", "rate_hz", "recordings")
        settings = {k: v for k, v in vars(self).items() if not k.startswith("_") and k not in hidden}
        return ", ".join(f"{name}={value!r}" for name, value in settings.items())


def at_rate(module: M, rate_hz: int) -> M:
    """The same corruption (or loss), told how many samples per second the sound that comes next has."""
    for part in module.modules():
        if hasattr(type(part), "rate_hz"):
            part.rate_hz = rate_hz  # type: ignore[assignment]
    return module


def hears(corruption: Corruption) -> bool:
    """Whether a corruption, or a part of it, is for sound."""
    return any(isinstance(module, SoundCorruption) for module in corruption.modules())


def sees(corruption: Corruption) -> bool:
    """Whether a corruption, or a part of it, is for pictures."""
    neither = (SoundCorruption, Combination, Identity)
    return any(isinstance(part, Corruption) and not isinstance(part, neither) for part in corruption.modules())


def active_power(signal: Tensor, rate_hz: int) -> Tensor:
    """Mean power where there is sound: over the frames of 20 ms that lie within 40 dB of the loudest.

    Speech with pauses and a dog that barks once are thus as loud as they seem. The channels count together; silence
    has a power of 0. `librosa.effects.split(top_db=40)` finds the same frames.

    Shape:
        - Input: `[B, C, T]`
        - Output: `[B, 1, 1]`
    """
    frame = max(1, round(FRAME_S * rate_hz))
    batch, channels, length = signal.shape
    frames = F.pad(signal, (0, -length % frame)).reshape(batch, channels, -1, frame)
    energy = torch.linalg.vector_norm(frames, dim=(1, 3)).square()
    samples = torch.full_like(energy[:1], frame * channels)
    samples[:, -1] -= channels * (-length % frame)
    power = energy / samples
    active = power > power.amax(1, keepdim=True) * 10 ** (-ACTIVE_DB / 10)
    mean: Tensor = (energy * active).sum(1) / (samples * active).sum(1).clamp(min=1)
    return mean[:, None, None]


def from_db(level_db: Tensor) -> Tensor:
    """The factor on amplitudes that so many decibels are."""
    return torch.exp(level_db * (math.log(10) / 20))


def as_counts(value: int | Sequence[int], name: str, low: int = 1, high: int = 100) -> tuple[int, int]:
    """A whole number or a (low, high) pair of them as a pair, checked against what is allowed; raises UsageError."""
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(pair) != 2 or not low <= pair[0] <= pair[1] <= high or any(int(number) != number for number in pair):
        raise UsageError(f"{name}={value} is not allowed: give whole numbers, one or two, within {low}..{high}.")
    return int(pair[0]), int(pair[1])


def whole(bounds: tuple[int, int], count: int, generator: torch.Generator) -> Tensor:
    """So many whole numbers within the bounds, both of them possible: `[count]`, on the generator's device."""
    return torch.randint(bounds[0], bounds[1] + 1, (count,), generator=generator, device=generator.device)
