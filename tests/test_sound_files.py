"""Recordings from file to file, through the pipeline and through the command."""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile
from PIL import Image

import denoise
from denoise import cli, loading, pipeline, sound_files, windows
from denoise.errors import MediaError, ModelError, UsageError
from denoise.loading import Restorers, load
from denoise.options import Options
from denoise.sound import SoundRestorer
from tests.conftest import photo, sound

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


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command in this process; returns the exit code."""
    monkeypatch.setattr(sys, "argv", ["denoise", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


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
    source = make(tmp_path / "long.wav", sound(50_011, 2), subtype="FLOAT")
    expected = restorer(heard(source).astype(np.float32), 16_000, **EVERYTHING)
    monkeypatch.setattr("denoise.sound.WINDOW_S", 0.1)
    monkeypatch.setattr(windows, "SLAB", 1000)
    assert restorer.windows(16_000).size < 10_000
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
    with pytest.raises(UsageError, match="start before the end"):
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
    samples[0, 5000:5100], samples[1, 7000], samples[1, 100] = np.nan, np.inf, -np.inf
    source = make(tmp_path / "a.wav", samples, subtype="FLOAT")
    arguments = (source, "--model", tiny_sound_weights, "--residual", tmp_path / "removed.wav")
    assert run(monkeypatch, "restore", *arguments) == 0
    assert "102 samples were no numbers and became silence." in capsys.readouterr().out
    restored = heard(tmp_path / "a.restored.wav")
    assert np.isfinite(restored).all()
    silenced = make(tmp_path / "b.wav", np.where(np.isfinite(samples), samples, 0), subtype="FLOAT")
    restore(silenced, tiny_sound_weights)
    assert np.array_equal(restored, heard(tmp_path / "b.restored.wav"))
    assert np.isfinite(heard(tmp_path / "removed.wav")).all()


def test_what_is_no_number_outside_of_the_part_stays(tiny_sound_weights: Path, tmp_path: Path) -> None:
    samples = sound(12_000)
    samples[0, 10], samples[0, 20] = np.nan, np.inf
    source, residual = make(tmp_path / "a.wav", samples, subtype="FLOAT"), tmp_path / "removed.wav"
    report = restore(source, tiny_sound_weights, start_s=0.5, residual=residual)
    assert report.not_finite == 0
    np.testing.assert_array_equal(heard(tmp_path / "a.restored.wav")[:, :8000], samples[:, :8000])
    assert not heard(residual)[:, :8000].any()


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


def test_no_samples_at_all(tiny_sound_weights: Path, tmp_path: Path) -> None:
    source = make(tmp_path / "empty.wav", np.zeros((2, 0), np.float32))
    report = restore(source, tiny_sound_weights, residual=tmp_path / "removed.wav", start_s=1)
    assert report.sound_s == 0
    for name in ("empty.restored.wav", "removed.wav"):
        assert soundfile.info(tmp_path / name).frames == 0
    with pytest.raises(UsageError, match="no sound"):
        pipeline.corrupt_file(source, tmp_path / "x.wav", "noise:snr_db=5")


def test_the_command_says_what_it_found_and_did(
    tiny_sound_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make(tmp_path / "a.wav")
    assert run(monkeypatch, "restore", source, "--model", tiny_sound_weights) == 0
    out, err = capsys.readouterr()
    assert "a.wav: WAV, 16 bit, 16 kHz, 2 channels, 0:00:00.750" in out
    assert "a.restored.wav (tiny sound, " in out
    assert "0.8 s of sound in" in out
    assert not err


@pytest.mark.parametrize("attenuation_db", ["inf", "12"])
def test_json_is_strict(
    tiny_sound_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    attenuation_db: str,
) -> None:
    def no_constants(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    arguments = (make(tmp_path / "a.wav"), "--model", tiny_sound_weights, "--attenuation-db", attenuation_db, "--json")
    assert run(monkeypatch, "restore", *arguments) == 0
    (line,) = capsys.readouterr().out.splitlines()
    report = json.loads(line, parse_constant=no_constants)
    assert report["attenuation_db"] == (None if attenuation_db == "inf" else 12)
    assert report["model"] == "tiny sound"


def test_the_command_knows_the_options_of_sound(
    restorer: SoundRestorer, tiny_sound_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make(tmp_path / "a.wav", subtype="FLOAT")
    options = ("--start", 0.25, "--end", 0.5, "--attenuation-db", 9, "--strength", 0.5, "--dtype", "float32")
    names = ("-o", tmp_path / "out.wav", "--residual", tmp_path / "r.wav", "--compare", tmp_path / "c.png")
    assert run(monkeypatch, "restore", source, "--model", tiny_sound_weights, *options, *names) == 0
    assert (tmp_path / "c.png").is_file()
    same = Options(start_s=0.25, end_s=0.5, attenuation_db=9, strength=0.5)
    sound_files.restore_sound_file(restorer, source, tmp_path / "same.wav", same)
    assert np.array_equal(heard(tmp_path / "out.wav"), heard(tmp_path / "same.wav"))


def mixed_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mixed"
    (folder / "deep").mkdir(parents=True)
    Image.fromarray(photo(16, 16)).save(folder / "a.png")
    make(folder / "b.wav")
    make(folder / "deep" / "c.flac")
    (folder / "notes.txt").write_text("text")
    return folder


def test_pictures_and_sound_in_one_folder(
    tiny_weights: Path, tiny_sound_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(loading.DEFAULTS, "image", tiny_weights)
    monkeypatch.setitem(loading.DEFAULTS, "sound", tiny_sound_weights)
    folder, out = mixed_folder(tmp_path), tmp_path / "out"
    assert run(monkeypatch, "restore", folder, "-o", out) == 0
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == ["a.png", "b.wav", "deep/c.flac"]
    done = list(pipeline.restore_many(Restorers(device="cpu"), pipeline.jobs([folder], out)))
    assert done == [], "all is there already"


def test_weights_for_one_medium_leave_the_others_out_and_say_so(
    tiny_sound_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = mixed_folder(tmp_path), tmp_path / "out"
    assert run(monkeypatch, "restore", folder, "-o", out, "--model", tiny_sound_weights) == 1
    said = capsys.readouterr().err
    assert "are for sound, a.png needs some for pictures" in said
    assert "1 of 3 files" in said
    assert (out / "deep" / "c.flac").is_file()


def test_weights_for_another_medium(
    tiny_weights: Path,
    tiny_sound_weights: Path,
    noisy_png: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for source, model in ((make(tmp_path / "a.wav"), tiny_weights), (noisy_png, tiny_sound_weights)):
        assert run(monkeypatch, "restore", source, "--model", model) == 2
        out, err = capsys.readouterr()
        assert not out
        assert err.startswith("denoise: The weights") and err.count("\n") == 1 and source.name in err
    assert len(list(tmp_path.iterdir())) == 2


def test_weights_are_loaded_once_and_only_when_needed(
    tiny_weights: Path, tiny_sound_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(loading.DEFAULTS, "sound", tiny_sound_weights)
    restorers = Restorers(device="cpu")
    assert restorers.loaded == {}
    assert restorers.find("sound") is restorers.find("sound")
    assert list(restorers.loaded) == ["sound"]
    with pytest.raises(ModelError, match="no weights called 'nonesuch'"):
        Restorers("nonesuch").find("sound")
    assert isinstance(load(tiny_weights), denoise.Restorer)
    assert isinstance(load(tiny_sound_weights), denoise.SoundRestorer)


@pytest.mark.parametrize(
    ("out", "residual", "compare", "what"),
    [
        ("out.wav", "a.wav", None, "residual .* replace the input"),
        ("out.wav", "out.wav", None, "residual .* replace the output"),
        ("out.wav", None, "a.wav", "comparison .* replace the input"),
        ("out.wav", None, "out.wav", "comparison .* replace the output"),
        ("out.wav", "same.wav", "same.wav", "comparison .* replace the residual"),
        ("out.wav", "sub/../a.wav", None, "residual .* replace the input"),
    ],
)
def test_no_output_replaces_another_file(
    tiny_sound_weights: Path, tmp_path: Path, out: str, residual: str | None, compare: str | None, what: str
) -> None:
    (tmp_path / "sub").mkdir()
    source = make(tmp_path / "a.wav")
    before = source.read_bytes()
    looks = {name: tmp_path / path for name, path in (("residual", residual), ("compare", compare)) if path}
    with pytest.raises(UsageError, match=what):
        restore(source, tiny_sound_weights, out=tmp_path / out, **looks)
    assert source.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_the_output_is_never_the_input_unasked(tiny_sound_weights: Path, tmp_path: Path) -> None:
    source = make(tmp_path / "a.wav")
    before = source.read_bytes()
    with pytest.raises(UsageError, match="is the input"):
        restore(source, tiny_sound_weights, out=source)
    assert source.read_bytes() == before
    restore(source, tiny_sound_weights, out=tmp_path / "b.wav")
    restore(source, tiny_sound_weights, out=source, overwrite=True)
    assert source.read_bytes() == (tmp_path / "b.wav").read_bytes() != before


def test_a_full_disk_leaves_nothing_behind(
    tiny_sound_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    source = make(tmp_path / "a.wav")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(MediaError, match="No space left"):
        restore(source, tiny_sound_weights, residual=tmp_path / "removed.wav")
    assert list(tmp_path.iterdir()) == [source]


def test_a_network_that_fails_leaves_nothing_behind(tiny_sound_weights: Path, tmp_path: Path) -> None:
    source = make(tmp_path / "a.wav")
    own = load(tiny_sound_weights, "cpu")
    own.network.forward = None  # type: ignore[assignment]
    with pytest.raises((TypeError, MediaError)):
        sound_files.restore_sound_file(own, source, tmp_path / "out.wav")
    assert list(tmp_path.iterdir()) == [source]


def bad_inputs(folder: Path) -> dict[str, tuple[list[object], int]]:
    """Arguments behind `restore`, and the exit code they deserve."""
    good = make(folder / "good.wav")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_bytes(b"hello, this is no sound")
    (folder / "cut.flac").write_bytes(make(folder / "whole.flac").read_bytes()[:5000])
    make(folder / "slow.wav", rate_hz=2000)
    return {
        "missing": ([folder / "none.wav"], 2),
        "empty": ([folder / "empty.wav"], 1),
        "no sound": ([folder / "text.wav"], 1),
        "cut off": ([folder / "cut.flac"], 1),
        "too slow": ([folder / "slow.wav"], 2),
        "output = input": ([good, "-o", good], 2),
        "output folder missing": ([good, "-o", folder / "nowhere" / "x.wav"], 2),
        "residual folder missing": ([good, "--residual", folder / "nowhere" / "x.wav"], 2),
        "output of no format": ([good, "-o", folder / "x.xyz"], 2),
        "output a picture": ([good, "-o", folder / "x.png"], 2),
        "strength out of range": ([good, "--strength", "2"], 2),
        "attenuation out of range": ([good, "--attenuation-db", "-1"], 2),
        "part out of range": ([good, "--start", "1", "--end", "0.5"], 2),
        "residual of several": ([good, good, "--residual", folder / "r.wav"], 2),
        "unknown clip": ([good, "--clip", "soft"], 2),
    }


CASES = """missing|empty|no sound|cut off|too slow|output = input|output folder missing|residual folder missing
output of no format|output a picture|strength out of range|attenuation out of range|part out of range
residual of several|unknown clip"""


@pytest.mark.parametrize("case", CASES.replace("\n", "|").split("|"))
def test_bad_input_gets_one_sentence_and_nothing_is_lost(
    case: str,
    tiny_sound_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, code = bad_inputs(tmp_path)[case]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert run(monkeypatch, "restore", *arguments, "--model", tiny_sound_weights) == code
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("denoise: ") and err.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_list_goes_on_after_a_failure(tiny_sound_weights: Path, tmp_path: Path) -> None:
    broken, good = tmp_path / "broken.wav", make(tmp_path / "good.wav")
    broken.write_bytes(good.read_bytes()[:30])
    first, second = restore([broken, good], tiny_sound_weights, out=tmp_path / "out")
    assert isinstance(first, denoise.Failure) and first.source == str(broken)
    assert isinstance(second, denoise.SoundReport)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.wav"]


def test_progress_ends_at_the_end(tiny_sound_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("denoise.sound.WINDOW_S", 0.1)
    seen: list[tuple[int, int, str]] = []
    source = make(tmp_path / "a.wav", sound(50_000))
    restore(source, tiny_sound_weights, progress=lambda *step: seen.append(step))
    assert len(seen) > 3
    assert seen[-1][:2] == (3, 3)
    assert seen[-1][2].startswith("a.wav, ") and seen[-1][2].endswith(" x real time")


def test_formats_that_are_only_read_become_flac() -> None:
    assert pipeline.default_output(Path("x/talk.m4a")) == Path("x/talk.restored.flac")
    assert pipeline.jobs([Path("talk.M4A")], "out") == [(Path("talk.M4A"), Path("out/talk.flac"))]
    with pytest.raises(UsageError, match=r"same file: talk\.flac"):
        pipeline.jobs([Path("talk.m4a"), Path("talk.flac")], "out")


def test_corrupt_is_repeatable_and_keeps_the_format(tmp_path: Path) -> None:
    source = make(tmp_path / "clean.flac", subtype="PCM_24")
    for name, seed in (("a.flac", 1), ("b.flac", 1), ("c.flac", 2)):
        pipeline.corrupt_file(source, tmp_path / name, "noise:snr_db=5", seed)
    clean, a, b, c = (heard(tmp_path / name) for name in ("clean.flac", "a.flac", "b.flac", "c.flac"))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert soundfile.info(tmp_path / "a.flac").subtype == "PCM_24"
    ratio_db = 10 * np.log10((clean**2).mean() / ((a - clean) ** 2).mean())
    assert ratio_db == pytest.approx(5, abs=2)


def test_corruptions_fit_the_medium(noisy_png: Path, tmp_path: Path) -> None:
    source = make(tmp_path / "a.wav")
    with pytest.raises(UsageError, match=r"is sound and .* is for pictures"):
        pipeline.corrupt_file(source, tmp_path / "x.wav", "gaussian:sigma=25")
    with pytest.raises(UsageError, match=r"is a picture and .* is for sound"):
        pipeline.corrupt_file(noisy_png, tmp_path / "x.png", "noise:snr_db=5")
    assert sorted(tmp_path.iterdir()) == sorted([source, noisy_png])
