"""Restorer: networks, conditioning, windows, device and number format behind one call. Arrays in, arrays out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from denoise import pretrained
from denoise.arrays import from_tensor, to_tensor, transparent
from denoise.devices import choose_device, choose_dtype, place, run
from denoise.ensemble import check_ensemble, run_ensemble
from denoise.errors import UsageError
from denoise.holes import masks_for
from denoise.media.mask import Mask
from denoise.networks.noise_level import level_curve, pool_level
from denoise.options import Sigma, check_sigma, check_strength
from denoise.windows import Read, Windows, rows_of, sweep_rows

# At the edges of a window this share of the receptive field is dropped, and the next 16 pixels are cross-faded.
# Measured on photos, that keeps the difference to the untiled result below half an 8-bit step.
CONTEXT_SHARE = 0.5
CONTEXT_PX = (24, 64)  # least and most: the smallest windows have room for it
WINDOW_PX, FADE_PX = 1024, 16

# Windows of wide pictures are smaller, for a band of them is held in memory as floats: at most this many pixels.
BAND_PX = 2**23
SMALLEST_PX = 256

# Only in a photo are places of one colour bars and the like. In a drawing they are what says that there is no noise,
# and what is left beside them would be taken for it: there are few other places, or many of their pixels are alike.
LEAST_LEFT = 0.005  # of the cells
MOST_EQUAL = 0.1  # of the pixels; in photos and drawings tried, noise above a level of 3 left less, drawings more
_MANY_SHADES = 16  # of 256; what is drawn or dithered has fewer

Silent = Callable[[int, int], Mask]
"""`(start, stop) -> [stop - start, W]`: where these rows of a picture say nothing about its noise."""


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


class Restorer:
    """Restore arrays of any size with one set of weights.

    Made by `denoise.load(name)`. Called with a picture it returns the same kind: a torch tensor `[C, H, W]` or
    `[B, C, H, W]` (float, 0..1), a NumPy array `[H, W]` or `[H, W, C]` (uint8, uint16 or float 0..1) or a PIL image.
    The mean over an `ensemble` of 2, 4 or 8 views is better, and so many times slower.
    """

    def __init__(
        self,
        network: nn.Module,
        noise_level: nn.Module | None = None,
        card: pretrained.Card | None = None,
        device: str = "auto",
        dtype: str = "auto",
        windows: Windows | None = None,
        ensemble: int = 1,
    ) -> None:
        self.device = choose_device(device)
        self.dtype, _ = choose_dtype(dtype, self.device)
        self.card = card
        self.ensemble = check_ensemble(ensemble)
        self.network = place(network, self.device)
        self.takes_level = bool(getattr(network, "takes_level", True))
        """Whether the network is told how much noise there is"""
        self.noise_level = None if noise_level is None else place(noise_level, self.device)
        parts = [network] if noise_level is None else [network, noise_level]
        multiple_of = math.lcm(*(int(part.multiple_of) for part in parts))  # type: ignore[arg-type]
        self.windows = windows or Windows(WINDOW_PX, context_px(network), FADE_PX, multiple_of)

    def __repr__(self) -> str:
        name = self.card.name if self.card else type(self.network).__name__
        return f"Restorer({name}, {self.device}, {str(self.dtype).removeprefix('torch.')})"

    def __call__(self, picture: Any, sigma: Sigma = "auto", strength: float = 1.0, filled: Any = None) -> Any:
        """Restore a picture or a batch.

        Args:
            picture: see the class.
            sigma: standard deviation of the noise on the 0..255 scale, or `auto` to estimate it for each picture.
            strength: 0 returns the input bit for bit, 1 the restored picture, between them a mix.
            filled: where holes were filled and nothing can be learned about the noise; a mask as `Inpainter` takes it.

        Raises:
            UsageError: the input or an option is not one of the above; the input holds NaN or infinity.
        """
        check_sigma(sigma)
        check_strength(strength)
        batch, kind = to_tensor(picture)
        silent = _silent(transparent(kind), filled, batch.shape)
        if strength == 0:
            return picture
        restored = torch.empty_like(batch)
        for clean, observed, of_it in zip(restored, batch, silent, strict=True):
            read = rows_of(observed)
            noise = self.noise(read, observed.shape, sigma, of_it)
            for start, stop, rows in self.restore_rows(read, observed.shape, noise, strength):
                clean[:, start:stop] = rows
        return from_tensor(restored, kind)

    def restore_rows(
        self, read: Read, shape: Sequence[int], noise: Noise, strength: float = 1.0
    ) -> Iterator[tuple[int, int, Tensor]]:
        """Restore a picture that is read row by row; yields `(start, stop, rows)` in order, see `windows.sweep_rows`.

        Shape:
            - shape: `(C, H, W)`
            - Yielded: `[C, stop - start, W]` float32, not clipped
        """

        @torch.inference_mode()
        def restore(window: Tensor, position: tuple[slice, ...]) -> Tensor:
            observed = window.to(self.device)
            with torch.autocast(self.device.type, enabled=False):  # the caller's; `run` chooses for the network
                condition = self._condition(noise, window, position)
                restored = restore_bands(self.network, self.dtype, self.ensemble, observed, condition)
            return observed.lerp(restored, strength) if strength < 1 else restored

        yield from sweep_rows(restore, read, shape[1:], replace(self.windows, size=window_px(self.windows, shape)))

    def noise(self, read: Read, shape: Sequence[int], sigma: Sigma, silent: Silent | None = None) -> Noise:
        """The noise that `sigma` says a picture has: one level, or what `estimate` finds where it is `auto`.

        A network that is told of none has a level of 0; raises UsageError for another.
        """
        if not self.takes_level:
            if sigma != "auto":
                raise UsageError("These weights restore without a noise level; leave sigma out.")
            return Noise(0.0)
        return self.estimate(read, shape, silent) if sigma == "auto" else Noise(float(sigma))

    def estimate(self, read: Read, shape: Sequence[int], silent: Silent | None = None) -> Noise:
        """Estimate the noise level of a picture that is read row by row.

        What was cut out, filled or painted over has no noise, whatever the rest has: cells that `silent` touches do not
        count, nor do those of one colour where the rest looks like a photo, nor those beside either. What is drawn or
        dithered in a few shades has no noise at all.

        Raises:
            UsageError: these weights cannot estimate; a level must be given.
        """
        network = self.noise_level
        if network is None:
            raise UsageError("These weights cannot estimate the noise level; give it, for example --sigma 25.")
        cell = int(network.multiple_of)  # type: ignore[arg-type]
        maps: list[Tensor] = []
        shades = torch.zeros(shape[0], 256, dtype=torch.bool)

        def read_both(start: int, stop: int) -> Tensor:
            rows = read(start, stop)
            for band, found in zip(rows, shades, strict=True):
                if shades.sum(1).max() >= _MANY_SHADES:  # as soon as in any photo: no more is to be learned
                    break
                levels = (band.clamp(0, 1) * 255).round().to(torch.uint8).flatten()
                found |= torch.bincount(levels, minlength=256) > 0
            marked = torch.zeros(rows.shape[1:]) if silent is None else torch.from_numpy(silent(start, stop)).float()
            return torch.cat([rows, marked[None]])

        @torch.inference_mode()
        def look(window: Tensor, _: tuple[slice, ...]) -> Tensor:
            observed, marked = window[:, :-1], window[:, -1:]
            colours = as_colour(observed.to(self.device))
            told = [run(network, self.dtype, colour) for colour in colours]
            flat = torch.stack([_is_flat(colour, cell) for colour in colours])
            counts = ~flat | flat.all(0)  # of the bands
            level, weight = (torch.stack(both).mul(counts).sum(0) / counts.sum(0) for both in zip(*told, strict=True))
            brightness = F.avg_pool2d(observed.mean(1, keepdim=True), cell)
            seen = (brightness, _equal(observed, cell), flat.all(0), F.max_pool2d(marked, cell))
            found = torch.cat([level, weight, *(part.to(level) for part in seen)], dim=1)
            return found.repeat_interleave(cell, 2).repeat_interleave(cell, 3)

        windows = Windows(size=window_px(self.windows, shape), context=32, fade=0, multiple_of=cell)
        for start, _, rows in sweep_rows(look, read_both, shape[1:], windows):
            maps.append(rows[:, -start % cell :: cell, ::cell].clone())  # a view would keep all of `rows`
        if _is_drawn(shades):
            return Noise(0.0)
        levels, weights, brightness, equal, flat, untold = torch.cat(maps, dim=1)[:, None, None].unbind(0)
        weights = _without(weights, untold)
        left = _without(weights, flat)
        counts = left.isfinite()
        if counts.sum() > LEAST_LEFT * weights.isfinite().sum() and equal[counts].mean() < MOST_EQUAL:
            weights = left
        with torch.autocast("cpu", enabled=False):
            sigma = 255 * float(pool_level(levels, weights))
            if self.card is None or self.card.statistic == "picture":
                return Noise(sigma)
            return Noise(sigma, level_curve(levels, weights, brightness), cell)

    def _condition(self, noise: Noise, window: Tensor, position: tuple[slice, ...]) -> Tensor:
        """The noise-level map of a window. Shape: `[1, 1, H, W]`."""
        if noise.map is None:
            return window.new_full((1, 1, *window.shape[2:]), noise.sigma / 255, device=self.device)
        cells = noise.map
        for axis, part in zip((2, 3), position, strict=True):
            # One more cell on either side, so that a pixel's value does not depend on where the window ends.
            index = torch.arange(part.start // noise.cell - 1, part.stop // noise.cell + 1)
            cells = cells.index_select(axis, index.clamp(0, cells.shape[axis] - 1))
        c = noise.cell
        fine = F.interpolate(cells.to(self.device), scale_factor=c, mode="bilinear", align_corners=False)
        return fine[:, :, c:-c, c:-c]


def context_px(network: nn.Module) -> int:
    """Edge of a window that is looked at but not kept: whole steps of 8 pixels."""
    reach = int(getattr(network, "receptive_field", 0))
    least, most = CONTEXT_PX
    return min(most, max(least, 8 * round(CONTEXT_SHARE * reach / 8)))


def window_px(windows: Windows, shape: Sequence[int]) -> int:
    """Side of the windows of a picture of shape `(C, H, W)`: smaller where it is wide."""
    return min(windows.size, max(SMALLEST_PX, BAND_PX // shape[2]))


def _silent(clear: Mask | None, filled: Any, shape: Sequence[int]) -> list[Silent]:
    """Where each picture of a batch is transparent or was filled."""
    nowhere = np.zeros(shape[2:], dtype=bool)
    clear = nowhere if clear is None else clear
    return [partial(_rows, mask | clear) for mask in masks_for(nowhere if filled is None else filled, shape)]


def _rows(mask: Mask, start: int, stop: int) -> Mask:
    return mask[start:stop]


def _without(weights: Tensor, cells: Tensor) -> Tensor:
    """The weights, with none at such cells and beside them; all of them where none would be left."""
    left = weights.masked_fill(F.max_pool2d(cells, 3, 1, 1) > 0, -math.inf)
    return left if left.isfinite().any() else weights


def _is_drawn(shades: Tensor) -> bool:
    """Whether no band has a sixteenth of the shades from its darkest to its brightest. Shape: `[C, 256]`."""
    places = [found.nonzero() for found in shades]
    return all(_MANY_SHADES * len(place) < int(place.max() - place.min()) + 1 for place in places)


def _equal(picture: Tensor, cell: int) -> Tensor:
    """Which share of each cell's pixels equals the right neighbour. Shape: `[B, C, H, W] -> [B, 1, H/cell, W/cell]`."""
    same = (picture[..., 1:] == picture[..., :-1]).all(1, keepdim=True)
    return F.avg_pool2d(F.pad(same.float(), (0, 1)), cell)


def _is_flat(picture: Tensor, cell: int) -> Tensor:
    """Whether each cell is of one colour. Shape: `[B, C, H, W] -> [B, 1, H/cell, W/cell]`."""
    spread = F.max_pool2d(picture, cell) + F.max_pool2d(-picture, cell)
    return (spread == 0).all(1, keepdim=True)


def as_colour(observed: Tensor) -> list[Tensor]:
    """A window as pictures the network can see: three bands at once, any other number one by one as gray."""
    if observed.shape[1] == 3:
        return [observed]
    return [observed[:, k : k + 1].expand(-1, 3, -1, -1) for k in range(observed.shape[1])]


def restore_bands(network: Any, dtype: torch.dtype, ensemble: int, observed: Tensor, condition: Tensor) -> Tensor:
    """What a network for colour makes of a window of any number of bands; see `run_ensemble` and `as_colour`."""
    parts = [run_ensemble(network, dtype, ensemble, colour, condition) for colour in as_colour(observed)]
    return parts[0] if observed.shape[1] == 3 else torch.cat([part.mean(1, keepdim=True) for part in parts], dim=1)
