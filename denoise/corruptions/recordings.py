"""Folders of sound in memory, for training and for corruptions that need real noise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from denoise.errors import UsageError

SUFFIXES = {".wav", ".wave", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc"}
"""Those of `media.audio_formats.FORMATS`, which corruptions do not import"""

_FADE_S = 0.005


class Recordings:
    """Recordings end to end in one long track per sampling rate, from which excerpts are drawn.

    An excerpt may run from one recording into the next: a change of scene, with a fade of 5 ms on both sides.

    Args:
        tracks: rate in Hz -> `[N]` int16, peaks of the recordings at half of full scale; `[N, K]` for K in step.
        parts: rate in Hz -> lengths of the parts of its track that `split` divides each for itself, so that recordings
            which are there at several rates are divided alike at all of them; by default a track is one part.
    """

    def __init__(self, tracks: dict[int, Tensor], parts: dict[int, list[int]] | None = None) -> None:
        self.tracks = tracks
        self.parts = parts or {rate_hz: [len(track)] for rate_hz, track in tracks.items()}

    @classmethod
    def read(
        cls,
        *folders: str | os.PathLike[str],
        rates_hz: Sequence[int] = (16_000, 48_000),
        seed: int = 0,
    ) -> tuple[Recordings, dict[Path, str]]:
        """Decode all sound below a folder, as mono, at every rate that exceeds its own by no more than a tenth.

        Which files that are, see `sounds_below`.

        With several folders, files of the same name below each belong together and stay in step.

        Returns:
            The recordings, in random order, and why files were left out.

        Raises:
            UsageError: there is no usable sound.
        """
        root = Path(folders[0])
        paths = sounds_below(root)
        np.random.default_rng(seed).shuffle(paths)
        groups: dict[tuple[int, ...], list[dict[int, np.ndarray]]] = {}  # by the rates that recordings are there at
        refused: dict[Path, str] = {}
        known = {path.relative_to(root) for path in paths}
        for other in map(Path, folders[1:]):
            alone = [path for path in sounds_below(other) if path.relative_to(other) not in known]
            refused |= dict.fromkeys(alone, f"has no partner in {root.name}/")
        for path in paths:
            try:
                sound, own_hz = _decode([Path(folder) / path.relative_to(root) for folder in folders])
            except ValueError as error:
                refused[path] = str(error)
                continue
            pieces = {rate: _as_piece(sound, own_hz, rate) for rate in rates_hz if rate <= 1.1 * own_hz}
            pieces = {rate: piece for rate, piece in pieces.items() if len(piece)}
            if pieces:
                groups.setdefault(tuple(pieces), []).append(pieces)
            else:
                refused[path] = f"{own_hz} Hz, which leaves nothing at {' or '.join(map(str, rates_hz))} Hz"
        if not groups:
            named = [f"{path.name}: {reason}" for path, reason in list(refused.items())[:3]]
            why = f" ({'; '.join(named)})" if named else ""
            raise UsageError(f"There is no usable sound below {root}{why}; give a folder with WAV, FLAC, OGG or MP3.")
        tracks, parts = {}, {}
        for rate in sorted({rate for rates in groups for rate in rates}):
            found = [[one.pop(rate) for one in group] for rates, group in groups.items() if rate in rates]
            parts[rate] = [sum(map(len, part)) for part in found]
            tracks[rate] = torch.from_numpy(np.concatenate([piece for part in found for piece in part]))
            del found  # not held beside the next rate
        return cls(tracks, parts), refused

    @property
    def rates_hz(self) -> list[int]:
        """Rates there is sound at."""
        return sorted(self.tracks)

    def minutes(self, rate_hz: int) -> float:
        """How much sound there is at a rate."""
        return len(self.tracks[rate_hz]) / rate_hz / 60

    def to(self, device: torch.device) -> Recordings:
        """The same recordings in the memory of another device."""
        return Recordings({rate_hz: track.to(device) for rate_hz, track in self.tracks.items()}, self.parts)

    def split(self, share: float) -> tuple[Recordings, Recordings]:
        """All but the last `share` of every part, and that share; where one of them is nothing, both are the whole."""
        head, tail = dict(self.tracks), dict(self.tracks)
        for rate_hz, track in self.tracks.items():
            parts = torch.split(track, self.parts[rate_hz])
            cuts = [int(len(part) * (1 - share)) for part in parts]
            if 0 < sum(cuts) < len(track):
                head[rate_hz] = torch.cat([part[:cut] for part, cut in zip(parts, cuts, strict=True)])
                tail[rate_hz] = torch.cat([part[cut:] for part, cut in zip(parts, cuts, strict=True)])
        return Recordings(head), Recordings(tail)

    def draw(self, count: int, length: int, rate_hz: int, generator: torch.Generator) -> Tensor:
        """Random excerpts: `[count, length]` float32, -1..1, or `[count, length, K]`. A short track is repeated."""
        if rate_hz not in self.tracks:
            raise UsageError(f"There are no recordings at {rate_hz} Hz; there are some at {self.rates_hz}.")
        track = self.tracks[rate_hz]
        if len(track) < length:
            track = torch.cat([track] * -(-length // len(track)))
        choices = len(track) - length + 1
        starts = torch.randint(choices, (count,), generator=generator, device=generator.device).to(track.device)
        drawn = track.unfold(0, length, 1)[starts].float() / 32768
        return drawn if drawn.ndim == 2 else drawn.mT


def sounds_below(folder: str | os.PathLike[str]) -> list[Path]:
    """Files of sound below a folder, in order; hidden ones and links to folders are left out."""
    root = Path(folder)
    paths = (path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in paths if not any(name.startswith(".") for name in path.relative_to(root).parts))


def as_name(path: Path) -> str | bytes:
    """A path as soundfile takes it: names need not be text, except on Windows, where they have to be."""
    return str(path) if os.name == "nt" else os.fsencode(path)


def _decode(paths: Sequence[Path]) -> tuple[np.ndarray, int]:
    """Files that belong together, mixed down: `[T]`, or of several `[T, files]`, and their rate; raises ValueError."""
    import soundfile

    sounds, rates = [], set()
    for path in paths:
        if not path.exists():
            raise ValueError(f"has no partner in {path.parent.name}/")
        try:
            sound, rate_hz = soundfile.read(as_name(path), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise ValueError(error.error_string.rstrip(".")) from error
        except (OSError, MemoryError) as error:  # headers may tell of any length
            raise ValueError(str(error)) from error
        sounds.append(sound.mean(1))
        rates.add((rate_hz, len(sound)))
    if len(rates) > 1:
        raise ValueError("its partner has another rate or length")
    whole = np.stack(sounds, axis=-1) if len(sounds) > 1 else sounds[0]
    if not (whole.any() and np.isfinite(whole).all()):
        raise ValueError("empty, silent or not finite")
    return whole, rate_hz


def _as_piece(sound: np.ndarray, own_hz: int, rate_hz: int) -> np.ndarray:
    """At another rate, as loud as all others, with fades; empty if nothing of the sound is left at that rate."""
    import librosa

    at_rate: np.ndarray = librosa.resample(sound, orig_sr=own_hz, target_sr=rate_hz, res_type="soxr_hq", axis=0)
    loudest = np.abs(at_rate).max()
    if loudest < 1e-3 * np.abs(sound).max():
        return at_rate[:0].astype(np.int16)
    at_rate = at_rate * (0.5 / loudest)
    ramp = np.linspace(0, 1, min(round(_FADE_S * rate_hz), len(at_rate)), dtype=np.float32)
    at_rate[: len(ramp)] *= ramp if at_rate.ndim == 1 else ramp[:, None]
    at_rate[len(at_rate) - len(ramp) :] *= (ramp if at_rate.ndim == 1 else ramp[:, None])[::-1]
    return (at_rate * 32767).round().astype(np.int16)
