"""Against torch.stft and SciPy, and back again."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import signal as scipy_signal
from torch import Tensor
from torch.nn import functional as F

from denoise.networks.stft import analyse, hop_length, synthesise

RATES = (8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000)


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("rate_hz", RATES)
def test_there_and_back_is_the_same_sound(rate_hz: int) -> None:
    hop = hop_length(rate_hz)
    for length in (1, 2, hop - 1, hop, hop + 1, 2 * hop, 5 * hop + 7, 8191):
        there = noise(2, length)
        spectra = analyse(there, hop)
        assert spectra.shape == (2, 2, math.ceil(length / hop) + 1, hop + 1)
        torch.testing.assert_close(synthesise(spectra, hop, length), there, atol=1e-6, rtol=0)


@pytest.mark.parametrize("hop", [1, 2, 3, 7, 10, 353])
def test_any_hop_goes_there_and_back(hop: int) -> None:
    there = noise(1, 101).double()
    back = synthesise(analyse(there, hop), hop, 101)
    assert back.dtype == torch.float64
    torch.testing.assert_close(back, there, atol=1e-14, rtol=0)


@pytest.mark.parametrize("rate_hz", RATES)
def test_spectra_are_those_of_torch(rate_hz: int) -> None:
    hop, sound = hop_length(rate_hz), noise(2, 5000)
    window = torch.hann_window(2 * hop).sqrt()
    padded = F.pad(sound, (0, -5000 % hop))
    theirs = torch.stft(padded, 2 * hop, hop, window=window, center=True, pad_mode="constant", return_complex=True)
    ours = analyse(sound, hop)
    torch.testing.assert_close(torch.complex(ours[:, 0], ours[:, 1]), theirs.mT / hop, atol=1e-5, rtol=0)


def test_spectra_are_those_of_scipy() -> None:
    sound, window = noise(1, 4000), np.sqrt(scipy_signal.get_window("hann", 512))
    *_, theirs = scipy_signal.stft(sound[0].double().numpy(), window=window, nperseg=512)
    ours = analyse(sound.double(), 256)[0]
    count = min(ours.shape[1], theirs.shape[1])
    expected = torch.from_numpy(theirs.T[:count] * (window.sum() / 256))
    torch.testing.assert_close(torch.complex(ours[0], ours[1])[:count], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("rate_hz", RATES)
def test_bins_are_as_far_apart_at_every_rate(rate_hz: int) -> None:
    apart_hz = rate_hz / (2 * hop_length(rate_hz))
    assert apart_hz == pytest.approx(31.25, rel=0.003)
    if rate_hz % 1000 == 0:
        assert apart_hz == 31.25


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("phase", [0.0, 1.0])
def test_a_tone_is_as_high_at_every_rate(rate_hz: int, phase: float) -> None:
    hop = hop_length(rate_hz)
    tone = torch.sin(torch.arange(8 * hop) * (torch.pi * 32 / hop) + phase)[None]  # in the middle of bin 32
    magnitude = analyse(tone, hop)[0].square().sum(0).sqrt()
    torch.testing.assert_close(magnitude[2:-2, 32], torch.full((5,), 2 / torch.pi), atol=1e-4, rtol=0)
    assert (magnitude[2:-2].argmax(1) == 32).all()


def test_the_first_frame_is_centred_on_the_first_sample() -> None:
    click = torch.zeros(1, 640)
    click[0, 0] = 1
    energy = analyse(click, 128)[0].square().sum((0, 2))
    assert energy[0] > 0
    assert energy[1:].abs().max() < 1e-12


def test_it_is_linear_and_differentiable() -> None:
    a, b = noise(1, 1000), noise(2, 1000)[1:]
    torch.testing.assert_close(analyse(2 * a - b, 100), 2 * analyse(a, 100) - analyse(b, 100), atol=1e-5, rtol=0)
    a.requires_grad_()
    synthesise(analyse(a, 100), 100, 1000).sum().backward()
    torch.testing.assert_close(a.grad, torch.ones(1, 1000), atol=1e-5, rtol=0)
