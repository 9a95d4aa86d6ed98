"""Recordings from file to file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import librosa
import mutagen
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import denoise
from denoise import pipeline, sound_files, windows
from denoise.errors import MediaError, UsageError
from denoise.loading import load
from denoise.options import Options
from denoise.sound import SoundRestorer
from denoise.sound_compare import SoundComparison, levels_of
from tests.conftest import run, sound

EVERYTHING = {"attenuation_db": float("inf")}


@pytest.fixture(scope="module")
def restorer(tiny_sound_weights: Path) -> SoundRestorer:
    return load(tiny_sound_weights, device="cpu", dtype="float32")


def make(path: Path, samples: np.ndarray | None = None, rate_hz: int = 16_000, subtype: str = "PCM_16") -> Path:
    """A sound file. Shape: `[C, T]`."""
    samples = sound(12_000, 2) if samples is None else samples
    soundfile.write(path, samples.T, rate_hz, subtype)
    return path


def heard(path: Path) -> np.ndarray:
    """Shape: `[C, T]`, float64"""
    return soundfile.read(path, always_2d=True)[0].T


def restore(source: Any, model: Path, **options: Any) -> Any:
    return denoise.restore(source, model=model, device="cpu", dtype="float32", **options)


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate_hz", "channels"),
    [
        (".wav", "PCM_16", 44_100, 2),
        (".wav", "PCM_24", 48_000, 1),
        (".wav", "FLOAT", 16_000, 3),
        (".wav", "ULAW", 8000, 1),
        (".flac", "PCM_24", 96_000, 2),
        (".aiff", "PCM_16", 11_025, 1),
        (".ogg", "VORBIS", 22_050, 2),
        (".opus", "OPUS", 48_000, 1),
        (".mp3", "MPEG_LAYER_III", 32_000, 2),
    ],
)
def test_a_recording_becomes_one_beside_it(
    tiny_sound_weights: Path, tmp_path: Path, suffix: str, subtype: str, rate_hz: int, channels: int
) -> None:
    source, target = tmp_path / f"two words ü{suffix}", tmp_path / f"two words ü.restored{suffix}"
    samples = sound(rate_hz // 3 + 1, channels, rate_hz)
    form = "OGG" if suffix == ".opus" else None
    soundfile.write(source, samples.T, rate_hz, subtype, format=form)
    if suffix != ".wav":
        tagged = mutagen.File(source, easy=True)
        if tagged.tags is None:
            tagged.add_tags()
        if suffix != ".aiff":  # whose tags have no easy names
            tagged["title"] = "A title"
            tagged.save()
    before = source.read_bytes()
    report = restore(source, tiny_sound_weights)
    assert isinstance(report, denoise.SoundReport)
    assert (report.source, report.output, report.model) == (str(source), str(target), "tiny sound")
    assert (report.device, report.dtype, report.not_finite, report.over_full_scale) == ("cpu", "float32", 0, "")
    assert report.sound_s == pytest.approx(1 / 3, abs=1e-3)
    assert source.read_bytes() == before
    ours, theirs = soundfile.info(target), soundfile.info(source)
    for fact in ("samplerate", "channels", "frames", "format", "subtype"):
        assert getattr(ours, fact) == getattr(theirs, fact)
    if suffix in (".flac", ".ogg", ".opus", ".mp3"):
        assert mutagen.File(target, easy=True)["title"] == ["A title"]
    assert not np.array_equal(heard(target), heard(source))


@pytest.mark.parametrize(("subtype", "off"), [("FLOAT", 1e-6), ("PCM_16", 2**-16 + 1e-6), ("PCM_24", 2**-24 + 1e-6)])
def test_file_and_array_go_the_same_way(
    restorer: SoundRestorer, tiny_sound_weights: Path, tmp_path: Path, subtype: str, off: float
) -> None:
    source = make(tmp_path / "a.wav", subtype=subtype)
    restore(source, tiny_sound_weights, strength=0.8, attenuation_db=30)
    expected = restorer(heard(source), 16_000, 0.8, 30)
    assert np.abs(heard(tmp_path / "a.restored.wav") - expected).max() <= off


def test_block_by_block_is_as_in_one_piece(
    restorer: SoundRestorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make(tmp_path / "long.wav", sound(100_011, 2), subtype="FLOAT")
    expected = restorer(heard(source).astype(np.float32), 16_000, **EVERYTHING)
    monkeypatch.setattr("denoise.sound.WINDOW_S", 0.1)
    monkeypatch.setattr(windows, "SLAB", 1000)
    assert restorer.windows(16_000).size < 20_000
    options = Options(residual=tmp_path / "residual.wav", **EVERYTHING)
    sound_files.restore_sound_file(restorer, source, tmp_path / "out.wav", options)
    np.testing.assert_allclose(heard(tmp_path / "out.wav"), expected, atol=1e-5)
    both = heard(tmp_path / "out.wav") + heard(tmp_path / "residual.wav")
    np.testing.assert_allclose(both, heard(source), atol=1e-6)


@pytest.mark.parametrize(("start_s", "end_s"), [(0, 0.3), (0.25, None), (0.25, 0.5), (0.5, 9.0), (0.25, float("inf"))])
@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_16"])
def test_outside_of_the_part_every_bit_stays(
    tiny_sound_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    subtype: str,
    start_s: float,
    end_s: float | None,
) -> None:
    monkeypatch.setattr(sound_files, "_BLOCK", 1000)
    source, residual = make(tmp_path / "a.wav", subtype=subtype), tmp_path / "residual.wav"
    part = {"start_s": start_s, "end_s": end_s}
    report = restore(source, tiny_sound_weights, out=tmp_path / "out.wav", residual=residual, **part, **EVERYTHING)
    before, after = heard(source), heard(tmp_path / "out.wav")
    first, last = round(start_s * 16_000), 12_000 if end_s is None or end_s > 1 else round(end_s * 16_000)
    assert report.sound_s == pytest.approx((last - first) / 16_000, abs=1e-3)
    for kept in (slice(0, first), slice(last, None)):
        assert np.array_equal(after[:, kept], before[:, kept])
        assert not heard(residual)[:, kept].any()
    changed = np.abs(after - before)
    assert changed[:, first + 200 : last - 200].mean() > 0.01
    # It fades in and out over 160 samples where something is left as it was, and only there.
    for edge, near in ((first, changed[:, first : first + 20]), (12_000 - last, changed[:, max(0, last - 20) : last])):
        assert near.max() < 0.13 if edge else near.max() > 0.005


@pytest.mark.parametrize("part", [{"start_s": 0.75}, {"start_s": 3.0, "end_s": 4.0}])
def test_a_part_after_the_end(tiny_sound_weights: Path, tmp_path: Path, part: dict[str, float]) -> None:
    source = make(tmp_path / "a.wav")
    with pytest.raises(UsageError, match=r"has 0\.75 s, so no part of it starts at"):
        restore(source, tiny_sound_weights, **part)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("part", [{"start_s": -1}, {"start_s": 2, "end_s": 2}, {"end_s": 0}, {"end_s": float("nan")}])
def test_a_part_that_is_none(tiny_sound_weights: Path, tmp_path: Path, part: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="is no part of a sound"):
        restore(make(tmp_path / "a.wav"), tiny_sound_weights, **part)


@pytest.mark.parametrize(("subtype", "off"), [("FLOAT", 1e-6), ("PCM_16", 2**-15 + 1e-9)])
def test_what_was_taken_out_and_what_is_left_are_the_input(
    tiny_sound_weights: Path, tmp_path: Path, subtype: str, off: float
) -> None:
    source, residual = make(tmp_path / "a.wav", 0.4 * sound(12_000, 2), subtype=subtype), tmp_path / "removed.wav"
    restore(source, tiny_sound_weights, residual=residual)
    assert soundfile.info(residual).subtype == subtype
    assert heard(residual).any()
    assert np.abs(heard(residual) + heard(tmp_path / "a.restored.wav") - heard(source)).max() <= off


@pytest.mark.parametrize("length", [0, 1, 100, 12_000])
def test_compare_draws_before_after_and_difference(tiny_sound_weights: Path, tmp_path: Path, length: int) -> None:
    source = make(tmp_path / "a.wav", sound(length, 2))
    restore(source, tiny_sound_weights, compare=tmp_path / "compare.png")
    with Image.open(tmp_path / "compare.png") as sheet:
        assert sheet.size == (1200, 560)
        assert np.asarray(sheet.convert("L")).std() > 10


def test_a_comparison_of_a_part_of_no_samples(tiny_sound_weights: Path, tmp_path: Path) -> None:
    options = {"start_s": 0.25, "end_s": 0.25 + 1e-9, "compare": tmp_path / "compare.png"}
    assert restore(make(tmp_path / "a.wav"), tiny_sound_weights, **options).sound_s == 0
    assert (tmp_path / "compare.png").is_file()


def test_a_comparison_has_no_more_cells_than_are_seen() -> None:
    tone = np.float32(0.5) * np.sin(np.arange(300_000) * (2 * np.pi / 8)).astype(np.float32)
    for size, step in ((512, 1), (8192, 8)):
        power = np.abs(librosa.stft(tone, n_fft=size) * (2 / size)) ** 2
        decibels, frames, bins = levels_of(tone, size)
        assert decibels.shape == (min(512, size // 2 + 1), min(512, power.shape[1])) == (len(bins), len(frames))
        assert bins[decibels.mean(1).argmax()] == pytest.approx(size / 8, abs=step / 2)
        assert (10 ** (decibels / 10)).mean() == pytest.approx(power.mean(), rel=0.02)
    short = tone[:3000]
    np.testing.assert_allclose(
        levels_of(short, 512).decibels,
        librosa.amplitude_to_db(np.abs(librosa.stft(short, n_fft=512)) * (2 / 512), amin=1e-6, top_db=None),
        atol=1e-3,
    )


def test_a_comparison_that_cannot_be_written(tiny_sound_weights: Path, tmp_path: Path) -> None:
    source = make(tmp_path / "a.wav")
    with pytest.raises(UsageError, match="does not exist"):
        restore(source, tiny_sound_weights, compare=tmp_path / "nowhere" / "compare.png")
    with pytest.raises(UsageError, match=r"compare\.xyz is no kind of picture"):
        restore(source, tiny_sound_weights, compare=tmp_path / "compare.xyz")
    assert list(tmp_path.iterdir()) == [source]


def test_a_part_is_restored_as_it_would_be_in_the_whole(tiny_sound_weights: Path, tmp_path: Path) -> None:
    source = make(tmp_path / "a.wav", sound(48_000), subtype="FLOAT")
    restore(source, tiny_sound_weights, out=tmp_path / "whole.wav")
    restore(source, tiny_sound_weights, out=tmp_path / "part.wav", start_s=1, end_s=2)
    whole, part = (soundfile.read(tmp_path / f"{name}.wav", dtype="float32")[0] for name in ("whole", "part"))
    np.testing.assert_allclose(part[16_400:31_600], whole[16_400:31_600], rtol=0, atol=1e-6)


@pytest.mark.parametrize("suffix", [".mp3", ".wav"])
def test_strength_zero_is_the_same_file_bit_for_bit(tiny_sound_weights: Path, tmp_path: Path, suffix: str) -> None:
    samples = sound(12_000, 2)
    if suffix == ".wav":
        samples[0, 50], samples[1, 60] = np.nan, 2.0
    source = make(tmp_path / f"a{suffix}", samples, subtype="FLOAT" if suffix == ".wav" else "MPEG_LAYER_III")
    before = source.read_bytes()
    report = restore(source, tiny_sound_weights, strength=0, residual=tmp_path / "removed.wav")
    assert (tmp_path / f"a.restored{suffix}").read_bytes() == before
    assert (report.not_finite, report.over_full_scale) == (0, ""), "nothing was done about them"
    assert not heard(tmp_path / "removed.wav").any()
    restore(source, tiny_sound_weights, strength=0, out=source, overwrite=True)
    assert source.read_bytes() == before


def test_strength_zero_in_another_format_keeps_every_sample(tiny_sound_weights: Path, tmp_path: Path) -> None:
    source = make(tmp_path / "a.wav")
    restore(source, tiny_sound_weights, strength=0, out=tmp_path / "a.flac")
    assert np.array_equal(heard(tmp_path / "a.flac"), heard(source))


def test_what_is_no_number_becomes_silence_and_is_told(
    tiny_sound_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = sound(12_000, 2)
    samples[0, 5000:5100], samples[1, 7000], samples[1, 100], samples[1, 9000] = np.nan, np.inf, -np.inf, 1e30
    source = make(tmp_path / "a.wav", samples, subtype="FLOAT")
    arguments = (source, "--model", tiny_sound_weights, "--residual", tmp_path / "removed.wav")
    assert run(monkeypatch, "restore", *arguments) == 0
    assert "103 samples were no numbers, or absurdly loud, and became silence." in capsys.readouterr().out
    restored = heard(tmp_path / "a.restored.wav")
    assert np.isfinite(restored).all()
    silenced = make(tmp_path / "b.wav", np.where(np.abs(samples) < 1, samples, 0), subtype="FLOAT")
    restore(silenced, tiny_sound_weights)
    assert np.array_equal(restored, heard(tmp_path / "b.restored.wav"))
    assert np.isfinite(heard(tmp_path / "removed.wav")).all()


def test_what_is_no_number_outside_of_the_part_stays(tiny_sound_weights: Path, tmp_path: Path) -> None:
    samples = sound(12_000)
    samples[0, 10], samples[0, 20], samples[0, 7999] = np.nan, np.inf, -np.inf  # the last is heard by the network
    source, residual = make(tmp_path / "a.wav", samples, subtype="FLOAT"), tmp_path / "removed.wav"
    report = restore(source, tiny_sound_weights, start_s=0.5, residual=residual)
    assert report.not_finite == 0
    restored = heard(tmp_path / "a.restored.wav")
    np.testing.assert_array_equal(restored[:, :8000], samples[:, :8000])
    assert np.isfinite(restored[:, 8000:]).all()
    assert not heard(residual)[:, :8000].any()


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3"])
def test_outside_of_the_part_silence_is_told_where_the_format_makes_it(
    tiny_sound_weights: Path, tmp_path: Path, suffix: str
) -> None:
    samples = sound(24_000)
    samples[0, 10:110], samples[0, 7990], samples[0, 23_990] = np.nan, np.inf, 1e30
    source = make(tmp_path / "a.wav", samples, subtype="FLOAT")
    report = restore(source, tiny_sound_weights, start_s=0.5, end_s=0.6, out=tmp_path / f"out{suffix}")
    told = (report.not_finite, report.over_full_scale)
    if suffix == ".wav":
        assert told == (0, "2 samples were over full scale and kept, as this format can hold them.")
    else:
        assert told == (102, "")
        assert np.abs(heard(tmp_path / f"out{suffix}")).max() < 1


def test_over_full_scale(
    tiny_sound_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make(tmp_path / "hot.wav", 3 * sound(12_000), subtype="FLOAT")
    arguments = ("restore", source, "--model", tiny_sound_weights, "--attenuation-db", "1", "-o")
    assert run(monkeypatch, *arguments, tmp_path / "float.wav") == 0
    assert "over full scale and kept" in capsys.readouterr().out
    assert run(monkeypatch, *arguments, tmp_path / "clipped.flac") == 0
    assert "over full scale and clipped" in capsys.readouterr().out
    assert run(monkeypatch, *arguments, tmp_path / "down.flac", "--clip", "rescale") == 0
    assert "turned down by" in capsys.readouterr().out
    whole, clipped, down = (heard(tmp_path / name) for name in ("float.wav", "clipped.flac", "down.flac"))
    assert np.abs(whole).max() > 1.1
    np.testing.assert_allclose(clipped, whole.clip(-1, 1), atol=1e-6)
    np.testing.assert_allclose(down, whole / np.abs(whole).max(), atol=1e-6)
    assert run(monkeypatch, *arguments, tmp_path / "x.flac", "--clip", "fold") == 2


def test_a_residual_over_full_scale_is_told(
    tiny_sound_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make(tmp_path / "hot.wav", 9 * sound(12_000), subtype="FLOAT")
    names = ("-o", tmp_path / "out.wav", "--residual", tmp_path / "removed.flac")
    assert run(monkeypatch, "restore", source, "--model", tiny_sound_weights, *names) == 0
    assert "Of what was taken out " in capsys.readouterr().out
    assert np.abs(heard(tmp_path / "removed.flac")).max() > 0.99


def test_a_residual_is_not_turned_down_and_that_is_told(tiny_sound_weights: Path, tmp_path: Path) -> None:
    source, residual = make(tmp_path / "hot.wav", 3 * sound(12_000), subtype="FLOAT"), tmp_path / "removed.wav"
    report = restore(source, tiny_sound_weights, residual=residual, clip="rescale")
    assert report.over_full_scale.endswith(" dB. What was taken out was not.")
    restored = heard(source) - heard(residual)
    np.testing.assert_allclose(heard(tmp_path / "hot.restored.wav"), restored / np.abs(restored).max(), atol=1e-6)


def test_an_error_of_the_callers_own_comes_through(tiny_sound_weights: Path, tmp_path: Path) -> None:
    def progress(*_: Any) -> None:
        raise ValueError("the user's own")

    source = make(tmp_path / "a.wav")
    with pytest.raises(ValueError, match=r"^the user's own$"):
        restore(source, tiny_sound_weights, progress=progress, residual=tmp_path / "removed.wav")
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("late", [False, True])
def test_a_recording_that_vanishes_is_no_failed_output(
    tiny_sound_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """Before the sound is read for the network, or when only what is beside it is still to be copied."""
    source, restorer = make(tmp_path / "in.wav"), load(tiny_sound_weights, device="cpu")

    def vanish(result: Any, *_: Any, **__: Any) -> Any:
        source.unlink(missing_ok=True)
        return result

    if late:
        monkeypatch.setattr(restorer, "restore_window", vanish)
    else:
        monkeypatch.setattr(sound_files, "listen", lambda *_: vanish(sound_files.AS_IT_IS))
    with pytest.raises(MediaError, match=r"in\.wav is there no more"):
        sound_files.restore_sound_file(restorer, source, tmp_path / "out.wav")
    assert not list(tmp_path.iterdir())


def test_no_samples_at_all(tiny_sound_weights: Path, tmp_path: Path) -> None:
    source = make(tmp_path / "empty.wav", np.zeros((2, 0), np.float32))
    report = restore(source, tiny_sound_weights, residual=tmp_path / "removed.wav", start_s=1)
    assert report.sound_s == 0
    for name in ("empty.restored.wav", "removed.wav"):
        assert soundfile.info(tmp_path / name).frames == 0
    with pytest.raises(UsageError, match="no sound"):
        pipeline.corrupt_file(source, tmp_path / "x.wav", "noise:snr_db=5")


def test_a_quiet_recording_goes_the_way_of_an_array(tiny_sound_weights: Path, tmp_path: Path) -> None:
    samples = sound(40_000, 2) * np.float32(2.0**-11)
    source = make(tmp_path / "a.wav", samples, subtype="FLOAT")
    restore(source, tiny_sound_weights)
    alone = denoise.restore(samples, model=tiny_sound_weights, rate_hz=16_000, device="cpu")
    np.testing.assert_allclose(heard(tmp_path / "a.restored.wav"), alone, atol=1e-8)


def test_a_comparison_shows_the_part_where_it_is_and_the_channel_that_sounds(tmp_path: Path) -> None:
    shown = SoundComparison(16_000, tmp_path / "c.png", start_s=1.5)
    observed = np.zeros((3, 800), np.float32)
    shown.add(torch.from_numpy(observed), torch.from_numpy(observed))
    observed[1] = 0.2
    shown.add(torch.from_numpy(observed), torch.from_numpy(observed))
    assert [part.max().item() for part in shown.before] == [0, pytest.approx(0.2)]
    shown.write()
    assert (tmp_path / "c.png").is_file()
