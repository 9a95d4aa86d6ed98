"""PSNR and SSIM against closed forms and scikit-image."""

from __future__ import annotations

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from denoise.errors import UsageError
from denoise.evaluation.metrics import psnr_db, round_to_8_bits, ssim


def pair(channels: int = 3) -> tuple[Tensor, Tensor]:
    """A smooth picture of odd sides in 8-bit steps, and the same with noise that leaves 0..1."""
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(1, channels, 7, 9, generator=generator)
    clean = round_to_8_bits(torch.nn.functional.interpolate(small, (61, 83), mode="bicubic", align_corners=False)[0])
    return clean, clean + 0.1 * torch.randn(clean.shape, generator=generator)


def test_rounding_clips_and_gives_whole_steps() -> None:
    values = torch.tensor([-0.3, 0.0, 0.4 / 255, 0.6 / 255, 127.5001 / 255, 1.0, 7.0])
    assert (round_to_8_bits(values) * 255).round().tolist() == [0, 0, 0, 1, 128, 255, 255]


def test_every_8_bit_value_survives_rounding_bit_for_bit() -> None:
    values = torch.arange(256) / 255
    assert torch.equal(round_to_8_bits(values), values)


@pytest.mark.parametrize("steps", [1, 10, 51])
def test_psnr_of_a_constant_difference(steps: int) -> None:
    clean = torch.full((3, 12, 15), 100 / 255)
    assert psnr_db(clean + steps / 255, clean) == pytest.approx(20 * math.log10(255 / steps), abs=1e-4)


def test_psnr_ignores_what_8_bits_cannot_hold() -> None:
    clean = torch.full((1, 12, 12), 1.0)
    assert psnr_db(clean + 0.4 / 255, clean) == math.inf
    assert psnr_db(clean + 3, clean) == math.inf


@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_is_that_of_scikit_image(channels: int) -> None:
    clean, noisy = pair(channels)
    expected = peak_signal_noise_ratio(clean.double().numpy(), round_to_8_bits(noisy).double().numpy(), data_range=1)
    assert psnr_db(noisy, clean) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_that_of_scikit_image(channels: int) -> None:
    """Both count only windows inside the picture; float32 against float64 leaves 1e-5."""
    clean, noisy = pair(channels)
    expected = structural_similarity(
        clean.double().numpy(),
        round_to_8_bits(noisy).double().numpy(),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=0,
        data_range=1,
    )
    assert ssim(noisy, clean) == pytest.approx(expected, abs=1e-5)


def test_ssim_of_equal_pictures_is_one() -> None:
    clean, _ = pair()
    assert ssim(clean, clean) == pytest.approx(1, abs=1e-6)


def test_ssim_takes_the_smallest_window_and_refuses_less() -> None:
    clean, noisy = pair()
    assert -1 <= ssim(noisy[:, :11, :11], clean[:, :11, :11]) <= 1
    with pytest.raises(UsageError, match="11x10 pixels is too small"):
        ssim(noisy[:, :10, :11], clean[:, :10, :11])
