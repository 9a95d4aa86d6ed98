import importlib.util
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from denoise.errors import MediaError, UsageError
from denoise.media.audio import open_audio
from denoise.media.audio_decode import BLOCK

RNG = np.random.default_rng(0)
KINDS = [("wav", "PCM_16"), ("flac", "PCM_16"), ("aiff", "PCM_16"), ("mp3", None), ("ogg", "VORBIS"), ("ogg", "OPUS")]


def noise(path: Path, subtype: str | None = None, length: int = 48_000) -> Path:
    soundfile.write(path, RNG.uniform(-0.3, 0.3, (length, 2)), 48000, subtype)
    return path


def contained(path: Path, codec: str, length: int, rate_hz: int = 48000, **metadata: str) -> np.ndarray:
    """Sound in a container of FFmpeg's. Shape: `[2, n]`."""
    av = pytest.importorskip("av")
    wave = np.sin(np.arange(length) * 2 * np.pi * 220 / rate_hz) * 0.3 + 0.01 * RNG.standard_normal((2, length))
    sound = wave.astype(np.float32)
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata)
        stream = container.add_stream(codec, rate=rate_hz, layout="stereo")
        stream.bit_rate = 128_000
        frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = rate_hz, 0
        cut = av.AudioResampler(
            format=stream.codec_context.format, layout="stereo", frame_size=stream.codec_context.frame_size or 1024
        )
        for part in cut.resample(frame) + cut.resample(None):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return sound


@pytest.mark.parametrize(
    ("name", "codec", "padding", "delay"),
    [
        ("a.m4a", "aac", 1024, 0),
        ("a.mp4", "aac", 1024, 0),
        ("a.mov", "aac", 1024, 0),
        ("a.mkv", "aac", 1024, 0),
        ("a.aac", "aac", 2048, 1024),
        ("a.webm", "libopus", 0, 0),
        ("a.wma", "wmav2", 6144, None),
        ("a.m4a", "alac", 0, 0),
    ],
)
def test_sound_comes_out_of_containers_at_its_place_and_level(tmp_path, name, codec, padding, delay):
    sound = contained(tmp_path / name, codec, 30_000)
    with open_audio(tmp_path / name) as recording:
        assert (recording.rate_hz, recording.channels) == (48000, 2)
        # The encoder of WMA leaves out what does not fill a frame.
        assert 30_000 - (2048 if delay is None else 0) <= recording.length <= 30_000 + padding
        heard = recording.read(0, recording.length)
        for start, stop in [(0, 10), (5, 20_000), (19_000, recording.length), (3, 9)]:
            np.testing.assert_array_equal(recording.read(start, stop), heard[:, start:stop])
        if delay is not None:
            likeness = [
                np.dot(sound[0, 9000:20_000], heard[0, 9000 + k : 20_000 + k]) for k in range(delay - 30, delay + 31)
            ]
            assert np.argmax(likeness) == 30
            assert max(likeness) / np.dot(sound[0, 9000:20_000], sound[0, 9000:20_000]) == pytest.approx(1, abs=0.02)
        with recording.writer(tmp_path / "out.flac") as writer:
            writer.write(heard)
        assert soundfile.info(tmp_path / "out.flac").frames == recording.length
        with pytest.raises(UsageError, match="read but not written"):
            recording.check_output(tmp_path / f"out{Path(name).suffix}")


def test_a_container_without_sound_is_refused(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), dtype=np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(UsageError, match="no sound track"):
        open_audio(tmp_path / "a.mp4")


def test_a_damaged_container_is_refused(tmp_path):
    contained(tmp_path / "a.m4a", "aac", 30_000)
    (tmp_path / "a.m4a").write_bytes((tmp_path / "a.m4a").read_bytes()[:3000])
    with pytest.raises(MediaError, match="damaged, cut off"):
        open_audio(tmp_path / "a.m4a")


def test_a_missing_library_is_named_with_the_extra(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "av" else find(name))
    (tmp_path / "a.m4a").write_bytes(b"anything")
    with pytest.raises(UsageError, match=r"needs PyAV.*pip install 'denoise-toolkit\[formats\]'"):
        open_audio(tmp_path / "a.m4a")


@pytest.mark.parametrize(("suffix", "subtype"), KINDS)
def test_a_file_that_is_cut_off_is_refused(tmp_path, suffix, subtype):
    path = noise(tmp_path / f"a.{suffix}", subtype)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError, match=r"cut off|damaged"), open_audio(path) as recording:
        recording.read(0, recording.length)


def test_a_file_that_loses_its_end_while_open_is_refused(tmp_path):
    path = noise(tmp_path / "a.wav", "PCM_16", 200_000)
    with open_audio(path) as recording:
        os.truncate(path, 1000)
        with pytest.raises(MediaError, match="cut off"):
            recording.read(100_000, 200_000)


@pytest.mark.parametrize("size", [0xFFFF_FFFF, 0x7FFF_FFFF])
def test_a_wav_from_a_pipe_tells_no_size_and_is_read_to_its_end(tmp_path, size):
    path = noise(tmp_path / "a.wav", "PCM_16", 1000)
    data = bytearray(path.read_bytes())
    place = data.find(b"data") + 4
    data[place : place + 4] = size.to_bytes(4, "little")
    path.write_bytes(data)
    with open_audio(path) as recording:
        assert recording.length == 1000
        assert recording.read(0, 1000).shape == (2, 1000)


def _first_frame(data: bytes) -> int:
    """Bytes of the first frame of an MP3 at 48 kHz."""
    kbps = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)[data[2] >> 4]
    return 3 * kbps + (data[2] >> 1 & 1)


def test_a_flac_from_a_pipe_tells_no_length_and_is_counted(tmp_path):
    length = 3 * BLOCK
    data = bytearray(noise(tmp_path / "a.flac", length=length).read_bytes())
    facts = int.from_bytes(data[18:26], "big")
    data[18:26] = (facts >> 36 << 36).to_bytes(8, "big")  # the last 36 bits are the samples
    (tmp_path / "pipe.flac").write_bytes(data)
    with open_audio(tmp_path / "a.flac") as whole, open_audio(tmp_path / "pipe.flac") as piped:
        assert piped.length == whole.length == length
        expected = whole.read(0, length)
        for start in (0, length - 100, 100):
            assert np.array_equal(piped.read(start, length), expected[:, start:])


def test_a_w64_from_a_pipe_is_read_to_its_end(tmp_path):
    data = bytearray(noise(tmp_path / "a.w64").read_bytes())
    place = data.index(b"data") + 16
    data[place : place + 8] = (2**63 - 1).to_bytes(8, "little")  # what FFmpeg writes
    (tmp_path / "b.w64").write_bytes(data)
    with open_audio(tmp_path / "a.w64") as whole, open_audio(tmp_path / "b.w64") as piped:
        assert np.array_equal(piped.read(0, 48_000), whole.read(0, 48_000))


def test_a_w64_that_is_cut_off_is_refused(tmp_path):
    data = noise(tmp_path / "a.w64").read_bytes()
    with open_audio(tmp_path / "a.w64") as recording:
        assert recording.length == 48_000
    (tmp_path / "a.w64").write_bytes(data[:-8])
    with pytest.raises(MediaError, match="cut off"):
        open_audio(tmp_path / "a.w64")


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "aac"), ("a.webm", "libopus"), ("a.mka", "flac")])
def test_a_container_that_is_cut_off_is_refused(tmp_path, name, codec):
    contained(tmp_path / name, codec, 200_000)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError, match="cut off"):
        open_audio(tmp_path / name)


@pytest.mark.parametrize(("name", "codec"), [("a.webm", "libopus"), ("a.mka", "flac")])
def test_a_second_that_is_missing_at_the_end_is_a_cut(tmp_path, name, codec):
    contained(tmp_path / name, codec, 60 * 48_000)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * 59 / 60)])
    with pytest.raises(MediaError, match="cut off"):
        open_audio(tmp_path / name)


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.webm", "libopus"), ("a.mkv", "libopus")])
def test_a_pause_between_packets_is_no_cut(tmp_path, name, codec):
    """As of a recording in a browser that was halted for two seconds, or that began late."""
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        cut = av.AudioResampler(stream.codec_context.format, "mono", frame_size=stream.codec_context.frame_size or 960)
        for start in (3 * 48_000, 8 * 48_000):
            frame = av.AudioFrame.from_ndarray(RNG.uniform(-0.3, 0.3, (1, 48_000)).astype(np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 48_000, start
            for part in cut.resample(frame):
                container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    with open_audio(tmp_path / name) as recording:
        assert recording.length > 60_000


def test_a_wav_that_was_never_closed(tmp_path):
    """Where the header tells of no sound but there is some: refused, or read where libsndfile finds it."""
    data = bytearray(noise(tmp_path / "a.wav").read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = bytes(4)
    (tmp_path / "b.wav").write_bytes(data)
    with pytest.raises(MediaError, match="never closed"):
        open_audio(tmp_path / "b.wav")
    data[4:8] = (8).to_bytes(4, "little")
    (tmp_path / "b.wav").write_bytes(data)
    with open_audio(tmp_path / "b.wav") as recording:
        assert recording.length == 48_000
        with recording.writer(tmp_path / "c.wav") as writer:
            writer.write(recording.read(0, 48_000))
    assert (tmp_path / "c.wav").stat().st_size == len(data), "samples are not copied as if they were chunks"


def test_a_wav_without_sound_keeps_what_follows(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((0, 1)), 48_000)
    with (tmp_path / "a.wav").open("ab") as file:
        file.write(b"LIST" + (4).to_bytes(4, "little") + b"INFO")
    with open_audio(tmp_path / "a.wav") as recording:
        assert recording.length == 0


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_no_text(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    noise(tmp_path / "a.wav").rename(path)
    with open_audio(path) as recording, recording.writer(tmp_path / "b.wav") as writer:
        writer.write(recording.read(0, 48_000))
    assert (tmp_path / "b.wav").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_without_a_length_is_counted(tmp_path, mode):
    pytest.importorskip("av")
    path = tmp_path / "a.mp3"
    sound = RNG.uniform(-0.3, 0.3, (48_000, 2))
    sound[:9000] *= 0.001 if mode == "VARIABLE" else 1  # the bit rate of the first frames is not that of the others
    soundfile.write(path, sound, 48000, compression_level=0.5, bitrate_mode=mode)
    data = path.read_bytes()
    path.write_bytes(data[_first_frame(data) :])  # the first frame holds the length and no sound
    with open_audio(path) as recording:
        assert 48_000 <= recording.length <= 48_000 + 3 * 1152
        assert recording.read(0, recording.length).shape == (2, recording.length)
        with recording.writer(tmp_path / "out.mp3") as writer:
            writer.write(recording.read(0, recording.length))
    assert soundfile.info(tmp_path / "out.mp3").frames == recording.length


ID3 = b"ID3\4\0\0\0\0\1\0" + bytes(128)
APE = b"APETAGEX" + struct.pack("<4L8x40x", 2000, 40, 1, 1 << 31)


@pytest.mark.parametrize("tag", [b"", b"TAG" + bytes(125), APE, ID3])
def test_mp3s_joined_one_after_another(tmp_path, tag):
    pytest.importorskip("av")
    path, two = noise(tmp_path / "a.mp3"), noise(tmp_path / "b.mp3", length=10_000).read_bytes()
    one = path.read_bytes() + tag
    path.write_bytes(one)
    with open_audio(path) as recording:
        assert recording.length == 48_000
    path.write_bytes(one + two)
    if tag:
        with pytest.raises(MediaError, match=r"several recordings one after another.*IN\.mp3"):
            open_audio(path)
    else:
        with open_audio(path) as recording:
            assert 58_000 <= recording.length <= 58_000 + 3 * 1152
            assert recording.read(0, recording.length)[:, -2000:-1000].std() > 0.1


@pytest.mark.parametrize(
    "between",
    [bytes(500), b"\xff" * 500, APE[32:] + APE[:32], RNG.bytes(5000)],
    ids=["zeros", "ones", "APEv2 without a header", "anything"],
)
def test_mp3s_joined_with_something_in_between_are_refused(tmp_path, between):
    path, two = noise(tmp_path / "a.mp3"), noise(tmp_path / "b.mp3", length=10_000).read_bytes()
    one = path.read_bytes() + between
    for end in (b"", b"ID3" + bytes(20)):
        path.write_bytes(one + end)
        with open_audio(path) as recording:
            assert recording.length == 48_000
    for further in (two, ID3 + two[_first_frame(two) :]):
        path.write_bytes(one + further)
        with pytest.raises(MediaError, match="several recordings"):
            open_audio(path)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_oggs_joined_one_after_another_are_refused(tmp_path, subtype):
    path = noise(tmp_path / "a.ogg", subtype)
    path.write_bytes(2 * path.read_bytes())
    with pytest.raises(MediaError, match=r"several recordings one after another.*IN\.ogg"):
        open_audio(path)


@pytest.mark.parametrize("length", [100, BLOCK, 2 * BLOCK + 100])
def test_a_flac_with_a_tag_at_its_end_is_whole(tmp_path, length):
    data, tag = noise(tmp_path / "a.flac", length=length).read_bytes(), b"TAG" + bytes(125)
    piped = data[:21] + bytes((data[21] & 0xF0, 0, 0, 0, 0)) + data[26:]  # its length is not told
    for whole in (data, piped):
        (tmp_path / "b.flac").write_bytes(ID3 + whole + tag)
        with open_audio(tmp_path / "a.flac") as bare, open_audio(tmp_path / "b.flac") as tagged:
            assert tagged.length == length
            for start in (0, length - 50, 10):
                assert np.array_equal(tagged.read(start, length), bare.read(start, length))
    for joined in (data + data, data + data + tag):
        (tmp_path / "b.flac").write_bytes(joined)
        with pytest.raises(MediaError, match="several recordings"):
            open_audio(tmp_path / "b.flac")


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "m4a", "webm"])
def test_what_is_not_sound_is_refused_in_one_sentence(tmp_path, suffix):
    if suffix in {"m4a", "webm"}:
        pytest.importorskip("av")
    path = tmp_path / f"a.{suffix}"
    with pytest.raises(UsageError, match="no file"):
        open_audio(path)
    path.write_bytes(b"")
    with pytest.raises(MediaError, match="is empty"):
        open_audio(path)
    path.write_bytes(b"This is a letter, not a sound. " * 50)
    with pytest.raises(MediaError, match=r"not sound|damaged") as caught:
        open_audio(path)
    assert "\n" not in str(caught.value)
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match="folder"):
        open_audio(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    path = noise(tmp_path / "a.wav")
    path.chmod(0)
    with pytest.raises(MediaError, match="permission denied"):
        open_audio(path)
