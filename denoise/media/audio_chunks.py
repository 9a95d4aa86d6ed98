"""The chunks of RIFF (WAV, RF64, RIFX) and IFF (AIFF) files: what lies in them beside sound goes over as it is."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

# Chunks that say how samples lie in the file, room left free, and sums and peaks that hold for the old samples only.
_LAYOUT = {b"fmt ", b"data", b"fact", b"ds64", b"COMM", b"SSND", b"FVER"}
_LAYOUT |= {b"JUNK", b"junk", b"FLLR", b"PAD ", b"PEAK", b"levl", b"MD5 "}

_INFO = {b"INAM": "title", b"IART": "artist", b"IPRD": "album", b"ITRK": "tracknumber", b"IGNR": "genre"}
_INFO |= {b"ICRD": "date", b"ICMT": "comment", b"ICOP": "copyright"}

_CONTAINERS = {b"RIFF", b"RF64", b"RIFX", b"FORM"}

UNKNOWN = 0xFFFF_FFFF
"""The length of sound whose header does not tell it"""


def chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Name, place of the first byte and number of bytes of each chunk, as far as the file goes.

    Sound of no length with something behind it that is no chunk has the length `UNKNOWN` and is the last: whatever
    recorded it has never closed the file.
    """
    size = file.seek(0, 2)
    begin = past_tags(file, 0)
    file.seek(begin)
    container = file.read(12)[:4]
    if container not in _CONTAINERS:
        return
    order = ">" if container in {b"FORM", b"RIFX"} else "<"
    data_bytes = UNKNOWN
    place = begin + 12
    while len(header := file.read(8)) == 8:
        name, length = struct.unpack(order + "4sL", header)
        if name == b"ds64":
            data_bytes = struct.unpack("<8xQ", file.read(16))[0]
        elif name == b"data" and container == b"RF64":
            length = data_bytes if length == UNKNOWN else length
        if name == b"data" and length == 0 and not _is_chunk(file.read(8), order, size - place - 16):
            length = UNKNOWN
        yield name, place + 8, length
        place += 8 + length
        file.seek(place)
        place += length % 2 and not _is_unpadded(file.read(9), order, size - place - 8)
        file.seek(place)


def past_tags(file: IO[bytes], place: int) -> int:
    """Where the tags end that a file has at this place: ID3, ID3v1, APEv2."""
    while True:
        file.seek(place)
        head = file.read(16)
        if head[:3] == b"ID3":
            place += 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
        elif head[:3] == b"TAG":
            place += 128
        elif head[:8] == b"APETAGEX":
            place += 32 + int.from_bytes(head[12:16], "little")
        else:
            return place


def _is_chunk(header: bytes, order: str, room: int) -> bool:
    """Whether this is the header of a chunk that fits into so many bytes, or nothing at all."""
    if len(header) < 8:
        return not header
    name, length = struct.unpack(order + "4sL", header)
    return length <= room and all(32 <= letter < 127 for letter in name)


def _is_unpadded(behind: bytes, order: str, room: int) -> bool:
    """Whether the next chunk follows an odd number of bytes at once, as some programs write it."""
    return not _is_chunk(behind[1:], order, room - 1) and _is_chunk(behind[:8], order, room)


def copy_chunks(source: Path, target: IO[bytes]) -> None:
    """Append all but sound to a finished file of the same kind, and give it the speakers of the channels."""
    with source.open("rb") as file:
        found = list(chunks(file))
        _copy_speakers(file, found, target)
        target.seek(0)
        order = ">" if target.read(4) == b"FORM" else "<"
        end = target.seek(0, 2)
        target.write(b"\0" * (end % 2))
        for name, place, length in found:
            if name not in _LAYOUT:
                file.seek(place)
                data = file.read(length)
                if len(data) < length:
                    break  # the sound was whole; what follows it is not
                target.write(struct.pack(order + "4sL", name, length) + data + b"\0" * (length % 2))
    _set_size(target)


def riff_texts(path: Path) -> dict[str, str]:
    """The texts of the INFO list of a WAV by their names elsewhere: in UTF-8 or, as most are, in Windows' code page."""
    texts = {}
    with path.open("rb") as file:
        for name, start, length in list(chunks(file)):
            file.seek(start)
            if name != b"LIST" or file.read(4) != b"INFO":
                continue
            data, place = file.read(max(0, length - 4)), 0
            while place + 8 <= len(data):
                key, size = struct.unpack_from("<4sL", data, place)
                text = data[place + 8 : place + 8 + size].split(b"\0")[0]
                try:
                    texts[key] = text.decode()
                except UnicodeDecodeError:
                    texts[key] = text.decode("cp1252", "replace")
                place += 8 + size + size % 2
    return {_INFO[key]: text for key, text in texts.items() if key in _INFO and text}


def set_aiff_length(file: IO[bytes], samples: int) -> None:
    """Say how many samples of one byte an AIFF with one channel has: libsndfile counts the byte that pads them."""
    for name, start, _ in list(chunks(file)):
        if name == b"COMM":
            file.seek(start + 2)
            file.write(struct.pack(">L", samples))
        elif name == b"SSND":
            file.seek(start - 4)
            file.write(struct.pack(">L", 8 + samples))


def _set_size(file: IO[bytes]) -> None:
    size = file.seek(0, 2) - 8
    file.seek(0)
    kind = file.read(4)
    if kind == b"RF64":
        place = next(place for name, place, _ in chunks(file) if name == b"ds64")
        file.seek(place)
        file.write(struct.pack("<Q", size))
    else:
        file.write(struct.pack(">L" if kind == b"FORM" else "<L", size))


def _copy_speakers(source: IO[bytes], found: list[tuple[bytes, int, int]], target: IO[bytes]) -> None:
    """The channel mask of WAVE_FORMAT_EXTENSIBLE, which soundfile has no word for."""
    here = [place for name, place, length in found if name == b"fmt " and length >= 40]
    there = [place for name, place, length in chunks(target) if name == b"fmt " and length >= 40]
    if here and there:
        source.seek(here[0] + 20)
        mask = source.read(4)
        target.seek(there[0] + 20)
        target.write(mask)
