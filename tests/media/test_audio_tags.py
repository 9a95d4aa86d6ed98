import struct
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mutagen.aiff import AIFF
from mutagen.apev2 import BINARY, APEv2, APEValue
from mutagen.easyid3 import EasyID3
from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, COMM, ID3, PRIV, TALB, TDRC, TIT2, TMOO, TPE1, TSOP, TXXX
from mutagen.mp3 import MP3
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE
from PIL import Image

from denoise.errors import MediaError
from denoise.media.audio import open_audio
from denoise.media.audio_chunks import chunks

SUBTYPES = {".ogg": "VORBIS", ".opus": "OPUS", ".mp3": "MPEG_LAYER_III"}
FORMS = {".opus": "OGG"}
TITLE, ARTIST = "Ständchen", "Анна"


def make(path: Path, channels: int = 1, form: str | None = None) -> Path:
    sound = np.zeros((5000, channels))
    soundfile.write(path, sound, 48000, SUBTYPES.get(path.suffix, "PCM_16"), format=form or FORMS.get(path.suffix))
    return path


def rewrite(source: Path, target: Path) -> None:
    with open_audio(source) as recording, recording.writer(target) as writer:
        writer.write(recording.read(0, recording.length))


def jpeg() -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 6)).save(file, "JPEG")
    return file.getvalue()


def ogg_or_flac(path: Path) -> FLAC | OggVorbis | OggOpus:
    if path.suffix == ".flac":
        return FLAC(path)
    return OggOpus(path) if soundfile.info(path).subtype == "OPUS" else OggVorbis(path)


def tag(path: Path) -> None:
    """Title, artist, a comment, a name of one's own and a picture, as the format has them."""
    picture = Picture()
    picture.data, picture.mime, picture.type, picture.desc = jpeg(), "image/jpeg", 3, "front"
    if path.suffix in {".flac", ".ogg", ".opus"}:
        audio = ogg_or_flac(path)
        audio["title"], audio["artist"], audio["album"] = TITLE, [ARTIST, "Second"], "Album"
        audio["comment"], audio["shelf"] = "A comment", "calm"
        if path.suffix == ".flac":
            audio.add_picture(picture)
        else:
            import base64

            audio["metadata_block_picture"] = base64.b64encode(picture.write()).decode()
        audio.save()
        return
    audio = {".mp3": MP3, ".wav": WAVE, ".aiff": AIFF}[path.suffix](path)
    audio.add_tags()
    audio.tags.add(TIT2(encoding=3, text=TITLE))
    audio.tags.add(TPE1(encoding=3, text=[ARTIST, "Second"]))
    audio.tags.add(TALB(encoding=3, text="Album"))
    audio.tags.add(COMM(encoding=3, lang="eng", desc="", text="A comment"))
    audio.tags.add(TXXX(encoding=3, desc="shelf", text="calm"))
    audio.tags.add(PRIV(owner="someone", data=b"bytes"))
    audio.tags.add(APIC(encoding=3, mime="image/jpeg", type=3, desc="front", data=jpeg()))
    audio.save()


def found(path: Path) -> dict[str, object]:
    """What `tag` put there, in the same words for all formats."""
    if path.suffix in {".flac", ".ogg", ".opus"}:
        audio = ogg_or_flac(path)
        pictures = list(getattr(audio, "pictures", []))
        if path.suffix != ".flac":
            import base64

            pictures = [Picture(base64.b64decode(text)) for text in audio.get("metadata_block_picture", [])]
        names = {name: audio.get(name) for name in ("title", "artist", "album", "comment", "shelf")}
        return {**names, "pictures": [(p.data, p.mime, p.type, p.desc) for p in pictures]}
    tags = {".mp3": MP3, ".wav": WAVE, ".aiff": AIFF}[path.suffix](path).tags
    frames = {"title": "TIT2", "artist": "TPE1", "album": "TALB", "comment": "COMM", "shelf": "TXXX:shelf"}
    names = {name: [text for f in tags.getall(frame)[:1] for text in f.text] for name, frame in frames.items()}
    return {**names, "pictures": [(p.data, p.mime, int(p.type), p.desc) for p in tags.getall("APIC")]}


EXPECTED = {
    "title": [TITLE],
    "artist": [ARTIST, "Second"],
    "album": ["Album"],
    "comment": ["A comment"],
    "shelf": ["calm"],
    "pictures": [(jpeg(), "image/jpeg", 3, "front")],
}
ALL = [".flac", ".ogg", ".opus", ".mp3", ".wav", ".aiff"]


@pytest.mark.parametrize("before", ALL)
@pytest.mark.parametrize("after", ALL)
def test_tags_and_pictures_go_over_to_every_format(tmp_path, before, after):
    source = make(tmp_path / f"in{before}")
    tag(source)
    assert found(source) == EXPECTED
    rewrite(source, tmp_path / f"out{after}")
    assert found(tmp_path / f"out{after}") == EXPECTED
    assert soundfile.info(tmp_path / f"out{after}").frames == 5000


def test_frames_only_id3_knows_and_its_version_stay(tmp_path):
    source = make(tmp_path / "in.mp3")
    tag(source)
    tags = ID3(source)
    tags.update_to_v23()
    tags.save(source, v2_version=3)
    rewrite(source, tmp_path / "out.mp3")
    assert ID3(tmp_path / "out.mp3").version == (2, 3, 0)
    assert set(ID3(tmp_path / "out.mp3").keys()) == set(ID3(source).keys())


def test_every_chunk_of_a_wav_stays_as_it_is(tmp_path):
    source = make(tmp_path / "in.wav", 2)
    own = [(b"bext", bytes(range(256)) * 3), (b"iXML", b"<a/>x"), (b"cue ", bytes(28)), (b"odd ", b"123")]
    data = source.read_bytes() + b"".join(
        struct.pack("<4sL", name, len(body)) + body + b"\0" * (len(body) % 2) for name, body in own
    )
    source.write_bytes(data[:4] + struct.pack("<L", len(data) - 8) + data[8:])
    rewrite(source, tmp_path / "out.wav")
    with (tmp_path / "out.wav").open("rb") as file:
        kept = {name: (place, length) for name, place, length in chunks(file)}
        for name, body in own:
            file.seek(kept[name][0])
            assert file.read(kept[name][1]) == body
    size = (tmp_path / "out.wav").stat().st_size
    assert struct.unpack("<L", (tmp_path / "out.wav").read_bytes()[4:8])[0] == size - 8


def test_a_tag_in_front_of_a_wav_hides_no_chunk(tmp_path):
    source = make(tmp_path / "in.wav")
    data = source.read_bytes() + struct.pack("<4sL", b"bext", 6) + b"reel 7"
    data = data[:4] + struct.pack("<L", len(data) - 8) + data[8:]
    source.write_bytes(b"ID3\x03\0\0" + bytes([0, 0, 1, 0]) + bytes(128) + data)
    rewrite(source, tmp_path / "out.wav")
    with (tmp_path / "out.wav").open("rb") as file:
        assert b"bext" in [name for name, *_ in chunks(file)]
    assert b"reel 7" in (tmp_path / "out.wav").read_bytes()


def test_info_texts_stay_and_go_over(tmp_path):
    with soundfile.SoundFile(tmp_path / "in.wav", "w", 48000, 1, "PCM_16") as file:
        file.title, file.artist, file.genre = "A title", "Someone", "Speech"
        file.write(np.zeros(100))
    for name in ("out.wav", "out.flac"):
        rewrite(tmp_path / "in.wav", tmp_path / name)
        with soundfile.SoundFile(tmp_path / name) as file:
            assert (file.title, file.artist, file.genre) == ("A title", "Someone", "Speech")
    rewrite(tmp_path / "out.flac", tmp_path / "back.wav")
    with soundfile.SoundFile(tmp_path / "back.wav") as file:
        assert (file.title, file.artist, file.genre) == ("A title", "Someone", "Speech")


@pytest.mark.parametrize("form", ["WAVEX", "RF64"])
def test_the_speakers_of_the_channels_stay(tmp_path, form):
    source = make(tmp_path / "in.wav", 6, form)
    with source.open("rb") as file:
        place = next(place for name, place, length in chunks(file) if name == b"fmt " and length >= 40)
    data = bytearray(source.read_bytes())
    data[place + 20 : place + 24] = struct.pack("<L", 0x60F)  # 5.1 with speakers at the sides
    source.write_bytes(data)
    rewrite(source, tmp_path / "out.wav")
    assert soundfile.info(tmp_path / "out.wav").format == form
    with (tmp_path / "out.wav").open("rb") as file:
        place = next(place for name, place, length in chunks(file) if name == b"fmt ")
        file.seek(place + 20)
        assert struct.unpack("<L", file.read(4))[0] == 0x60F


def test_the_tags_of_an_m4a_go_over(tmp_path):
    av = pytest.importorskip("av")
    from mutagen.mp4 import MP4, MP4Cover

    with av.open(str(tmp_path / "in.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        container.mux(stream.encode(frame) + stream.encode(None))
    tags = MP4(tmp_path / "in.m4a")
    tags["\xa9nam"], tags["\xa9ART"] = TITLE, [ARTIST]
    tags["covr"] = [MP4Cover(jpeg(), MP4Cover.FORMAT_JPEG)]
    tags.save()
    rewrite(tmp_path / "in.m4a", tmp_path / "out.flac")
    after = FLAC(tmp_path / "out.flac")
    assert (after["title"], after["artist"]) == ([TITLE], [ARTIST])
    assert [(p.data, p.mime, p.width, p.height) for p in after.pictures] == [(jpeg(), "image/jpeg", 8, 6)]


def test_damaged_tags_do_not_stop_the_sound(tmp_path):
    source = make(tmp_path / "in.mp3")
    source.write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x0aTIT2\xff\xff\xff\xff\xff\xff" + source.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rewrite(source, tmp_path / "out.mp3")
    assert soundfile.info(tmp_path / "out.mp3").frames == 5000


def test_frames_that_id3_2_3_does_not_list_stay(tmp_path):
    make(tmp_path / "a.mp3")
    tags = ID3()
    for frame in (TIT2(encoding=1, text=TITLE), TSOP(encoding=1, text="Sort"), TMOO(encoding=1, text="calm")):
        tags.add(frame)
    tags.add(TDRC(encoding=1, text="2020"))
    tags.save(tmp_path / "a.mp3", v2_version=3)
    rewrite(tmp_path / "a.mp3", tmp_path / "b.mp3")
    after = ID3(tmp_path / "b.mp3")
    assert (str(after["TSOP"]), str(after["TMOO"]), str(after["TIT2"]), str(after["TDRC"])) == (
        "Sort",
        "calm",
        TITLE,
        "2020",
    )


@pytest.mark.parametrize("after", [".wav", ".mp3", ".aiff", ".flac"])
def test_empty_texts_stop_nothing(tmp_path, after):
    flac = FLAC(make(tmp_path / "a.flac"))
    flac["artist"], flac["title"], flac["replaygain_track_gain"] = "", TITLE, ""
    flac.save()
    rewrite(tmp_path / "a.flac", tmp_path / f"b{after}")
    assert soundfile.info(tmp_path / f"b{after}").frames == 5000


@pytest.mark.parametrize(("coding", "artist"), [("utf-8", "Анна Ángel"), ("cp1252", "Müller")])
def test_texts_of_a_wav_in_either_code(tmp_path, coding, artist):
    make(tmp_path / "a.wav")
    texts = b""
    for name, text in ((b"IART", artist), (b"INAM", TITLE), (b"ISFT", "Recorder")):
        data = text.encode(coding) + b"\0"
        texts += name + struct.pack("<L", len(data)) + data + b"\0" * (len(data) % 2)
    with (tmp_path / "a.wav").open("ab") as file:
        file.write(b"LIST" + struct.pack("<L", len(texts) + 4) + b"INFO" + texts)
    rewrite(tmp_path / "a.wav", tmp_path / "a.flac")
    flac = FLAC(tmp_path / "a.flac")
    assert (flac["artist"], flac["title"]) == ([artist], [TITLE]) and "software" not in flac


def test_what_id3_lacks_comes_from_the_texts_of_the_wav(tmp_path):
    make(tmp_path / "a.wav")
    with (tmp_path / "a.wav").open("ab") as file:
        file.write(b"LIST" + struct.pack("<L", 4 + 12) + b"INFO" + b"IART" + struct.pack("<L", 4) + b"Ann\0")
    wave = WAVE(tmp_path / "a.wav")
    wave.add_tags()
    wave.tags.add(TIT2(encoding=3, text=TITLE))
    wave.save()
    rewrite(tmp_path / "a.wav", tmp_path / "a.flac")
    flac = FLAC(tmp_path / "a.flac")
    assert (flac["artist"], flac["title"]) == (["Ann"], [TITLE])
    for name, kind in (("a.mp3", MP3), ("a.aiff", AIFF)):
        rewrite(tmp_path / "a.wav", tmp_path / name)
        frames = kind(tmp_path / name).tags
        assert (str(frames["TPE1"]), str(frames["TIT2"])) == ("Ann", TITLE)


def test_the_comment_is_that_of_a_person(tmp_path):
    make(tmp_path / "a.mp3")
    tags = ID3()
    tags.add(COMM(encoding=3, lang="eng", desc="iTunNORM", text=" 0000048A"))
    tags.add(COMM(encoding=3, lang="eng", desc="more", text="Second"))
    tags.add(COMM(encoding=3, lang="eng", desc="", text="First"))
    tags.save(tmp_path / "a.mp3")
    rewrite(tmp_path / "a.mp3", tmp_path / "a.flac")
    assert FLAC(tmp_path / "a.flac")["comment"] == ["First"]


def test_a_big_endian_wav_keeps_its_texts_and_is_refused_where_it_is_cut_off(tmp_path):
    path = tmp_path / "a.wav"
    with soundfile.SoundFile(path, "w", 48_000, 1, "PCM_16", endian="BIG") as file:
        file.title, file.artist = TITLE, ARTIST
        file.write(np.zeros(5000))
    with path.open("ab") as file:
        file.write(b"cue " + struct.pack(">LL", 4, 0))  # means nothing among little-endian numbers
    rewrite(path, tmp_path / "b.wav")
    with soundfile.SoundFile(tmp_path / "b.wav") as file:
        assert (file.title, file.artist, file.frames, file.endian) == (TITLE, ARTIST, 5000, "FILE")
    assert b"cue " not in (tmp_path / "b.wav").read_bytes()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MediaError, match="cut off"):
        open_audio(path)


@pytest.mark.parametrize("pad", [b"", b"\0", b" "])
@pytest.mark.parametrize("text", [b"Song", 28 * b"x"])  # the latter gives LIST a size that reads as a letter
def test_chunks_behind_an_odd_number_of_bytes_are_found_with_and_without_a_pad(tmp_path, pad, text):
    info = b"INFOINAM" + struct.pack("<L", len(text)) + text
    list_ = b"LIST" + struct.pack("<L", len(info)) + info
    soundfile.write(tmp_path / "a.wav", np.zeros(5001), 48_000, "PCM_U8")
    data = (tmp_path / "a.wav").read_bytes()
    start = data.index(b"data") + 8
    (tmp_path / "a.wav").write_bytes(data[: start + 5001] + pad + list_ + b"LIST" + struct.pack("<L", 4) + b"adtl")
    rewrite(tmp_path / "a.wav", tmp_path / "b.wav")
    assert list_ in (tmp_path / "b.wav").read_bytes()
    assert soundfile.info(tmp_path / "b.wav").frames == 5001


@pytest.mark.parametrize("with_id3", [True, False])
def test_apev2_of_an_mp3_fills_in_what_id3_does_not_say(tmp_path, with_id3):
    path = make(tmp_path / "a.mp3")
    ape = APEv2()
    ape["Title"], ape["Artist"], ape["Year"], ape["MP3GAIN_UNDO"] = "Song", [ARTIST, "Second"], "1999", "+001,+001,N"
    ape["Cover Art (Front)"] = APEValue(b"a.jpg\0" + jpeg(), BINARY)
    ape.save(path)
    if with_id3:
        frames = ID3()
        frames.add(TIT2(encoding=3, text=TITLE))
        frames.save(path)
    for name in ("b.mp3", "b.flac"):
        rewrite(path, tmp_path / name)
        kept = EasyID3(tmp_path / name) if name == "b.mp3" else FLAC(tmp_path / name)
        assert dict(kept) == {
            "title": [TITLE if with_id3 else "Song"],
            "artist": [f"{ARTIST}; Second"],
            "date": ["1999"],
        }
