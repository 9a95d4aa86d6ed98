"""Whether a sound file is whole: its sound does not end early, and nothing behind its end would be lost."""

from __future__ import annotations

import mmap
import re
import struct
from pathlib import Path
from typing import IO

from denoise.errors import MediaError
from denoise.media.audio_chunks import UNKNOWN, chunks, past_tags

_FRAME = {bytes((0xFF, byte)) for byte in (0xE2, 0xE3, 0xF2, 0xF3, 0xFA, 0xFB)}  # how one of MP3 begins
_FRAME_BYTES = 1441  # of the longest one
_BEGIN = re.compile(rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb].{11,36}(?:Xing|Info)", re.DOTALL)  # how most MP3s do
_BETWEEN = 1 << 16  # bytes that are looked through for a further recording
_UNKNOWN_SIZE = range(0x7FFF_F000, 0x8000_0000)  # what writers to a pipe put where they cannot know the size


def cut_off(path: Path) -> MediaError:
    """The error for a file that ends before its sound does."""
    return MediaError(f"{path} is cut off: its sound ends before the length it tells; get a whole copy of it.")


def _several(path: Path) -> MediaError:
    return MediaError(
        f"{path} holds several recordings one after another; make one of them first, for example with "
        f"`ffmpeg -i IN{path.suffix} OUT.flac`."
    )


def check_chunks(path: Path, samples: int) -> None:
    """Raise MediaError where a WAV or AIFF ends before its chunk of samples, or was never closed."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for name, start, length in chunks(file):
            unknown = length == UNKNOWN or length in _UNKNOWN_SIZE
            if name == b"data" and unknown and samples == 0 and start < size:
                raise MediaError(
                    f"{path} was never closed by what recorded it: its header tells of no sound; repair it first, for "
                    "example with `ffmpeg -ignore_length 1 -i IN.wav OUT.wav`."
                )
            if name in {b"data", b"SSND"} and start + length > size and not unknown:
                raise cut_off(path)


def check_w64(path: Path) -> None:
    """Raise MediaError where bytes are missing that the chunk of samples tells: its size counts its head of 24."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(40)
        while len(header := file.read(24)) == 24:
            length = struct.unpack("<16xQ", header)[0]
            start = file.tell() - 24
            if length < 24 or length >= 2**63 - 1:  # through a pipe, where the size cannot be known
                return
            if header[:4] == b"data" and start + length > size:
                raise cut_off(path)
            file.seek(start + length + -length % 8)


def check_pages(path: Path) -> None:
    """Raise MediaError where the last Ogg page is not whole; one cut between pages is sound as far as it goes.

    So is a stream that begins behind pages of another refused: libsndfile gives no more than the first.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 2**17))  # a page has 65,307 bytes at most
        tail = file.read()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
            begun = pages.find(b"OggS\0\0")  # the first page that begins no stream
            several = begun >= 0 and pages.find(b"OggS\0\2", begun) >= 0
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26] or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        raise cut_off(path)
    if several:
        raise _several(path)


def ends_in_tag(path: Path) -> bool:
    """Whether a FLAC has an ID3v1 tag at its end; raises MediaError where another FLAC follows."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if len(re.findall(rb"fLaC[\0\x80]\0\0\x22", data)) > 1:
            raise _several(path)
        return data[-128:-125] == b"TAG"


def has_length(path: Path) -> bool:
    """Whether an MP3 tells its length in the first frame (Xing, Info); if it does, whether all bytes are there.

    What tells the length of the first of several recordings, joined one after another, does not tell that of the file.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = past_tags(file, 0)
        file.seek(start)
        frame = file.read(4096)
        begin = frame.find(b"\xff")
        mark = max(frame[: begin + 256].find(b"Xing"), frame[: begin + 256].find(b"Info"))
        if mark < 0 or not frame[mark + 7] & 1:
            return False
        if not frame[mark + 7] & 2:
            return True
        end = start + begin + int.from_bytes(frame[mark + 12 : mark + 16], "big")
        if end > size:
            raise cut_off(path)
        behind = past_tags(file, end)
        file.seek(behind)
        # A single frame more is of one recording whose first frame was not counted.
        more = size - behind > _FRAME_BYTES and file.read(2) in _FRAME
        if (more and behind > end) or (not more and _another(file, behind)):  # PyAV stumbles over what is in between
            raise _several(path)
        return not more


def _another(file: IO[bytes], place: int) -> bool:
    """Whether a further MP3 begins soon behind this place, which need not be in a tag that is known here."""
    file.seek(place)
    for found in _BEGIN.finditer(file.read(_BETWEEN)):
        file.seek(past_tags(file, place + found.start()))
        if file.read(2) in _FRAME:
            return True
    return False
