"""What a recording carries beside sound: taken from one file, given to another of the same or a different format.

From WAV to WAV and from AIFF to AIFF every chunk goes over as it is (INFO, bext, iXML, cue points, ID3). Otherwise:
ID3 goes over frame by frame between MP3, WAV and AIFF; comments and pictures between FLAC, Vorbis and Opus; across
the two by mutagen's easy names, with TXXX for names that ID3 does not know, and pictures. Of APEv2, which an MP3 may
have as well, the texts go over whose names its ID3 has not. bext, cue points and the like stay behind when the
container changes; RF64 takes the ten INFO texts only, W64 nothing.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from mutagen import MutagenError
from mutagen.aiff import AIFF
from mutagen.apev2 import APETextValue, APEv2
from mutagen.easyid3 import EasyID3
from mutagen.easymp4 import EasyMP4
from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, COMM, ID3, TXXX, USLT
from mutagen.mp4 import MP4, MP4Cover
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE

from denoise.media.audio_chunks import copy_chunks
from denoise.media.audio_formats import RIFF, Source

INFO = ("title", "copyright", "artist", "comment", "date", "album", "license", "tracknumber", "genre")

_IN_OTHER_WORDS = {"TDRC", "TDOR", "TIPL", "TMCL"}  # of ID3 2.4, which 2.3 says by other frames
# What players note about the coding, and names that stand there twice
_OF_PROGRAMS = ("itun", "musicbrainz ", "mp3gain_")
_PICTURE = "metadata_block_picture"
_AV_NAMES = {"track": "tracknumber", "disc": "discnumber", "album_artist": "albumartist", "sort_name": "titlesort"}
_AV_NAMES |= {"album artist": "albumartist", "year": "date"}  # of APEv2
_AV_NAMES |= {
    f"sort_{name}": f"{name.replace('_', '')}sort" for name in ("album", "artist", "album_artist", "composer")
}
_AV_LAYOUT = {"major_brand", "minor_version", "compatible_brands", "encoder", "creation_time", "handler_name"}
_AV_LAYOUT |= {"vendor_id", "language", "duration", "number_of_frames", "number_of_bytes", "bps", "gapless_playback"}


@dataclass
class Tags:
    """Names and texts in order, pictures, and the file's own words where only its family understands them."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    pictures: list[Any] = field(default_factory=list)
    id3: Any = None
    blocks: list[Any] = field(default_factory=list)
    """Cue sheets and application blocks of FLAC"""


def read_tags(path: Path, source: Source, av_tags: Mapping[str, str], info: Mapping[str, str]) -> Tags:
    """What a file carries; nothing where it is damaged.

    Args:
        av_tags: what PyAV found in a container that mutagen may not know.
        info: the texts in the chunks of WAV, AIFF and W64.
    """
    form, subtype, tags = source.format, source.subtype, Tags()
    with contextlib.suppress(MutagenError, OSError, ValueError):
        if form == "FLAC":
            flac = FLAC(path)
            blocks = [block for block in flac.metadata_blocks if block.code in (2, 5)]
            return Tags(list(flac.tags or ()), list(flac.pictures), None, blocks)
        if form == "OGG":
            return _of_vorbis(OggOpus(path).tags if subtype == "OPUS" else OggVorbis(path).tags)
        if form == "MP3":
            av_tags = _ape_texts(path)  # PyAV's are those of ID3
            tags = _of_id3(ID3(path))
        if form in {*RIFF, "AIFF"}:
            frames = None if form == "RF64" else (AIFF if form == "AIFF" else WAVE)(path).tags
            if frames:
                tags = _of_id3(frames)
        elif form in {"M4A", "M4B", "MP4", "MOV"}:
            tags.texts += _pairs(EasyMP4(path).tags or {})
            tags.pictures += [_cover(cover) for cover in (MP4(path).tags or {}).get("covr", [])]
    named = {_AV_NAMES.get(name.lower(), name.lower()): text for name, text in {**info, **av_tags}.items()}
    known = {name.lower() for name, _ in tags.texts} | _AV_LAYOUT | {"software"}
    added = [(name, text) for name, text in named.items() if name not in known and not name.startswith(_OF_PROGRAMS)]
    tags.texts += added
    if tags.id3 is not None and added:
        whole = ID3()
        _add(whole, [*tags.id3.values(), *_to_id3(Tags(added)).values()])
        tags.id3 = whole
    return tags


def write_tags(file: IO[bytes], form: str, subtype: str, tags: Tags, source: Path, source_format: str) -> None:
    """Give a finished file the tags of its source."""
    file.seek(0)
    same_family = (form in RIFF and source_format in RIFF) or form == source_format == "AIFF"
    if same_family:
        copy_chunks(source, file)
    elif form == "FLAC":
        flac = FLAC(file)
        _set_texts(flac, tags.texts)
        flac.metadata_blocks.extend(tags.blocks)
        for picture in tags.pictures:
            flac.add_picture(picture)
        _save(flac, file)
    elif form == "OGG":
        ogg = (OggOpus if subtype == "OPUS" else OggVorbis)(file)
        coded = [(_PICTURE, base64.b64encode(picture.write()).decode()) for picture in tags.pictures]
        _set_texts(ogg, [*tags.texts, *coded])
        _save(ogg, file)
    elif form in {"MP3", "WAV", "WAVEX", "AIFF"}:
        frames = tags.id3 if tags.id3 is not None else _to_id3(tags)
        if not len(frames):
            return
        version = 3 if frames.version[:2] == (2, 3) else 4
        if form == "MP3":
            whole = ID3()
            _add(whole, frames.values())
        else:
            chunked = (AIFF if form == "AIFF" else WAVE)(file)
            chunked.add_tags()
            whole = chunked.tags
            _add(whole, frames.values())
        if version == 3:
            whole.update_to_v23()
            for frame in frames.values():  # mutagen drops what 2.3 does not list, but many programs write
                if frame.HashKey not in whole and frame.FrameID not in _IN_OTHER_WORDS:
                    whole.add(frame)
        file.seek(0)
        whole.save(file, v2_version=version)


def _save(tagged: Any, file: IO[bytes]) -> None:
    file.seek(0)
    tagged.save(file)


def _add(whole: Any, frames: Iterable[Any]) -> None:
    for frame in frames:
        whole.add(frame)


def _set_texts(tagged: Any, texts: Iterable[tuple[str, str]]) -> None:
    if tagged.tags is None:
        tagged.add_tags()
    del tagged.tags[:]
    for name, text in texts:
        key = "".join(letter if " " <= letter <= "}" and letter != "=" else "_" for letter in name)
        tagged.tags.append((key, text))


def _of_vorbis(comments: Any) -> Tags:
    tags = Tags()
    for name, text in comments or ():
        if name.lower() == _PICTURE:
            with contextlib.suppress(Exception):  # damaged ones fail in many ways
                tags.pictures.append(Picture(base64.b64decode(text)))
        else:
            tags.texts.append((name, text))
    return tags


def _ape_texts(path: Path) -> dict[str, str]:
    """What foobar2000 and others write behind the sound of an MP3."""
    with contextlib.suppress(MutagenError):
        return {name: "; ".join(text) for name, text in APEv2(path).items() if isinstance(text, APETextValue)}
    return {}


def _of_id3(frames: Any) -> Tags:
    whole, buffer = ID3(), BytesIO()
    _add(whole, frames.values())
    whole.save(buffer)
    buffer.seek(0)
    tags = Tags(_pairs(EasyID3(buffer)) if len(whole) else [], [], frames)
    known = {name.lower() for name, _ in tags.texts}
    comments = [frame for frame in frames.getall("COMM") if not frame.desc.startswith("iTun")]  # not words of a person
    for frame in sorted(comments, key=lambda frame: frame.desc != "")[:1]:
        tags.texts += [("comment", text) for text in frame.text]
    for frame in frames.getall("USLT")[:1]:
        tags.texts.append(("lyrics", frame.text))
    for frame in frames.getall("TXXX"):
        if frame.desc and frame.desc.lower() not in known and not frame.desc.lower().startswith("musicbrainz"):
            tags.texts += [(frame.desc.lower(), text) for text in frame.text]
    for frame in frames.getall("APIC"):
        tags.pictures.append(_picture(frame.data, frame.mime, frame.type, frame.desc))
    return tags


def _to_id3(tags: Tags) -> Any:
    named: dict[str, list[str]] = {}
    for name, text in tags.texts:
        named.setdefault(name.lower(), []).append(text)
    easy, extra = EasyID3(), []
    for name, texts in named.items():
        if name in {"comment", "description"}:
            extra.append(COMM(encoding=3, lang="XXX", desc="" if name == "comment" else name, text=texts))
        elif name in {"lyrics", "unsyncedlyrics"}:
            extra.append(USLT(encoding=3, lang="XXX", desc="", text="\n".join(texts)))
        else:
            try:
                easy[name] = texts
            except (KeyError, ValueError, IndexError):
                extra.append(TXXX(encoding=3, desc=name, text=texts))
    for number, picture in enumerate(tags.pictures):
        desc = picture.desc or (str(number) if number else "")  # frames of one description replace each other
        extra.append(APIC(encoding=3, mime=picture.mime, type=picture.type, desc=desc, data=picture.data))
    whole = ID3()
    if len(easy):
        buffer = BytesIO()
        easy.save(buffer)
        buffer.seek(0)
        whole = ID3(buffer)
    for frame in extra:
        whole.add(frame)
    return whole


def _pairs(easy: Mapping[str, Iterable[str]]) -> list[tuple[str, str]]:
    return [(name, str(text)) for name, texts in easy.items() for text in texts]


def _cover(cover: Any) -> Any:
    return _picture(bytes(cover), "image/png" if cover.imageformat == MP4Cover.FORMAT_PNG else "image/jpeg", 3, "")


def _picture(data: bytes, mime: str, kind: int, desc: str) -> Any:
    picture = Picture()
    picture.data, picture.mime, picture.type, picture.desc = data, mime, int(kind), desc
    with contextlib.suppress(Exception):  # the size is a courtesy; a damaged picture goes over without it
        from PIL import Image

        with Image.open(BytesIO(data)) as image:
            picture.width, picture.height = image.size
            picture.depth = 8 * len(image.getbands())
    return picture
