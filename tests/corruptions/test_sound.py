"""Active power against librosa, and the rate that reaches every part."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from denoise.corruptions.audio import Gain, Hum, Noise
from denoise.corruptions.base import Compose, Sometimes
from denoise.corruptions.image import Gaussian
from denoise.corruptions.sound import SoundCorruption, active_power, as_counts, at_rate, from_db, whole
from denoise.errors import UsageError


def speech(frames: int, frame: int, seed: int = 0) -> np.ndarray:
    """Noise whose level wanders from frame to frame over 80 dB."""
    generator = np.random.default_rng(seed)
    levels = 10 ** (generator.uniform(-80, 0, frames) / 20)
    return (generator.normal(0, 0.1, (frames, frame)) * levels[:, None]).astype(np.float32).ravel()


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_active_power_is_that_of_the_frames_librosa_finds(rate_hz: int) -> None:
    frame = rate_hz // 50
    for seed in range(5):
        signal = speech(60, frame, seed)
        centred = np.concatenate([np.zeros(frame // 2, np.float32), signal])  # so that librosa's frames are ours
        found = librosa.effects.split(centred, top_db=40, frame_length=frame, hop_length=frame)
        active = np.concatenate([signal[start - frame : end - frame] for start, end in found])
        ours = active_power(torch.from_numpy(signal)[None, None], rate_hz).item()
        assert ours == pytest.approx(float(np.mean(active.astype(float) ** 2)), rel=1e-3)


def test_pauses_do_not_count_and_unfinished_frames_do() -> None:
    signal = torch.zeros(2, 1, 1000)
    signal[0, :, :320] = 0.5
    signal[1, :, 960:] = 0.5  # 40 samples of the last frame, which has no more
    torch.testing.assert_close(active_power(signal, 16_000), torch.full((2, 1, 1), 0.25))
    torch.testing.assert_close(active_power(torch.full((1, 3, 7), 0.5), 16_000), torch.full((1, 1, 1), 0.25))
    assert active_power(torch.zeros(1, 2, 500), 16_000).item() == 0


def test_rate_reaches_every_part() -> None:
    parts = Compose([Sometimes(Noise()), Compose([Hum(), Gaussian()]), Gain()])
    assert at_rate(parts, 16_000) is parts
    rates = [part.rate_hz for part in parts.modules() if isinstance(part, SoundCorruption)]
    assert rates == [16_000] * 3
    assert Gain().rate_hz == 48_000


def test_repr_shows_settings_only() -> None:
    shown = repr(at_rate(Noise(5.0), 16_000))
    assert shown == "Noise(snr_db=(5.0, 5.0), count=(1, 3), folder=None, coloured=0.5)"


def test_decibels_and_counts() -> None:
    torch.testing.assert_close(from_db(torch.tensor([0.0, 20.0, -6.0206])), torch.tensor([1.0, 10.0, 0.5]))
    assert (as_counts(3, "n"), as_counts([1, 4], "n")) == ((3, 3), (1, 4))
    for wrong in (0, (4, 1), (1, 2, 3), 101, (1.5, 2)):
        with pytest.raises(UsageError, match="whole numbers"):
            as_counts(wrong, "n")
    assert set(whole((2, 4), 100, torch.Generator().manual_seed(0)).tolist()) == {2, 3, 4}
