"""One picture in, one out: its holes filled, its noise taken away, everything else kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from denoise.compare import Comparison
from denoise.corruptions.base import Corruption
from denoise.holes import count_hidden, find_holes, has_square, note_on_holes, with_mask_read
from denoise.inpainter import Inpainter
from denoise.media.atomic import copy_file
from denoise.media.image import Frame, Picture, open_image
from denoise.media.image_formats import format_of
from denoise.media.mask import Mask
from denoise.noise import Noise
from denoise.options import Options
from denoise.progress import Progress
from denoise.restorer import Restorer

_SLAB_ROWS = 64
_DRAWN = "What was drawn and saved without loss has no noise and stays as it is; --sigma restores it all the same."


@dataclass(frozen=True)
class Report:
    """What was done to one picture."""

    source: str
    output: str
    found: str
    model: str
    sigma: list[float]
    """Noise level of each frame, on the 0..255 scale; empty where none was looked for or the network is told of none"""
    filled_px: int | None
    """Pixels in holes that were filled, all frames together; None where no holes were looked for"""
    note: str
    """What to know about the result; empty if there is nothing"""
    strength: float
    device: str
    dtype: str
    megapixels: float
    seconds: float


def restore_picture_file(
    restorer: Restorer | None,
    source: Path,
    target: Path,
    options: Options = Options(),
    progress: Progress | None = None,
    inpainter: Inpainter | None = None,
) -> Report:
    """Restore one picture, all its frames: the inpainter fills the holes, then the restorer takes noise away.

    Raises:
        UsageError, MediaError: the input or the mask cannot be read or the output not be written.
    """
    began = time.perf_counter()
    with open_image(source) as picture:
        picture.check_output(target)
        options = with_mask_read(options)
        comparison = None
        if options.compare is not None:
            comparison = Comparison(next(picture.frames), picture.orientation, options.compare)
        frames = [_mend(picture, frame, restorer, inpainter, options, progress) for frame in picture.frames]
        filled, hidden = sum(frame.filled_px for frame in frames), sum(frame.hidden_px for frame in frames)
        notes = [note for frame in frames for note in frame.notes]
        if hidden:
            notes.append(f"{hidden:,} pixels in holes are transparent and stay so; --mask alpha fills those.")
        if not any(frame.changed for frame in frames) and picture.format == format_of(target):
            copy_file(source, target)  # not even encoded again
        else:
            picture.save(target)
            notes += [picture.left_out] if picture.left_out else []
        if comparison is not None:
            comparison.write()
        used = [engine for engine in (inpainter, restorer) if engine is not None]
        return Report(
            source=str(source),
            output=str(target),
            found=picture.describe(),
            model=", ".join(engine.card.name if engine.card else "own" for engine in used),
            sigma=[frame.sigma for frame in frames if frame.sigma is not None],
            filled_px=None if inpainter is None else filled,
            note=" ".join(dict.fromkeys(notes)),
            strength=options.strength,
            device=str(used[0].device),
            dtype=str(used[0].dtype).removeprefix("torch."),
            megapixels=round(sum(frame.pixels for frame in frames) / 1e6, 3),
            seconds=round(time.perf_counter() - began, 3),
        )


def corrupt_picture_file(source: Path, target: Path, corruption: Corruption, generator: torch.Generator) -> Path:
    """Damage one picture, all its frames, everything else kept."""
    with open_image(source) as picture:
        picture.check_output(target)
        for frame in picture.frames:
            observed = corruption(_read(frame, 0, frame.size[1])[None], generator).observed[0]
            frame.write(0, frame.size[1], observed.numpy())
        picture.save(target)
    return target


@dataclass(frozen=True)
class _Mended:
    """What was done to one frame."""

    pixels: int
    sigma: float | None
    filled_px: int
    hidden_px: int
    """In holes, and transparent"""
    changed: bool
    notes: list[str]


def _mend(
    picture: Picture,
    frame: Frame,
    restorer: Restorer | None,
    inpainter: Inpainter | None,
    options: Options,
    progress: Progress | None,
) -> _Mended:
    """Fill the holes of a frame, then take noise away, as far as there is something to do it with."""
    report = _Rows(progress, picture.path.name, frame.size[1])
    mask, sigma, holes, hidden, notes = None, None, 0, 0, []
    if inpainter is not None:
        mask = find_holes(picture, frame, options)
        _fill_frame(inpainter, frame, mask, options, report)
        holes, hidden = int(mask.sum()), 0 if options.by_alpha else count_hidden(frame, mask)
        notes = [*_too_wide(inpainter, mask), *note_on_holes(picture, mask, options)]
    changed = holes > hidden and options.strength > 0
    if restorer is not None and options.strength > 0:
        noise = _restore_frame(restorer, frame, mask, options, report)
        sigma = round(noise.sigma, 2) if restorer.takes_level else None
        changed |= not noise.drawn
        notes += [_DRAWN] if noise.drawn else []
    return _Mended(frame.size[0] * frame.size[1], sigma, holes - hidden, hidden, changed, notes)


def _restore_frame(restorer: Restorer, frame: Frame, filled: Mask | None, options: Options, report: _Rows) -> Noise:
    """Estimate, then sweep: rows are read once each, restored, and written over their source."""
    read, shape = partial(_read, frame), (frame.channels, *frame.size[::-1])

    def silent(start: int, stop: int) -> Mask:
        clear = frame.transparent(start, stop)
        return clear if filled is None else clear | filled[start:stop]

    noise = restorer.noise(read, shape, options.sigma, silent if frame.has_transparency or filled is not None else None)
    if not noise.drawn:
        _put(frame, restorer.restore_rows(read, shape, noise, options.strength), report)
    return noise


def _fill_frame(inpainter: Inpainter, frame: Frame, mask: Mask, options: Options, report: _Rows) -> None:
    """Sweep, and write the rows that have holes."""
    if options.strength == 0 or not mask.any():
        return
    if options.by_alpha:
        frame.reveal(0, mask)
    read, shape = partial(_read, frame), (frame.channels, *frame.size[::-1])
    _put(frame, inpainter.fill_rows(read, shape, mask, options.strength), report, mask)


def _read(frame: Frame, start: int, stop: int) -> Tensor:
    return torch.from_numpy(frame.read(start, stop))


def _put(frame: Frame, restored: Iterator[tuple[int, int, Tensor]], report: _Rows, mask: Mask | None = None) -> None:
    """Write rows over their source, bit by bit: the conversion needs memory of its own."""
    for start, stop, rows in restored:
        for part in range(start, stop, _SLAB_ROWS):
            end = min(part + _SLAB_ROWS, stop)
            if mask is None or mask[part:end].any():
                frame.write(part, end, rows[:, part - start : end - start].numpy())
        del rows
        report(stop)


def _too_wide(inpainter: Inpainter, mask: Mask) -> list[str]:
    """A warning if there is a hole larger than the weights are meant for."""
    side = inpainter.card.hole_px if inpainter.card else 0
    if not side or not has_square(mask, side + 1):
        return []
    return [f"A hole is wider than the {side} pixels that these weights fill well; look at it closely."]


@dataclass(frozen=True)
class _Rows:
    progress: Progress | None
    name: str
    total: int

    def __call__(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done, self.total, self.name)
