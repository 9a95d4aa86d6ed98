"""Make holes in clean pictures, fill them, score what is in the holes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from denoise.corruptions.base import Corruption
from denoise.corruptions.masks import makes_holes
from denoise.errors import UsageError
from denoise.evaluation.benchmark import corrupted, damage_of, pictures_below
from denoise.evaluation.failures import require_scores
from denoise.evaluation.metrics import psnr_db, ssim
from denoise.inpainter import Inpainter
from denoise.progress import Progress


@dataclass(frozen=True)
class HoleScores:
    """Means over the pictures of a set."""

    pictures: int
    corruption: str
    holes: float
    """Share of the area"""
    psnr_db: float
    """Inside the holes"""
    ssim: float
    """Of the whole picture"""
    megapixels_per_s: float
    failures: dict[str, str] = field(default_factory=dict)
    """File -> why it could not be scored"""

    def __str__(self) -> str:
        return (
            f"{self.pictures} pictures, {self.corruption}, {self.holes:.1%} missing\n"
            f"PSNR inside the holes {self.psnr_db:.2f} dB, SSIM of the whole {self.ssim:.4f}; "
            f"{self.megapixels_per_s:.2f} megapixels/s"
        )


def evaluate_inpainting(
    inpainter: Inpainter,
    folder: Path,
    corruption: str | Corruption,
    progress: Progress | None = None,
) -> HoleScores:
    """Score an inpainter on a folder of clean pictures; the draw depends on each file's name and on nothing else.

    A picture that cannot be scored is left out and named. Raises UsageError when there is no picture or the corruption
    makes no holes, MediaError when no picture can be scored.
    """
    damage = damage_of(corruption)
    if not makes_holes(damage):
        raise UsageError(f"{corruption} makes no holes; give one that does, such as --corruption scratches.")
    paths = pictures_below(folder)
    scores: list[tuple[float, float, float]] = []
    failures: dict[str, str] = {}
    seconds = pixels = 0.0
    for path, clean, seen in corrupted(paths, damage, failures):
        assert seen.condition is not None
        mask = seen.condition[0]
        if not mask.any():
            failures[str(path)] = f"{corruption} made no hole in it; ask for a larger share."
            continue
        began = time.perf_counter()
        try:
            restored = inpainter(seen.observed[0], mask)
        except UsageError as error:  # nothing is left of a small picture
            failures[str(path)] = str(error)
            continue
        seconds += time.perf_counter() - began
        pixels += clean.shape[1] * clean.shape[2]
        scores.append((float(mask.mean()), psnr_db(restored, clean, mask), ssim(restored, clean)))
        if progress is not None:
            progress(len(scores) + len(failures), len(paths), path.name)
    require_scores(scores, failures)
    holes, inside, whole = (fmean(column) for column in zip(*scores, strict=True))
    return HoleScores(len(scores), str(corruption), holes, inside, whole, pixels / 1e6 / seconds, failures)
