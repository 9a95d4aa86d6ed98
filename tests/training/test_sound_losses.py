from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from denoise.corruptions.sound import at_rate
from denoise.errors import UsageError
from denoise.networks.stft import analyse
from denoise.training.perceptual import Disturbance
from denoise.training.sound_losses import SISDR, CompressedSpectrum, MultiResolutionSTFT, WeightedSum, si_sdr_db

LOSSES = [CompressedSpectrum, MultiResolutionSTFT, SISDR, Disturbance]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pair() -> tuple[Tensor, Tensor]:
    target = noise(3, 1, 16_000)
    return target + 0.3 * noise(3, 1, 16_000, seed=1), target


def test_si_sdr_is_that_of_torchmetrics() -> None:
    restored, target = pair()
    restored, target = restored + 0.1, target - 0.05
    theirs = scale_invariant_signal_distortion_ratio(restored, target, zero_mean=True)[:, 0]
    torch.testing.assert_close(si_sdr_db(restored, target), theirs, atol=1e-3, rtol=0)


@pytest.mark.parametrize("ratio_db", [-10.0, 0.0, 25.0])
def test_si_sdr_of_an_error_that_is_orthogonal(ratio_db: float) -> None:
    step = 2 * math.pi * torch.arange(1600) / 16
    target, error = torch.sin(step)[None, None], torch.cos(step)[None, None]
    restored = 0.5 * (target + 10 ** (-ratio_db / 20) * error)
    assert si_sdr_db(restored, target).item() == pytest.approx(ratio_db, abs=1e-3)


def test_si_sdr_counts_each_example_and_holds_at_30_db() -> None:
    restored, target = pair()
    restored[0] = 7 * target[0]
    scores = si_sdr_db(restored, target)
    assert scores.shape == (3,)
    assert scores[0] > 60
    assert SISDR()(restored, target).item() == pytest.approx(-(30 + scores[1:].sum().item()) / 3)


def test_silent_targets_do_not_count_in_si_sdr() -> None:
    restored, target = pair()
    target[1] = 0
    expected = si_sdr_db(restored, target)
    assert SISDR()(restored, target).item() == pytest.approx(-(expected[0] + expected[2]).item() / 3)


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
@pytest.mark.parametrize(
    ("loss", "best"), [(CompressedSpectrum, 0), (MultiResolutionSTFT, 0), (SISDR, -30), (Disturbance, 0)]
)
def test_the_target_itself_is_best(loss: type[nn.Module], best: float, rate_hz: int) -> None:
    restored, target = pair()
    measure = at_rate(loss(), rate_hz)
    assert measure(target, target).item() == pytest.approx(best, abs=1e-6)
    half = (restored + target) / 2
    assert best + 0.001 < measure(half, target) < measure(restored, target)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("gain", [0.1, 3.0])
def test_the_level_of_an_example_does_not_matter(loss: type[nn.Module], gain: float) -> None:
    restored, target = pair()
    expected = loss()(restored, target).item()
    assert loss()(gain * restored, gain * target).item() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("gain", [0.5, 0.9, 2.0])
def test_compressed_spectra_of_a_gain(gain: float) -> None:
    """Of g times the target each part is off by g^0.3 - 1 times itself, in magnitude as in the complex plane."""
    target = noise(2, 1, 16_000)
    level = target.square().mean((1, 2), keepdim=True).sqrt()
    size = analyse((target / level)[:, 0], 256).square().sum(1).sqrt()
    expected = (gain**0.3 - 1) ** 2 * (size**0.6).mean().item()
    for share in (0.0, 0.3, 1.0):
        loss = at_rate(CompressedSpectrum(complex_share=share), 16_000)
        assert loss(gain * target, target).item() == pytest.approx(expected, rel=0.01)


def test_only_the_complex_part_sees_the_phase() -> None:
    target = noise(2, 1, 16_000)
    assert CompressedSpectrum(complex_share=0)(-target, target).item() == pytest.approx(0, abs=1e-9)
    assert CompressedSpectrum(complex_share=1)(-target, target) > 0.1


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_spectra_of_several_resolutions_of_a_gain(gain: float) -> None:
    """Spectral convergence is |g - 1|, the error of the logarithms |log g|, at every resolution."""
    target = noise(2, 1, 16_000)
    for frames_s in ([0.02], [0.016, 0.032, 0.064]):
        loss = at_rate(MultiResolutionSTFT(frames_s), 16_000)
        expected = abs(gain - 1) + abs(math.log(gain))
        assert loss(gain * target, target).item() == pytest.approx(expected, rel=0.01)


def test_quiet_sounds_count_in_compressed_spectra() -> None:
    """Half of the error in a part 40 dB below the other costs far more than a ten-thousandth."""
    target = noise(1, 1, 32_000)
    target[..., 16_000:] *= 0.01
    loud, quiet = target.clone(), target.clone()
    loud[..., :16_000] *= 0.5
    quiet[..., 16_000:] *= 0.5
    assert CompressedSpectrum()(quiet, target) > 0.02 * CompressedSpectrum()(loud, target)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("case", ["equal", "silent", "muted", "both silent", "tiny"])
def test_losses_and_gradients_stay_finite(loss: type[nn.Module], case: str) -> None:
    restored, target = pair()
    if case == "equal":
        restored = target.clone()
    if "silent" in case:
        target = torch.zeros_like(target)
    if case in ("muted", "both silent"):
        restored = torch.zeros_like(restored)
    if case == "tiny":
        restored, target = 1e-6 * restored, 1e-6 * target
    restored.requires_grad_()
    value = loss()(restored, target)
    value.backward()
    assert value.ndim == 0
    assert value.isfinite()
    assert restored.grad is not None and restored.grad.isfinite().all()


def test_a_weighted_sum_is_one() -> None:
    restored, target = pair()
    parts = [CompressedSpectrum(), SISDR()]
    expected = 10 * parts[0](restored, target) + 0.02 * parts[1](restored, target)
    torch.testing.assert_close(WeightedSum(list(parts), [10, 0.02])(restored, target), expected)
    with pytest.raises(UsageError, match="1 weights for 2 losses"):
        WeightedSum(list(parts), [1])


def test_the_rate_reaches_every_part() -> None:
    loss = at_rate(WeightedSum([CompressedSpectrum(), MultiResolutionSTFT(), SISDR()], [1, 1, 1]), 8000)
    assert [part.rate_hz for part in loss.losses if hasattr(part, "rate_hz")] == [8000, 8000]
    assert CompressedSpectrum().rate_hz == 48_000


def test_what_is_too_short_for_the_frames_is_told() -> None:
    loss = at_rate(MultiResolutionSTFT(), 16_000)
    assert loss(torch.rand(1, 1, 513), torch.rand(1, 1, 513)).isfinite()
    with pytest.raises(UsageError, match=r"Excerpts of 0\.032 s are too short .* --data\.excerpt_s above 0\.032"):
        loss(torch.rand(1, 1, 512), torch.rand(1, 1, 512))
