"""Corrupt clean pictures, restore them, score the result."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from denoise.corruptions.base import Corrupted, Corruption
from denoise.corruptions.spec import parse
from denoise.errors import UsageError
from denoise.evaluation.metrics import psnr_db, ssim
from denoise.media.image import is_image, open_image
from denoise.restorer import Restorer, Sigma


@dataclass(frozen=True)
class Scores:
    """Means over the pictures of a set."""

    pictures: int
    corruption: str
    noisy_psnr_db: float
    psnr_db: float
    noisy_ssim: float
    ssim: float
    sigma: float
    """Mean noise level that was used, on the 0..255 scale"""
    sigma_error: float
    """Mean of |used - true| / true, where the truth is the mean of the corruption's own map"""
    megapixels_per_s: float

    def __str__(self) -> str:
        return (
            f"{self.pictures} pictures, {self.corruption}\n"
            f"         PSNR dB   SSIM\n"
            f"noisy    {self.noisy_psnr_db:7.2f}  {self.noisy_ssim:.4f}\n"
            f"restored {self.psnr_db:7.2f}  {self.ssim:.4f}\n"
            f"noise level used: {self.sigma:.1f} of 255, {self.sigma_error:.1%} off; {self.megapixels_per_s:.2f} megapixels/s"
        )


def evaluate(
    restorer: Restorer,
    folder: Path,
    corruption: str | Corruption,
    sigma: Sigma = "auto",
    progress: Callable[[int, int, str], None] | None = None,
) -> Scores:
    """Score a restorer on a folder of clean pictures; the draw depends on each file's name and on nothing else."""
    rows = []
    paths = pictures_below(folder)
    seconds = pixels = 0.0
    for number, (path, clean, seen) in enumerate(corrupted(paths, corruption)):
        observed = seen.observed[0]
        truth = float(seen.condition.mean()) * 255 if seen.condition is not None else 0.0
        began = time.perf_counter()
        restored = restorer(observed, sigma)
        seconds += time.perf_counter() - began
        pixels += clean.shape[1] * clean.shape[2]
        used = restorer.estimate(lambda a, b, x=observed: x[:, a:b], clean.shape).sigma if sigma == "auto" else sigma
        error = abs(used - truth) / truth if truth > 0 else 0.0
        rows.append((psnr_db(observed, clean), psnr_db(restored, clean), ssim(observed, clean), ssim(restored, clean), used, error))
        if progress is not None:
            progress(number + 1, len(paths), path.name)
    means = [fmean(column) for column in zip(*rows, strict=True)]
    return Scores(len(rows), str(corruption), *means, megapixels_per_s=pixels / 1e6 / seconds)


def pictures_below(folder: Path) -> list[Path]:
    """All pictures below a folder, in order; raises UsageError when there is none."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file() and is_image(path))
    if not paths:
        raise UsageError(f"There is no picture below {folder}; give a folder of clean pictures as --data.")
    return paths


def corrupted(paths: list[Path], corruption: str | Corruption) -> Iterator[tuple[Path, Tensor, Corrupted]]:
    """Each file, its clean picture `[C, H, W]` and what the corruption makes of it (a batch of one)."""
    damage = parse(corruption) if isinstance(corruption, str) else corruption
    for path in paths:
        with open_image(path) as picture:
            frame = next(iter(picture.frames))
            clean = torch.from_numpy(frame.read(0, frame.size[1]))
        generator = torch.Generator().manual_seed(zlib.crc32(path.name.encode()))
        yield path, clean, damage(clean[None], generator)
