import math

import pytest
import torch

from denoise.networks.logmel import log_mel


def test_shape_and_range() -> None:
    signal = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0))
    mel = log_mel(signal, 16_000)
    assert mel.shape == (2, 1, 64, math.ceil(5000 / 256) + 1)
    assert 0 <= mel.min() < mel.max() <= 1
    assert log_mel(signal, 48_000, bands=80).shape[2] == 80
    assert (log_mel(torch.zeros(1, 5000), 16_000) == 0).all()


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_levels_are_decibels_and_higher_tones_lie_in_higher_bands(rate_hz: int) -> None:
    seconds = torch.arange(rate_hz) / rate_hz
    bands = []
    for hz in (300, 1000, 4000):
        loud = torch.sin(2 * math.pi * hz * seconds)[None]
        middle = log_mel(torch.cat([loud, loud / 100]), rate_hz)[:, 0, :, 20]
        band = int(middle[0].argmax())
        assert (80 * (middle[0, band] - 1)).item() == pytest.approx(-4, abs=2)
        assert 80 * (middle[0, band] - middle[1, band]).item() == pytest.approx(40, abs=0.1)
        bands.append(band)
    assert bands == sorted(bands)
