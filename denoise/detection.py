"""detect(): which pictures or recordings are unlike normal ones, and where; a threshold that keeps its promise."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch

from denoise.detection_maps import BANK, Examiner, Maps, Score, combined, write_picture_map, write_sound_map
from denoise.devices import from_cpu
from denoise.errors import DenoiseError, MediaError, UsageError, naming
from denoise.media.atomic import replacing
from denoise.media.audio import is_audio
from denoise.media.folders import check_folder, files_below, make_folder
from denoise.media.image import is_image
from denoise.options import check_seed
from denoise.pipeline import Failure
from denoise.progress import Progress
from denoise.sound import check_rate

PathLike = str | os.PathLike[str]
Pool = Literal["max", "mean"]


@dataclass(frozen=True)
class Finding:
    """How strange one file is."""

    file: str
    """Relative to the data"""
    error: float
    """Of the reconstruction, mean squared"""
    code_distance: float
    """From the codes of normal files, 0..2"""
    value: float
    """The score that was asked for, which the threshold is for"""
    p_value: float
    """Share of normal files that are at least as strange, this one counted in"""
    anomaly: bool


@dataclass(frozen=True)
class Detection:
    """What `detect` found."""

    model: str
    score: Score
    false_alarm_rate: float
    threshold: float
    remembered: int
    """Normal files that the code distance is measured from"""
    held_out: int
    """Normal files that the threshold was set by"""
    findings: list[Finding]
    failures: list[Failure]
    """Files that could not be judged, normal ones among them, or whose heat map could not be written; named as in the
    findings where they are in the data"""
    scores: str
    """The table of all findings"""

    @property
    def anomalies(self) -> list[Finding]:
        """The strange ones, the strangest first."""
        return sorted((found for found in self.findings if found.anomaly), key=lambda found: -found.value)


@from_cpu
def detect(
    model: PathLike,
    data: PathLike,
    out: PathLike,
    normal: PathLike | None = None,
    false_alarm_rate: float = 0.05,
    score: Score = "both",
    pool: Pool = "max",
    rate_hz: int | None = None,
    bands: int | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> Detection:
    """Find the files that are unlike normal ones; write `scores.csv` and a heat map of the score of each to `maps/`.

    A random half of the normal files gives the codes that distances are measured from, the other half the threshold:
    of normal files, no more than `false_alarm_rate` exceed it on average, whatever network and score are (split
    conformal prediction: Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", Springer 2005; for
    anomalies Bates et al., "Testing for outliers with conformal p-values", Annals of Statistics 2023). That holds for
    files that come from where the normal ones come from; the network must not have been trained on these.

    Args:
        model: weights of an `Autoencoder`.
        data: the folder to judge, searched recursively, or one file.
        out: folder to write to.
        normal: folder of normal files; by default `normal` in the data, or beside one file. They are not judged.
        false_alarm_rate: of the normal files.
        score: `error` of the reconstruction, distance of the `code`, or `both`: the root of that error times the
            distance.
        pool: a file is as strange as its strangest cell (`max`), which finds small defects, or as its cells on average
            (`mean`). A cell is what one code vector stands for.
        rate_hz, bands: sound: of the spectrograms that the network was trained on, where its card does not tell.
        device: `auto`, `cpu`, `cuda` or `mps`.
        seed: of the split of the normal files.
        progress: told how far the work is.

    Raises:
        UsageError: an option is out of range, there is nothing to judge or to calibrate with, the weights are not an
            autoencoder's, or the report would replace a table of something else.
        MediaError: an output cannot be written. A file that cannot be read is named among the failures instead.
        ModelError: the weights cannot be read.
    """
    if score not in get_args(Score) or pool not in get_args(Pool):
        raise UsageError(f"score={score}, pool={pool} is not known: choose error, code or both; max or mean.")
    if not 0 < false_alarm_rate < 1:
        raise UsageError(f"A false-alarm rate of {false_alarm_rate:g} is out of range; give one between 0 and 1.")
    data, out = Path(data), Path(out)
    check_folder(out)
    if os.path.realpath(out) == os.path.realpath(data):
        raise UsageError(f"The folder for the report {out} is the input folder; choose another with -o.")
    if bands is not None and bands < 1:
        raise UsageError(f"bands={bands} is not allowed; give those of the spectrograms that the model saw.")
    if rate_hz is not None:
        check_rate(rate_hz)
    seed = check_seed(seed)
    if not data.exists():
        raise UsageError(f"There is no file or folder {data}; check the name.")
    _check_table(out / "scores.csv")
    examiner = Examiner(model, rate_hz, bands, device)
    usual = _normal_files(data, normal, out, examiner.card.medium)
    half = len(usual) // 2
    _rank(len(usual) - half, false_alarm_rate)  # before the work, not after
    own = {path.resolve() for path in usual}
    found = _files(data, out, examiner.card.medium)
    judged = [path for path in found if path.resolve() not in own]
    if not judged:
        names = _NAMES[examiner.card.medium]
        why = f"all {names} in it are normal ones" if found else f"it holds no {names}"
        raise UsageError(f"There is nothing to judge in {data}: {why}; give others as well.")
    work = _Work(examiner, score, pool, progress, len(usual) + len(judged), data)

    order = torch.randperm(len(usual), generator=torch.Generator().manual_seed(seed)).tolist()
    shuffled = [usual[k] for k in order]
    remembered = work.remember(shuffled[:half], seed)
    calibration, brightest = work.calibrate(shuffled[half:])
    try:
        threshold = conformal_threshold(calibration, false_alarm_rate)
    except UsageError as too_few:  # there were enough
        raise UsageError(f"{too_few} Not all that are there are usable. {work.reason()}") from None

    findings = []
    for path in judged:
        name = work.name(path)
        if (examined := work.examine(path)) is None:
            continue
        strangeness = examined.strangeness
        p_value = (1 + sum(value >= strangeness for value in calibration)) / (len(calibration) + 1)
        error, distance = (_pooled(values, pool) for values in (examined.maps.cell_errors, examined.maps.distances))
        findings.append(Finding(name, error, distance, strangeness, p_value, strangeness > threshold))
        work.draw(out / "maps" / f"{name}.png", examined, brightest, name)
    make_folder(out)
    _write_scores(out / "scores.csv", findings, work.failures)
    return Detection(
        model=examiner.card.name,
        score=score,
        false_alarm_rate=false_alarm_rate,
        threshold=threshold,
        remembered=remembered,
        held_out=len(calibration),
        findings=findings,
        failures=work.failures,
        scores=str(out / "scores.csv"),
    )


def conformal_threshold(scores: Sequence[float], false_alarm_rate: float) -> float:
    """The `ceil((n + 1) (1 - rate))`-th smallest of n scores of normal files.

    One more normal file is as likely to have any rank among n + 1, so it exceeds that value with a probability of at
    most `rate`; without the + 1 it would be more (Vovk, Gammerman and Shafer 2005). Raises UsageError where n is too
    small for the rate.

    >>> conformal_threshold([float(k) for k in range(1, 20)], 0.05)
    19.0
    """
    return sorted(scores)[_rank(len(scores), false_alarm_rate) - 1]


def _rank(count: int, false_alarm_rate: float) -> int:
    """Which of so many scores, from 1, is the threshold; raises UsageError where these are too few."""
    rank = math.ceil(round((count + 1) * (1 - false_alarm_rate), 9))
    if rank > count:
        needed = math.ceil(round(1 / false_alarm_rate, 9)) - 1
        raise UsageError(
            f"{count} held-out normal files cannot promise a false-alarm rate of {false_alarm_rate:g}: that "
            f"takes {needed}, and as many again to measure code distances from; give more, or a higher rate."
        )
    return rank


class _Examined(NamedTuple):
    signal: torch.Tensor
    maps: Maps
    heat: torch.Tensor
    strangeness: float


class _Work:
    """Goes through files; those that fail are kept and the others go on."""

    def __init__(
        self, examiner: Examiner, score: Score, pool: Pool, progress: Progress | None, total: int, data: Path
    ) -> None:
        self.examiner, self.score, self.pool = examiner, score, pool
        self.progress, self.total, self.done = progress, total, 0
        self.root = data if data.is_dir() else data.parent
        self.failures: list[Failure] = []

    def name(self, path: Path) -> str:
        """A file below the folder to judge by its place in it, another one by its path."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def reason(self) -> str:
        """Why the first of the failures is one."""
        return naming(*astuple(self.failures[0]))

    def read(self, path: Path) -> torch.Tensor | None:
        """The signal of a file, or None where there is none."""
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total, path.name)
        try:
            return self.examiner.read(path)
        except DenoiseError as error:
            self.failures.append(Failure(self.name(path), str(error)))
            return None

    def remember(self, paths: Sequence[Path], seed: int) -> int:
        """Fill the bank of the examiner with as many codes of each file; how many files there were."""
        generator = torch.Generator().manual_seed(seed)
        share = max(1, BANK // max(1, len(paths)))
        known = []
        for path in paths:
            if (signal := self.read(path)) is not None:
                codes = self.examiner.codes(signal)
                known.append(codes[torch.randperm(len(codes), generator=generator)[:share]])
        if not known:
            raise UsageError(f"None of {len(paths)} normal files to measure distances from is usable. {self.reason()}")
        self.examiner.bank = torch.cat(known)[:BANK]
        return len(known)

    def calibrate(self, paths: Sequence[Path]) -> tuple[list[float], float]:
        """Scores of normal files, and the largest value of a pixel in the heat maps of all of them."""
        scores, brightest = [], 0.0
        for path in paths:
            if (examined := self.examine(path)) is not None:
                scores.append(examined.strangeness)
                brightest = max(brightest, float(examined.heat.max()))
        return scores, brightest

    def examine(self, path: Path) -> _Examined | None:
        """The signal of a file, what is strange in it, and its score; None where there is none."""
        if (signal := self.read(path)) is None:
            return None
        maps = self.examiner.maps(signal)
        cells = {
            "error": maps.cell_errors,
            "code": maps.distances,
            "both": combined(maps.cell_errors, maps.distances),
        }[self.score]
        return _Examined(signal, maps, self.examiner.heat(maps, self.score), _pooled(cells, self.pool))

    def draw(self, target: Path, examined: _Examined, brightest: float, name: str) -> None:
        """Write the heat map of a file; where that fails, the file is among the failures."""
        try:
            make_folder(target.parent)
            if self.examiner.card.medium == "sound":
                rate_hz = self.examiner.rate_hz
                write_sound_map(target, examined.signal, examined.heat, brightest, rate_hz, self.score)
            else:
                write_picture_map(target, examined.heat, brightest)
        except MediaError as error:
            self.failures.append(Failure(name, str(error)))


def _pooled(cells: torch.Tensor, pool: Pool) -> float:
    return float(cells.max() if pool == "max" else cells.mean())


def _files(folder: Path, out: Path, medium: str) -> list[Path]:
    """The pictures or the recordings of a folder, without hidden ones and those of reports inside."""
    kind = is_audio if medium == "sound" else is_image
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}; check the name.")
    found = files_below(folder, kind, out)
    maps = {place for path in found for place in path.relative_to(folder).parents if place.name == "maps"}
    drawn = {place for place in maps if _is_table((folder / place).with_name("scores.csv"))}
    return [path for path in found if drawn.isdisjoint(path.relative_to(folder).parents)]


def _normal_files(data: Path, normal: PathLike | None, out: Path, medium: str) -> list[Path]:
    folder = (data if data.is_dir() else data.parent) / "normal" if normal is None else Path(normal)
    if normal is None and not folder.is_dir():
        raise UsageError(f"What is normal? Give a folder of {_NAMES[medium]} as --normal, or put it at {folder}.")
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(folder)):
        raise UsageError(f"The report {out} would lie among normal files, in {folder}; choose another folder with -o.")
    paths = _files(folder, out, medium)
    if len(paths) < 2:
        raise UsageError(f"There are {len(paths)} {_NAMES[medium]} in {folder}; give at least two normal ones.")
    return paths


def _check_table(path: Path) -> None:
    if path.is_file() and not _is_table(path):
        raise UsageError(f"{path} exists and is not of a report; choose another folder with -o.")


def _is_table(path: Path) -> bool:
    """Whether a file is one that `_write_scores` wrote."""
    try:
        with path.open("rb") as file:
            return file.readline(1000).strip() == ",".join(_COLUMNS).encode()
    except OSError:
        return False


def _write_scores(path: Path, findings: Sequence[Finding], failures: Sequence[Failure]) -> None:
    """A row for each file that was judged or could not be, with what went wrong in the last column."""
    text = io.StringIO()
    problems = {failure.source: failure.error for failure in failures}
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for found in findings:
        numbers = [f"{value:.6g}" for value in (found.error, found.code_distance, found.value, found.p_value)]
        table.writerow([found.file, *numbers, int(found.anomaly), problems.pop(found.file, "")])
    for source, problem in problems.items():
        table.writerow([source, "", "", "", "", "", problem])
    with replacing(path) as file:
        file.write(text.getvalue().encode(errors="surrogateescape"))  # names need not be text


_COLUMNS = ("file", "error", "code_distance", "score", "p_value", "anomaly", "problem")
_NAMES = {"image": "pictures", "sound": "recordings"}
