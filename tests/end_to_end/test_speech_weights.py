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
    """A person who says syllables: a pulse train and some breath through formants that glide, with pauses.

    Shape: `[T]`, peak 0.3
    """
    generator = torch.Generator().manual_seed(7)
    time = torch.arange(round(seconds * rate_hz)) / rate_hz

    def glide(points: Tensor, step_s: float) -> Tensor:
        """Values every `step_s`, joined. Shape: `[N] -> [T]`."""
        place = (time / step_s).clamp(max=len(points) - 1.001)
        low = place.long()
        return points[low] + (place - low) * (points[low + 1] - points[low])

    vowels = torch.tensor([[700.0, 1200, 2600], [300, 2200, 3000], [400, 800, 2500], [500, 1800, 2500]])
    order = torch.randint(4, (40,), generator=generator)
    formants = torch.stack([glide(vowels[order, k], 0.12) for k in range(3)], dim=1)
    pitch_hz = glide(110 + 50 * torch.rand(60, generator=generator), 0.09)
    phase = 2 * torch.pi * torch.cumsum(pitch_hz, 0) / rate_hz
    out = torch.zeros_like(time)
    for number in range(1, 40):
        hz = number * pitch_hz
        level = (1 / (1 + ((hz[:, None] - formants) / 120) ** 2)).sum(1) / number**0.7
        out += level * (hz < 0.45 * rate_hz) * torch.sin(number * phase)
    loudness = glide(torch.rand(50, generator=generator) * (torch.rand(50, generator=generator) > 0.25), 0.1)
    out = loudness * (out + 0.02 * torch.randn(len(out), generator=generator))
    return 0.3 * out / out.abs().max()


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize(("spec", "floor_db"), [("coloured-noise:snr_db=0,exponent=1", 6.5), ("noise:snr_db=5", 5)])
def test_noise_goes_and_the_voice_stays(rate_hz: int, spec: str, floor_db: float) -> None:
    clean = voice(rate_hz)
    corruption = at_rate(parse(spec), rate_hz)
    gains = []
    for seed in range(3):
        noisy = corruption(clean[None, None], torch.Generator().manual_seed(seed)).observed[0]
        restored = denoise.load("speech")(noisy, rate_hz)
        gains.append(si_sdr_db(restored[None], clean[None, None]) - si_sdr_db(noisy[None], clean[None, None]))
    assert float(torch.stack(gains).mean()) > floor_db


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
def test_a_clean_voice_is_left_alone(rate_hz: int) -> None:
    clean = voice(rate_hz)
    restored = denoise.load("speech")(clean, rate_hz)
    assert float(si_sdr_db(restored[None, None], clean[None, None])) > 18
    assert 0.96 < float(restored @ clean / (clean @ clean)) < 1.01  # nothing is to become quieter on the quiet


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_a_soft_voice_after_a_loud_one_is_heard(rate_hz: int) -> None:
    """36 dB softer, in noise that is softer by as much: a tenth of a second later it comes out almost as alone."""
    corruption, clean = at_rate(parse("coloured-noise:snr_db=5,exponent=1"), rate_hz), voice(rate_hz)
    first, second = (corruption(clean[None, None], torch.Generator().manual_seed(k)).observed[0, 0] for k in (0, 1))
    soft = 2.0**-6
    restored = denoise.load("speech")(torch.cat([first, second * soft]), rate_hz)[len(clean) :]
    alone = denoise.load("speech")(second, rate_hz)
    late = rate_hz // 10
    scores = [float(si_sdr_db(sound[None, None, late:], clean[None, None, late:])) for sound in (restored, alone)]
    assert scores[0] > scores[1] - 1.5


def test_silence_stays_silent_and_noise_alone_is_turned_down() -> None:
    restorer = denoise.load("speech")
    assert not restorer(torch.zeros(2, 16_000), 16_000).any()
    noise = 0.03 * torch.randn(32_000, generator=torch.Generator().manual_seed(0))
    assert float(restorer(noise, 16_000).square().mean() / noise.square().mean()) < 0.03
