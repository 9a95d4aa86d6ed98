"""Recordings among pictures, in folders and through the command; what goes wrong and what is then left."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

import denoise
from denoise import loading, outputs, pipeline, sound_files
from denoise.errors import MediaError, UsageError
from denoise.loading import Restorers, load
from denoise.options import Options
from tests.conftest import photo, run, sound
from tests.test_sound_files import heard, make, restore


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
    tiny_sound_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = load(tiny_sound_weights, device="cpu", dtype="float32")
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
    done = list(pipeline.restore_many(Restorers(device="cpu"), outputs.jobs([folder], out)))
    assert [type(one) for one in done] == [pipeline.Skipped] * 3, "all is there already"


def test_holes_of_pictures_are_nothing_to_the_sound_beside_them(
    tiny_sound_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(loading.DEFAULTS, "sound", tiny_sound_weights)
    jobs = outputs.jobs([mixed_folder(tmp_path)], tmp_path / "out")
    done = list(pipeline.restore_many(Restorers(device="cpu"), jobs, Options(mask_color="#ff00ff")))
    assert [type(one).__name__ for one in done] == ["Report", "SoundReport", "SoundReport"]


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
    with pytest.raises(UsageError, match="no weights called 'nonesuch'"):
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
    assert outputs.default_output(Path("x/talk.m4a")) == Path("x/talk.restored.flac")
    assert outputs.jobs([Path("talk.M4A")], "out") == [(Path("talk.M4A"), Path("out/talk.flac"))]
    with pytest.raises(UsageError, match=r"same file: talk\.flac"):
        outputs.jobs([Path("talk.m4a"), Path("talk.flac")], "out")


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


@pytest.mark.parametrize(("subtype", "told"), [("PCM_16", "over full scale and clipped"), ("FLOAT", "and kept")])
def test_corrupt_tells_what_is_over_full_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], subtype: str, told: str
) -> None:
    source, target = make(tmp_path / "clean.wav", subtype=subtype), tmp_path / "noisy.wav"
    for snr_db, over in ((-20, True), (40, False)):
        spec = f"noise:snr_db={snr_db}"
        assert run(monkeypatch, "corrupt", source, "--with", spec, "-o", target, "--overwrite") == 0
        out = capsys.readouterr().out
        assert (told in out) == over
        assert f"Wrote {target}\n" in out


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_corrupt_refuses_what_is_no_number(tmp_path: Path, bad: float) -> None:
    samples = sound(1000)
    samples[0, 500] = bad
    source = make(tmp_path / "a.wav", samples, subtype="FLOAT")
    with pytest.raises(UsageError, match=r"a\.wav holds NaN or infinity, or what is absurdly loud"):
        pipeline.corrupt_file(source, tmp_path / "b.wav", "band-limit")
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(("option", "noun"), [({"sigma": 25}, "sigma"), ({"ensemble": 8}, "an ensemble")])
def test_nothing_of_pictures_is_asked_of_one_sound(
    tiny_sound_weights: Path, tmp_path: Path, option: dict[str, Any], noun: str
) -> None:
    source = make(tmp_path / "a.wav")
    options = {"model": tiny_sound_weights, "device": "cpu", **option}
    for one, rate in ((source, {}), (np.zeros(1600, np.float32), {"rate_hz": 16_000})):
        with pytest.raises(UsageError, match=f"sound and {noun} is for pictures"):
            denoise.restore(one, **options, **rate)
    (report,) = denoise.restore([source], **options)
    assert Path(report.output).exists()


def test_corruptions_fit_the_medium(noisy_png: Path, tmp_path: Path) -> None:
    source = make(tmp_path / "a.wav")
    with pytest.raises(UsageError, match=r"is sound and .* is for pictures"):
        pipeline.corrupt_file(source, tmp_path / "x.wav", "gaussian:sigma=25")
    with pytest.raises(UsageError, match=r"is a picture and .* is for sound"):
        pipeline.corrupt_file(noisy_png, tmp_path / "x.png", "noise:snr_db=5")
    assert sorted(tmp_path.iterdir()) == sorted([source, noisy_png])
