import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from denoise.media import audio_decode, audio_formats
from denoise.media.audio import is_audio, open_audio

RNG = np.random.default_rng(0)
INTEGERS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24}
LOSSLESS = [
    (suffix, subtype)
    for suffix, subtypes in {
        ".wav": ("PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ULAW", "ALAW"),
        ".flac": ("PCM_S8", "PCM_16", "PCM_24"),
        ".aiff": ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ULAW"),
        ".w64": ("PCM_16", "FLOAT"),
        ".rf64": ("PCM_16", "PCM_24"),
    }.items()
    for subtype in subtypes
]
FORM = {".wav": "WAV", ".flac": "FLAC", ".aiff": "AIFF", ".w64": "W64", ".rf64": "RF64", ".ogg": "OGG", ".opus": "OGG"}
FORM[".mp3"] = "MP3"
LOSSY = [
    (".mp3", "MPEG_LAYER_III", 2, (8000, 16000, 22050, 32000, 44100, 48000)),
    (".ogg", "VORBIS", 8, (8000, 16000, 22050, 32000, 44100, 48000, 96000)),
    (".opus", "OPUS", 8, (8000, 16000, 48000)),
]


def tones(length: int, channels: int = 2, rate_hz: int = 44100) -> np.ndarray:
    """A tone for each channel, with a little noise. Shape: `[n, C]`."""
    t = np.arange(length)[:, None] / rate_hz
    wave = 0.3 * np.sin(2 * np.pi * (150 + 40 * np.arange(channels)) * t * (1 + 0.1 * np.sin(7 * t)))
    return (wave + 0.01 * RNG.standard_normal((length, channels))).astype(np.float32)


def make(
    path: Path, sound: np.ndarray, rate_hz: int = 44100, subtype: str = "PCM_16", form: str = "", **options
) -> Path:
    form = form or FORM[path.suffix]
    with soundfile.SoundFile(path, "w", rate_hz, sound.shape[1], subtype, format=form, **options) as file:
        file.write(sound)
    return path


def load(path: Path, dtype: str = "float64") -> np.ndarray:
    with soundfile.SoundFile(path) as file:
        return file.read(dtype=dtype, always_2d=True)


def rewrite(source: Path, target: Path, block: int = 3001, gain: float = 1.0, clip: str = "none"):
    """Read and write back every block; the report."""
    with open_audio(source) as recording, recording.writer(target, clip) as writer:
        for start in range(0, recording.length, block):
            writer.write(recording.read(start, min(start + block, recording.length)) * np.float32(gain))
    return writer.report


@pytest.mark.parametrize(("suffix", "subtype"), LOSSLESS)
@pytest.mark.parametrize(("length", "channels"), [(0, 1), (1, 1), (3, 2), (9001, 2)])
def test_what_is_read_and_written_unchanged_comes_out_bit_for_bit(tmp_path, suffix, subtype, length, channels):
    if (length, suffix) == (0, ".flac"):
        pytest.skip("libsndfile writes no FLAC without samples")
    sound = RNG.uniform(-1, 1, (length, channels))
    if length > 3:
        sound[5:7] = [[-1.0, 1.0 - 2.0**-23], [1.0 - 2.0**-15, 0.0]]
    source = make(tmp_path / f"in{suffix}", sound, 44100, subtype)
    report = rewrite(source, tmp_path / f"out{suffix}")
    before, after = soundfile.info(source), soundfile.info(tmp_path / f"out{suffix}")
    for fact in ("format", "subtype", "samplerate", "channels", "frames"):
        assert getattr(before, fact) == getattr(after, fact)
    np.testing.assert_array_equal(load(source), load(tmp_path / f"out{suffix}"))
    assert report.over == 0
    assert report.describe() == ""


@pytest.mark.parametrize(("suffix", "subtype"), [(".wav", "PCM_32"), (".wav", "DOUBLE"), (".aiff", "PCM_32")])
def test_deeper_samples_keep_their_subtype_and_24_leading_bits(tmp_path, suffix, subtype):
    sound = np.concatenate([RNG.uniform(-1, 1, (5000, 1)), RNG.uniform(-1e-4, 1e-4, (500, 1)), [[-1.0], [1 - 2**-31]]])
    source = make(tmp_path / f"in{suffix}", sound, 44100, subtype)
    assert rewrite(source, tmp_path / f"out{suffix}").over == 0
    assert soundfile.info(tmp_path / f"out{suffix}").subtype == subtype
    before = load(source)
    assert (np.abs(load(tmp_path / f"out{suffix}") - before) <= np.abs(before) * 2.0**-24 + 2.0**-31).all()


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff"])
@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 32000, 44100, 48000, 96000, 192000, 11111])
def test_any_rate_comes_back(tmp_path, suffix, rate_hz):
    source = make(tmp_path / f"in{suffix}", tones(500, 1, rate_hz), rate_hz)
    rewrite(source, tmp_path / f"out{suffix}")
    assert soundfile.info(tmp_path / f"out{suffix}").samplerate == rate_hz
    np.testing.assert_array_equal(load(source), load(tmp_path / f"out{suffix}"))


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
@pytest.mark.parametrize("channels", range(1, 9))
def test_every_channel_comes_back_in_its_place(tmp_path, suffix, channels):
    sound = np.zeros((channels * 4000, channels), dtype=np.float32)
    for channel in range(channels):  # 60 Hz, so that the low-frequency channel holds it as well
        sound[channel * 4000 : channel * 4000 + 4000, channel] = 0.5 * np.sin(np.arange(4000) * 60 * 2 * np.pi / 44100)
    source = make(tmp_path / f"in{suffix}", sound, 44100, "VORBIS" if suffix == ".ogg" else "PCM_16")
    rewrite(source, tmp_path / f"out{suffix}")
    rewrite(source, tmp_path / "out.wav")
    rewrite(tmp_path / "out.wav", tmp_path / "back.ogg")
    loud = [(load(tmp_path / f"out{suffix}")[i * 4000 : i * 4000 + 4000] ** 2).sum(0).argmax() for i in range(channels)]
    assert loud == list(range(channels))
    wave, back = load(tmp_path / "out.wav"), load(tmp_path / "back.ogg")
    place = audio_formats._VORBIS_TO_WAV.get(channels, range(channels))
    for i in range(channels):
        assert (back[i * 4000 : i * 4000 + 4000] ** 2).sum(0).argmax() == (i if suffix == ".ogg" else place.index(i))
        assert (wave[i * 4000 : i * 4000 + 4000] ** 2).sum(0).argmax() == (place[i] if suffix == ".ogg" else i)


@pytest.mark.parametrize(("channels", "rate_hz"), [(3, 48000), (6, 48000), (8, 44100)])
def test_ffmpeg_hears_the_channels_where_they_were(tmp_path, channels, rate_hz):
    av = pytest.importorskip("av")
    sound = np.zeros((channels * 4800, channels), dtype=np.float32)
    for i in range(channels):
        sound[i * 4800 : i * 4800 + 4800, i] = 0.5 * np.sin(np.arange(4800) * 60 * 2 * np.pi / rate_hz)
    rewrite(make(tmp_path / "in.wav", sound, rate_hz), tmp_path / "out.ogg")
    with av.open(str(tmp_path / "out.ogg")) as container:
        packed = av.AudioResampler(format="flt")
        parts = [part.to_ndarray() for frame in container.decode(audio=0) for part in packed.resample(frame)]
    heard = np.concatenate(parts, axis=1).reshape(-1, channels)
    assert [(heard[i * 4800 : i * 4800 + 4800] ** 2).sum(0).argmax() for i in range(channels)] == list(range(channels))


@pytest.mark.parametrize(("suffix", "subtype", "rate_hz"), [(s, t, r) for s, t, _, rates in LOSSY for r in rates])
def test_lossy_sound_keeps_its_length_place_and_level(tmp_path, suffix, subtype, rate_hz):
    for length in (1, 2, 575, 1153, 20_011):
        sound = tones(length, 1, rate_hz)
        source = make(tmp_path / f"in{suffix}", sound, rate_hz, subtype)
        rewrite(source, tmp_path / f"out{suffix}")
        rewrite(tmp_path / f"out{suffix}", tmp_path / "out.wav")
        info = soundfile.info(tmp_path / f"out{suffix}")
        assert (info.subtype, info.samplerate, info.frames) == (subtype, rate_hz, length)
        assert soundfile.info(tmp_path / "out.wav").subtype == "FLOAT"
    once, twice = load(source)[:, 0], load(tmp_path / "out.wav")[:, 0]
    shifts = range(-40, 41)
    likeness = [np.dot(once[4000:16000], twice[4000 + shift : 16000 + shift]) for shift in shifts]
    assert shifts[int(np.argmax(likeness))] == 0
    assert abs(np.dot(once, twice) / np.dot(once, once) - 1) < 0.02


@pytest.mark.parametrize("level", [0.0, 0.66667, 0.9])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE", "AVERAGE"])
@pytest.mark.parametrize("rate_hz", [44100, 22050, 8000])
def test_an_mp3_comes_back_at_no_less_than_its_bit_rate(tmp_path, level, mode, rate_hz):
    from mutagen.mp3 import MP3

    source = make(
        tmp_path / "in.mp3",
        tones(rate_hz // 2, 1, rate_hz),
        rate_hz,
        "MPEG_LAYER_III",
        compression_level=level,
        bitrate_mode=mode,
    )
    rewrite(source, tmp_path / "out.mp3")
    assert MP3(tmp_path / "out.mp3").info.bitrate > 0.85 * MP3(source).info.bitrate  # what an average makes of it
    once, twice = load(source), load(tmp_path / "out.mp3")
    assert (once * twice).sum() / (once * once).sum() == pytest.approx(1, abs=0.02)
    assert mode != "CONSTANT" or MP3(tmp_path / "out.mp3").info.bitrate >= MP3(source).info.bitrate
    with open_audio(source) as before, open_audio(tmp_path / "out.mp3") as after:
        assert after.length == before.length


@pytest.mark.parametrize("level", [0.0, 0.25, 0.6, 0.95])
def test_vorbis_comes_back_at_its_nominal_bit_rate(tmp_path, level):
    from mutagen.oggvorbis import OggVorbis

    source = make(tmp_path / "in.ogg", tones(9000), 44100, "VORBIS", compression_level=level)
    rewrite(source, tmp_path / "out.ogg")
    before, after = OggVorbis(source).info.bitrate, OggVorbis(tmp_path / "out.ogg").info.bitrate
    assert before <= after <= 1.6 * before


@pytest.mark.parametrize(
    ("suffix", "subtype"), [(s, t) for s, t, *_ in LOSSY] + [(".wav", "PCM_16"), (".flac", "PCM_24")]
)
def test_reading_gives_the_same_samples_however_it_is_cut(tmp_path, monkeypatch, suffix, subtype):
    monkeypatch.setattr(audio_decode, "BLOCK", 1000)
    source = make(tmp_path / f"in{suffix}", tones(60_000, 2, 48000), 48000, subtype)
    with open_audio(source) as recording:
        whole = recording.read(0, 60_000)
        assert (whole.shape, whole.dtype) == ((2, 60_000), np.float32)
        np.testing.assert_allclose(whole.T, load(source), atol=1e-6)
        for start, stop in [
            (0, 1),
            (0, 700),
            (500, 1999),
            (500, 500),
            (1990, 3000),
            (40_000, 41_234),
            (59_999, 60_000),
        ]:
            np.testing.assert_array_equal(recording.read(start, stop), whole[:, start:stop])
        np.testing.assert_array_equal(recording.read(7, 300), whole[:, 7:300])  # back to the beginning
        recording.read(0, 5)[:] = 9  # the caller's own
        np.testing.assert_array_equal(recording.read(0, 5), whole[:, :5])


def test_an_hour_is_held_in_little_memory(tmp_path):
    source = make(tmp_path / "in.wav", np.zeros((20 * 60 * 8000, 1), dtype=np.int16), 8000)
    with open_audio(source) as recording, recording.writer(tmp_path / "out.flac") as writer:
        for start in range(0, recording.length, 30_000):
            writer.write(recording.read(start, min(start + 30_000, recording.length)))
            assert sum(block.shape[1] for block in recording._held) <= 30_000 + 2 * audio_decode.BLOCK


@pytest.mark.parametrize(
    ("suffix", "subtype", "words"),
    [
        (".wav", "PCM_16", "WAV, 16 bit, 44.1 kHz, 2 channels, 0:00:01.000"),
        (".wav", "FLOAT", "WAV, 32 bit float, 44.1 kHz, 2 channels, 0:00:01.000"),
        (".mp3", "MPEG_LAYER_III", "MP3, 44.1 kHz, 2 channels, 0:00:01.000"),
        (".ogg", "VORBIS", "OGG, Vorbis, 44.1 kHz, 2 channels, 0:00:01.000"),
    ],
)
def test_a_recording_says_what_it_is(tmp_path, suffix, subtype, words):
    source = make(tmp_path / f"in{suffix}", tones(44100), 44100, subtype)
    with open_audio(source) as recording:
        assert (recording.rate_hz, recording.channels, recording.length) == (44100, 2, 44100)
        assert (recording.path, recording.subtype) == (source, subtype)
        assert recording.describe() == words


@pytest.mark.parametrize(
    ("subtype", "suffix", "written"),
    [
        ("PCM_16", ".flac", "PCM_16"),
        ("PCM_U8", ".flac", "PCM_S8"),
        ("PCM_32", ".flac", "PCM_24"),
        ("FLOAT", ".flac", "PCM_24"),
        ("DOUBLE", ".aiff", "DOUBLE"),
        ("IMA_ADPCM", ".wav", "PCM_16"),
        ("MS_ADPCM", ".flac", "PCM_16"),
        ("GSM610", ".wav", "PCM_16"),
        ("ULAW", ".flac", "PCM_16"),
    ],
)
def test_another_container_takes_the_nearest_subtype(tmp_path, subtype, suffix, written):
    source = make(tmp_path / "in.wav", tones(1000, 1, 8000), 8000, subtype)
    rewrite(source, tmp_path / f"out{suffix}")
    assert soundfile.info(tmp_path / f"out{suffix}").subtype == written
    with open_audio(source) as recording:
        expected = recording.read(0, recording.length)
    np.testing.assert_allclose(load(tmp_path / f"out{suffix}").T, expected, rtol=0, atol=2.0**-24)


def test_suffixes_tell_sound():
    assert all(is_audio(f"a{suffix}") for suffix in (".wav", ".WAV", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".m4a"))
    assert not any(is_audio(name) for name in ("a.png", "wav", "a.txt", "a.wav.zip"))


def test_asking_for_a_suffix_imports_nothing_heavy():
    code = "import sys; from denoise.media.audio import is_audio; is_audio('a.wav')"
    code += "; print(sorted({'torch', 'soundfile', 'av', 'librosa', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_vorbis_at_a_rate_of_which_no_bit_rate_is_told_loses_none(tmp_path):
    draw = np.random.default_rng(0).uniform(-0.3, 0.3, (96_000, 2))
    source = make(tmp_path / "in.ogg", draw, 96_000, "VORBIS", compression_level=0.1)
    with open_audio(source) as recording, recording.writer(tmp_path / "out.ogg") as writer:
        writer.write(recording.read(0, recording.length))
    assert (tmp_path / "out.ogg").stat().st_size >= source.stat().st_size
