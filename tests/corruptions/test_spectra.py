"""Lengths, filters and curves."""

from __future__ import annotations

import pytest
import scipy.fft
import torch

from denoise.corruptions.spectra import fast_length, filtered, frequencies, octave_curve, shaped_noise, slow_curve


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_fast_lengths_are_scipys_even_ones() -> None:
    for length in [*range(1, 300), 63_997, 64_001, 191_999, 480_001]:
        half = scipy.fft.next_fast_len((length + 1) // 2, real=True)
        assert fast_length(length) == 2 * half


def test_filter_is_a_gain_per_frequency() -> None:
    signal = torch.randn(2, 3, 500, generator=seeded())
    gain = torch.full((2, 1, fast_length(500) // 2 + 1), 0.5)
    torch.testing.assert_close(filtered(signal, gain, fast_length(500)), signal / 2)
    delay = torch.exp(-2j * torch.pi * 3 * frequencies(500, 1, signal))
    torch.testing.assert_close(filtered(signal, delay, 500), signal.roll(3, -1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 48_000])
def test_octave_curves_stay_within_their_swing_and_are_smooth(rate_hz: int) -> None:
    curve = octave_curve(torch.tensor([0.0, 6.0, 12.0])[:, None, None], 4000, rate_hz, seeded())
    assert curve.shape == (3, 1, 2001)
    level_db = 20 * curve.log10()
    assert torch.equal(curve[0], torch.ones_like(curve[0]))
    assert bool((level_db.abs().amax(-1)[:, 0] <= torch.tensor([0, 6.001, 12.001])).all())
    assert bool((level_db[1:].amax(-1) - level_db[1:].amin(-1) > 3).all())
    high = level_db[1, 0, 100:]
    assert high.diff().abs().max().item() < 0.5


def test_shaped_noise_has_its_spectrum_and_slow_curves_their_spread() -> None:
    size = fast_length(20_001)
    gain = (frequencies(size, 16_000, torch.empty(0)) < 2000).float().expand(4, 1, -1)
    noise = shaped_noise(gain, 20_001, gain, seeded())
    assert noise.shape == (4, 1, 20_001)
    power = torch.fft.rfft(noise * torch.hann_window(20_001)).abs().square().mean((0, 1))
    hz = torch.fft.rfftfreq(20_001, 1 / 16_000)
    assert power[hz > 2100].mean() < 1e-4 * power[hz < 1900].mean()
    curve = 20 * slow_curve(torch.full((500, 1, 1), 3.0), 800, 16_000, seeded()).log10()
    assert curve.shape == (500, 1, 800)
    assert curve[..., 0].std().item() == pytest.approx(3.0, rel=0.2)
    assert curve.diff().abs().max().item() < 0.1
