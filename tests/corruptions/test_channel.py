"""Gain, bandwidth and tone: on both signals alike, without delay, and as SciPy measures them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from denoise.corruptions.audio import BandLimit, ColouredNoise, Equaliser, Gain, at_rate
from denoise.corruptions.base import Compose, Corruption


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tone(hz: float, rate_hz: int = 16_000, seconds: float = 1) -> Tensor:
    time_s = torch.arange(int(rate_hz * seconds), dtype=torch.float64) / rate_hz
    return torch.sin(2 * torch.pi * hz * time_s).float()[None, None]


@pytest.mark.parametrize("change", [Gain(), BandLimit(), BandLimit(3000.0, 200.0), Equaliser(6.0)])
def test_both_signals_change_alike(change: Corruption) -> None:
    clean = torch.randn(3, 2, 5001, generator=seeded(1)) * 0.1
    at_rate(change, 16_000)
    alone = change(clean, seeded())
    assert alone.target is alone.observed
    noise = at_rate(ColouredNoise(0.0), 16_000)
    after = Compose([noise, change])
    params = after.draw(clean, seeded())
    noisy = noise.apply(clean, params["0"]).observed
    result = after.apply(clean, params)
    torch.testing.assert_close(result.target, change.apply(clean, params["1"]).observed)
    torch.testing.assert_close(result.observed, change.apply(noisy, params["1"]).observed)
    assert not torch.allclose(result.target, clean)


def test_gain_is_in_decibels() -> None:
    clean = torch.randn(2, 1, 100, generator=seeded())
    torch.testing.assert_close(Gain(20.0)(clean, seeded()).observed, 10 * clean)
    gains = Gain((-20.0, 10.0)).draw(torch.zeros(500, 1, 1), seeded())["gain_db"]
    assert (gains.min().item(), gains.max().item()) == pytest.approx((-20, 10), abs=0.5)


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
@pytest.mark.parametrize(
    ("hz", "passed"), [(180, 0.0), (300, 0.5), (350, 1.0), (3000, 1.0), (3400, 0.5), (3800, 0.0), (7000, 0.0)]
)
def test_a_telephone_passes_its_band(hz: float, passed: float, rate_hz: int) -> None:
    line = at_rate(BandLimit(3400.0, 300.0), rate_hz)
    clean = tone(hz, rate_hz)
    middle = slice(rate_hz // 4, rate_hz * 3 // 4)
    heard = line(clean, seeded()).observed[..., middle]
    torch.testing.assert_close(heard, passed * clean[..., middle], atol=0.02, rtol=0)


def test_a_cutoff_beyond_half_the_rate_changes_nothing() -> None:
    clean = torch.randn(2, 1, 4001, generator=seeded())
    torch.testing.assert_close(at_rate(BandLimit(20_000.0), 16_000)(clean, seeded()).observed, clean)


def test_an_end_does_not_wrap_around_to_the_start() -> None:
    clean = torch.zeros(1, 1, 8000)
    clean[..., -1] = 1
    for change in (BandLimit(2000.0), Equaliser(6.0)):
        assert at_rate(change, 16_000)(clean, seeded()).observed[..., :4000].abs().max() < 2e-3


def test_cutoffs_are_even_over_octaves() -> None:
    cutoffs = BandLimit((1000.0, 4000.0)).draw(torch.zeros(1000, 1, 1), seeded())["cutoff_hz"]
    assert cutoffs.median().item() == pytest.approx(2000, rel=0.1)
    assert cutoffs.min() >= 999
    assert cutoffs.max() <= 4001


def test_equaliser_swings_as_far_as_it_may() -> None:
    clean = torch.zeros(20, 1, 8000)
    clean[..., 4000] = 1
    response = torch.fft.rfft(at_rate(Equaliser(6.0), 16_000)(clean, seeded()).observed).abs()
    level_db = 20 * response.log10()
    assert 4 < level_db.abs().max().item() < 6.2
    assert torch.equal(Equaliser(0.0)(clean, seeded()).observed.argmax(-1), clean.argmax(-1))
