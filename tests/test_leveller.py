from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from denoise.leveller import REACH, levelling
from denoise.networks.stft import hop_length

RATES = (4000, 16_000, 44_100, 48_000)


def tone(rate_hz: int, *amplitudes: float) -> Tensor:
    """A second of 300 Hz at each amplitude, one after the other, without a click between. Shape: `[1, T]`."""
    seconds = torch.arange(len(amplitudes) * rate_hz) / rate_hz
    return torch.tensor(amplitudes).repeat_interleave(rate_hz) * torch.sin(2 * torch.pi * 300 * seconds)[None]


@pytest.mark.parametrize("rate_hz", RATES)
def test_what_is_loud_enough_is_heard_as_it_is_and_what_is_soft_at_minus_30_db(rate_hz: int) -> None:
    gain = levelling(tone(rate_hz, 0.5, 0.0005, 0.035), hop_length(rate_hz))
    middles = gain[0, rate_hz // 2 :: rate_hz]
    torch.testing.assert_close(middles, torch.tensor([1.0, 2**-5 / 0.0005, 1.0]), rtol=0.05, atol=0)


@pytest.mark.parametrize("doublings", [-8, -20, -30])
def test_how_soft_makes_no_difference(doublings: int) -> None:
    sound = tone(16_000, 0.03, 0.01)
    first, second = (scale * levelling(sound * scale, 256) for scale in (2.0**-6, 2.0**doublings))
    torch.testing.assert_close(first, second, rtol=1e-5, atol=0)


def test_the_level_is_the_mean_of_the_swing_under_a_hann_window() -> None:
    """Against NumPy, at the centres of hops of odd length, where nothing is interpolated."""
    hop, draw = 255, np.random.default_rng(0)
    sound = (draw.standard_normal(60 * hop) * np.linspace(1e-4, 1e-3, 60 * hop)).astype(np.float32)
    padded = np.pad(sound, (hop, hop), mode="edge").reshape(-1, hop)
    three = np.stack([padded[k : k + 60] for k in range(3)])
    swing = (three.max((0, 2)) - three.min((0, 2))) / 2
    window = np.hanning(27)
    level = np.convolve(np.pad(swing, 13, mode="edge"), window / window.sum(), mode="valid")
    gain = levelling(torch.from_numpy(sound)[None], hop)[0, hop // 2 :: hop]
    np.testing.assert_allclose(gain, 2**-5 / level, rtol=1e-4)


def test_it_reaches_as_far_as_it_says() -> None:
    hop, at = 256, 50 * 256 + 100
    sound = tone(16_000, 0.001, 0.001)
    other = sound.clone()
    other[0, at] += 0.5
    changed = (levelling(other, hop) != levelling(sound, hop))[0].nonzero().flatten()
    assert at - REACH * hop <= changed.min() < at - (REACH - 3) * hop
    assert at + (REACH - 3) * hop < changed.max() <= at + REACH * hop


def test_what_is_loud_is_not_raised_where_silence_follows() -> None:
    gain = levelling(torch.cat([tone(16_000, 0.9), tone(16_000, 1e-5)], dim=1), 256)
    assert gain[0, :16_000].max() < 1.01
    assert gain[0, 16_000 + REACH * 256 :].min() > 2**-5 / 1.1e-5


@pytest.mark.parametrize("length", [1, 100, 256, 257, 5000])
def test_silence_and_short_sounds(length: int) -> None:
    for sound in (torch.zeros(2, length), torch.full((2, length), 0.25), torch.full((2, length), 1e-30)):
        gain = levelling(sound, 256)
        assert gain.shape == sound.shape
        assert gain.isfinite().all() and (gain >= 1).all()


def test_channels_have_levels_of_their_own() -> None:
    one, other = tone(16_000, 0.5, 0.001), tone(16_000, 0.001, 0.5)
    both = levelling(torch.cat([one, other]), 256)
    torch.testing.assert_close(both, torch.cat([levelling(one, 256), levelling(other, 256)]))
