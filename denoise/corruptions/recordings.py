"""Folders of sound in memory, for training and for corruptions that need real noise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from denoise.errors import UsageError

SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff"}
_FADE_S = 0.005


class Recordings:
    """Recordings end to end in one long track per sampling rate, from which excerpts are drawn.

    An excerpt may run from one recording into the next: a change of scene, with a fade of 5 ms on both sides.

    Args:
        tracks: rate in Hz -> `[N]` int16, peaks of the recordings at half of full scale.
    """

    def __init__(self, tracks: dict[int, Tensor]) -> None:
        self.tracks = tracks

    @classmethod
    def read(
        cls, folder: str | os.PathLike[str], rates_hz: Sequence[int] = (16_000, 48_000), seed: int = 0
    ) -> tuple[Recordings, dict[Path, str]]:
        """Decode all sound below a folder, as mono, at every rate that does not exceed its own by more than a tenth.

        Returns:
            The recordings, in random order, and why files were left out.

        Raises:
            UsageError: there is no usable sound.
        """
        import librosa
        import soundfile

        root = Path(folder)
        paths = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
        np.random.default_rng(seed).shuffle(paths)
        pieces: dict[int, list[np.ndarray]] = {rate_hz: [] for rate_hz in rates_hz}
        refused: dict[Path, str] = {}
        for path in paths:
            try:
                sound, own_hz = soundfile.read(path, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, OSError) as error:
                refused[path] = str(error)
                continue
            mono = sound.mean(1)
            if not (len(mono) and np.isfinite(mono).all() and mono.any()):
                refused[path] = "empty, silent or not finite"
                continue
            for rate_hz in rates_hz:
                if rate_hz <= 1.1 * own_hz:
                    at_rate = librosa.resample(mono, orig_sr=own_hz, target_sr=rate_hz, res_type="soxr_hq")
                    pieces[rate_hz].append(_as_piece(at_rate, rate_hz))
        tracks = {rate: torch.from_numpy(np.concatenate(sounds)) for rate, sounds in pieces.items() if sounds}
        if not tracks:
            raise UsageError(f"There is no usable sound below {root}; give a folder with WAV, FLAC, OGG or MP3 files.")
        return cls(tracks), refused

    @property
    def rates_hz(self) -> list[int]:
        """Rates there is sound at."""
        return sorted(self.tracks)

    def minutes(self, rate_hz: int) -> float:
        """How much sound there is at a rate."""
        return len(self.tracks[rate_hz]) / rate_hz / 60

    def split(self, share: float) -> tuple[Recordings, Recordings]:
        """All but the last `share` of every track, and that share."""
        cuts = {rate: int(len(track) * (1 - share)) for rate, track in self.tracks.items()}
        head = {rate: track[: cuts[rate]] for rate, track in self.tracks.items()}
        return Recordings(head), Recordings({rate: track[cuts[rate] :] for rate, track in self.tracks.items()})

    def draw(self, count: int, length: int, rate_hz: int, generator: torch.Generator) -> Tensor:
        """Random excerpts: `[count, length]` float32, -1..1. A track shorter than that is repeated."""
        if rate_hz not in self.tracks:
            raise UsageError(f"There are no recordings at {rate_hz} Hz; there are some at {self.rates_hz}.")
        track = self.tracks[rate_hz]
        if len(track) < length:
            track = track.repeat(-(-length // len(track)))
        starts = torch.randint(len(track) - length + 1, (count,), generator=generator).tolist()
        return torch.stack([track[start : start + length] for start in starts]).float() / 32768


def _as_piece(mono: np.ndarray, rate_hz: int) -> np.ndarray:
    mono = mono * (0.5 / np.abs(mono).max())
    ramp = np.linspace(0, 1, min(int(_FADE_S * rate_hz), len(mono)), dtype=np.float32)
    mono[: len(ramp)] *= ramp
    mono[len(mono) - len(ramp) :] *= ramp[::-1]
    return (mono * 32767).round().astype(np.int16)
