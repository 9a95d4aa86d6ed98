from __future__ import annotations

import pytest
import torch
from scipy.signal import lfilter
from torch import Tensor

from denoise.corruptions.sound import at_rate
from denoise.training.perceptual import Disturbance, critical_bands, hearing_threshold_db, loudness

RATE_HZ = 16_000
NOISES = [0.002, 0.01, 0.03, 0.1, 0.3]


def voice(seconds: float = 3, rate_hz: int = RATE_HZ, seed: int = 0) -> Tensor:
    """Pulses through two resonances, in syllables: speech enough for P.862. Shape: `[1, 1, T]`."""
    time = torch.arange(round(seconds * rate_hz)) / rate_hz
    pitch = 110 + 30 * torch.sin(2 * torch.pi * 0.7 * time + seed)
    source = torch.cumsum(pitch / rate_hz, 0).frac().mul(2).sub(1).numpy()
    for hz in (600.0, 1700.0):
        near = torch.exp(torch.tensor(-torch.pi * 120 / rate_hz)).item()
        turn = torch.cos(torch.tensor(2 * torch.pi * hz / rate_hz)).item()
        source = lfilter([1 - near], [1, -2 * near * turn, near**2], source)
    syllables = torch.sin(2 * torch.pi * 1.5 * time).clamp_min(0).sqrt()
    spoken = torch.from_numpy(source).float() * syllables
    return (0.3 * spoken / spoken.abs().max())[None, None]


def with_noise(clean: Tensor, size: float) -> Tensor:
    return clean + size * clean.square().mean().sqrt() * torch.randn(
        clean.shape, generator=torch.Generator().manual_seed(1)
    )


def scores(clean: Tensor, sizes: list[float], rate_hz: int = RATE_HZ) -> list[float]:
    measure = at_rate(Disturbance(), rate_hz)
    return [measure(with_noise(clean, size), clean).item() for size in sizes]


def test_it_orders_and_rates_recordings_as_p862_does() -> None:
    pesq = pytest.importorskip("pesq", reason="pip install 'denoise-toolkit[speech]'")
    ours, theirs = [], []
    for seed in range(3):
        clean = voice(seed=seed)
        ours += scores(clean, NOISES)
        theirs += [
            pesq.pesq(RATE_HZ, clean[0, 0].numpy(), with_noise(clean, size)[0, 0].numpy(), "wb") for size in NOISES
        ]
    mapped = 0.999 + 4 / (1 + torch.exp(-1.3669 * (4.5 - torch.tensor(ours)) + 3.8224))  # P.862.2
    both = torch.stack([mapped, torch.tensor(theirs)])
    assert both.corrcoef()[0, 1] > 0.95
    assert (both[0] - both[1]).abs().mean() < 0.6


def test_more_noise_disturbs_more() -> None:
    measured = scores(voice(), NOISES)
    assert measured == sorted(measured)
    assert 0 < measured[0] < 1 < measured[-1]


def test_added_sound_disturbs_more_than_sound_that_is_gone() -> None:
    clean = voice()
    noisy = with_noise(clean, 0.01)
    measure = at_rate(Disturbance(), RATE_HZ)
    assert measure(noisy, clean) > 1.3 * measure(clean, noisy)


def test_a_change_of_level_or_colour_is_mostly_forgiven() -> None:
    clean = voice()
    measure = at_rate(Disturbance(), RATE_HZ)
    assert measure(0.5 * clean, clean) < 0.01
    brighter = clean - 0.3 * clean.roll(1, -1)
    assert measure(brighter, clean) < 0.5 * measure(with_noise(clean, 0.3), clean)


def test_rates_agree() -> None:
    """The same noise, all of it below 8 kHz, at twice the rate."""
    clean = voice()
    noisy = with_noise(clean, 0.1)
    twice = [torch.nn.functional.interpolate(s, scale_factor=2, mode="linear") for s in (noisy, clean)]
    expected = at_rate(Disturbance(), RATE_HZ)(noisy, clean).item()
    assert at_rate(Disturbance(), 2 * RATE_HZ)(*twice).item() == pytest.approx(expected, rel=0.2)


def test_silent_targets_do_not_count() -> None:
    clean = voice().repeat(2, 1, 1)
    noisy = with_noise(clean, 0.1)
    one = Disturbance()(noisy[:1], clean[:1])
    clean[1] = 0
    torch.testing.assert_close(Disturbance()(noisy, clean), one)


@pytest.mark.parametrize("samples", [600, 1700, 6000])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
def test_short_recordings(samples: int, rate_hz: int) -> None:
    clean = voice(1)[..., 4000 : 4000 + samples]
    restored = with_noise(clean, 0.1).requires_grad_()
    value = at_rate(Disturbance(), rate_hz)(restored, clean)
    value.backward()
    assert value.isfinite()
    assert restored.grad is not None and restored.grad.isfinite().all()


def test_bands_hold_every_frequency_once() -> None:
    hz = torch.arange(256) / 0.032
    members, centres = critical_bands(hz)
    assert (members.sum(1) == 1).all()
    assert (members.sum(0) > 0).all()
    assert (centres.diff() > 0).all()
    one_khz = members[32].argmax()
    assert members[:, one_khz].sum() / 0.032 == pytest.approx(160 / 2, rel=0.5)  # a critical band there is 160 Hz wide


def test_threshold_and_loudness() -> None:
    hz = torch.tensor([100.0, 1000.0, 3300.0, 12_000.0])
    assert hearing_threshold_db(hz).tolist() == pytest.approx([22.9, 3.4, -5.0, 21.1], abs=0.5)
    threshold = torch.tensor([2.0])
    assert loudness(torch.tensor([0.0, 2.0]), threshold).tolist() == [0, 0]
    loud = loudness(torch.tensor([1e8, 1e9]), threshold)
    assert (loud[1] / loud[0]).item() == pytest.approx(10**0.23, rel=0.02)  # Zwicker's exponent far above the threshold
