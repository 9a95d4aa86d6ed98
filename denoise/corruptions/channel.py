"""What a sound passes on its way, and what nobody asks to undo: gain, bandwidth, tone."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from denoise.corruptions.base import Corrupted, Params
from denoise.corruptions.draws import Range, as_range, uniform
from denoise.corruptions.sound import SoundCorruption, from_db
from denoise.corruptions.spectra import fast_length, filtered, frequencies, octave_curve

RINGING_S = 0.05  # room for what a filter smears, so that an end does not wrap around to the start


class Change(SoundCorruption):
    """A change of observed and target alike, which is asked for as it is; a child writes `draw` and `change`.

    Shape:
        - Input: `[B, C, T]`
    """

    def change(self, signal: Tensor, params: Params) -> Tensor:
        """What becomes of a signal."""
        raise NotImplementedError

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """Change the signal."""
        return self.follow(Corrupted(clean, None, clean), params)

    def follow(self, before: Corrupted, params: Params) -> Corrupted:
        """Change both, in one go where they are still the same."""
        target = self.change(before.target, params)
        same = before.observed is before.target
        return replace(before, observed=target if same else self.change(before.observed, params), target=target)


class Gain(Change):
    """Louder or softer by so many decibels, observed and target alike.

    Shape:
        - Input: `[B, C, T]`
    """

    def __init__(self, gain_db: Range = (-20.0, 10.0)) -> None:
        super().__init__()
        self.gain_db = as_range(gain_db, "gain_db", low=-100, high=100)

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The gain."""
        return {"gain_db": uniform(self.gain_db, clean, generator)}

    def change(self, signal: Tensor, params: Params) -> Tensor:
        """Scale."""
        return signal * from_db(params["gain_db"])


class BandLimit(Change):
    """Nothing above one frequency, and nothing below another where that is given; observed and target alike.

    What a line or a file has taken away cannot be asked for. The filter has no delay and passes a half of the
    amplitude at the frequency itself, all of it a tenth inside and nothing a tenth outside. Frequencies are drawn
    evenly over octaves.

    Shape:
        - Input: `[B, C, T]`
    """

    def __init__(self, cutoff_hz: Range = (2000.0, 16_000.0), lowest_hz: Range | None = None) -> None:
        super().__init__()
        self.cutoff_hz = as_range(cutoff_hz, "cutoff_hz", low=10, high=1e6)
        self.lowest_hz = None if lowest_hz is None else as_range(lowest_hz, "lowest_hz", low=1, high=1e6)

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The frequencies."""
        params = {"cutoff_hz": _over_octaves(self.cutoff_hz, clean, generator)}
        if self.lowest_hz is not None:
            params["lowest_hz"] = _over_octaves(self.lowest_hz, clean, generator)
        return params

    def change(self, signal: Tensor, params: Params) -> Tensor:
        """Filter."""
        size = fast_length(signal.shape[-1] + self.samples(RINGING_S))
        hz = frequencies(size, self.rate_hz, signal)
        gain = _passed(hz / params["cutoff_hz"])
        if "lowest_hz" in params:
            gain = gain * (1 - _passed(hz / params["lowest_hz"]))
        return filtered(signal, gain, size)


class Equaliser(Change):
    """A random smooth equaliser with a value for each octave, observed and target alike.

    `gain_db` is how far it swings up and down.

    Shape:
        - Input: `[B, C, T]`
    """

    def __init__(self, gain_db: Range = (0.0, 6.0)) -> None:
        super().__init__()
        self.gain_db = as_range(gain_db, "gain_db", high=40)

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The curve."""
        swing_db = uniform(self.gain_db, clean, generator)
        return {"curve": octave_curve(swing_db, self._size(clean), self.rate_hz, generator)}

    def change(self, signal: Tensor, params: Params) -> Tensor:
        """Filter."""
        return filtered(signal, params["curve"], self._size(signal))

    def _size(self, signal: Tensor) -> int:
        return fast_length(signal.shape[-1] + self.samples(RINGING_S))


def _over_octaves(bounds: tuple[float, float], signal: Tensor, generator: torch.Generator) -> Tensor:
    return uniform((math.log(bounds[0]), math.log(bounds[1])), signal, generator).exp()


def _passed(relative: Tensor) -> Tensor:
    """What a low-pass filter passes of a frequency relative to its cutoff: half a cosine from 0.9 to 1.1."""
    return (1 - torch.sin(((relative - 1) * 10).clamp(-1, 1) * (math.pi / 2))) / 2
