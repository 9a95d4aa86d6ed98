"""Each noise against its closed-form mean and level, and against scikit-image where it has the same noise."""

from __future__ import annotations

import pytest
import torch
from skimage.util import random_noise
from torch import Tensor

from denoise.corruptions.base import Compose, Corrupted
from denoise.corruptions.image import (
    Blur,
    CorrelatedGaussian,
    Gaussian,
    Gray,
    Jpeg,
    PoissonGaussian,
    SaltAndPepper,
    Sensor,
    Speckle,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flat(value: float, batch: int = 4, bands: int = 3, size: int = 128) -> Tensor:
    return torch.full((batch, bands, size, size), value)


def assert_level(result: Corrupted, level: float, rel: float = 0.02) -> None:
    """Measured and reported level are the stated one (0..255), and the noise has no mean."""
    noise = result.observed - result.target
    assert noise.square().mean().sqrt().item() * 255 == pytest.approx(level, rel=rel)
    assert result.condition.mean().item() * 255 == pytest.approx(level, rel=1e-3)
    assert abs(noise.mean().item()) * 255 < 0.02 * level


def neighbour_correlation(noise: Tensor) -> float:
    return float((noise[..., 1:] * noise[..., :-1]).mean() / noise.square().mean())


@pytest.mark.parametrize("bands", [1, 3])
def test_gaussian_is_white_and_of_its_level(bands: int) -> None:
    result = Gaussian(25.0)(flat(0.5, bands=bands), seeded())
    assert_level(result, 25.0)
    assert abs(neighbour_correlation(result.observed - 0.5)) < 0.02


def test_gaussian_draws_a_level_for_each_example() -> None:
    result = Gaussian((5.0, 50.0))(flat(0.5, batch=8), seeded())
    levels = result.condition[:, 0, 0, 0]
    assert levels.unique().numel() == 8
    torch.testing.assert_close((result.observed - 0.5).std((1, 2, 3)), levels, rtol=0.03, atol=0)


def test_gaussian_has_the_moments_of_scikit_image() -> None:
    clean = flat(0.5, batch=1)
    theirs = torch.from_numpy(random_noise(clean.numpy(), "gaussian", rng=0, var=(25 / 255) ** 2, clip=False))
    ours = Gaussian(25.0)(clean, seeded()).observed
    assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.02)
    assert ours.mean().item() == pytest.approx(theirs.mean().item(), abs=2e-3)


@pytest.mark.parametrize("grain_px", [0.0, 0.8, (0.3, 2.0)])
def test_correlated_gaussian_keeps_its_level_up_to_the_border(grain_px: float | tuple[float, float]) -> None:
    result = CorrelatedGaussian(25.0, grain_px, band_correlation=0.5)(flat(0.5), seeded())
    assert_level(result, 25.0, rel=0.04)
    border = (result.observed - 0.5)[..., [0, -1]]
    assert border.std().item() * 255 == pytest.approx(25.0, rel=0.06)


def test_correlated_gaussian_is_correlated_as_its_blur_says() -> None:
    noise = CorrelatedGaussian(25.0, 1.0, band_correlation=0.0)(flat(0.0), seeded()).observed
    assert neighbour_correlation(noise) == pytest.approx(0.7788, abs=0.02)  # exp(-1 / (4 std²))


@pytest.mark.parametrize("correlation", [0.0, 0.6, 1.0])
def test_correlated_gaussian_is_alike_in_the_bands(correlation: float) -> None:
    noise = CorrelatedGaussian(25.0, 0.0, correlation)(flat(0.0), seeded()).observed
    table = torch.corrcoef(noise.transpose(0, 1).flatten(1))
    torch.testing.assert_close(table[0, 1:], torch.full((2,), correlation), atol=0.02, rtol=0)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.5, 1.0])
def test_poisson_gaussian_follows_the_signal(value: float) -> None:
    level = (5.0**2 + 20.0**2 * value) ** 0.5
    assert_level(PoissonGaussian(shot=20.0, read=5.0)(flat(value), seeded()), level)


def test_poisson_gaussian_has_the_moments_of_true_photon_counts() -> None:
    counts_at_white = (255 / 20) ** 2
    photons = torch.poisson(flat(0.3) * counts_at_white, generator=seeded()) / counts_at_white
    ours = PoissonGaussian(shot=20.0, read=0.0)(flat(0.3), seeded()).observed
    assert ours.std().item() == pytest.approx(photons.std().item(), rel=0.02)
    assert ours.mean().item() == pytest.approx(photons.mean().item(), abs=1e-3)


def test_local_level_of_signal_dependent_noise_is_the_measured_one() -> None:
    clean = torch.cat([flat(0.1, batch=16, size=64), flat(0.9, batch=16, size=64)], dim=3)
    for noise in (PoissonGaussian(shot=40.0, read=4.0), Speckle(40.0), SaltAndPepper(0.2)):
        result = noise(clean, seeded())
        measured = (result.observed - clean).square().mean((0, 1, 2)).sqrt()
        for part in (slice(0, 48), slice(80, 128)):
            expected = result.condition[..., part].mean().item()
            assert measured[part].mean().item() == pytest.approx(expected, rel=0.03)


def test_speckle_is_scikit_images() -> None:
    result = Speckle(51.0)(flat(0.6), seeded())
    assert_level(result, 0.6 * 51)
    theirs = random_noise(flat(0.6, batch=1).numpy(), "speckle", rng=0, var=0.2**2, clip=False)
    assert result.observed.std().item() == pytest.approx(float(theirs.std()), rel=0.02)


@pytest.mark.parametrize("fraction", [0.0, 0.2, 1.0])
def test_salt_and_pepper_replaces_its_fraction(fraction: float) -> None:
    result = SaltAndPepper(fraction)(flat(0.4), seeded())
    for extreme in (0.0, 1.0):
        share = (result.observed == extreme).float().mean().item()
        assert share == pytest.approx(fraction / 2, abs=0.01)
    measured = (result.observed - 0.4).square().mean().sqrt().item()
    assert result.condition.mean().item() == pytest.approx(measured, rel=0.03)
    theirs = random_noise(flat(0.4, batch=1).numpy(), "s&p", rng=0, amount=fraction)
    assert result.observed.std().item() == pytest.approx(float(theirs.std()), rel=0.05, abs=1e-6)


def test_gray_replicates_one_band_of_picture_and_noise() -> None:
    clean = torch.rand(4, 3, 64, 64, generator=seeded(1))
    result = Gray(Compose([Gaussian(25.0), Blur(0.0)]), probability=1.0)(clean, seeded())
    for picture in (result.observed, result.target):
        assert torch.equal(picture[:, :1].expand_as(picture), picture)
    torch.testing.assert_close(result.target[:, 0], (clean * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1))
    assert_level(result, 25.0)


def test_gray_happens_to_single_examples() -> None:
    clean = torch.rand(200, 3, 4, 4, generator=seeded(1))
    result = Gray(Gaussian(25.0), probability=0.3)(clean, seeded())
    gray = (result.target == result.target[:, :1]).flatten(1).all(1)
    assert gray.float().mean().item() == pytest.approx(0.3, abs=0.1)
    assert torch.equal(result.target[~gray], clean[~gray])
    assert torch.equal((result.observed == result.observed[:, :1]).flatten(1).all(1), gray)


def test_gray_works_around_codecs_and_sensors() -> None:
    result = Gray(Compose([Sensor(), Jpeg()]), probability=1.0)(torch.rand(2, 3, 16, 16, generator=seeded()), seeded())
    assert torch.equal(result.observed[:, 0], result.observed[:, 2])
