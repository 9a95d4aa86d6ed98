"""Sound to a file, block by block, with a say in what happens over full scale."""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from denoise.errors import MediaError
from denoise.media.atomic import writing
from denoise.media.audio_decode import BLOCK
from denoise.media.audio_formats import BITS, LOSSY, RIFF, Encoding, Source, mp3_gain
from denoise.media.audio_tags import INFO, Tags

Clip = Literal["none", "rescale"]
_LOUDEST = 5000.0  # full scale is 1; LAME has been seen to stop the program from some 10^9 on


@dataclass
class Levels:
    """What happened to samples over full scale.

    Attributes:
        clip: What was asked for.
        over: Samples over full scale, all channels together, before anything was done to them.
        clipped: Those of them that were set to full scale.
        peak: The largest finite magnitude; 1 is full scale.
        gain_db: What the whole file was scaled by; 0 if it was not.
    """

    clip: Clip
    over: int = 0
    clipped: int = 0
    peak: float = 0.0
    gain_db: float = 0.0

    def describe(self) -> str:
        """One sentence for a person; empty if nothing was over."""
        if not self.over:
            return ""
        many = f"{self.over:,} sample{'s were' if self.over > 1 else ' was'} over full scale"
        if self.gain_db:
            return f"{many}; the whole file was turned down by {-self.gain_db:.2f} dB."
        return f"{many} and {'clipped' if self.clipped else 'kept, as this format can hold them'}."


class Writer:
    """Takes the sound of a recording block by block, in order; see `Recording.writer`.

    Attributes:
        report: What happened to samples over full scale; complete when the file is.
        holds_all: Whether the file takes every float as it is, NaN as well.
    """

    def __init__(self, source: Source, file: IO[bytes], encoding: Encoding, tags: Tags, clip: Clip, path: Path) -> None:
        import soundfile

        self.report = Levels(clip)
        self.holds_all = encoding.subtype in {"FLOAT", "DOUBLE"}
        self._source, self._encoding, self._path = source, encoding, path
        self._bits = BITS.get(encoding.subtype, 0)
        # The largest magnitude that is not over: integers end one step below 1, but begin at -1.
        self._full = 1 - 2.0 ** (1 - self._bits) if self._bits else 1.0
        self._undo = 1.0
        if encoding.format == "MP3":
            self._undo = 1 / mp3_gain(source.rate_hz, source.channels, **encoding.options)
        self._written = 0
        self._later: IO[bytes] | None = (
            tempfile.TemporaryFile(dir=path.parent) if clip == "rescale" else None  # noqa: SIM115
        )
        self._file = soundfile.SoundFile(
            file.fileno(),
            "w",
            source.rate_hz,
            source.channels,
            encoding.subtype,
            format=encoding.format,
            closefd=False,
            **encoding.options,
        )
        if encoding.format in RIFF and source.format not in RIFF:
            for name, text in tags.texts:
                if text and name.lower() in INFO:
                    setattr(self._file, name.lower(), text)

    def write(self, block: NDArray[np.float32]) -> None:
        """Append sound.

        Shape:
            - block: `[C, n]`

        Raises:
            MediaError: the disk is full.
        """
        assert len(block) == self._source.channels
        self._written += block.shape[1]
        assert self._written <= self._source.length, "more sound than the recording has"
        if not block.shape[1]:
            return
        self.report.over += self._over(block)
        finite = block[np.isfinite(block)]
        if finite.size:
            self.report.peak = max(self.report.peak, float(np.abs(finite).max()))
        with writing(self._path):
            if self._later is None:
                self._encode(block, 1.0)
            else:
                self._later.write(np.ascontiguousarray(block.T, dtype=np.float32).tobytes())

    def close(self) -> None:
        """Let go of everything; the file counts only if `finish` was reached."""
        with contextlib.suppress(Exception):  # of a failed block, whose own error is on its way
            self._file.close()
        if self._later is not None:
            self._later.close()

    def finish(self) -> None:
        """Complete the file: all sound has come."""
        assert self._written == self._source.length, "less sound than the recording has"
        if self._later is not None:
            gain = self._full / self.report.peak if self.report.over and self.report.peak > self._full else 1.0
            self.report.gain_db = 20 * float(np.log10(gain))
            self._later.seek(0)
            channels = self._source.channels
            while data := self._later.read(4 * channels * BLOCK):
                self._encode(np.frombuffer(data, dtype=np.float32).reshape(-1, channels).T, gain)
        self._file.close()

    def _over(self, block: NDArray[Any]) -> int:
        """How many samples are over full scale; those that round to the last step, in PCM or in float32, are not."""
        margin = max(0.5**self._bits, 2.0**-25) if self._bits else 0.0
        return int(np.count_nonzero((block > self._full + margin) | (block < -1 - margin)))

    def _encode(self, block: NDArray[np.float32], gain: float) -> None:
        rows: NDArray[Any] = block.T[:, list(self._encoding.order)]
        if gain != 1.0:
            rows = rows * np.float64(gain)
        if self._bits:
            self.report.clipped += self._over(rows)
            # libsndfile scales by 2^15 - 1; with 2^15, what was read as integers comes back as the same integers.
            size = 16 if self._bits <= 16 else 32
            top = 2.0 ** (self._bits - 1)
            levels = np.nan_to_num(rows * np.float64(top), nan=0.0, posinf=top, neginf=-top)
            levels = np.clip(np.rint(levels), -top, top - 1)
            rows = (levels * 2.0 ** (size - self._bits)).astype(np.int16 if size == 16 else np.int32)
        elif self._encoding.subtype != "DOUBLE":
            rows = (rows * self._undo).astype(np.float32)
            if self._encoding.subtype in LOSSY:  # encoders stop the whole program over what is no number or absurd
                rows = np.nan_to_num(rows, nan=0.0, posinf=0.0, neginf=0.0).clip(-_LOUDEST, _LOUDEST)
        try:
            self._file.write(np.ascontiguousarray(rows))
        except (AssertionError, RuntimeError) as error:  # soundfile asserts that all was written
            raise OSError("the disk took only part of it") from error


def verify(file: IO[bytes], path: Path, length: int) -> None:
    """Raise MediaError unless the finished file tells the right length: libsndfile tells no error at the end."""
    import soundfile

    file.flush()
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    try:
        with soundfile.SoundFile(file.fileno(), closefd=False) as written:
            found = written.frames
    except soundfile.LibsndfileError:
        found = -1
    if found != length:
        raise MediaError(
            f"{path} could not be written (the disk kept only part of it) and is as it was. "
            "Make room there, or choose another folder or format for the output."
        )
