"""Scores of restored speech under one written protocol, over pairs of a noisy and a clean recording.

Each restored sound is scored against the clean one at the length and rate of the file, as it would come out of a file
of floats: nothing is clipped, rounded, scaled or shifted. Channels are restored and scored one by one, and their mean
counts. Scores of a set are means of the scores of its pairs.

- PESQ-WB: ITU-T P.862.2 (2007), after Rix et al., ICASSP 2001; 1.04 to 4.64. Taken at 16 kHz, to which other rates are
  resampled with soxr in high quality.
- STOI: Taal et al., IEEE TASLP 2011; up to 1. ESTOI: Jensen and Taal, IEEE/ACM TASLP 2016; up to 1. Both take what lies
  below 5 kHz.
- SI-SDR: Le Roux et al., ICASSP 2019, in dB. The mean of each signal is subtracted first, for the paper takes signals
  without one.

A pair of which one side is silent, or which is too short (PESQ wants a quarter of a second, STOI 0.4 s of speech), has
no such scores: it is left out of all means, and named.
"""

from __future__ import annotations

import csv
import math
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from denoise.errors import DenoiseError, MediaError, UsageError
from denoise.evaluation.failures import require_scores
from denoise.media.audio import is_audio, open_audio
from denoise.media.folders import files_below, folders_in
from denoise.options import ATTENUATION_DB, check_attenuation
from denoise.progress import Progress

if TYPE_CHECKING:
    from denoise.sound import SoundRestorer

Waveform = NDArray[np.float32]
"""Shape: `[C, T]`, full scale at 1"""

_PESQ_HZ = 16_000
_SHORTEST_S = 0.25  # for PESQ; of much less STOI cannot make one frame


@dataclass(frozen=True)
class Quality:
    """How close a recording is to the clean one; of all four, more is better."""

    pesq: float
    """Wide-band, 1.04 to 4.64"""
    stoi: float
    estoi: float
    si_sdr_db: float


@dataclass(frozen=True)
class Group:
    """Means over some of the pairs."""

    snr_db: float | None
    """Signal-to-noise ratio that these pairs share; None for all pairs"""
    pairs: int
    noisy: Quality
    restored: Quality


@dataclass(frozen=True)
class SpeechScores:
    """What a restorer made of pairs of recordings."""

    mean: Group
    groups: list[Group]
    """By signal-to-noise ratio, where `pairs.csv` tells it"""
    left_out: list[str]
    """Pairs that cannot be scored, because one side is silent or too short"""
    attenuation_db: float
    sound_s: float
    real_time_factor: float
    """Seconds of work for a second of sound, the scoring not counted"""
    threads: int
    failures: dict[str, str] = field(default_factory=dict)
    """Noisy file -> why its pair could not be scored"""

    def __str__(self) -> str:
        lines = [
            f"{self.mean.pairs} pairs, {self.sound_s:.0f} s of sound; noisy -> restored, "
            f"at most {self.attenuation_db:g} dB taken away",
            "SNR dB  pairs   PESQ-WB          STOI             ESTOI            SI-SDR dB",
            *(_line(group) for group in (*self.groups, self.mean)),
            f"real-time factor: {self.real_time_factor:.4f} on {self.threads} thread{'s' * (self.threads > 1)}",
        ]
        if self.left_out:
            names = ", ".join(self.left_out[:5]) + (", ..." if len(self.left_out) > 5 else "")
            lines.append(f"left out as silent or too short: {len(self.left_out)} ({names})")
        return "\n".join(lines)


@dataclass(frozen=True)
class Pair:
    """Two files of the same speech."""

    noisy: Path
    clean: Path
    snr_db: float | None = None

    def read(self) -> tuple[Waveform, Waveform, int]:
        """Noisy sound, clean sound `[C, T]` each, and their rate.

        Raises:
            UsageError: they are not alike.
            MediaError: one of them cannot be read, or holds NaN or infinity.
        """
        with open_audio(self.noisy) as noisy, open_audio(self.clean) as clean:
            facts = [(file.rate_hz, file.channels, file.length) for file in (noisy, clean)]
            for what, one, other in zip(("Hz", "channels", "samples"), *facts, strict=True):
                if one != other:
                    raise UsageError(
                        f"{self.noisy} has {one} {what} and {self.clean} has {other}; "
                        "the two sides of a pair are alike, sample by sample."
                    )
            sounds = noisy.read(0, noisy.length), clean.read(0, clean.length)
            for path, sound in zip((self.noisy, self.clean), sounds, strict=True):
                if not np.isfinite(sound).all():
                    raise MediaError(f"{path} holds NaN or infinity; replace those samples first.")
            return *sounds, noisy.rate_hz


def evaluate_pairs(
    restorer: SoundRestorer,
    folder: Path,
    attenuation_db: float = ATTENUATION_DB,
    progress: Progress | None = None,
) -> SpeechScores:
    """Score a restorer on pairs of recordings; a pair that cannot be scored is left out and named.

    Args:
        restorer: what restores, see `denoise.load`.
        folder: where the pairs are, see `pairs_in`.
        attenuation_db: see `SoundRestorer`.
        progress: called after each pair with its number, how many there are, and its name.

    Raises:
        UsageError: there are no pairs, all are silent or too short, an option is out of range, or a package is missing.
        MediaError: no pair can be scored.
    """
    check_attenuation(attenuation_db)
    check_packages()
    pairs = pairs_in(folder)
    scores: list[tuple[float | None, Quality, Quality]] = []
    left_out: list[str] = []
    failures: dict[str, str] = {}
    seconds = restored_s = scored_s = 0.0
    for number, pair in enumerate(pairs):
        try:
            noisy, clean, rate_hz = pair.read()
            began = time.perf_counter()
            restored = restorer(noisy, rate_hz, attenuation_db=attenuation_db)
        except DenoiseError as error:
            failures[str(pair.noisy)] = str(error)
            continue
        seconds += time.perf_counter() - began
        restored_s += noisy.shape[1] / rate_hz
        before = quality(noisy, clean, rate_hz)
        after = quality(restored, clean, rate_hz) if before is not None else None
        if before is None or after is None:
            left_out.append(pair.noisy.name)
        else:
            scores.append((pair.snr_db, before, after))
            scored_s += noisy.shape[1] / rate_hz
        if progress is not None:
            progress(number + 1, len(pairs), pair.noisy.name)
    if not scores and not failures:
        raise UsageError(f"All pairs in {folder} are silent or too short for PESQ and STOI; use others.")
    require_scores(scores, failures)
    levels = sorted({level for level, _, _ in scores if level is not None})
    return SpeechScores(
        mean=_group(None, scores),
        groups=[_group(level, [score for score in scores if score[0] == level]) for level in levels],
        left_out=left_out,
        attenuation_db=attenuation_db,
        sound_s=scored_s,
        real_time_factor=seconds / restored_s,
        threads=torch.get_num_threads(),
        failures=failures,
    )


def pairs_in(folder: Path) -> list[Pair]:
    """Pairs of recordings in a folder, in order.

    They are `noisy/NAME` and `clean/NAME`, where the case of `noisy` and `clean` does not matter, or `noisy_NAME` and
    `clean_NAME` side by side. A table `pairs.csv` in the folder may tell signal-to-noise ratios: its column `noisy` is
    the path of the file below the folder or below `noisy/`, or its name where no other is called so; its column `snr`
    the dB.

    Raises:
        UsageError: there is no pair, a noisy recording without a clean one, or a table that cannot be read.
    """
    folder = Path(folder)
    sides = []
    found = folders_in(folder)
    inside, partner = found.get("noisy"), found.get("clean", folder / "clean")
    for noisy in files_below(inside or folder, is_audio):
        if inside:
            clean = partner / noisy.relative_to(inside)
        elif noisy.name.startswith("noisy_"):
            clean = noisy.with_name("clean_" + noisy.name.removeprefix("noisy_"))
        else:
            continue
        if not clean.is_file():
            raise UsageError(f"{noisy} has no clean recording beside it; {clean} is missing.")
        sides.append((noisy, clean))
    if not sides:
        raise UsageError(
            f"There are no pairs of recordings in {folder}; give a folder with noisy/NAME and clean/NAME, "
            "or with noisy_NAME and clean_NAME."
        )
    levels = _levels(folder / "pairs.csv", [noisy for noisy, _ in sides])
    return [Pair(noisy, clean, levels.get(noisy)) for noisy, clean in sides]


def check_packages() -> None:
    """Raise UsageError when the packages that score speech are missing."""
    try:
        import pesq  # noqa: F401
        import pystoi  # noqa: F401
    except ImportError:
        raise UsageError(
            "Scores of speech need two more packages; run: pip install 'denoise-toolkit[speech]'."
        ) from None


def quality(sound: Waveform, clean: Waveform, rate_hz: int) -> Quality | None:
    """All scores of a recording; None where they do not exist. Shape: `[C, T]` twice."""
    channels = [_channel_quality(*both, rate_hz) for both in zip(sound, clean, strict=True)]
    found = [channel for channel in channels if channel is not None]
    return mean_quality(found) if len(found) == len(channels) else None


def mean_quality(scores: Sequence[Quality]) -> Quality:
    """Means of all scores."""
    return Quality(*(fmean(getattr(score, part.name) for score in scores) for part in fields(Quality)))


def si_sdr_db(sound: Waveform, clean: Waveform) -> float:
    """Scale-invariant signal-to-distortion ratio of signals without their means. Shape: `[T]` twice."""
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    restored, target = (torch.from_numpy(np.asarray(signal, np.float64)) for signal in (sound, clean))
    return float(scale_invariant_signal_distortion_ratio(restored, target, zero_mean=True))


def _channel_quality(sound: Waveform, clean: Waveform, rate_hz: int) -> Quality | None:
    """Shape: `[T]` twice."""
    from librosa import resample
    from pesq import PesqError, pesq
    from pystoi import stoi

    if clean.size < _SHORTEST_S * rate_hz or not (np.ptp(sound) > 0 and np.ptp(clean) > 0):
        return None
    low = [
        signal if rate_hz == _PESQ_HZ else resample(signal, orig_sr=rate_hz, target_sr=_PESQ_HZ, res_type="soxr_hq")
        for signal in (clean, sound)
    ]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
            plain, extended = (float(stoi(clean, sound, rate_hz, extended=kind)) for kind in (False, True))
        return Quality(float(pesq(_PESQ_HZ, *low, "wb")), plain, extended, si_sdr_db(sound, clean))
    except (PesqError, RuntimeWarning):
        return None


def _levels(table: Path, files: Sequence[Path]) -> dict[Path, float]:
    """The ratios of those files that a table names, by their paths or by names that stand for one file alone."""
    told = _told(table)
    listed, there = (Counter(path.name for path in paths) for paths in (told, files))
    alone = {path.name: level for path, level in told.items() if listed[path.name] == there[path.name] == 1}
    levels = {}
    for file in files:
        path = file.relative_to(table.parent)
        keys = (path, Path(*path.parts[1:]) if path.parts[0].lower() == "noisy" else path)
        level = next((told[key] for key in keys if key in told), alone.get(file.name))
        if level is not None:
            levels[file] = level
    return levels


def _told(table: Path) -> dict[Path, float]:
    """Paths as they stand in a table, and their ratios."""
    if not table.is_file():
        return {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.DictReader(file) if row.get("noisy") and row.get("snr")]
        told = {Path(row["noisy"]): float(row["snr"]) for row in rows}
    except UnicodeDecodeError:
        raise UsageError(f"{table} is not in UTF-8; save it so.") from None
    except csv.Error as error:
        raise UsageError(f"{table} is no table that can be read: {error}; separate its columns by commas.") from None
    except ValueError as error:
        raise UsageError(f"The column snr of {table} holds something else than numbers: {error}.") from None
    for path, level in told.items():
        if not math.isfinite(level):
            raise UsageError(f"The column snr of {table} says {level} of {path}; give dB, or leave it empty.")
    return told


def _group(snr_db: float | None, scores: Sequence[tuple[float | None, Quality, Quality]]) -> Group:
    _, noisy, restored = zip(*scores, strict=True)
    return Group(snr_db, len(scores), mean_quality(noisy), mean_quality(restored))


def _line(group: Group) -> str:
    def cells(form: str, name: str) -> str:
        before, after = (format(getattr(one, name), form) for one in (group.noisy, group.restored))
        return f"{before} -> {after}"

    level = "all" if group.snr_db is None else f"{group.snr_db:g}"
    forms = {"pesq": "5.3f", "stoi": "5.3f", "estoi": "5.3f", "si_sdr_db": "6.2f"}
    return "   ".join([f"{level:>6}  {group.pairs:5}", *(cells(form, name) for name, form in forms.items())])
