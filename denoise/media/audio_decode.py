"""Sound files as blocks of samples: libsndfile for what it reads, PyAV for the rest."""

from __future__ import annotations

import importlib.util
import mmap
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from denoise.errors import MediaError, UsageError
from denoise.media.audio_chunks import UNKNOWN, chunks
from denoise.media.audio_formats import LOSSY, READ_ONLY, RIFF, Source

if TYPE_CHECKING:
    import soundfile

BLOCK = 1 << 16  # samples a channel

Block = NDArray[np.float32]
"""Shape: `[C, n]`"""

_SAMPLES = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"}
_NO_LENGTH = 2**62  # more samples than that are libsndfile's word for FLAC that came through a pipe
_FRAME = {bytes((0xFF, byte)) for byte in (0xE2, 0xE3, 0xF2, 0xF3, 0xFA, 0xFB)}  # how one of MP3 begins
_FRAME_BYTES = 1441  # of the longest one
_UNKNOWN_SIZE = range(0x7FFF_F000, 0x8000_0000)  # what writers to a pipe put where they cannot know the size


class Decoder(Protocol):
    """An open file that gives its sound from some sample on."""

    source: Source
    exact: bool
    """Whether `blocks` can begin anywhere; where not, it begins at the first sample whatever is asked."""

    def blocks(self, at: int) -> Iterator[Block]:
        """All sound from sample `at` on."""


def decoder(path: Path) -> Decoder:
    """The decoder that reads a file.

    Raises:
        UsageError: PyAV is needed and missing, or there is no sound in the file.
        MediaError: the file is damaged, cut off, or of a kind not read here.
    """
    if path.suffix.lower() in READ_ONLY:
        return AvDecoder(path)
    found = FileDecoder(path)
    if found.source.format == "MP3" and not _has_length(path):
        # libsndfile then guesses the length from the first frame, or takes that of the first of several recordings, and
        # gives no more.
        counted = AvDecoder(path)
        counted.source = replace(found.source, length=counted.source.length)
        return counted
    return found


def as_name(path: Path) -> str | bytes:
    """A path as soundfile takes it: names need not be text, except on Windows, where they have to be."""
    return str(path) if os.name == "nt" else os.fsencode(path)


class FileDecoder:
    """What libsndfile reads."""

    exact = False  # until it is known to be otherwise
    _tagged: bool
    """Whether a tag follows the last frame, over which libsndfile stumbles when it is asked for more than there is"""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as file:
            form, subtype, rate = file.format, file.subtype, file.samplerate
            channels, length = file.channels, file.frames
            if form in RIFF and file.endian == "BIG":
                form = "RIFX"
        bitrate, varies = 0.0, False
        self._tagged = form == "FLAC" and _ends_in_tag(path)
        if length >= _NO_LENGTH:
            length = sum(block.shape[1] for block in self.blocks(0))
        if form in RIFF | {"RIFX", "AIFF"}:
            _check_chunks(path, length)
        elif form == "W64":
            _check_w64(path)
        elif form == "OGG":
            _check_pages(path)
        elif subtype == "MPEG_LAYER_III":
            bitrate, varies = _mp3_bitrate(path)
        if subtype == "OPUS" and length:
            bitrate = 8 * path.stat().st_size * rate / length
        elif subtype == "VORBIS":
            bitrate = _vorbis_bitrate(path)
        samples = subtype if subtype in _SAMPLES else "FLOAT" if subtype in LOSSY else "PCM_16"
        samples = "PCM_24" if subtype in {"DWVW_24", "ALAC_24", "ALAC_20"} else samples
        self.source = Source(form, subtype, samples, rate, channels, length, bitrate, varies)
        self.exact = subtype in _SAMPLES | {"ULAW", "ALAW"}

    def blocks(self, at: int) -> Iterator[Block]:
        """All sound from sample `at` on; from the first where seeking is not exact.

        libsndfile's seek misses by up to the overlap of two transform blocks in Vorbis, Opus and MP3, so those are
        decoded in sequence.
        """
        with self._open() as file:
            if at and self.exact:
                file.seek(at)
            left = file.frames - at if self._tagged else _NO_LENGTH
            while len(block := file.read(min(BLOCK, left), dtype="float32", always_2d=True)):
                left -= len(block)
                yield np.ascontiguousarray(block.T)

    def _open(self) -> soundfile.SoundFile:
        import soundfile

        class Sequential(soundfile.SoundFile):  # type: ignore[misc]
            """Without the seek that soundfile makes after each read: it disturbs MP3."""

            def seekable(self) -> bool:
                return False

        try:
            return Sequential(as_name(self._path))
        except soundfile.LibsndfileError as error:
            raise MediaError(
                f"{self._path} is not sound, is damaged, or is of a kind not read here "
                f"(WAV, FLAC, OGG, MP3 and AIFF are; libsndfile says: {error.error_string.rstrip('. ')})."
            ) from error


class AvDecoder:
    """What FFmpeg reads, through PyAV: the first sound track of a container.

    No header tells the exact length, so opening decodes the whole track once. AAC keeps the silence that its encoder
    added after the end, up to one frame of 1024 samples; a bare .aac stream also that before the beginning.
    """

    exact = False

    def __init__(self, path: Path) -> None:
        if importlib.util.find_spec("av") is None:
            raise UsageError(
                f"{path.name} needs PyAV to be read, which is not installed; "
                "run `pip install 'denoise-toolkit[formats]'`, or convert the sound to FLAC or WAV."
            )
        self._path = path
        self.tags: dict[str, str] = {}
        self._codec = self._depth = ""
        self._rate = 0
        self._told_s = self._end_s = 0.0
        length = channels = 0
        for block in self.blocks(0):
            length += block.shape[1]
            channels = len(block)
        if not length:
            raise MediaError(
                f"{path} holds a sound track without any sound that can be decoded; get a whole copy of it."
            )
        if self._end_s < 0.98 * self._told_s - 0.5:  # headers round
            raise cut_off(path)
        samples = {"s16": "PCM_16", "s32": "PCM_24", "u8": "PCM_U8", "dbl": "DOUBLE"}.get(self._depth, "FLOAT")
        self.source = Source(path.suffix[1:].upper(), self._codec.upper(), samples, self._rate, channels, length)

    def blocks(self, at: int) -> Iterator[Block]:  # noqa: ARG002
        """All sound from the first sample on."""
        import av

        try:
            with av.open(str(self._path)) as container:
                if not container.streams.audio:
                    raise UsageError(f"{self._path.name} has no sound track; name a file that has one.")
                stream = container.streams.audio[0]
                self._told_s = _told_end_s(container, stream)
                self.tags = {**stream.metadata, **container.metadata}
                # Turns integers into floats, nothing else; interleaved, as PyAV fails over 8 planes.
                resampler: Any = av.AudioResampler(format="flt")
                for frame in container.decode(stream):
                    if not self._rate:
                        self._rate, self._codec = frame.sample_rate, stream.codec_context.name
                        self._depth = frame.format.name.rstrip("p")
                    self._end_s = (frame.time or 0.0) + frame.samples / frame.sample_rate
                    for part in resampler.resample(frame):
                        yield np.ascontiguousarray(part.to_ndarray().reshape(part.samples, -1).T)
        except av.FFmpegError as error:
            raise MediaError(
                f"{self._path} is damaged, cut off or of a kind not read here ({error.strerror}); get a "
                "whole copy of it."
            ) from error


def cut_off(path: Path) -> MediaError:
    """The error for a file that ends before its sound does."""
    return MediaError(f"{path} is cut off: its sound ends before the length it tells; get a whole copy of it.")


def _several(path: Path) -> MediaError:
    return MediaError(
        f"{path} holds several recordings one after another; make one of them first, for example with "
        f"`ffmpeg -i IN{path.suffix} OUT.flac`."
    )


def _told_end_s(container: Any, stream: Any) -> float:
    """When a container says that its sound ends, in seconds; 0 where it does not say, or FFmpeg guesses."""
    form = container.format.name.split(",")
    if "mov" in form and stream.duration is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    # Matroska tells the end of the longest track; where FFmpeg gives the duration of a track, it has guessed both.
    alone = "matroska" in form and stream.duration is None and len(container.streams) == 1
    return (container.duration or 0) / 1e6 if alone else 0.0


def _check_chunks(path: Path, samples: int) -> None:
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


def _check_w64(path: Path) -> None:
    """Whether all bytes are there that the chunk of samples tells: its size counts its name (16 bytes) and itself."""
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


def _check_pages(path: Path) -> None:
    """Whether the last Ogg page is whole; a stream that was cut between pages is sound as far as it goes.

    Refused as well is a stream that begins behind pages of another: libsndfile gives no more than the first.
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


def _ends_in_tag(path: Path) -> bool:
    """Whether a FLAC has an ID3v1 tag at its end; raises MediaError where another FLAC follows."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if len(re.findall(rb"fLaC[\0\x80]\0\0\x22", data)) > 1:
            raise _several(path)
        return data[-128:-125] == b"TAG"


def _has_length(path: Path) -> bool:
    """Whether an MP3 tells its length in the first frame (Xing, Info); if it does, whether all bytes are there.

    What tells the length of the first of several recordings, joined one after another, does not tell that of the file.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = _past_tags(file, 0)
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
        behind = _past_tags(file, end)
        file.seek(behind)
        # A single frame more is of one recording whose first frame was not counted.
        more = size - behind > _FRAME_BYTES and file.read(2) in _FRAME
        if more and behind > end:  # PyAV stumbles over tags in between
            raise _several(path)
        return not more


def _past_tags(file: IO[bytes], place: int) -> int:
    """Where the tags end that an MP3 has at this place: ID3, ID3v1, APEv2."""
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


def _mp3_bitrate(path: Path) -> tuple[float, bool]:
    from mutagen import MutagenError
    from mutagen.mp3 import MP3, BitrateMode

    try:
        info = MP3(path).info
    except MutagenError:
        return 0.0, False
    return float(info.bitrate), info.bitrate_mode in {BitrateMode.VBR, BitrateMode.ABR}


def _vorbis_bitrate(path: Path) -> float:
    from mutagen import MutagenError
    from mutagen.oggvorbis import OggVorbis

    try:
        return float(OggVorbis(path).info.bitrate)
    except MutagenError:
        return 0.0
