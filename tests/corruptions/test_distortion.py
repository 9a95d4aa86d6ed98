"""Overload, loss and codecs against their closed forms, and in time with the original."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchaudio.functional import mu_law_decoding, mu_law_encoding

from denoise.corruptions.audio import Clip, Codec, Dropouts, MuLaw, at_rate
from denoise.errors import UsageError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def voice(batch: int = 2, channels: int = 1, rate_hz: int = 16_000, length: int = 8001) -> Tensor:
    """A chord with vibrato, 0.5 at most."""
    time_s = torch.arange(length, dtype=torch.float64) / rate_hz
    phase = 2 * torch.pi * (220 * time_s + torch.sin(30 * time_s))
    chord = sum(torch.sin(k * phase + k * k) / k for k in range(1, 7))
    pitch = 0.2 + 0.05 * torch.arange(batch * channels).reshape(batch, channels, 1)
    return (pitch * chord).float()


def test_hard_clipping_cuts_at_its_level() -> None:
    clean = voice()
    result = Clip(over_db=6.0, soft=0.0)(clean, seeded())
    level = clean.abs().amax((1, 2), keepdim=True) * 10 ** (-6 / 20)
    torch.testing.assert_close(result.observed, torch.minimum(torch.maximum(clean, -level), level))
    assert result.target is clean
    torch.testing.assert_close(Clip(over_db=0.0, soft=0.0)(clean, seeded()).observed, clean)


def test_soft_clipping_bends() -> None:
    clean = voice()
    level = clean.abs().amax((1, 2), keepdim=True) / 10
    observed = Clip(over_db=20.0, soft=1.0)(clean, seeded()).observed
    torch.testing.assert_close(observed, level * torch.tanh(clean / level))
    soft = Clip(soft=0.25).draw(torch.zeros(1000, 1, 1), seeded())["soft"]
    assert soft.float().mean().item() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("rate_hz", [4000, 11_025])
@pytest.mark.parametrize(("rate_per_s", "length_ms"), [(1.0, 20.0), (2.0, 100.0)])
def test_losses_are_as_frequent_and_as_long_as_asked(rate_per_s: float, length_ms: float, rate_hz: int) -> None:
    clean = torch.ones(16, 1, 20 * rate_hz)
    observed = at_rate(Dropouts(rate_per_s, length_ms), rate_hz)(clean, seeded()).observed
    lost = observed == 0
    assert bool((lost | (observed == 1)).all())
    assert lost.float().mean().item() == pytest.approx(rate_per_s * length_ms / 1000, rel=0.2)
    bursts = (lost[..., 1:] & ~lost[..., :-1]).sum().item() / (16 * 20)
    assert bursts == pytest.approx(rate_per_s, rel=0.2)


def test_packets_last_20_ms_and_channels_lose_them_together() -> None:
    clean = torch.ones(8, 2, 32_000)
    observed = at_rate(Dropouts(3.0, 40.0), 16_000)(clean, seeded()).observed
    assert torch.equal(observed[:, 0], observed[:, 1])
    for sound in observed[:, 0]:
        edges = torch.nonzero(sound.diff())[:, 0]
        assert bool((edges.diff() % 320 == 0).all())


def test_no_losses_and_nothing_but_losses() -> None:
    clean = torch.ones(4, 1, 16_000)
    assert torch.equal(Dropouts(0.0)(clean, seeded()).observed, clean)
    assert Dropouts(50.0, 10_000.0)(clean, seeded()).observed.mean() < 0.1


def test_mu_law_is_telephonys() -> None:
    clean = torch.linspace(-1.5, 1.5, 1001)[None, None]
    observed = MuLaw(8)(clean, seeded()).observed
    assert observed.unique().numel() <= 256
    theirs = mu_law_decoding(mu_law_encoding(clean.clamp(-1, 1), 256), 256)
    assert (observed - theirs).abs().gt(1e-5).sum() <= 1  # a value on the edge may fall either way
    assert observed.abs().max() <= 1.00001
    with pytest.raises(UsageError, match=r"within 2\.\.16"):
        MuLaw(1)


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("kind", ["mp3", "vorbis", "opus"])
def test_codecs_stay_in_time_and_get_better_with_quality(kind: str, rate_hz: int) -> None:
    clean = voice(rate_hz=rate_hz)
    errors = []
    for quality in (0.0, 1.0):
        result = at_rate(Codec(kind, quality), rate_hz)(clean, seeded())
        assert result.observed.shape == clean.shape
        errors.append((result.observed - clean).square().mean().item() / clean.square().mean().item())
    assert errors[1] < errors[0]
    assert errors[1] < 0.02
    product = torch.fft.rfft(result.observed, 16_384) * torch.fft.rfft(clean, 16_384).conj()
    assert bool((torch.fft.irfft(product).argmax(-1) == 0).all())


def test_codecs_take_long_sounds_and_any_channels() -> None:
    clean = voice(batch=1, channels=3, length=150_001)
    observed = at_rate(Codec("vorbis", 1.0), 16_000)(clean, seeded()).observed
    assert (observed - clean).square().mean() < 0.02 * clean.square().mean()
    assert set(Codec().draw(torch.zeros(50, 1, 1), seeded())["kind"].tolist()) == {0, 1, 2}
    with pytest.raises(UsageError, match="give any, mp3, vorbis, opus"):
        Codec("aac")
