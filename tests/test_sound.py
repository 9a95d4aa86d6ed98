from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import denoise
from denoise.errors import UsageError
from denoise.leveller import REACH
from denoise.loading import load
from denoise.networks.spectral import SpectralUNet
from denoise.networks.stft import hop_length
from denoise.sound import LOUDEST, SoundRestorer, listen
from denoise.windows import Windows, rows_of
from tests.conftest import card, sound

RATES = (8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000)
ALL = {"attenuation_db": float("inf")}


@pytest.fixture(scope="module")
def restorer(tiny_sound_weights: Path) -> SoundRestorer:
    return load(tiny_sound_weights, device="cpu", dtype="float32")


def wave(*shape: int, **facts: int) -> Tensor:
    channels, length = shape
    return torch.from_numpy(sound(length, channels, **facts))


def cut_small(restorer: SoundRestorer, hops: int = 1) -> SoundRestorer:
    """The same restorer with windows that advance by so many hops only."""

    def windows(rate_hz: int) -> Windows:
        hop, context = hop_length(rate_hz), restorer.context(rate_hz)
        return Windows(size=2 * context + hops * hop, context=context, multiple_of=hop)

    small = SoundRestorer(restorer.network, restorer.card, "cpu", "float32")
    small.windows = windows  # type: ignore[method-assign]
    return small


def test_it_says_what_it_is(restorer: SoundRestorer) -> None:
    assert repr(restorer) == "SoundRestorer(tiny sound, cpu, float32)"
    assert repr(SoundRestorer(restorer.network, device="cpu")) == "SoundRestorer(SpectralUNet, cpu, float32)"


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3000,), (1, 3000), (2, 3000)])
def test_tensors_come_back_as_they_came(restorer: SoundRestorer, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    signal = wave(2, 3000)[: shape[0] if len(shape) > 1 else 1].reshape(shape).to(dtype)
    before = signal.clone()
    restored = restorer(signal, 16_000)
    assert isinstance(restored, Tensor)
    assert (restored.shape, restored.dtype, restored.device) == (signal.shape, dtype, signal.device)
    assert torch.equal(signal, before), "the input was written to"
    assert not torch.equal(restored, signal)
    assert restored.isfinite().all()
    assert not restored.is_inference()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, ">f4"])
@pytest.mark.parametrize("shape", [(3000,), (2, 3000)])
def test_arrays_come_back_as_they_came(restorer: SoundRestorer, dtype: Any, shape: tuple[int, ...]) -> None:
    signal = sound(3000, 2)[: shape[0] if len(shape) > 1 else 1].reshape(shape).astype(dtype)
    restored = restorer(signal, 16_000)
    assert isinstance(restored, np.ndarray)
    assert (restored.shape, restored.dtype) == (shape, signal.dtype)
    expected = restorer(torch.from_numpy(signal.astype(np.float32)), 16_000).numpy()
    np.testing.assert_allclose(restored.astype(np.float32), expected, atol=1e-3 if dtype == np.float16 else 0)


def test_arrays_may_be_reversed_strided_or_read_only(restorer: SoundRestorer) -> None:
    signal = sound(3000, 2)
    rows = np.ascontiguousarray(signal.T)
    frozen = signal.copy()
    frozen.flags.writeable = False
    expected = restorer(signal, 16_000)
    assert np.array_equal(restorer(rows.T, 16_000), expected)
    assert np.array_equal(restorer(frozen, 16_000), expected)
    np.testing.assert_allclose(restorer(signal[::-1], 16_000), expected[::-1], atol=1e-6)
    assert np.array_equal(restorer(signal[:, ::-1], 16_000), restorer(signal[:, ::-1].copy(), 16_000))


def test_a_tensor_may_want_gradients(restorer: SoundRestorer) -> None:
    assert not restorer(wave(1, 500).requires_grad_(), 16_000).requires_grad


def test_strength_mixes_and_zero_is_a_copy_of_the_input(restorer: SoundRestorer) -> None:
    signal = wave(2, 4000).double() / 3
    full, half, none = (restorer(signal, 16_000, strength, **ALL) for strength in (1.0, 0.5, 0.0))
    assert torch.equal(none, signal) and none.data_ptr() != signal.data_ptr()
    torch.testing.assert_close(half, (signal + full) / 2, atol=1e-6, rtol=0)


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_every_length(restorer: SoundRestorer, rate_hz: int) -> None:
    hop = hop_length(rate_hz)
    for length in (0, 1, 2, hop - 1, hop, hop + 1, 3 * hop - 1, 3 * hop, 3 * hop + 1, 20 * hop + 5):
        restored = restorer(wave(1, length), rate_hz)
        assert restored.shape == (1, length)
        assert restored.isfinite().all()


@pytest.mark.parametrize("channels", range(1, 9))
def test_channels_are_restored_one_by_one(restorer: SoundRestorer, channels: int) -> None:
    signal = wave(channels, 3000)
    restored = restorer(signal, 16_000)
    for one, alone in zip(restored, signal, strict=True):
        torch.testing.assert_close(one, restorer(alone, 16_000), atol=1e-6, rtol=0)


@pytest.mark.parametrize("rate_hz", RATES)
def test_every_rate(restorer: SoundRestorer, rate_hz: int) -> None:
    signal = wave(1, rate_hz // 2 + 3, rate_hz=rate_hz)
    restored = restorer(signal, rate_hz, **ALL)
    assert restored.shape == signal.shape
    assert restored.isfinite().all()
    assert 0.01 < (restored - signal).square().mean().sqrt() < 1


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("hops", [1, 5])
def test_windows_change_nothing(restorer: SoundRestorer, rate_hz: int, hops: int) -> None:
    signal = wave(2, round(2 * rate_hz) + 11, rate_hz=rate_hz)
    signal[:, rate_hz:] *= 2.0**-9  # the half that is soft is raised
    small = cut_small(restorer, hops)
    assert small.windows(rate_hz).size < signal.shape[1] / 1.5
    whole, windowed = (one(signal, rate_hz, **ALL) for one in (restorer, small))
    torch.testing.assert_close(windowed, whole, atol=1e-5, rtol=0)
    soft = slice(round(1.5 * rate_hz), None)
    torch.testing.assert_close(windowed[:, soft], whole[:, soft], atol=2e-8, rtol=0)


def test_windows_are_of_whole_hops_with_all_the_context(restorer: SoundRestorer) -> None:
    for rate_hz in RATES:
        windows, hop = restorer.windows(rate_hz), hop_length(rate_hz)
        assert windows.context == restorer.context(rate_hz) == (restorer.network.receptive_field + 2 + REACH) * hop
        assert windows.multiple_of == hop
        assert windows.size == pytest.approx(20 * rate_hz, rel=0.01)


def test_the_context_is_what_a_sample_can_see(restorer: SoundRestorer) -> None:
    """What changes further away than that changes nothing at all."""
    rate_hz, at = 16_000, 8000
    signal = wave(1, 16_000)
    other = signal.clone()
    other[:, at] += 0.5
    context = restorer.context(rate_hz)
    changed = (restorer(other, rate_hz) != restorer(signal, rate_hz))[0].nonzero().flatten()
    assert changed.min() > at - context
    assert changed.max() < at + context


def test_later_by_whole_hops_is_restored_alike(restorer: SoundRestorer) -> None:
    hop, context = hop_length(16_000), restorer.context(16_000)
    signal = wave(1, 12_000)
    late = torch.cat([0.1 * wave(1, 3 * hop, seed=1), signal], dim=1)
    ours, theirs = restorer(signal, 16_000), restorer(late, 16_000)[:, 3 * hop :]
    torch.testing.assert_close(ours[:, context:], theirs[:, context:], atol=1e-6, rtol=0)


def test_a_steady_tone_has_no_clicks_where_windows_meet(restorer: SoundRestorer) -> None:
    step = 2 * torch.pi * 220 / 16_000
    tone = 0.5 * torch.sin(torch.arange(24_000) * step)
    context = restorer.context(16_000)
    whole, cut = (one(tone, 16_000, **ALL)[context:-context] for one in (restorer, cut_small(restorer, 3)))
    bend = cut.diff(n=2).abs().max()
    assert bend < 1.001 * whole.diff(n=2).abs().max()
    # A sine bends no more than its height times its step squared; this one is also louder and softer.
    assert bend < 2 * cut.abs().max() * step**2


def test_silence_stays_silence(restorer: SoundRestorer) -> None:
    silence = torch.zeros(2, 5000)
    assert torch.equal(restorer(silence, 16_000), silence)
    signal = wave(1, 40_000)
    signal[:, 10_000:30_000] = 0
    context = restorer.context(16_000)
    assert not restorer(signal, 16_000)[:, 10_000 + context : 30_000 - context].any()


@pytest.mark.parametrize("level", [1e-30, 1e-4, 1.0, 1000.0, LOUDEST])
def test_a_square_wave_of_any_level_stays_finite(restorer: SoundRestorer, level: float) -> None:
    square = level * (torch.arange(16_000) // 40 % 2 * 2 - 1).float()
    restored = restorer(square, 16_000)
    assert restored.isfinite().all()
    assert restored.abs().max() < 4 * level


def test_an_offset_stays_finite_and_no_louder(restorer: SoundRestorer) -> None:
    restored = restorer(torch.full((1, 8000), 0.5), 16_000)
    assert restored.isfinite().all()
    assert restored.abs().max() < 2


class _Mute(SpectralUNet):
    """Takes everything out."""

    def forward(self, observed: Tensor, condition: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return torch.zeros_like(observed)


@pytest.mark.parametrize("attenuation_db", [0.0, 6.0, 20.0, 40.0, float("inf")])
def test_nothing_becomes_quieter_than_allowed(restorer: SoundRestorer, attenuation_db: float) -> None:
    signal, floor = wave(2, 5000), 10 ** (-attenuation_db / 20)
    mute = SoundRestorer(_Mute(widths=(4,), bands=32, temporal=4, dilations=(1,)), device="cpu")
    limited = mute(signal, 16_000, attenuation_db=attenuation_db)
    torch.testing.assert_close(limited, floor * signal, atol=1e-7, rtol=1e-5)
    all_of_it = restorer(signal, 16_000, **ALL)
    limited = restorer(signal, 16_000, attenuation_db=attenuation_db)
    torch.testing.assert_close(limited, floor * signal + (1 - floor) * all_of_it, atol=1e-6, rtol=0)


def test_40_db_are_the_default(restorer: SoundRestorer) -> None:
    signal = wave(1, 5000)
    assert torch.equal(restorer(signal, 16_000), restorer(signal, 16_000, attenuation_db=40))


def test_bfloat16_is_close_to_float32(restorer: SoundRestorer, tiny_sound_weights: Path) -> None:
    signal = wave(1, 8000)
    low, high = load(tiny_sound_weights, "cpu", "bfloat16")(signal, 16_000), restorer(signal, 16_000)
    assert low.dtype == torch.float32
    assert 0 < (low - high).square().mean() < 1e-3 * signal.square().mean()


def test_float32_is_the_default_for_sound(tiny_sound_weights: Path) -> None:
    assert load(tiny_sound_weights, "cpu").dtype == torch.float32


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (torch.zeros(1, 2, 100), r"shape \(1, 2, 100\)"),
        (torch.zeros(()), "neither"),
        (torch.zeros(0, 100), "with a channel"),
        (torch.zeros(100, dtype=torch.int16), "int16 have no scale"),
        (torch.zeros(100, dtype=torch.complex64), "no scale"),
        (torch.zeros(100, dtype=torch.bool), "no scale"),
        (torch.tensor([0.0, torch.nan]), "NaN or infinity"),
        (torch.tensor([[0.0], [torch.inf]]), "NaN or infinity"),
        (torch.tensor([1e300], dtype=torch.float64), "NaN or infinity"),
        (torch.tensor([0.0, -1e10]), "absurdly loud"),
        (np.zeros(100, np.int16), "int16 have no scale"),
        (np.ma.masked_array(np.zeros(100), True), "hides samples"),
        (np.zeros((2, 2, 2)), "neither"),
        (np.array(["a"]), "no scale"),
        (np.array([None]), "no scale"),
        (np.array([np.nan, 0]), "NaN or infinity"),
        ([0.0, 0.1], "not list"),
        (None, "not NoneType"),
    ],
)
def test_what_is_no_sound_gets_one_sentence(restorer: SoundRestorer, bad: object, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        restorer(bad, 16_000)


@pytest.mark.parametrize(
    "options",
    [
        {"strength": 1.1},
        {"strength": -0.1},
        {"strength": float("nan")},
        {"attenuation_db": -1},
        {"attenuation_db": float("nan")},
        {"rate_hz": 0},
        {"rate_hz": 3999},
        {"rate_hz": 768_001},
        {"rate_hz": float("nan")},
    ],
)
def test_options_out_of_range(restorer: SoundRestorer, options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="out of range"):
        restorer(torch.zeros(100), **{"rate_hz": 16_000, **options})


def test_restore_takes_sound_in_memory(restorer: SoundRestorer, tiny_sound_weights: Path, tiny_weights: Path) -> None:
    signal = sound(3000, 2)
    options = {"rate_hz": 16_000, "device": "cpu", "dtype": "float32"}
    restored = denoise.restore(signal, model=tiny_sound_weights, strength=0.5, attenuation_db=20, **options)
    assert np.array_equal(restored, restorer(signal, 16_000, 0.5, 20))
    with pytest.raises(UsageError, match="are for pictures"):
        denoise.restore(signal, model=tiny_weights, **options)
    with pytest.raises(UsageError, match="are for sound"):
        denoise.restore(torch.rand(3, 8, 8), model=tiny_sound_weights, device="cpu")


def test_without_a_card_it_works_too(restorer: SoundRestorer) -> None:
    own = SoundRestorer(restorer.network, card("own", medium="sound"), "cpu")
    signal = wave(1, 1000)
    assert torch.equal(own(signal, 8000), restorer(signal, 8000))


@pytest.mark.parametrize("shape", [(16_000, 2), (640, 2), (100, 2), (129, 4000)])
def test_samples_by_channels_are_not_taken_for_channels(tiny_sound_weights: Path, shape: tuple[int, int]) -> None:
    restorer = load(tiny_sound_weights, "cpu")
    with pytest.raises(UsageError, match=r"turn it over with \.T"):
        restorer(np.zeros(shape, np.float32), 16_000)
    assert restorer(np.zeros((64, 100), np.float32), 16_000).shape == (64, 100)


def quiet(restorer: SoundRestorer, *decibels: float) -> list[Tensor]:
    """What becomes of a sound at several levels, at its own level again."""
    signal = wave(1, 16_000)
    levels = [2.0 ** round(level / (20 * math.log10(2))) for level in decibels]
    return [restorer(signal * level, 16_000) / level for level in levels]


def test_how_quiet_a_sound_is_makes_no_difference(restorer: SoundRestorer) -> None:
    first, second, third = quiet(restorer, -36, -60, -100)
    assert torch.equal(first, second) and torch.equal(second, third)


def test_each_channel_is_heard_at_a_level_of_its_own(restorer: SoundRestorer) -> None:
    signal = wave(2, 16_000) * torch.tensor([[1.0], [2.0**-12]])
    torch.testing.assert_close(restorer(signal, 16_000)[1], restorer(signal[1:], 16_000)[0], rtol=1e-4, atol=1e-8)
    assert listen(rows_of(signal), 16_000, 16_000).gain.flatten().tolist() == [1, 2.0**9]


def test_a_click_does_not_hide_that_a_sound_is_quiet() -> None:
    signal = wave(1, 160_000) * 2.0**-12
    signal[0, 80_000] = 1
    assert listen(rows_of(signal), 160_000, 16_000).gain.item() == 8  # and no sample goes beyond 18 dB
    assert listen(rows_of(torch.zeros(1, 500)), 500, 16_000).gain.item() == 1


def test_digital_silence_does_not_hide_that_a_sound_is_quiet() -> None:
    signal = torch.cat([torch.zeros(1, 2_000_000), wave(1, 16_000) * 2.0**-12], dim=1)
    assert listen(rows_of(signal), signal.shape[1], 16_000).gain.item() == 512


def test_an_offset_makes_no_difference_and_stays(restorer: SoundRestorer) -> None:
    signal = wave(1, 16_000) * 2.0**-8
    torch.testing.assert_close(restorer(signal + 0.25, 16_000) - 0.25, restorer(signal, 16_000), atol=2e-4, rtol=0)


def test_whole_numbers_as_floats_are_turned_down(restorer: SoundRestorer) -> None:
    signal = wave(1, 16_000)
    torch.testing.assert_close(restorer(signal * 2**15, 16_000) / 2**15, restorer(signal * 16, 16_000) / 16)
    assert listen(rows_of(signal * 2**15), 16_000, 16_000).gain.item() < 1
    assert listen(rows_of(signal), 16_000, 16_000) == (1, 0)
