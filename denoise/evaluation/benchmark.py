"""Corrupt clean pictures, restore them, score the result."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from denoise.corruptions.base import Corrupted, Corruption
from denoise.corruptions.masks import makes_holes
from denoise.corruptions.sound import hears
from denoise.corruptions.spec import parse
from denoise.errors import MediaError, UsageError
from denoise.evaluation.failures import require_scores
from denoise.evaluation.metrics import psnr_db, require_size, ssim
from denoise.media.folders import files_below
from denoise.media.image import is_image, open_image
from denoise.options import Sigma
from denoise.progress import Progress
from denoise.restorer import Restorer
from denoise.windows import rows_of


@dataclass(frozen=True)
class Scores:
    """Means over the pictures of a set."""

    pictures: int
    corruption: str
    noisy_psnr_db: float
    psnr_db: float
    noisy_ssim: float
    ssim: float
    sigma: float | None
    """Noise level that was used, on the 0..255 scale; None if the network is told of none"""
    sigma_error: float | None
    """|used - true| / true, the truth being the mean of the corruption's own map; None if that is zero, or the network
    is told of none"""
    megapixels_per_s: float
    failures: dict[str, str] = field(default_factory=dict)
    """File -> why it could not be scored"""

    def __str__(self) -> str:
        off = "" if self.sigma_error is None else f", {self.sigma_error:.1%} off"
        level = "" if self.sigma is None else f"noise level used: {self.sigma:.1f} of 255{off}; "
        return (
            f"{self.pictures} pictures, {self.corruption}\n"
            f"         PSNR dB   SSIM\n"
            f"noisy    {self.noisy_psnr_db:7.2f}  {self.noisy_ssim:.4f}\n"
            f"restored {self.psnr_db:7.2f}  {self.ssim:.4f}\n"
            f"{level}{self.megapixels_per_s:.2f} megapixels/s"
        )


def evaluate(
    restorer: Restorer,
    folder: Path,
    corruption: str | Corruption,
    sigma: Sigma = "auto",
    progress: Progress | None = None,
) -> Scores:
    """Score a restorer on a folder of clean pictures; the draw depends on each file's name and on nothing else.

    A picture that cannot be scored is left out and named. Raises UsageError when there is no picture or the corruption
    makes holes or is for sound, MediaError when no picture can be scored.
    """
    damage = damage_of(corruption)
    if makes_holes(damage):
        raise UsageError(
            f"{corruption} makes holes, which {restorer!r} does not fill; evaluate weights such as inpaint."
        )
    paths = pictures_below(folder)
    scores: list[tuple[float, ...]] = []
    levels: list[float] = []
    errors: list[float] = []
    failures: dict[str, str] = {}
    seconds = pixels = 0.0
    for path, clean, seen in corrupted(paths, damage, failures):
        observed = seen.observed[0]
        began = time.perf_counter()
        read = rows_of(observed)
        noise = restorer.noise(read, observed.shape, sigma)
        parts = restorer.restore_rows(read, observed.shape, noise)
        restored = torch.cat([rows for _, _, rows in parts], dim=1)
        seconds += time.perf_counter() - began
        pixels += clean.shape[1] * clean.shape[2]
        scores.append(tuple(score(x, clean) for score in (psnr_db, ssim) for x in (observed, restored)))
        levels.append(noise.sigma)
        truth = 0.0 if seen.condition is None else 255 * float(seen.condition.mean())
        if truth > 0 and restorer.takes_level:
            errors.append(abs(levels[-1] - truth) / truth)
        if progress is not None:
            progress(len(scores) + len(failures), len(paths), path.name)
    require_scores(scores, failures)
    noisy_psnr, restored_psnr, noisy_ssim, restored_ssim = (fmean(column) for column in zip(*scores, strict=True))
    return Scores(
        pictures=len(scores),
        corruption=str(corruption),
        noisy_psnr_db=noisy_psnr,
        psnr_db=restored_psnr,
        noisy_ssim=noisy_ssim,
        ssim=restored_ssim,
        sigma=fmean(levels) if restorer.takes_level else None,
        sigma_error=fmean(errors) if errors else None,
        megapixels_per_s=pixels / 1e6 / seconds,
        failures=failures,
    )


def damage_of(corruption: str | Corruption) -> Corruption:
    """A corruption of pictures, or what a spec says is one; raises UsageError when it is for sound."""
    damage = parse(corruption) if isinstance(corruption, str) else corruption
    if hears(damage):
        raise UsageError(f"{corruption} is for sound; choose a corruption for pictures.")
    return damage


def pictures_below(folder: Path) -> list[Path]:
    """All pictures below a folder, in order; raises UsageError when there is none."""
    paths = files_below(Path(folder), is_image)
    if not paths:
        raise UsageError(f"There is no picture below {folder}; give a folder of clean pictures as --data.")
    return paths


def corrupted(
    paths: list[Path], corruption: str | Corruption, failures: dict[str, str] | None = None
) -> Iterator[tuple[Path, Tensor, Corrupted]]:
    """Each file, its clean picture `[C, H, W]` (of several frames the first), and what the corruption makes of it.

    A file that cannot be read, is too small to be scored, or has bands that the corruption is not for goes to
    `failures` with the reason; without them it is raised.
    """
    damage = damage_of(corruption)
    for path in paths:
        try:
            with open_image(path) as picture:
                frame = next(picture.frames)
                clean = torch.from_numpy(frame.read(0, frame.size[1]))
            require_size(clean)
            generator = torch.Generator().manual_seed(zlib.crc32(os.fsencode(path.name)))
            seen = damage(clean[None], generator)
        except (MediaError, UsageError) as error:
            if failures is None:
                raise
            failures[str(path)] = str(error)
            continue
        yield path, clean, seen
