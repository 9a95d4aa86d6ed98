"""`denoise tour`: the autoencoder family, explained by what small networks measure while you wait."""

from __future__ import annotations

import io
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure

from denoise.errors import UsageError
from denoise.media.atomic import replacing
from denoise.media.folders import check_folder, make_folder
from denoise.options import check_seed
from denoise.progress import Progress
from denoise.tour import page
from denoise.tour.chapters import CHAPTERS, Numbers
from denoise.tour.training import Trainings
from denoise.training.arrays import load_digits
from denoise.training.checks import MOST_SEED, require_within

__all__ = ["Tour", "write_tour"]


@dataclass(frozen=True)
class Tour:
    """What was written, and what was measured for it."""

    page: str
    """Path of index.html; the pictures and measured.json lie beside it"""
    trainings: int
    steps: int
    seconds: float
    measured: dict[str, Numbers]
    """By chapter"""


def write_tour(
    out: str | os.PathLike[str] = "tour", effort: float = 1.0, seed: int = 0, progress: Progress | None = None
) -> Tour:
    """Train small networks for about two minutes and write a page about what they did.

    Everything is made on the spot, of points along a curve and of the digits that come with scikit-learn.

    Args:
        out: folder to write to.
        effort: factor on the length of every training.
        seed: of the first weights, the batches and the corruptions; the examples are the same ones in every tour.
        progress: told how far the work is.

    Raises:
        UsageError: `effort` is not positive, `seed` is out of range, or `out` is no folder to write to or would lose
            a file that is not of a tour.
        MediaError: the folder or a file cannot be written.
    """
    if not 0 < effort < float("inf"):
        raise UsageError(f"effort={effort} is not allowed: give a number above 0, 1 for the whole tour.")
    seed = check_seed(seed)
    require_within("seed", seed, 0, MOST_SEED)
    folder, began = Path(out), time.perf_counter()
    check_folder(folder)
    _check_files(folder)
    make_folder(folder)
    split = load_digits()
    trainings = Trainings(effort, seed, progress)
    chapters = {name: write_chapter(trainings, split) for name, write_chapter in CHAPTERS.items()}
    files = {f"{name}.png": _png(chapter.figure) for name, chapter in chapters.items()}
    seconds = time.perf_counter() - began
    facts = (
        f"{trainings.count} networks, {trainings.steps:,} training steps, {seconds:.0f} seconds, threads: "
        f"{torch.get_num_threads()}; seed {seed}, torch {torch.__version__}. Written by `denoise tour`; the numbers "
        f"are in measured.json."
    )
    measured = {name: chapter.measured for name, chapter in chapters.items()}
    files["measured.json"] = (json.dumps(measured, indent=2) + "\n").encode()
    files["index.html"] = page.write(chapters, facts).encode()  # last, so that a page has all its pictures
    for name, content in files.items():
        with replacing(folder / name) as file:
            file.write(content)
    return Tour(str(folder / "index.html"), trainings.count, trainings.steps, seconds, measured)


def _check_files(folder: Path) -> None:
    """Raise UsageError where a file would be replaced that is not of a tour: before the work, not after."""
    if page.is_page(folder / "index.html"):
        return
    for name in (*(f"{name}.png" for name in CHAPTERS), "measured.json", "index.html"):
        if (folder / name).exists():
            raise UsageError(f"{folder / name} exists and is not of a tour; choose another folder with -o.")


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=160, bbox_inches="tight", pad_inches=0.1)
    return file.getvalue()
