"""restore(): one file or many in, files out. The data's whole way reads top to bottom here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from denoise.compare import Comparison
from denoise.corruptions.spec import parse
from denoise.errors import DenoiseError, UsageError
from denoise.media.atomic import replacing
from denoise.media.image import Frame, is_image, open_image
from denoise.restorer import Noise, Restorer, Sigma, check_options, load

PathLike = str | os.PathLike[str]
_SLAB_ROWS = 64

Progress = Callable[[int, int, str], None]
"""Called with rows done, rows in all and the name of the file."""


@dataclass(frozen=True)
class Report:
    """What was done to one file."""

    source: str
    output: str
    found: str
    model: str
    sigma: list[float]
    """Noise level of each frame, on the 0..255 scale"""
    strength: float
    device: str
    dtype: str
    megapixels: float
    seconds: float


@dataclass(frozen=True)
class Failure:
    """A file of a batch that could not be restored, and why."""

    source: str
    error: str


def restore(
    source: Any,
    out: PathLike | None = None,
    model: PathLike = "photo",
    sigma: Sigma = "auto",
    strength: float = 1.0,
    device: str = "auto",
    dtype: str = "auto",
    compare: PathLike | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Any:
    """Restore a file, several files, or a picture in memory.

    Args:
        source: a path, a list of paths, or a tensor, array or PIL image (see `Restorer`).
        out: file to write for one path (default `NAME.restored.EXT` beside it), folder to write for a list.
        model: name of shipped weights, or a folder of weights.
        sigma: standard deviation of the noise on the 0..255 scale, or `auto` to estimate it.
        strength: 0 returns the input, 1 the restored picture, between them a mix.
        device: `auto`, `cpu`, `cuda`, `mps`.
        dtype: `auto`, `float32`, `bfloat16`, `float16`.
        compare: file for a picture of before, after and difference.
        overwrite: replace outputs that exist.
        progress: told how far the work is.

    Returns:
        A `Report` for a path; a list of `Report` and `Failure` for a list of paths; else the restored picture.

    Raises:
        UsageError, MediaError, ModelError: see `denoise.errors`. In a list, a file that fails becomes a `Failure`.
    """
    check_options(sigma, strength)
    if isinstance(source, str | os.PathLike):
        target = single_target(Path(source), out, overwrite)
        return restore_file(load(model, device, dtype), source, target, sigma, strength, compare, progress)
    if isinstance(source, Sequence) and not isinstance(source, str | bytes):
        pairs = jobs([Path(path) for path in source], out)
        return list(restore_many(load(model, device, dtype), pairs, sigma, strength, overwrite, progress))
    return load(model, device, dtype)(source, sigma, strength)


def restore_file(
    restorer: Restorer,
    source: PathLike,
    target: PathLike,
    sigma: Sigma = "auto",
    strength: float = 1.0,
    compare: PathLike | None = None,
    progress: Progress | None = None,
) -> Report:
    """Restore one picture file, all its frames, keeping everything else it carries."""
    began = time.perf_counter()
    source, target = Path(source), Path(target)
    with open_image(source) as picture:
        picture.check_output(target)
        if compare is not None and Path(compare).resolve() in (source.resolve(), target.resolve()):
            raise UsageError(f"The comparison {compare} would replace the input or the output; give it another name.")
        levels, pixels = [], 0
        for number, frame in enumerate(picture.frames):
            comparison = Comparison(frame) if compare is not None and number == 0 else None
            noise = _restore_frame(restorer, frame, sigma, strength, _Rows(progress, source.name, frame.size[1]))
            levels.append(round(noise.sigma, 2))
            pixels += frame.size[0] * frame.size[1]
            if comparison is not None and compare is not None:
                comparison.write(compare)
        if strength == 0 and source.suffix.lower() == target.suffix.lower():
            _copy(source, target)  # not even encoded again
        else:
            picture.save(target)
        return Report(
            source=str(source),
            output=str(target),
            found=picture.describe(),
            model=restorer.card.name if restorer.card else "own",
            sigma=levels,
            strength=strength,
            device=str(restorer.device),
            dtype=str(restorer.dtype).removeprefix("torch."),
            megapixels=round(pixels / 1e6, 3),
            seconds=round(time.perf_counter() - began, 3),
        )


def restore_many(
    restorer: Restorer,
    jobs: Iterable[tuple[Path, Path]],
    sigma: Sigma = "auto",
    strength: float = 1.0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Iterable[Report | Failure]:
    """Restore files one after another; a file that fails is reported and the others go on.

    Outputs that exist and are newer than their source are left alone unless `overwrite` says otherwise, so that an
    interrupted batch can be run again.
    """
    for source, target in jobs:
        if not overwrite and target.is_file() and source.is_file() and target.stat().st_mtime >= source.stat().st_mtime:
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield restore_file(restorer, source, target, sigma, strength, progress=progress)
        except DenoiseError as error:
            yield Failure(str(source), str(error))
        except OSError as error:
            yield Failure(str(source), f"{target} cannot be written: {error.strerror}.")


def jobs(sources: Sequence[Path], out: PathLike | None) -> list[tuple[Path, Path]]:
    """Pairs of input and output for files and folders; of a folder the tree is kept and hidden files left out."""
    pairs: list[tuple[Path, Path]] = []
    for source in sources:
        if source.is_dir():
            pairs += _folder_jobs(source, out)
        else:
            pairs.append((source, default_output(source) if out is None else Path(out) / source.name))
    targets = [target.resolve() for _, target in pairs]
    twice = sorted({target.name for target in targets if targets.count(target) > 1})
    if twice:
        raise UsageError(f"Several inputs would be written to the same file: {', '.join(twice)}; restore them apart.")
    return pairs


def _folder_jobs(folder: Path, out: PathLike | None) -> list[tuple[Path, Path]]:
    if out is None:
        raise UsageError(f"{folder} is a folder; say where the restored tree goes with -o FOLDER.")
    out = Path(out)
    if out.resolve() == folder.resolve():
        raise UsageError(f"The output folder {out} is the input folder; choose another with -o.")
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file() and is_image(path)]
    names = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    pairs = [(folder / name, out / name) for name in names if out.resolve() not in (folder / name).resolve().parents]
    if not pairs:
        raise UsageError(f"There is no picture below {folder}.")
    return pairs


def default_output(source: Path) -> Path:
    """`photo.png` -> `photo.restored.png`."""
    return source.with_name(f"{source.stem}.restored{source.suffix}")


def single_target(source: Path, out: PathLike | None, overwrite: bool) -> Path:
    """The file to write for one input; raises UsageError rather than replace a file unasked."""
    if not source.exists():
        raise UsageError(f"There is no file {source}; check the name.")
    target = default_output(source) if out is None else Path(out)
    if target.is_dir():
        target = target / source.name
    if target.exists() and not overwrite:
        if target.samefile(source):
            raise UsageError(f"The output {target} is the input; give another with -o, or --overwrite to replace it.")
        if out is not None:
            raise UsageError(f"{target} exists; choose another output, or --overwrite to replace it.")
    return target


def _copy(source: Path, target: Path) -> None:
    if not (target.exists() and target.samefile(source)):
        with replacing(target) as file:
            file.write(source.read_bytes())


def corrupt_file(source: PathLike, target: PathLike, spec: str, seed: int = 0) -> Path:
    """Damage a picture file on purpose, by a spec such as `gaussian:sigma=25+jpeg:quality=80`."""
    corruption = parse(spec)
    generator = torch.Generator().manual_seed(seed)
    with open_image(source) as picture:
        picture.check_output(target)
        for frame in picture.frames:
            clean = torch.from_numpy(frame.read(0, frame.size[1]))[None]
            observed = corruption(clean, generator).observed[0]
            frame.write(0, frame.size[1], observed.numpy())
        picture.save(target)
    return Path(target)


def _restore_frame(restorer: Restorer, frame: Frame, sigma: Sigma, strength: float, report: _Rows) -> Noise:
    """Estimate, then sweep: rows are read once each, restored, and written over their source."""
    width, height = frame.size
    shape = (frame.channels, height, width)

    def read(start: int, stop: int) -> torch.Tensor:
        return torch.from_numpy(frame.read(start, stop))

    noise = restorer.estimate(read, shape) if sigma == "auto" else Noise(float(sigma))
    if strength > 0:
        for start, stop, rows in restorer.restore_rows(read, shape, noise, strength):
            for part in range(start, stop, _SLAB_ROWS):  # bit by bit: the conversion needs memory of its own
                end = min(part + _SLAB_ROWS, stop)
                frame.write(part, end, rows[:, part - start : end - start].numpy())
            del rows
            report(stop)
    return noise


@dataclass(frozen=True)
class _Rows:
    progress: Progress | None
    name: str
    total: int

    def __call__(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done, self.total, self.name)
