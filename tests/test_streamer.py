from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import denoise
from denoise.errors import UsageError
from denoise.loading import load
from denoise.networks.stft import hop_length
from denoise.sound import Heard, SoundRestorer, listen
from denoise.streamer import Streamer
from denoise.windows import rows_of
from tests.conftest import sound


@pytest.fixture(scope="module")
def restorer(tiny_sound_weights: Path) -> SoundRestorer:
    return load(tiny_sound_weights, device="cpu", dtype="float32")


def stream(streamer: Streamer, signal: Any, sizes: list[int]) -> list[Any]:
    """Feed pieces of these sizes, then the rest, then flush."""
    pieces, start = [], 0
    for size in [*sizes, signal.shape[-1]]:
        pieces.append(streamer.feed(signal[..., start : start + size]))
        start += size
    return [*pieces, streamer.flush()]


def joined(pieces: list[Any]) -> Any:
    join = torch.cat if isinstance(pieces[0], Tensor) else np.concatenate
    return join(pieces, -1)


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 44100, 48000])
@pytest.mark.parametrize("block_s", [0.001, 0.05, 0.3, 5.0])
def test_streamed_is_what_restoring_the_whole_gives(restorer: SoundRestorer, rate_hz: int, block_s: float) -> None:
    draw = np.random.default_rng(rate_hz)
    channels = int(draw.integers(1, 3))
    signal = torch.from_numpy(sound(rate_hz + int(draw.integers(0, 1000)), channels, rate_hz))
    sizes = draw.integers(0, rate_hz // 5, 8).tolist()
    pieces = stream(Streamer(restorer, rate_hz, block_s), signal, sizes)
    assert all(piece.shape[0] == channels for piece in pieces)
    torch.testing.assert_close(joined(pieces), restorer(signal, rate_hz), atol=1e-5, rtol=0)


@pytest.mark.parametrize("hops", [0, 1, 2, 9, 12, 30])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_every_tail(restorer: SoundRestorer, hops: int, more: int) -> None:
    signal = torch.from_numpy(sound(max(0, hops * hop_length(16_000) + more))[0])
    length = len(signal)  # what is that short may have a mean
    heard = listen(rows_of(signal[None]), length, 16_000) if length else Heard()
    pieces = stream(Streamer(restorer, 16_000, 0.05, heard=heard), signal, [700, 1])
    torch.testing.assert_close(joined(pieces), restorer(signal, 16_000), atol=1e-5, rtol=0)


def test_a_soft_voice_after_a_loud_one_is_streamed_as_the_whole(restorer: SoundRestorer) -> None:
    signal = torch.from_numpy(sound(30_000)[0])
    signal[15_000:] *= 2.0**-10
    streamed = joined(stream(Streamer(restorer, 16_000, 0.05), signal, [700, 1]))
    torch.testing.assert_close(streamed, restorer(signal, 16_000), atol=1e-5, rtol=0)
    torch.testing.assert_close(streamed[17_000:], restorer(signal, 16_000)[17_000:], atol=1e-8, rtol=0)


def test_a_quiet_stream_with_its_gain_is_what_restoring_the_whole_gives(restorer: SoundRestorer) -> None:
    signal = torch.from_numpy(sound(8000)[0]) * 1e-4 + 0.01
    heard = listen(rows_of(signal[None]), 8000, 16_000)
    pieces = stream(Streamer(restorer, 16_000, 0.05, heard=heard), signal, [700, 1])
    assert heard.gain > 100
    torch.testing.assert_close(joined(pieces), restorer(signal, 16_000), atol=1e-8, rtol=0)


@pytest.mark.parametrize("shape", [(1, -1), (2, -1), (-1,)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tensor", [True, False])
def test_samples_come_back_as_the_kind_they_came(
    restorer: SoundRestorer, shape: tuple[int, ...], dtype: type, tensor: bool
) -> None:
    signal: Any = (
        sound(6000, max(shape)).astype(dtype).reshape(shape) if max(shape) > 0 else sound(6000)[0].astype(dtype)
    )
    signal = torch.from_numpy(signal) if tensor else signal
    pieces = stream(Streamer(restorer, 16_000, 0.05), signal, [100, 5000])
    for piece in pieces:
        assert type(piece) is type(signal)
        assert piece.dtype == signal.dtype
        assert piece.shape[:-1] == signal.shape[:-1]
    assert joined(pieces).shape == signal.shape


def test_options_reach_the_network(restorer: SoundRestorer) -> None:
    signal = torch.from_numpy(sound(9000))
    pieces = stream(Streamer(restorer, 16_000, 0.1, strength=0.4, attenuation_db=12), signal, [4000])
    torch.testing.assert_close(joined(pieces), restorer(signal, 16_000, 0.4, 12), atol=1e-5, rtol=0)


def test_strength_zero_gives_the_same_bits_back(restorer: SoundRestorer) -> None:
    signal = sound(9000, 2).astype(np.float64) / 3
    assert np.array_equal(joined(stream(Streamer(restorer, 16_000, strength=0), signal, [10, 4000])), signal)


def test_flush_starts_anew(restorer: SoundRestorer) -> None:
    streamer, signal = Streamer(restorer, 16_000, 0.05), torch.from_numpy(sound(7000))
    first = joined(stream(streamer, signal, [3000]))
    again = joined(stream(streamer, signal, [10, 20, 30]))
    torch.testing.assert_close(again, first, atol=1e-6, rtol=0)
    other = sound(5000, 3)[:, :4000]  # of another kind, with other channels
    assert joined(stream(streamer, other, [])).shape == (3, 4000)


@pytest.mark.parametrize("block_s", [0.02, 0.2])
def test_a_sample_comes_back_within_the_latency_and_is_final(restorer: SoundRestorer, block_s: float) -> None:
    streamer, signal = Streamer(restorer, 16_000, block_s), torch.from_numpy(sound(16_000)[0])
    late = round(streamer.latency_s * 16_000)
    assert late == streamer.block + streamer.context
    given, most = 0, 0
    for start in range(0, 16_000, 100):
        given += len(streamer.feed(signal[start : start + 100]))
        fed = start + 100
        assert fed - late < given + 1 <= fed + 1
        assert given <= max(0, fed - streamer.context), "a sample was given before all that it can hear"
        most = max(most, streamer.held.shape[1])
    assert most <= streamer.block + 2 * streamer.context + 100, "what is held does not grow"


def test_a_buffer_may_be_used_again(restorer: SoundRestorer) -> None:
    """As sound cards do: the array that was fed is written over at once."""
    streamer, signal, buffer = Streamer(restorer, 16_000, 0.05), sound(6000)[0], np.empty(1000, np.float32)
    pieces = []
    for start in range(0, 6000, 1000):
        buffer[:] = signal[start : start + 1000]
        pieces.append(streamer.feed(buffer))
        buffer[:] = 9
    pieces.append(streamer.flush())
    np.testing.assert_allclose(joined(pieces), restorer(signal, 16_000), atol=1e-5)
    assert not any(np.shares_memory(piece, buffer) for piece in pieces)


def test_other_samples_than_before_are_refused_and_change_nothing(restorer: SoundRestorer) -> None:
    streamer, signal = Streamer(restorer, 16_000, 0.05), torch.from_numpy(sound(6000, 2))
    pieces = [streamer.feed(signal[:, :3000])]
    for other in (signal[0], signal[:1], signal.numpy()):
        with pytest.raises(UsageError, match="flush first"):
            streamer.feed(other)
    for bad, why in ((signal * torch.nan, "NaN"), (signal.short(), "no scale"), (None, "not NoneType")):
        with pytest.raises(UsageError, match=why):
            streamer.feed(bad)
    pieces += [streamer.feed(signal[:, 3000:]), streamer.flush()]
    torch.testing.assert_close(joined(pieces), restorer(signal, 16_000), atol=1e-5, rtol=0)


def test_a_block_may_be_shorter_than_it_has_channels(restorer: SoundRestorer) -> None:
    signal = sound(600, 24)
    pieces = stream(Streamer(restorer, 16_000, 0.05), signal, [8, 0, 100])
    np.testing.assert_allclose(joined(pieces), restorer(signal, 16_000), atol=1e-5)
    with pytest.raises(UsageError, match=r"turn it over with \.T"):
        Streamer(restorer, 16_000).feed(signal.T)


def test_nothing_fed_nothing_to_flush(restorer: SoundRestorer) -> None:
    streamer = Streamer(restorer, 16_000)
    with pytest.raises(UsageError, match="Nothing was fed"):
        streamer.flush()
    assert streamer.feed(np.zeros((2, 0), np.float32)).shape == (2, 0)
    assert streamer.flush().shape == (2, 0)


@pytest.mark.parametrize(
    "options",
    [{"rate_hz": 100}, {"strength": 2}, {"attenuation_db": -1}, {"block_s": 0}, {"block_s": 61}, {"block_s": -1}],
)
def test_options_out_of_range(restorer: SoundRestorer, options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="out of range"):
        Streamer(restorer, **{"rate_hz": 16_000, **options})


def test_all_public_names_are_there() -> None:
    assert denoise.Streamer is Streamer
    assert [name for name in denoise.__all__ if not hasattr(denoise, name)] == []


def test_only_sound_is_streamed(tiny_weights: Path) -> None:
    for wrong in ("speech", load(tiny_weights)):
        with pytest.raises(UsageError, match="restores no sound"):
            Streamer(wrong, 16_000)


def test_how_sound_is_heard_may_be_arrays_of_any_float(restorer: SoundRestorer) -> None:
    signal = sound(9000, 2)
    one, other = (
        joined(stream(Streamer(restorer, 16_000, heard=Heard(kind([[2.0], [4.0]]), 0.1)), signal, [700]))
        for kind in (torch.tensor, np.array)
    )
    assert one.shape == signal.shape and np.array_equal(one, other)


@pytest.mark.parametrize("gain", [0.0, -1.0, float("nan"), float("inf"), "2", None, [1.0, 2.0]])
def test_how_sound_cannot_be_heard(restorer: SoundRestorer, gain: Any) -> None:
    with pytest.raises(UsageError, match=r"holds something else than numbers|is not possible"):
        Streamer(restorer, 16_000, heard=Heard(gain))


def test_sound_is_heard_channel_by_channel(restorer: SoundRestorer) -> None:
    streamer = Streamer(restorer, 16_000, heard=Heard(torch.ones(3, 1)))
    with pytest.raises(UsageError, match="These are 2 channels"):
        streamer.feed(sound(9000, 2))
