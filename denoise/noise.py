"""How noisy a picture of any size is, and whether it is at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from denoise.jpeg_grid import Lead, led
from denoise.media.mask import Mask
from denoise.networks.noise_level import level_curve, pool_level
from denoise.windows import Read, Windows, sweep_rows

# Only in a photo are places of one colour bars and the like. In a drawing they are what says that there is no noise,
# and what is left beside them would be taken for it: there are few other places, or many runs of equal pixels in them.
LEAST_LEFT = 0.005  # of the cells
MOST_RUNS = 0.02  # of the pixels; noise above a level of 3 left less in photos, JPEG more in drawings

# What was drawn, and saved without loss, has runs of equal pixels almost everywhere, beside edges as well, where JPEG
# would ring. Noise leaves none, but a noisy thing that was cut out has edges beside runs.
DRAWN_RUNS = 0.25  # of the pixels beside edges; in drawings tried there were more, in photos fewer
_WITH_RUNS = 0.95  # of the cells that are not of one colour; drawings tried had more, but for gradients
_EDGE = 0.25  # least contrast of a cell with an edge
_MANY_SHADES = 16  # from black to white; what is drawn or dithered has fewer
_WHITE = 2**16 - 1  # the finest shades of a file: a starry sky has many, though few in 8 bits

_FAINT = 4.0  # on the 0..255 scale: in a dark picture so weak a level is not seen well; a stronger one is
_BRIGHTEST = 0.999  # share of the cells that are no brighter than what counts as white
_MOST_DOUBLINGS = 16

Silent = Callable[[int, int], Mask]
"""`(start, stop) -> [stop - start, W]`: where these rows of a picture say nothing about its noise."""

Tell = Callable[[Tensor], tuple[Tensor, Tensor]]
"""`[B, C, H, W] -> [B, 1, H/cell, W/cell]` twice: levels and logarithmic weights, as `NoiseLevel` tells them of bands
that are seen together; B is 1 or, where they are seen one by one, their number."""


@dataclass(frozen=True)
class Noise:
    """The noise level a restoration is conditioned on.

    Shape:
        - map: `[1, 1, H/cell, W/cell]`, standard deviation on the 0..1 scale; None where one level holds everywhere
    """

    sigma: float
    """Level of the whole, on the 0..255 scale"""
    map: Tensor | None = None
    cell: int = 1
    drawn: bool = False
    """Whether the picture was drawn and has no noise: it stays as it is"""
    lead: Lead = (0, 0)
    """What the map has before the picture, and the picture is seen with: see `denoise.jpeg_grid`"""


def estimate(
    tell: Tell,
    cell: int,
    windows: Windows,
    read: Read,
    shape: Sequence[int],
    silent: Silent | None,
    curve: bool,
    lead: Lead = (0, 0),
) -> Noise:
    """Estimate the noise level of a picture that is read row by row.

    What was cut out, filled or painted over has no noise, whatever the rest has: cells that `silent` touches do not
    count, nor do those of one colour where the rest looks like a photo, nor those beside either. What is drawn has no
    noise at all. A dark picture with little is looked at again, and brighter: the network knows photos.

    Args:
        tell: what the network says.
        cell: side of its cells, in pixels.
        curve: whether the level is a function of brightness, or one for the picture.
        lead: what the picture is seen with before it, see `denoise.jpeg_grid`.
    """
    shades = torch.zeros(shape[0], _WHITE + 1, dtype=torch.bool)
    seen = _look(tell, cell, windows, _counting(read, shades), shape, silent, lead)
    if _has_few(shades):
        return Noise(0.0, drawn=True)
    noise, gain = _pooled(seen, cell, curve), brighter(_white(seen))
    if gain > 1 and noise.sigma < _FAINT:
        seen = _look(tell, cell, windows, lambda start, stop: read(start, stop) * gain, shape, silent, lead)
        noise = _pooled(seen, cell, curve)
        noise = Noise(noise.sigma / gain, None if noise.map is None else noise.map / gain, cell)
    return Noise(0.0, drawn=True) if _is_drawn(seen) else replace(noise, lead=lead)


@dataclass(frozen=True)
class _Seen:
    """What is known about each cell of a picture; every map is `[1, 1, H/cell, W/cell]`."""

    levels: Tensor
    weights: Tensor
    brightness: Tensor
    contrast: Tensor
    """Between the brightest and the darkest pixel, of the band that has most"""
    runs: Tensor
    """Share of the pixels that equal both that follow, to the right as well as downwards"""
    untold: Tensor
    """Above 0 where a part of the cell is silent"""


def _look(
    tell: Tell, cell: int, windows: Windows, read: Read, shape: Sequence[int], silent: Silent | None, lead: Lead
) -> _Seen:
    """Sweep over a picture; bands that are seen one by one count where they are not of one colour."""

    def read_both(start: int, stop: int) -> Tensor:
        rows = read(start, stop)
        marked = torch.zeros_like(rows[0]) if silent is None else torch.from_numpy(silent(start, stop)).float()
        return torch.cat([rows, marked[None]])

    @torch.inference_mode()
    def look(window: Tensor, _: tuple[slice, ...]) -> Tensor:
        observed, marked = window[:, :-1], window[:, -1:]
        levels, weights = tell(observed)
        spread = F.max_pool2d(observed, cell) + F.max_pool2d(-observed, cell)
        bands = spread.reshape(len(levels), -1, *spread.shape[2:]).amax(1, keepdim=True)
        counts = ((bands > 0) | (bands == 0).all(0)).to(levels)
        level, weight = (
            (part * counts).sum(0, keepdim=True) / counts.sum(0, keepdim=True) for part in (levels, weights)
        )
        brightness = F.avg_pool2d(observed.mean(1, keepdim=True), cell)
        seen = (brightness, spread.amax(1, keepdim=True), _runs(observed, cell), F.max_pool2d(marked, cell))
        found = torch.cat([level, weight, *(part.to(level) for part in seen)], dim=1)
        return found.repeat_interleave(cell, 2).repeat_interleave(cell, 3)

    maps: list[Tensor] = []
    read_led, shape_led = led(read_both, shape, lead)
    for start, _, rows in sweep_rows(look, read_led, shape_led[1:], windows):
        maps.append(rows[:, -start % cell :: cell, ::cell].clone())  # a view would keep all of `rows`
    return _Seen(*torch.cat(maps, dim=1)[:, None, None].unbind(0))


def _counting(read: Read, shades: Tensor) -> Read:
    """Marks the shades of each band that are read, `[C, 65536]`, as long as there are few."""

    def counted(start: int, stop: int) -> Tensor:
        rows = read(start, stop)
        for band, found in zip(rows, shades, strict=True):
            if shades.sum(1).max() >= _MANY_SHADES:  # as soon as in any photo: no more is to be learned
                break
            levels = (band.clamp(0, 1) * _WHITE).round().int().flatten()
            found |= torch.bincount(levels, minlength=_WHITE + 1) > 0
        return rows

    return counted


def _has_few(shades: Tensor) -> bool:
    """Whether no band has as many as 16 from black to white, or its part of them. Shape: `[C, 65536]`."""
    places = [found.nonzero() for found in shades]
    return all(len(place) * (_WHITE + 1) < _MANY_SHADES * int(place.max() - place.min() + 1) for place in places)


def brighter(white: float) -> int:
    """By which power of two a dark picture can be made brighter, so that what is white in it, 0..1, is at most 1."""
    return 2 ** min(max(math.floor(-math.log2(white)), 0), _MOST_DOUBLINGS) if white > 0 else 1


def _pooled(seen: _Seen, cell: int, curve: bool) -> Noise:
    """The level of the cells that count."""
    weights = _without(seen.weights, seen.untold)
    left = _without(weights, seen.contrast == 0)
    counts = left.isfinite()
    if counts.sum() > LEAST_LEFT * weights.isfinite().sum() and seen.runs[counts].mean() < MOST_RUNS:
        weights = left
    with torch.autocast("cpu", enabled=False):
        sigma = 255 * float(pool_level(seen.levels, weights))
        return Noise(sigma, level_curve(seen.levels, weights, seen.brightness) if curve else None, cell)


def _white(seen: _Seen) -> float:
    """Brightness of the brightest cells, but for a few that may be lamps or stars."""
    told = seen.brightness[seen.untold == 0]
    return float(told.kthvalue(math.ceil(_BRIGHTEST * len(told))).values) if len(told) else 1.0


def _is_drawn(seen: _Seen) -> bool:
    """Whether no cell has noise: all are of one colour, or pixels are alike in their runs, beside edges as well."""
    told = seen.untold == 0
    inked, edges = told & (seen.contrast > 0), told & (seen.contrast > _EDGE)
    if not inked.any():
        return bool(told.any())
    with_runs = (seen.runs[inked] > 0).float().mean()
    return bool(edges.any() and with_runs > _WITH_RUNS and seen.runs[edges].mean() > DRAWN_RUNS)


def _without(weights: Tensor, cells: Tensor) -> Tensor:
    """The weights, with none at such cells and beside them; all of them where none would be left."""
    left = weights.masked_fill(F.max_pool2d(cells.float(), 3, 1, 1) > 0, -math.inf)
    return left if left.isfinite().any() else weights


def _runs(picture: Tensor, cell: int) -> Tensor:
    """See `_Seen.runs`. Shape: `[1, C, H, W] -> [1, 1, H/cell, W/cell]`."""

    def along_rows(picture: Tensor) -> Tensor:
        same = (picture[..., 1:] == picture[..., :-1]).all(1, keepdim=True)
        return F.avg_pool2d(F.pad((same[..., 1:] & same[..., :-1]).float(), (0, 2)), cell)

    return torch.minimum(along_rows(picture), along_rows(picture.mT).mT)
