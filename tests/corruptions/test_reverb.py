"""Rooms against torchaudio's convolution, and what of them the target keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.functional import fftconvolve

from denoise.corruptions.audio import ColouredNoise, Reverb, at_rate
from denoise.corruptions.base import Compose
from denoise.corruptions.reverb import read_responses
from denoise.errors import UsageError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_observed_is_the_whole_room_and_target_its_first_50_ms(rate_hz: int) -> None:
    clean = torch.randn(3, 2, rate_hz // 2 + 1, generator=seeded(1)) * 0.1
    room = at_rate(Reverb(0.4), rate_hz)
    params = room.draw(clean, seeded())
    result = room.apply(clean, params)
    response, length = params["response"].expand(-1, 2, -1), clean.shape[-1]
    torch.testing.assert_close(result.observed, fftconvolve(clean, response)[..., :length], atol=1e-4, rtol=0)
    early = fftconvolve(clean, response[..., : rate_hz // 20])[..., :length]
    torch.testing.assert_close(result.target, early, atol=1e-4, rtol=0)
    assert not torch.allclose(result.observed, result.target, atol=1e-2)


def test_made_up_rooms_decay_as_asked() -> None:
    clean = torch.zeros(200, 1, 16_000)
    response = at_rate(Reverb(rt60_s=0.5, drr_db=6.0), 16_000).draw(clean, seeded())["response"]
    assert torch.equal(response[..., 0], torch.ones(200, 1))
    tail = response[..., 1:].square()
    torch.testing.assert_close(10 * tail.sum(-1).log10(), torch.full((200, 1), -6.0), atol=1e-3, rtol=0)
    left_db = 10 * tail.mean(0).flip(-1).cumsum(-1).flip(-1)[0].log10()  # Schroeder's integral
    slope = (left_db[4000] - left_db[800]).item() / (3200 / 16_000)
    assert slope == pytest.approx(-60 / 0.5, rel=0.03)
    assert response.shape[-1] == 8000


def test_there_is_no_delay() -> None:
    clean = torch.zeros(20, 1, 4000)
    clean[..., 500] = 1
    result = at_rate(Reverb(drr_db=15.0), 16_000)(clean, seeded())
    for sound in (result.observed, result.target):
        assert sound[..., :500].abs().max() < 1e-4
        torch.testing.assert_close(sound[..., 500], torch.ones(20, 1), atol=1e-4, rtol=0)


def test_the_noise_before_it_gets_the_whole_room() -> None:
    clean = torch.randn(2, 1, 8000, generator=seeded(1)) * 0.1
    both = at_rate(Compose([ColouredNoise(0.0), Reverb()]), 16_000)
    params = both.draw(clean, seeded())
    result = both.apply(clean, params)
    noisy = both.corruptions[0].apply(clean, params["0"]).observed
    alone = both.corruptions[1]
    torch.testing.assert_close(result.observed, alone.apply(noisy, params["1"]).observed)
    torch.testing.assert_close(result.target, alone.apply(clean, params["1"]).target)


def test_recorded_rooms_are_aligned_scaled_and_resampled(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name, delay, rate_hz in (("a.wav", 37, 16_000), ("b.flac", 400, 48_000)):
        response = generator.normal(0, 0.01, (rate_hz // 4, 2))
        response[:delay] = 0
        response[delay] = -0.5
        soundfile.write(tmp_path / name, response, rate_hz)
    soundfile.write(tmp_path / "silent.wav", np.zeros(100), 16_000)
    (tmp_path / "._a.wav").write_bytes(b"no sound")
    (tmp_path / "folder.wav").mkdir()
    responses = read_responses(str(tmp_path), 16_000)
    assert responses.shape[0] == 2
    assert responses.shape[1] <= 4001
    assert bool((responses.argmax(1) == 0).all())
    torch.testing.assert_close(responses[:, :40].square().sum(1), torch.ones(2))
    room = Reverb(folder=str(tmp_path))
    for rate_hz, length in ((16_000, 5001), (48_000, 3001)):
        clean = torch.randn(8, 1, length, generator=seeded())
        params = at_rate(room, rate_hz).draw(clean, seeded())
        assert params["response"][:, 0, 100].unique().numel() == 2
        assert room.apply(clean, params).observed.shape == clean.shape


def test_folders_without_rooms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no impulse responses"):
        Reverb(folder=str(tmp_path))(torch.zeros(1, 1, 100), seeded())
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(UsageError, match=r"broken\.wav cannot be read"):
        Reverb(folder=str(tmp_path))(torch.zeros(1, 1, 100), seeded())
    soundfile.write(tmp_path / "broken.wav", np.array([1, np.nan]), 16_000, "FLOAT")
    for rate_hz in (16_000, 48_000):
        with pytest.raises(UsageError, match=r"broken\.wav cannot be read.*not finite"):
            read_responses(str(tmp_path), rate_hz)
