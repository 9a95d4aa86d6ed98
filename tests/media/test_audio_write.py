import errno
import os
import resource

import numpy as np
import pytest
import soundfile

from denoise.errors import MediaError, UsageError
from denoise.media import audio_formats, audio_write
from denoise.media.audio import open_audio
from tests.media.test_audio import RNG, load, make, rewrite, tones


def test_over_full_scale_integers_are_clipped_and_counted(tmp_path):
    source = make(tmp_path / "in.wav", np.array([[0.25], [-0.25], [0.5], [-0.75], [0.0]]))
    report = rewrite(source, tmp_path / "out.wav", gain=2)
    assert (report.over, report.clipped, report.peak, report.gain_db) == (2, 2, 1.5, 0)
    np.testing.assert_array_equal(load(tmp_path / "out.wav", "int16")[:, 0], [16384, -16384, 32767, -32768, 0])
    assert "2 samples were over full scale and clipped" in report.describe()


@pytest.mark.parametrize(("suffix", "subtype"), [(".wav", "FLOAT"), (".wav", "DOUBLE")])
def test_over_full_scale_floats_are_kept_and_counted(tmp_path, suffix, subtype):
    sound = np.array([[0.5], [-3.0], [np.nan], [np.inf], [1.0]])
    source = make(tmp_path / f"in{suffix}", sound, 44100, subtype)
    report = rewrite(source, tmp_path / f"out{suffix}")
    assert (report.over, report.clipped, report.peak) == (2, 0, 3.0)
    np.testing.assert_array_equal(load(tmp_path / f"out{suffix}"), sound)
    assert "kept" in report.describe()


def test_what_is_no_number_becomes_silence_in_integers(tmp_path):
    source = make(tmp_path / "in.wav", np.array([[np.nan], [np.inf], [-np.inf], [0.5]]), 44100, "FLOAT")
    report = rewrite(source, tmp_path / "out.flac")
    assert (report.over, report.clipped) == (2, 2)
    np.testing.assert_array_equal(load(tmp_path / "out.flac", "int32")[:, 0] >> 8, [0, 2**23 - 1, -(2**23), 2**22])


@pytest.mark.parametrize(
    ("suffix", "subtype"), [(".wav", "PCM_16"), (".wav", "FLOAT"), (".flac", "PCM_24"), (".wav", "PCM_32")]
)
def test_rescaling_turns_the_whole_file_down_to_full_scale(tmp_path, monkeypatch, suffix, subtype):
    monkeypatch.setattr(audio_write, "BLOCK", 1000)
    sound = tones(10_000)
    source = make(tmp_path / f"in{suffix}", sound, 44100, subtype)
    report = rewrite(source, tmp_path / f"out{suffix}", gain=8, clip="rescale")
    before, after = load(source), load(tmp_path / f"out{suffix}")
    peak = np.abs(before).max()
    assert report.over > 0
    assert report.clipped == 0
    assert report.gain_db == pytest.approx(-20 * np.log10(8 * peak), abs=1e-3)
    assert f"turned down by {-report.gain_db:.2f} dB" in report.describe()
    assert np.abs(after).max() == pytest.approx(1, abs=2.0**-14)
    np.testing.assert_allclose(after, before / peak, atol=2.0**-14)


def test_rescaling_leaves_a_file_alone_that_is_not_over(tmp_path):
    source = make(tmp_path / "in.wav", RNG.integers(-32768, 32768, (5000, 2), dtype=np.int16))
    report = rewrite(source, tmp_path / "out.wav", clip="rescale")
    assert (report.over, report.gain_db, report.describe()) == (0, 0, "")
    np.testing.assert_array_equal(load(source), load(tmp_path / "out.wav"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.wav", "out.wav"]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".aiff"])
@pytest.mark.parametrize("limit", [0, 100, 9000])
def test_a_full_disk_leaves_no_partial_file(tmp_path, suffix, limit):
    source = make(tmp_path / "in.wav", RNG.uniform(-0.5, 0.5, (60_000, 2)))
    before = source.read_bytes()
    (tmp_path / f"out{suffix}").write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # writes beyond fail, as on a full disk
    try:
        with pytest.raises(MediaError, match="could not be written"):
            rewrite(source, tmp_path / f"out{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert source.read_bytes() == before
    assert (tmp_path / f"out{suffix}").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_failing_disk_leaves_no_partial_file(tmp_path, monkeypatch):
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    source = make(tmp_path / "in.wav", tones(100))
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(MediaError, match="No space left"):
        rewrite(source, tmp_path / "out.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


@pytest.mark.parametrize("clip", ["none", "rescale"])
def test_an_interrupted_write_leaves_nothing(tmp_path, clip):
    source = make(tmp_path / "in.wav", tones(100))
    with (
        open_audio(source) as recording,
        pytest.raises(KeyboardInterrupt),
        recording.writer(tmp_path / "out.wav", clip) as writer,
    ):
        writer.write(recording.read(0, 50))
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


@pytest.mark.parametrize("error", [ValueError, RuntimeError, OSError, MemoryError])
def test_an_error_of_the_caller_is_not_one_of_the_disk(tmp_path, error):
    source = make(tmp_path / "in.wav", tones(100))
    with (
        open_audio(source) as recording,
        pytest.raises(error, match=r"^the caller's own$"),
        recording.writer(tmp_path / "out.wav") as writer,
    ):
        writer.write(recording.read(0, 50))
        raise error("the caller's own")
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


def test_less_sound_than_the_recording_has_is_no_file(tmp_path):
    source = make(tmp_path / "in.wav", tones(100))
    with (
        open_audio(source) as recording,
        pytest.raises(MediaError, match="less sound"),
        recording.writer(tmp_path / "out.wav") as writer,
    ):
        writer.write(recording.read(0, 50))
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


def test_a_recording_can_replace_itself(tmp_path):
    source = make(tmp_path / "in.wav", tones(5000))
    before = load(source)
    rewrite(source, source)
    np.testing.assert_array_equal(load(source), before)


@pytest.mark.parametrize(
    ("channels", "rate_hz", "length", "name", "words"),
    [
        (2, 44100, 9, "out.png", "suffix .png"),
        (2, 44100, 9, "out", "of no format"),
        (2, 44100, 9, "out.m4a", "read but not written; choose .flac or .wav"),
        (3, 44100, 9, "out.mp3", "up to 2 channels, not 3; choose .flac or .wav"),
        (9, 44100, 9, "out.flac", "up to 8 channels, not 9; choose .wav"),
        (9, 44100, 9, "out.ogg", "up to 8 channels, not 9; choose .wav"),
        (1, 96000, 9, "out.mp3", "no rate of 96000 Hz"),
        (1, 44100, 9, "out.opus", "no rate of 44100 Hz"),
        (1, 384000, 9, "out.ogg", "up to 192000 Hz"),
        (1, 700000, 9, "out.flac", "up to 655350 Hz"),
        (1, 65537, 9, "out.flac", "no rate of 65537 Hz"),
        (1, 44100, 0, "out.mp3", "no samples"),
        (1, 44100, 0, "out.flac", "no samples; choose .wav"),
        (1, 48000, 0, "out.opus", "no samples"),
        (1, 44100, 9, "missing/out.wav", "does not exist"),
        (1, 44100, 9, "folder.wav", "is a folder"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_the_work(tmp_path, channels, rate_hz, length, name, words):
    (tmp_path / "folder.wav").mkdir()
    source = make(tmp_path / "in.wav", np.zeros((length, channels)), rate_hz)
    with open_audio(source) as recording:
        with pytest.raises(UsageError, match=words):
            recording.check_output(tmp_path / name)
        with pytest.raises(UsageError, match=words), recording.writer(tmp_path / name):
            pass
        with pytest.raises(UsageError, match="none or rescale"), recording.writer(tmp_path / "out.wav", "hard"):
            pass


def test_a_wav_beyond_4_gib_becomes_rf64_and_an_aiff_is_refused(tmp_path, monkeypatch):
    source = make(tmp_path / "in.wav", tones(2000))
    monkeypatch.setattr(audio_formats, "LARGEST_32_BIT", 7999)
    rewrite(source, tmp_path / "out.wav")
    assert soundfile.info(tmp_path / "out.wav").format == "RF64"
    np.testing.assert_array_equal(load(source), load(tmp_path / "out.wav"))
    rewrite(tmp_path / "out.wav", tmp_path / "again.wav")
    np.testing.assert_array_equal(load(source), load(tmp_path / "again.wav"))
    with open_audio(source) as recording, pytest.raises(UsageError, match="4 GiB"):
        recording.check_output(tmp_path / "out.aiff")


@pytest.mark.parametrize(("suffix", "subtype"), [(".mp3", "MPEG_LAYER_III"), (".ogg", "VORBIS"), (".opus", "OPUS")])
def test_what_is_no_number_or_absurd_stops_no_encoder(tmp_path, suffix, subtype):
    samples = np.zeros((1, 9600), dtype=np.float32)
    samples[0, 2000:2004] = np.nan, np.inf, -np.inf, 1e30
    soundfile.write(tmp_path / "a.wav", samples.T, 48000, "FLOAT")
    with open_audio(tmp_path / "a.wav") as recording, recording.writer(tmp_path / f"b{suffix}") as writer:
        writer.write(samples)
    info = soundfile.info(tmp_path / f"b{suffix}")
    assert (info.frames, info.subtype) == (9600, subtype)


@pytest.mark.parametrize("subtype", ["PCM_U8", "ULAW", "ALAW"])
@pytest.mark.parametrize("length", [1, 801, 802])
def test_an_aiff_of_single_bytes_has_any_length(tmp_path, subtype, length):
    soundfile.write(tmp_path / "a.wav", RNG.uniform(-0.5, 0.5, length), 8000, subtype)
    for before, after in (("a.wav", "b.aifc"), ("b.aifc", "c.aifc")):
        with open_audio(tmp_path / before) as recording, recording.writer(tmp_path / after) as writer:
            writer.write(recording.read(0, length))
    for name in ("b.aifc", "c.aifc"):
        assert np.array_equal(soundfile.read(tmp_path / name)[0], soundfile.read(tmp_path / "a.wav")[0])
