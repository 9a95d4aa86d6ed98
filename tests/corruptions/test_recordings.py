from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from denoise.corruptions.recordings import SUFFIXES, Recordings, sounds_below
from denoise.errors import UsageError
from denoise.media.audio_formats import FORMATS


def tone(seconds: float, rate_hz: int, hz: float = 440.0, level: float = 0.3) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    soundfile.write(tmp_path / "a.wav", tone(0.5, 48_000), 48_000)
    soundfile.write(tmp_path / "deep" / "b.flac", np.stack([tone(0.25, 16_000), 0 * tone(0.25, 16_000)], 1), 16_000)
    soundfile.write(tmp_path / "deep" / "c.ogg", tone(0.25, 44_100), 44_100)
    (tmp_path / "notes.txt").write_text("text")
    return tmp_path


def drawn(recordings: Recordings, count: int = 3, length: int = 100, rate_hz: int = 16_000, seed: int = 0) -> Tensor:
    return recordings.draw(count, length, rate_hz, torch.Generator().manual_seed(seed))


def test_all_sound_below_a_folder_at_every_rate_it_has(folder: Path) -> None:
    recordings, refused = Recordings.read(folder)
    assert refused == {}
    assert recordings.rates_hz == [16_000, 48_000]
    assert len(recordings.tracks[16_000]) == 16_000  # half a second, and two quarters
    # 44.1 kHz is nearly all of it, 16 kHz is not.
    assert len(recordings.tracks[48_000]) == pytest.approx(24_000 + 12_000, abs=1)
    assert recordings.minutes(16_000) == pytest.approx(1 / 60)
    assert Recordings.read(folder, rates_hz=[8000])[0].rates_hz == [8000]


def test_every_recording_is_as_loud_and_fades(folder: Path) -> None:
    for path in ("deep/b.flac", "deep/c.ogg"):
        (folder / path).unlink()
    track = Recordings.read(folder)[0].tracks[48_000]
    assert track.dtype == torch.int16
    assert track.abs().max() == pytest.approx(16_384, abs=2)
    assert track[0] == track[-1] == 0
    assert track[:120].abs().max() < 0.55 * 16_384 < track[240:480].abs().max()


def test_sound_is_resampled_in_time_and_pitch(folder: Path) -> None:
    for path in ("deep/b.flac", "deep/c.ogg"):
        (folder / path).unlink()
    track = Recordings.read(folder)[0].tracks[16_000].float()[1000:-1000]
    expected = torch.from_numpy(tone(0.5, 16_000, level=16_384.0)).float()[1000:-1000]
    assert (track - expected).abs().max() < 50


def test_the_order_is_random_and_repeatable(tmp_path: Path) -> None:
    for k in range(8):
        soundfile.write(tmp_path / f"{k}.wav", tone(0.02, 16_000, 200 * (k + 1)), 16_000)
    tracks = [Recordings.read(tmp_path, seed=seed)[0].tracks[16_000] for seed in (0, 0, 1)]
    assert torch.equal(tracks[0], tracks[1])
    assert not torch.equal(tracks[0], tracks[2])
    assert torch.equal(tracks[0].sort()[0], tracks[2].sort()[0])


def test_unusable_files_are_named(folder: Path) -> None:
    soundfile.write(folder / "silent.wav", np.zeros(100), 16_000)
    soundfile.write(folder / "empty.wav", np.zeros(0), 16_000)
    soundfile.write(folder / "nan.wav", np.array([0.5, np.nan, 0.1]), 16_000, "FLOAT")
    (folder / "text.wav").write_text("text")
    (folder / "folder.wav").mkdir()
    recordings, refused = Recordings.read(folder)
    assert {path.name for path in refused} == {"silent.wav", "empty.wav", "nan.wav", "text.wav"}
    assert all(refused.values())
    assert len(recordings.tracks[16_000]) == 16_000


def test_every_format_that_restore_reads_and_nothing_hidden(folder: Path) -> None:
    assert set(FORMATS) == SUFFIXES
    for name, form in (("d.w64", "W64"), ("deep/e.aifc", "AIFF"), (".trash/f.wav", "WAV")):
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / name, tone(0.25, 16_000), 16_000, format=form)
    (folder / "deep" / "._a.wav").write_bytes(b"\0\5\x16\7")  # as macOS writes beside a.wav
    (folder / "folder.wav").mkdir()
    (folder / "deep" / "circle").symlink_to(folder)
    names = [path.relative_to(folder).as_posix() for path in sounds_below(folder)]
    assert names == ["a.wav", "d.w64", "deep/b.flac", "deep/c.ogg", "deep/e.aifc"]
    recordings, refused = Recordings.read(folder)
    assert not refused and len(recordings.tracks[16_000]) == 24_000


def test_names_need_not_be_text(folder: Path) -> None:
    soundfile.write(os.fsencode(folder) + b"/caf\xe9.wav", tone(0.5, 16_000), 16_000)
    recordings, refused = Recordings.read(folder)
    assert not refused
    assert len(recordings.tracks[16_000]) == 24_000


@pytest.mark.parametrize("rates_hz", [(16_000,), (16_000, 48_000)])
def test_what_a_rate_cannot_hold_is_not_made_loud(tmp_path: Path, rates_hz: tuple[int, ...]) -> None:
    """A whistle at 20 kHz leaves nothing at 16 kHz but the noise of the resampling."""
    soundfile.write(tmp_path / "a.wav", tone(0.5, 48_000, 20_000) * np.hanning(24_000), 48_000, "FLOAT")
    soundfile.write(tmp_path / "b.wav", tone(0.5, 16_000), 16_000)
    track = Recordings.read(tmp_path, rates_hz=rates_hz)[0].tracks[16_000]
    assert len(track) == 8000


def test_no_sound_at_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no usable sound"):
        Recordings.read(tmp_path)
    (tmp_path / "text.wav").write_text("text")
    with pytest.raises(UsageError, match=r"text\.wav: "):
        Recordings.read(tmp_path)


def test_pairs_stay_in_step(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for name, length in (("a", 4000), ("b", 3000)):
        clean = draw.uniform(-0.2, 0.2, length)
        for kind, samples in (("noisy", 3 * clean), ("clean", clean)):
            (tmp_path / kind / "deep").mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / kind / "deep" / f"{name}.wav", samples, 16_000, "FLOAT")
    soundfile.write(tmp_path / "noisy" / "alone.wav", draw.uniform(-1, 1, 100), 16_000)
    soundfile.write(tmp_path / "noisy" / "longer.wav", draw.uniform(-1, 1, 100), 16_000)
    soundfile.write(tmp_path / "clean" / "longer.wav", draw.uniform(-1, 1, 99), 16_000)
    soundfile.write(tmp_path / "clean" / "only.wav", draw.uniform(-1, 1, 99), 16_000)
    recordings, refused = Recordings.read(tmp_path / "noisy", tmp_path / "clean", rates_hz=[16_000])
    assert refused[tmp_path / "noisy" / "alone.wav"] == "has no partner in clean/"
    assert refused[tmp_path / "clean" / "only.wav"] == "has no partner in noisy/"
    assert {path.name for path in refused} == {"alone.wav", "longer.wav", "only.wav"}
    assert "another rate or length" in refused[tmp_path / "noisy" / "longer.wav"]
    assert recordings.tracks[16_000].shape == (7000, 2)
    batch = drawn(recordings, 5, 500)
    assert batch.shape == (5, 500, 2)
    torch.testing.assert_close(batch[..., 0], 3 * batch[..., 1], atol=2e-4, rtol=0)
    assert drawn(recordings, 1, 9000).shape == (1, 9000, 2)


def test_excerpts_are_stretches_of_the_track() -> None:
    recordings = Recordings({16_000: torch.arange(30_000, dtype=torch.int16)})
    batch = drawn(recordings, 50, 700)
    assert batch.shape == (50, 700)
    assert batch.dtype == torch.float32
    samples = (batch * 32768).round().int()
    assert (samples.diff() == 1).all()
    assert samples[:, 0].unique().numel() > 40
    assert torch.equal(batch, drawn(recordings, 50, 700))
    assert not torch.equal(batch, drawn(recordings, 50, 700, seed=1))
    assert drawn(recordings, 1, 30_000).shape == (1, 30_000)


def test_a_short_track_is_repeated() -> None:
    recordings = Recordings({16_000: torch.arange(7, dtype=torch.int16)})
    for length in (7, 8, 14, 50):
        samples = (drawn(recordings, 4, length) * 32768).round().int()
        assert ((samples.diff() - 1) % 7 == 0).all()


def test_rates_that_are_not_there() -> None:
    with pytest.raises(UsageError, match=r"no recordings at 48000 Hz; there are some at \[16000\]"):
        drawn(Recordings({16_000: torch.zeros(10, dtype=torch.int16)}), rate_hz=48_000)


@pytest.mark.parametrize("share", [0.04, 0.5, 0.9])
def test_the_held_back_share_is_disjoint(share: float) -> None:
    track = torch.arange(1000, dtype=torch.int16)
    head, tail = Recordings({8000: track, 16_000: track[:500]}).split(share)
    for rate_hz, length in ((8000, 1000), (16_000, 500)):
        parts = head.tracks[rate_hz], tail.tracks[rate_hz]
        assert torch.equal(torch.cat(parts), track[:length])
        assert len(parts[1]) == pytest.approx(share * length, abs=1)


@pytest.mark.parametrize("seed", range(4))
def test_a_recording_is_held_back_alike_at_all_its_rates(tmp_path: Path, seed: int) -> None:
    """Each recording is a tone of its own, so its tone tells where it went; every fourth is there at both rates."""
    for k in range(12):
        rate_hz = 16_000 if k % 4 else 48_000
        soundfile.write(tmp_path / f"{k}.wav", tone(1, rate_hz, 400 * (k + 1)), rate_hz)
    head, tail = Recordings.read(tmp_path, seed=seed)[0].split(0.25)
    for part, share in ((head, 0.75), (tail, 0.25)):
        low, high = (_seconds(part, rate_hz) for rate_hz in (16_000, 48_000))
        assert sum(low.values()) == pytest.approx(12 * share, abs=0.1)
        assert sum(high.values()) == pytest.approx(3 * share, abs=0.1)
        for hz in (400, 2000, 3600):
            assert low[hz] == pytest.approx(high[hz], abs=0.06)


def _seconds(recordings: Recordings, rate_hz: int) -> Counter[int]:
    """How long each tone is heard, by frames of 25 ms."""
    frames = recordings.tracks[rate_hz].float().unfold(0, rate_hz // 40, rate_hz // 40)
    found = Counter((40 * torch.fft.rfft(frames).abs().argmax(1)).tolist())
    return Counter({hz: count / 40 for hz, count in found.items()})  # type: ignore[misc]


def test_what_is_too_low_for_every_rate_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "low.wav", tone(0.2, 8000), 8000)
    with pytest.raises(UsageError, match=r"low\.wav: 8000 Hz, which leaves nothing at 16000 or 48000 Hz"):
        Recordings.read(tmp_path)
    soundfile.write(tmp_path / "a.wav", tone(0.2, 16_000), 16_000)
    assert [path.name for path in Recordings.read(tmp_path)[1]] == ["low.wav"]


@pytest.mark.parametrize(("share", "length"), [(0.0, 100), (1.0, 100), (0.04, 1)])
def test_where_a_part_would_be_empty_the_whole_serves_both(share: float, length: int) -> None:
    for part in Recordings({16_000: torch.arange(length, dtype=torch.int16)}).split(share):
        assert drawn(part).shape == (3, 100)
