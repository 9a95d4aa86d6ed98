"""Signal-to-noise ratios measured apart, where noise comes from, and that voices are those of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from denoise.corruptions.audio import Babble, BandLimit, Clicks, ColouredNoise, Gain, Hiss, Hum, Noise, Reverb, at_rate
from denoise.corruptions.base import Compose, OneOf, Sometimes
from denoise.corruptions.sound import SoundCorruption
from denoise.errors import UsageError

ADDITIVE = [Noise, ColouredNoise, Hiss, Hum, Babble]


class Barks:
    """A source of recordings that are silent but for a tenth of a second, of any loudness."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, int]] = []

    def draw(self, count: int, length: int, rate_hz: int, generator: torch.Generator) -> Tensor:
        self.calls.append((count, length, rate_hz))
        sounds = torch.zeros(count, length)
        levels = torch.rand(count, 1, generator=generator)
        sounds[:, : rate_hz // 10] = levels * torch.randn(count, min(length, rate_hz // 10), generator=generator)
        return sounds


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def speech(batch: int = 4, length: int = 16_000, channels: int = 1, seed: int = 1) -> Tensor:
    """Noise with a pause in the middle, quieter from example to example."""
    signal = torch.randn(batch, channels, length, generator=seeded(seed)) * 0.1
    signal[..., length // 3 : length // 2] = 0
    return signal * torch.logspace(0, -2, batch)[:, None, None]


def active_power(sound: np.ndarray, rate_hz: int) -> float:
    """Mean power of the frames of 20 ms within 40 dB of the loudest, frame by frame."""
    frame = rate_hz // 50
    powers = [float(np.mean(sound[at : at + frame].astype(float) ** 2)) for at in range(0, len(sound), frame)]
    sizes = [len(sound[at : at + frame]) for at in range(0, len(sound), frame)]
    active = [(power, size) for power, size in zip(powers, sizes, strict=True) if power > 1e-4 * max(powers)]
    return sum(power * size for power, size in active) / sum(size for _, size in active)


def measured_snr_db(noise: Tensor, target: Tensor, rate_hz: int) -> list[float]:
    pairs = zip(target[:, 0].numpy(), noise[:, 0].numpy(), strict=True)
    return [10 * np.log10(active_power(a, rate_hz) / active_power(b, rate_hz)) for a, b in pairs]


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
@pytest.mark.parametrize("kind", ADDITIVE)
def test_ratio_is_the_one_asked_for(kind: type[SoundCorruption], rate_hz: int) -> None:
    clean = speech(length=rate_hz + 777)
    for snr_db in (-5.0, 20.0):
        result = at_rate(kind(snr_db=snr_db), rate_hz)(clean, seeded())
        assert result.target is clean
        np.testing.assert_allclose(measured_snr_db(result.observed - clean, clean, rate_hz), snr_db, atol=0.1)


def test_ratios_are_drawn_for_each_example() -> None:
    clean = speech(batch=16)
    noise = at_rate(ColouredNoise((0.0, 20.0)), 16_000)
    params = noise.draw(clean, seeded())
    ratios = params["snr_db"].flatten()
    assert ratios.unique().numel() == 16
    measured = measured_snr_db(noise.apply(clean, params).observed - clean, clean, 16_000)
    np.testing.assert_allclose(measured, ratios, atol=0.1)


def test_sparse_recordings_are_as_loud_as_they_seem() -> None:
    clean = torch.randn(3, 1, 32_000, generator=seeded(1)) * 0.1
    noise = at_rate(Noise(10.0, count=1, coloured=0.0), 16_000)
    noise.recordings = Barks()
    added = noise(clean, seeded()).observed - clean
    assert not added[..., 1600:].any()
    expected = 0.1 * 10 ** (-10 / 20)
    assert added[..., :1600].std().item() == pytest.approx(expected, rel=0.05)


def test_so_many_recordings_are_drawn_as_are_summed() -> None:
    noise = at_rate(Noise(count=(2, 5)), 16_000)
    noise.recordings = source = Barks()
    params = noise.draw(speech(batch=50), seeded())
    (count, length, rate_hz) = source.calls[0]
    assert len(source.calls) == 1
    assert (length, rate_hz) == (16_000, 16_000)
    assert 120 < count < 230
    assert params["noise"].shape == (50, 1, 16_000)


def test_the_equaliser_colours_white_recordings() -> None:
    class White:
        def draw(self, count: int, length: int, rate_hz: int, generator: torch.Generator) -> Tensor:  # noqa: ARG002
            return torch.randn(count, length, generator=generator)

    spreads = []
    for coloured in (0.0, 1.0):
        noise = at_rate(Noise(count=1, coloured=coloured), 16_000)
        noise.recordings = White()
        drawn = noise.draw(speech(batch=8, length=64_000), seeded())["noise"]
        power = torch.fft.rfft(drawn).abs().square()
        bands = torch.stack([power[..., 2**k * 250 : 2**k * 500].mean(-1) for k in range(6)])  # octaves
        spreads.append((10 * bands.log10()).std(0).mean().item())
    assert spreads[0] < 0.5
    assert 1.5 < spreads[1] < 5


@pytest.mark.parametrize("kind", ADDITIVE)
def test_silence_gets_soft_noise(kind: type[SoundCorruption]) -> None:
    clean = torch.zeros(3, 1, 16_000)
    if kind is Babble:
        clean[0] = speech(1)[0]
    added = (at_rate(kind(), 16_000)(clean, seeded()).observed - clean)[1:]
    for sound in added[:, 0].numpy():
        assert 10 * np.log10(active_power(sound, 16_000)) == pytest.approx(-40, abs=0.1)


def test_the_ratio_is_to_the_target_wherever_the_noise_comes() -> None:
    clean = speech()
    both = at_rate(Compose([Hum(0.0), ColouredNoise(10.0), Gain(-12.0)]), 16_000)
    params = both.draw(clean, seeded())
    hum = both.corruptions[0].apply(clean, params["0"]).observed - clean
    result = both.apply(clean, params)
    added = result.observed / 10 ** (-12 / 20) - clean - hum
    np.testing.assert_allclose(measured_snr_db(added, clean, 16_000), 10.0, atol=0.1)


def test_channels_share_the_noise() -> None:
    clean = speech(channels=2)
    added = at_rate(Noise(5.0), 16_000)(clean, seeded()).observed - clean
    torch.testing.assert_close(added[:, 0], added[:, 1], atol=1e-6, rtol=0)


def test_a_folder_of_recordings_is_read_at_the_rate_of_the_sound(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    soundfile.write(tmp_path / "fan.wav", generator.normal(0, 0.1, 44_100), 44_100)
    noise = Noise(5.0, folder=str(tmp_path))
    for rate_hz in (16_000, 44_100):
        clean = speech(length=rate_hz + 1)
        result = at_rate(noise, rate_hz)(clean, seeded())
        np.testing.assert_allclose(measured_snr_db(result.observed - clean, clean, rate_hz), 5.0, atol=0.1)
    with pytest.raises(UsageError):
        Noise(folder=str(tmp_path / "none"))(clean, seeded())


def test_babble_is_made_of_the_other_examples() -> None:
    clean = torch.zeros(3, 1, 1600)
    for example in range(3):
        clean[example, 0] = torch.cos(2 * torch.pi * (example + 1) * 100 * torch.arange(1600) / 1600)
    noise = at_rate(Babble(0.0, voices=(2, 6)), 16_000).draw(clean, seeded())["noise"]
    power = torch.fft.rfft(noise).abs().square()[:, 0]
    for example in range(3):
        assert power[example, 100 * (example + 1)] < 1e-6 * power[example].sum()
        assert power[example, [100, 200, 300]].sum() > 0.999 * power[example].sum()


def test_babble_of_one_is_backwards_or_recorded() -> None:
    clean = torch.zeros(1, 1, 1600)
    clean[..., :20] = torch.arange(20.0)
    babble = at_rate(Babble(voices=1), 16_000)
    noise = babble.draw(clean, seeded())["noise"][0, 0]
    peak = int(noise.argmax())
    falling = noise.roll(-peak)[:20]
    torch.testing.assert_close(falling / falling[0], clean[0, 0, :20].flip(0) / 19)
    babble.recordings = source = Barks()
    babble.draw(clean, seeded())
    assert source.calls == [(2, 1600, 16_000)]


def test_babble_of_few_is_recorded() -> None:
    babble = at_rate(Babble(voices=(3, 8)), 16_000)
    babble.recordings = source = Barks()
    babble.draw(speech(batch=8), seeded())
    assert [count for count, *_ in source.calls] == [9]
    babble.draw(speech(batch=9), seeded())
    assert len(source.calls) == 1, "nine have eight others each"


def test_combinations() -> None:
    clean = speech(batch=12, length=4001)
    noise = OneOf([Noise(), Babble(), Compose([Clicks(), Hiss()])], [1, 1, 1])
    everything = at_rate(Compose([Sometimes(Reverb()), Sometimes(BandLimit()), Sometimes(noise), Gain()]), 16_000)
    params = everything.draw(clean, seeded())
    first, second = everything.apply(clean, params), everything.apply(clean, params)
    assert first.observed.shape == first.target.shape == clean.shape
    assert bool(first.observed.isfinite().all())
    assert torch.equal(first.observed, second.observed)
    assert torch.equal(first.target, second.target)
    assert Compose([Noise(), Gain()])(clean, seeded()).condition is None
