"""Floors for the speech weights, on a made-up voice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import denoise
from denoise.corruptions.audio import at_rate
from denoise.corruptions.spec import parse
from denoise.training.sound_losses import si_sdr_db


def voice(rate_hz: int, seconds: float = 4.0) -> Tensor:
    """Vowels of a person who hums syllables: a pulse train whose pitch glides, through formants that change.

    Shape: `[T]`, peak 0.3
    """
    time = torch.arange(round(seconds * rate_hz)) / rate_hz
    pitch_hz = 120 + 25 * torch.sin(2 * torch.pi * 0.7 * time) + 4 * torch.sin(2 * torch.pi * 5 * time)
    phase = 2 * torch.pi * torch.cumsum(pitch_hz, 0) / rate_hz
    vowels = torch.tensor([[700, 1200, 2600], [300, 2200, 3000], [400, 800, 2500], [500, 1800, 2500]])
    formants = vowels[(time / 0.25).long() % 4].float()
    out = torch.zeros_like(time)
    for number in range(1, 30):
        hz = number * pitch_hz
        level = (1 / (1 + ((hz[:, None] - formants) / 90) ** 2)).sum(1) / number**0.5
        out += level * (hz < 0.45 * rate_hz) * torch.sin(number * phase)
    syllables = torch.sin(torch.pi * (time / 0.25 % 1)).clamp(min=0) ** 0.5 * (time % 1.5 < 1)
    out *= syllables
    return 0.3 * out / out.abs().max()


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize(("spec", "floor_db"), [("coloured-noise:snr_db=0,exponent=1", 4), ("noise:snr_db=5", 3)])
def test_noise_goes_and_the_voice_stays(rate_hz: int, spec: str, floor_db: float) -> None:
    clean = voice(rate_hz)
    corruption = at_rate(parse(spec), rate_hz)
    gains = []
    for seed in range(3):
        noisy = corruption(clean[None, None], torch.Generator().manual_seed(seed)).observed[0]
        restored = denoise.load("speech")(noisy, rate_hz)
        gains.append(si_sdr_db(restored[None], clean[None, None]) - si_sdr_db(noisy[None], clean[None, None]))
    assert float(torch.stack(gains).mean()) > floor_db


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_a_clean_voice_is_left_alone(rate_hz: int) -> None:
    clean = voice(rate_hz)
    assert float(si_sdr_db(denoise.load("speech")(clean, rate_hz)[None, None], clean[None, None])) > 15


def test_silence_stays_silent_and_noise_alone_is_turned_down() -> None:
    restorer = denoise.load("speech")
    assert not restorer(torch.zeros(2, 16_000), 16_000).any()
    noise = 0.03 * torch.randn(32_000, generator=torch.Generator().manual_seed(0))
    assert float(restorer(noise, 16_000).square().mean() / noise.square().mean()) < 0.03
