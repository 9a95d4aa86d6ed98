"""Made-up noise: slopes, tones, bands and times against what they were asked to be."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from denoise.corruptions.audio import Clicks, ColouredNoise, Hiss, Hum, at_rate
from denoise.corruptions.base import Corruption


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(corruption: Corruption, rate_hz: int, seconds: float = 4, batch: int = 4) -> Tensor:
    """The noise alone, `[B, T]`."""
    clean = torch.ones(batch, 1, int(rate_hz * seconds))
    return at_rate(corruption, rate_hz).draw(clean, seeded())["noise"][:, 0]


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
@pytest.mark.parametrize("exponent", [-1.0, 0.0, 1.0, 2.0])
def test_coloured_noise_has_its_slope(exponent: float, rate_hz: int) -> None:
    noise = drawn(ColouredNoise(exponent=exponent), rate_hz).double().numpy()
    hz, power = scipy.signal.welch(noise, rate_hz, nperseg=4096, detrend=False)
    band = (hz > 100) & (hz < 0.45 * rate_hz)
    slope = np.polyfit(np.log(hz[band]), np.log(power.mean(0)[band]), 1)[0]
    assert -slope == pytest.approx(exponent, abs=0.05)
    low = hz < 10
    assert power.mean(0)[low].max() < 1.3 * power.mean(0)[(hz > 10) & (hz < 40)].max() + power.mean()


def test_coloured_noise_is_gaussian_and_steady() -> None:
    noise = drawn(ColouredNoise(exponent=0.0), 16_000)
    assert noise.mean().abs().item() < 0.01
    assert (noise**4).mean().item() == pytest.approx(3, abs=0.1)
    halves = noise.unflatten(1, (2, -1)).std((0, 2))
    assert halves[0].item() == pytest.approx(halves[1].item(), rel=0.02)


def test_hiss_lies_above_its_frequency() -> None:
    noise = drawn(Hiss(above_hz=2000.0), 16_000).double().numpy()
    hz, power = scipy.signal.welch(noise, 16_000, nperseg=256)
    filter_ = scipy.signal.butter(2, 2000, "high", analog=True)
    expected = np.abs(scipy.signal.freqs(*filter_, worN=hz)[1]) ** 2
    response = power.mean(0) / power.mean(0)[hz > 6000].mean()
    band = (hz > 600) & (hz < 7900)
    np.testing.assert_allclose(response[band], expected[band], rtol=0.15)


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_hum_is_its_tone_and_overtones(rate_hz: int) -> None:
    noise = drawn(Hum(frequency_hz=50.0, harmonics=7), rate_hz, seconds=1)
    power = torch.fft.rfft(noise).abs().square()
    tones = power[:, 50:351:50]
    assert bool((tones.sum(1) > 0.99999 * power.sum(1)).all())
    assert bool((tones > 1e-6 * power.sum(1, keepdim=True)).all())


def test_overtones_beyond_half_the_rate_do_not_fold_back() -> None:
    noise = drawn(Hum(frequency_hz=3000.0, harmonics=9), 16_000, seconds=1)
    power = torch.fft.rfft(noise).abs().square()
    assert bool((power[:, [3000, 6000]].sum(1) > 0.999 * power.sum(1)).all())


def test_hum_draws_how_many_overtones_and_which_tone() -> None:
    noise = drawn(Hum(), 16_000, seconds=2, batch=16)
    power = torch.fft.rfft(noise * torch.hann_window(noise.shape[1])).abs().square()
    lowest_hz = [np.flatnonzero(p > 1e-3 * p.max())[0] / 2 for p in power.numpy()]
    assert len(set(lowest_hz)) > 5
    assert 47 < min(lowest_hz) <= max(lowest_hz) < 62


def test_clicks_are_as_many_and_as_loud_as_asked() -> None:
    clean = torch.zeros(64, 1, 32_000)
    clean[:, :, 100] = -0.4
    clicks = at_rate(Clicks(rate_per_s=5.0, level_db=-6.0), 16_000)
    params = clicks.draw(clean, seeded())
    sounds = params["clicks"][:, 0].abs()
    assert sounds.max().item() == pytest.approx(1, abs=0.1)
    found = [len(scipy.signal.find_peaks(sound, height=0.05, distance=64)[0]) for sound in sounds.numpy()]
    starts = torch.tensor(found, dtype=torch.float32)
    assert starts.mean().item() == pytest.approx(10, rel=0.15)
    assert starts.var().item() == pytest.approx(10, rel=0.6)
    added = clicks.apply(clean, params).observed - clean
    torch.testing.assert_close(added, 0.4 * 10 ** (-6 / 20) * params["clicks"])


def test_no_clicks_at_a_rate_of_zero_and_clicks_in_silence() -> None:
    clean = torch.zeros(4, 2, 16_000)
    assert not Clicks(rate_per_s=0.0)(clean, seeded()).observed.any()
    loudest = Clicks(rate_per_s=100.0, level_db=0.0)(clean, seeded()).observed.abs().max().item()
    assert loudest == pytest.approx(0.1, rel=0.2)
