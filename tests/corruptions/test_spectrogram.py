"""Damage to log-mel spectrograms: extents, replays, and the arithmetic of magnitudes."""

from __future__ import annotations

import pytest
import torch

from denoise.corruptions.base import Compose, Corruption
from denoise.corruptions.spectrogram import FrequencyMask, Gaps, MagnitudeNoise, TimeMask
from denoise.errors import UsageError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _clean(batch: int = 200, bands: int = 20, frames: int = 30) -> torch.Tensor:
    return torch.rand(batch, 1, bands, frames, generator=seeded()) * 0.9 + 0.05


@pytest.mark.parametrize("corruption", [Gaps(), TimeMask(), FrequencyMask(), MagnitudeNoise()], ids=repr)
def test_draws_can_be_replayed_and_differ_by_example(corruption: Corruption) -> None:
    clean = _clean()
    before = clean.clone()
    state = torch.random.get_rng_state()
    params = corruption.draw(clean, seeded())
    first = corruption.apply(clean, params)
    assert torch.equal(corruption.apply(clean, params).observed, first.observed)
    assert torch.equal(corruption(clean, seeded()).observed, first.observed)
    assert not torch.equal(corruption(clean, seeded(1)).observed, first.observed)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(clean, before)
    assert first.target is clean
    assert 0 <= first.observed.min() <= first.observed.max() <= 1
    same = corruption(clean[:1].expand(8, -1, -1, -1), seeded()).observed
    assert len({example.numpy().tobytes() for example in same}) > 4


def test_time_masks_are_one_span_of_all_bands() -> None:
    silent = TimeMask((2, 5))(_clean(), seeded()).observed == 0
    assert torch.equal(silent.all(2), silent.any(2))
    widths = silent[:, 0, 0].sum(1)
    assert set(widths.tolist()) == {2, 3, 4, 5}
    edges = silent[:, 0, 0].int().diff(dim=1, prepend=torch.zeros(200, 1), append=torch.zeros(200, 1))
    assert (edges.abs().sum(1) == 2).all()
    assert silent[:, 0, 0].any(0).all()  # the first and the last frame too


def test_frequency_masks_are_one_span_of_all_frames() -> None:
    silent = FrequencyMask(3)(_clean(), seeded()).observed == 0
    assert torch.equal(silent.all(3), silent.any(3))
    assert (silent[:, 0, :, 0].sum(1) == 3).all()


def test_gaps_are_so_many_rectangles() -> None:
    silent = Gaps(1, bands=4, frames=6)(_clean(), seeded()).observed == 0
    assert (silent.sum((1, 2, 3)) == 24).all()
    assert (silent.any(2).sum(2) == 6).all()
    several = (Gaps(3, bands=4, frames=6)(_clean(), seeded()).observed == 0).sum((1, 2, 3))
    assert 24 <= several.min() < several.max() <= 72


def test_a_mask_is_no_longer_than_the_spectrogram() -> None:
    observed = TimeMask((50, 60))(_clean(frames=7), seeded()).observed
    assert (observed == 0).all()
    assert torch.equal(TimeMask(0)(_clean(), seeded()).observed, _clean())


def test_noise_adds_in_magnitude() -> None:
    clean = _clean()
    noise = MagnitudeNoise(-30.0)
    params = noise.draw(clean, seeded())
    observed = noise.apply(clean, params).observed

    def magnitude(spectrogram: torch.Tensor) -> torch.Tensor:
        return 10 ** ((spectrogram.double() - 1) * 4)

    expected = magnitude(clean) + 10**-1.5 * params["noise"].double().abs()
    torch.testing.assert_close(magnitude(observed), expected.clamp_max(1), rtol=1e-4, atol=0)
    assert (observed >= clean - 1e-6).all()
    silence = MagnitudeNoise(-40.0)(torch.zeros(4, 1, 64, 64), seeded()).observed
    assert magnitude(silence).mean().item() == pytest.approx(0.01 * (2 / torch.pi) ** 0.5 + 1e-4, rel=0.03)


def test_they_follow_each_other() -> None:
    clean = _clean()
    result = Compose([MagnitudeNoise(), TimeMask(4)])(clean, seeded())
    assert ((result.observed == 0).all(2).sum(2) == 4).all()
    assert result.target is clean


@pytest.mark.parametrize("wrong", [{"count": 0}, {"bands": (5, 3)}, {"frames": -1}])
def test_wrong_arguments_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match="is not allowed: give"):
        Gaps(**wrong)
    with pytest.raises(UsageError, match="is not allowed: give"):
        MagnitudeNoise(level_db=3.0)
