"""Sound files as blocks of samples: libsndfile for what it reads, PyAV for the rest."""

from __future__ import annotations

import importlib.util
import mmap
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from denoise.errors import MediaError, UsageError
from denoise.media.audio_formats import LOSSY, READ_ONLY, RIFF, Source
from denoise.media.audio_whole import check_chunks, check_pages, check_w64, cut_off, ends_in_tag, has_length

if TYPE_CHECKING:
    import soundfile

BLOCK = 1 << 16  # samples a channel

Block = NDArray[np.float32]
"""Shape: `[C, n]`"""

_SAMPLES = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"}
_NO_LENGTH = 2**62  # more samples than that are libsndfile's word for FLAC that came through a pipe


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
    if found.source.format == "MP3" and not has_length(path):
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
    _tagged = False
    """Whether a tag of 128 bytes follows the last frame, over which libsndfile stumbles: then it is not shown"""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as file:
            form, subtype, rate = file.format, file.subtype, file.samplerate
            channels, length = file.channels, file.frames
            if form in RIFF and file.endian == "BIG":
                form = "RIFX"
        bitrate, varies = 0.0, False
        self._tagged = form == "FLAC" and ends_in_tag(path)
        if length >= _NO_LENGTH:
            length = sum(block.shape[1] for block in self.blocks(0))
        if form in RIFF | {"RIFX", "AIFF"}:
            check_chunks(path, length)
        elif form == "W64":
            check_w64(path)
        elif form == "OGG":
            check_pages(path)
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
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                yield np.ascontiguousarray(block.T)

    def _open(self) -> soundfile.SoundFile:
        import soundfile

        class Sequential(soundfile.SoundFile):  # type: ignore[misc]
            """Without the seek that soundfile makes after each read: it disturbs MP3."""

            def seekable(self) -> bool:
                return False

        try:
            if self._tagged:
                with self._path.open("rb") as file:
                    untagged = mmap.mmap(file.fileno(), self._path.stat().st_size - 128, access=mmap.ACCESS_READ)
                return Sequential(untagged)
            return Sequential(as_name(self._path))
        except soundfile.LibsndfileError as error:
            said = error.error_string.rstrip(". ")
            if "does not exist" in said:  # what becomes of an MP3 without a frame
                said = "no frame of sound was found"
            raise MediaError(
                f"{self._path} is not sound, is damaged, or is of a kind not read here or not of its suffix "
                f"(WAV, FLAC, OGG, MP3 and AIFF are; libsndfile says: {said})."
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
        if self._end_s < self._told_s - 0.25:  # headers round, and encoders end within a frame
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


def _told_end_s(container: Any, stream: Any) -> float:
    """When a container says that its sound ends, in seconds; 0 where it does not say, or FFmpeg guesses."""
    form = container.format.name.split(",")
    if "mov" in form and stream.duration is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    # Matroska tells the end of the longest track; where FFmpeg gives the duration of a track, it has guessed both.
    alone = "matroska" in form and stream.duration is None and len(container.streams) == 1
    return (container.duration or 0) / 1e6 if alone else 0.0


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
