"""The camera against the sRGB standard, an interpolation by SciPy, and its own statement of the noise in the file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from denoise.corruptions.base import Compose
from denoise.corruptions.camera import VARIANCE_KEPT, demosaic, to_linear, to_srgb
from denoise.corruptions.image import Camera, Demosaic, Gaussian, Jpeg, Quantize, Sensor


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flat(value: float, batch: int = 4, bands: int = 3, size: int = 96) -> Tensor:
    return torch.full((batch, bands, size, size), value)


def test_tone_curve_is_srgb() -> None:
    encoded = torch.linspace(0, 1, 2001, dtype=torch.float64)
    linear = torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    torch.testing.assert_close(to_linear(encoded), linear, atol=1e-7, rtol=0)
    torch.testing.assert_close(to_srgb(linear), encoded, atol=1e-6, rtol=0)
    assert to_srgb(torch.tensor([-1.0, 2.0])).tolist() == pytest.approx([0, 1], abs=1e-6)


@pytest.mark.parametrize("phase", range(4))
def test_demosaic_interpolates_what_the_pattern_keeps(phase: int) -> None:
    picture = torch.rand(1, 3, 8, 11, generator=seeded())
    row, column = np.indices((8, 11))
    site = 2 * ((row + phase // 2) % 2) + (column + phase % 2) % 2
    square, chess = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1.0]]), np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0.0]])
    result = demosaic(picture, torch.tensor([phase]))[0].numpy()
    for band, kept in enumerate([site == 0, (site == 1) | (site == 2), site == 3]):
        kernel = chess if band == 1 else square
        total = ndimage.convolve(picture[0, band].numpy() * kept, kernel, mode="constant")
        weight = ndimage.convolve(kept.astype(float), kernel, mode="constant")
        np.testing.assert_allclose(result[band], total / weight, atol=1e-6)
        np.testing.assert_allclose(result[band][kept], picture[0, band].numpy()[kept], atol=1e-6)


def test_demosaic_keeps_flat_colours_and_gray_pictures() -> None:
    colours = torch.rand(4, 3, 1, 1, generator=seeded()).expand(4, 3, 7, 9)
    torch.testing.assert_close(Demosaic()(colours, seeded()).observed, colours)
    gray = torch.rand(4, 1, 7, 9, generator=seeded())
    assert torch.equal(Demosaic()(gray, seeded()).observed, gray)
    noisy = Compose([Gaussian(51.0), Demosaic()])(gray, seeded())
    torch.testing.assert_close(noisy.condition, torch.full((4, 1, 7, 9), 0.2))


def test_demosaic_leaves_the_variance_that_the_condition_assumes() -> None:
    noise = demosaic(torch.randn(16, 3, 128, 128, generator=seeded()), torch.arange(16) % 4)
    torch.testing.assert_close(noise.square().mean((0, 2, 3)), torch.tensor(VARIANCE_KEPT), rtol=0.02, atol=0)
    assert (noise[..., 1:] * noise[..., :-1]).mean() > 0.2


@pytest.mark.parametrize("iso", [100.0, 800.0, 3200.0, 12800.0])
@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_level_in_the_file_is_the_measured_one(iso: float, mosaic: float) -> None:
    for value in (0.0, 0.1, 0.25, 0.5, 0.8):
        result = Sensor(iso, mosaic)(flat(value), seeded())
        measured = result.observed.std().item()
        assert result.condition.mean().item() == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("iso", [100.0, 800.0, 3200.0, 12800.0])
@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_level_at_white_is_that_of_noise_before_it_is_clipped(iso: float, mosaic: float) -> None:
    result = Sensor(iso, mosaic)(flat(1.0), seeded())
    lower = to_linear(result.observed[result.observed < 1])
    whole = torch.cat([lower, 2 - lower])  # the upper half is its mirror image, in linear light
    measured = (1.055 * whole.pow(1 / 2.4) - 0.055).std().item()
    assert result.condition.mean().item() == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize(("iso", "level"), [(800.0, 6.0), (3200.0, 12.0), (12800.0, 25.0)])
@pytest.mark.parametrize("quality", [None, 95.0])
def test_mid_gray_has_the_stated_levels(iso: float, level: float, quality: float | None) -> None:
    result = Camera(iso, quality=quality)(flat(0.5), seeded())
    assert result.observed.std().item() * 255 == pytest.approx(level, rel=0.1)
    assert result.condition.mean().item() * 255 == pytest.approx(level, rel=0.1)


def test_sensor_draws_iso_evenly_on_a_logarithmic_scale() -> None:
    iso = Sensor((100.0, 6400.0)).draw(torch.zeros(2000, 1, 1, 1), seeded())["iso"]
    assert 99.9 < iso.min() < iso.max() < 6400.1
    assert (iso < 800).float().mean().item() == pytest.approx(0.5, abs=0.04)


def test_sensor_mosaic_happens_to_single_examples() -> None:
    noise = Sensor(800.0, 0.5)(flat(0.5, batch=40, size=32), seeded()).observed - 0.5
    correlation = (noise[..., 1:] * noise[..., :-1]).mean((1, 2, 3)) / noise.square().mean((1, 2, 3))
    assert 10 < (correlation > 0.2).sum() < 30
    assert bool(((correlation > 0.2) | (correlation.abs() < 0.1)).all())


def test_camera_is_the_sensor_and_then_the_file() -> None:
    clean = torch.rand(2, 3, 24, 24, generator=seeded())
    for camera, file in ((Camera(3200.0, quality=80.0), Jpeg(80.0, 0.0)), (Camera(3200.0, quality=None), Quantize())):
        params = camera.draw(clean, seeded())
        seen = Sensor(3200.0).apply(clean, params["0"])
        result = camera.apply(clean, params)
        stored = file.apply(seen.observed, params["1"])
        assert seen.condition is not None
        assert stored.condition is not None
        torch.testing.assert_close(result.observed, stored.observed)
        torch.testing.assert_close(result.condition, torch.hypot(seen.condition, stored.condition))
        assert torch.equal(result.target, clean)
