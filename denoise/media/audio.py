"""Recordings: a file -> blocks of sound -> a file that carries everything else unchanged, in constant memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from denoise.errors import DenoiseError, MediaError, UsageError
from denoise.media.atomic import appearing, check_place, writing
from denoise.media.audio_chunks import riff_texts, set_aiff_length
from denoise.media.audio_decode import BLOCK, Block, as_name, decoder
from denoise.media.audio_formats import FORMATS, READ_ONLY, RIFF, encoding_for, sample_bytes
from denoise.media.audio_tags import Tags, read_tags, write_tags
from denoise.media.audio_whole import cut_off
from denoise.media.audio_write import Clip, Levels, Writer, verify
from denoise.media.inputs import check_input

__all__ = ["Levels", "Recording", "Writer", "is_audio", "open_audio"]

_NAMES = {"PCM_S8": "8 bit", "PCM_U8": "8 bit", "PCM_16": "16 bit", "PCM_24": "24 bit", "PCM_32": "32 bit"}
_NAMES |= {"FLOAT": "32 bit float", "DOUBLE": "64 bit float", "ULAW": "u-law", "ALAW": "A-law"}
_NAMES |= {"VORBIS": "Vorbis", "OPUS": "Opus"}


def is_audio(path: str | os.PathLike[str]) -> bool:
    """Whether the suffix is that of a format that holds sound."""
    return Path(path).suffix.lower() in FORMATS.keys() | READ_ONLY


def open_audio(path: str | os.PathLike[str]) -> Recording:
    """Open a recording.

    Raises:
        UsageError: the file is missing, a folder, without a sound track, or needs PyAV, which is not there.
        MediaError: the file is empty, damaged, cut off, not sound, or may not be read.
    """
    return Recording(Path(path))


class Recording:
    """An open recording: its sound, and how to write it back.

    Sound passes through as float32, whose 24 significant bits hold PCM up to 24 bits exactly. Of PCM_32 and DOUBLE
    each sample keeps its 24 leading bits: an error at least 144 dB below that sample. NaN and infinities of float
    files come as they are.

    Attributes:
        rate_hz: Samples a second.
        channels: Number of channels.
        length: Samples a channel; 0 is possible.
        format: libsndfile's name of the container (WAV, WAVEX, RF64, W64, FLAC, OGG, MP3, AIFF), RIFX for a WAV of
            big-endian numbers, or M4A and so on.
        subtype: libsndfile's name of the coding (PCM_16, FLOAT, VORBIS and so on), or FFmpeg's in capitals.
    """

    def __init__(self, path: Path) -> None:
        check_input(path, "sound")
        self.path = path
        with _reading(path):
            self._decoder = decoder(path)
        self._source = source = self._decoder.source
        self.rate_hz, self.channels, self.length = source.rate_hz, source.channels, source.length
        self.format, self.subtype = source.format, source.subtype
        self._restart(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._restart(0)

    def describe(self) -> str:
        """One line for a person, such as `WAV, 16 bit, 44.1 kHz, 2 channels, 0:03:25.200`."""
        form = "WAV" if self.format == "WAVEX" else self.format
        name = _NAMES.get(self.subtype, "" if self.format == "MP3" else self.subtype)
        seconds = self.length / self.rate_hz
        hours, minutes = int(seconds // 3600), int(seconds // 60) % 60
        many = f"{self.channels} channels" if self.channels > 1 else "1 channel"
        facts = (form, name, f"{self.rate_hz / 1000:g} kHz", many, f"{hours}:{minutes:02}:{seconds % 60:06.3f}")
        return ", ".join(fact for fact in facts if fact)

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """The samples from `start` to `stop`, 1 being full scale, the same whatever was read before.

        Cheap where `start` does not decrease: what lies after it is held. Going back means, in lossy files, decoding
        from the beginning.

        Shape:
            - result: `[C, stop - start]`

        Raises:
            MediaError: the file is damaged, cut off, or there no more.
        """
        assert 0 <= start <= stop <= self.length
        end = self._at + sum(block.shape[1] for block in self._held)
        if start < self._at or (self._decoder.exact and start > end + BLOCK):
            self._restart(start if self._decoder.exact else 0)
            end = self._at
        while end < stop:
            with _reading(self.path):
                block = next(self._blocks, None)
            if block is None:
                raise cut_off(self.path)
            self._held.append(block)
            end += block.shape[1]
            self._drop(start)
        self._drop(start)
        whole = np.concatenate(self._held, axis=1) if self._held else np.empty((self.channels, 0), dtype=np.float32)
        return whole[:, start - self._at : stop - self._at].copy() if stop > start else whole[:, :0]

    def check_output(self, path: str | os.PathLike[str]) -> None:
        """Raise UsageError if this recording cannot be written under `path`: ask before the work, not after."""
        path = Path(path)
        encoding_for(self._source, path)
        check_place(path)

    @contextlib.contextmanager
    def writer(self, path: str | os.PathLike[str], clip: Clip = "none") -> Iterator[Writer]:
        """A file to write sound of this length to; it appears when the block ends well, or not at all.

        Errors of the block pass through as they are.

        Args:
            path: Its suffix names the format, see `encoding_for`. Tags are copied; see `audio_tags`.
            clip: What to do with samples over full scale. `none`: integer formats clip them, float and lossy ones
                hold them as they are. `rescale`: if there is one, the whole file is turned down until its peak is
                full scale; this keeps the sound in a nameless file of 4 bytes a sample until the end.

        Raises:
            UsageError: as `check_output`.
            MediaError: the file could not be written, or the recording is there no more.
        """
        path = Path(path)
        if clip not in ("none", "rescale"):
            raise UsageError(f"clip was {clip!r}; choose none or rescale.")
        self.check_output(path)
        with appearing(path) as file:
            with _present(self.path), writing(path):
                encoding, tags = encoding_for(self._source, path), self._tags()
                writer = Writer(self._source, file, encoding, tags, clip, path)
            with contextlib.closing(writer):
                yield writer
                with writing(path):
                    writer.finish()
            with _present(self.path), writing(path):
                if encoding.format == "AIFF" and sample_bytes(encoding.subtype) == self.channels == 1:
                    set_aiff_length(file, self.length)
                write_tags(file, encoding.format, encoding.subtype, tags, self.path, self.format)
                verify(file, path, self.length)

    def _tags(self) -> Tags:
        info = {}
        if self.format in RIFF:
            info = riff_texts(self.path)
        elif self.format in {"RIFX", "AIFF", "W64"}:
            import soundfile

            with soundfile.SoundFile(as_name(self.path)) as file:
                info = file.copy_metadata()
        return read_tags(self.path, self._source, getattr(self._decoder, "tags", {}), info)

    def _restart(self, at: int) -> None:
        """Go on reading at sample `at`, holding nothing."""
        self._blocks = self._decoder.blocks(at)
        self._held: list[Block] = []
        self._at = at

    def _drop(self, start: int) -> None:
        """Let go of the blocks that end before `start`."""
        while self._held and self._at + self._held[0].shape[1] <= start:
            self._at += self._held.pop(0).shape[1]


@contextlib.contextmanager
def _present(path: Path) -> Iterator[None]:
    """What goes wrong with a recording that has vanished meanwhile is told as that."""
    try:
        yield
    except Exception as error:
        if os.path.exists(path):  # noqa: PTH110  # that of Path raises where a folder may not be searched
            raise
        raise MediaError(f"{path} is there no more: it was moved or removed while it was read.") from error


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """The many exceptions of decoders as one of ours."""
    try:
        with _present(path):
            yield
    except DenoiseError:
        raise
    except MemoryError as error:
        raise MediaError(f"{path} takes more memory than there is; restore it on a larger machine.") from error
    except Exception as error:  # decoders raise whatever the damaged bytes led to
        raise MediaError(f"{path} is damaged or cut off ({error}); get a whole copy of it.") from error
