"""Restorer: networks, conditioning, windows, device and number format behind one call. Arrays in, arrays out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from denoise import pretrained
from denoise.arrays import copied, from_tensor, to_tensor, transparent
from denoise.devices import choose_device, choose_dtype, from_cpu, place, run
from denoise.ensemble import check_ensemble, run_ensemble
from denoise.errors import UsageError
from denoise.holes import masks_for
from denoise.jpeg_grid import Lead, find_lead, led
from denoise.media.mask import Mask
from denoise.noise import Noise, Silent, estimate
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

    @from_cpu
    def __call__(self, picture: Any, sigma: Sigma = "auto", strength: float = 1.0, filled: Any = None) -> Any:
        """Restore a picture or a batch.

        Args:
            picture: see the class.
            sigma: standard deviation of the noise on the 0..255 scale, or `auto` to estimate it for each picture.
            strength: 0 returns a copy of the input, bit for bit; 1 the restored picture, between them a mix.
            filled: where holes were filled and nothing can be learned about the noise; a mask as `Inpainter` takes it.

        Raises:
            UsageError: the input or an option is not one of the above; the input holds NaN or infinity.
        """
        check_sigma(sigma)
        check_strength(strength)
        batch, kind = to_tensor(picture)
        silent = _silent(transparent(kind), filled, batch.shape)
        if strength == 0:
            return copied(picture)
        noises = [self.noise(rows_of(one), one.shape, sigma, of_it) for one, of_it in zip(batch, silent, strict=True)]
        if all(noise.drawn for noise in noises):  # whose type may hold more digits than the batch
            return copied(picture)
        restored = torch.empty_like(batch)
        for clean, observed, noise in zip(restored, batch, noises, strict=True):
            for start, stop, rows in self.restore_rows(rows_of(observed), observed.shape, noise, strength):
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
            if noise.drawn:
                return window
            observed = window.to(self.device)
            with torch.autocast(self.device.type, enabled=False):  # the caller's; `run` chooses for the network
                condition = self._condition(noise, window, position)
                restored = restore_bands(self.network, self.dtype, self.ensemble, observed, condition)
            return observed.lerp(restored, strength) if strength < 1 else restored

        windows = replace(self.windows, size=window_px(self.windows, shape))
        above, before = noise.lead
        read_led, shape_led = led(read, shape, noise.lead)
        for start, stop, rows in sweep_rows(restore, read_led, shape_led[1:], windows):
            first = max(start, above)  # a band is longer than what leads
            yield first - above, stop - above, rows[:, first - start :, before:]

    def noise(self, read: Read, shape: Sequence[int], sigma: Sigma, silent: Silent | None = None) -> Noise:
        """The noise that `sigma` says a picture has: one level, or what `estimate` finds where it is `auto`.

        A network that is told of none has a level of 0; raises UsageError for another.
        """
        if not self.takes_level and sigma != "auto":
            raise UsageError("These weights restore without a noise level; leave sigma out.")
        lead = find_lead(read, shape)
        if self.takes_level and sigma == "auto":
            return self.estimate(read, shape, silent, lead)
        return Noise(0.0 if sigma == "auto" else float(sigma), lead=lead)

    def estimate(self, read: Read, shape: Sequence[int], silent: Silent | None = None, lead: Lead = (0, 0)) -> Noise:
        """Estimate the noise level of a picture that is read row by row.

        What `silent` touches does not count; see `denoise.noise.estimate`, for `lead` too.

        Raises:
            UsageError: these weights cannot estimate; a level must be given.
        """
        network = self.noise_level
        if network is None:
            raise UsageError("These weights cannot estimate the noise level; give it, for example --sigma 25.")
        cell = int(network.multiple_of)  # type: ignore[arg-type]

        def tell(window: Tensor) -> tuple[Tensor, Tensor]:
            told = [run(network, self.dtype, colour) for colour in as_colour(window.to(self.device))]
            levels, weights = (torch.cat(part) for part in zip(*told, strict=True))
            return levels, weights

        windows = Windows(size=window_px(self.windows, shape), context=32, fade=0, multiple_of=cell)
        curve = self.card is not None and self.card.statistic != "picture"
        return estimate(tell, cell, windows, read, shape, silent, curve, lead)

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


def as_colour(observed: Tensor) -> list[Tensor]:
    """A window as pictures the network can see: three bands at once, any other number one by one as gray."""
    if observed.shape[1] == 3:
        return [observed]
    return [observed[:, k : k + 1].expand(-1, 3, -1, -1) for k in range(observed.shape[1])]


def restore_bands(network: Any, dtype: torch.dtype, ensemble: int, observed: Tensor, condition: Tensor) -> Tensor:
    """What a network for colour makes of a window of any number of bands; see `run_ensemble` and `as_colour`."""
    parts = [run_ensemble(network, dtype, ensemble, colour, condition) for colour in as_colour(observed)]
    return parts[0] if observed.shape[1] == 3 else torch.cat([part.mean(1, keepdim=True) for part in parts], dim=1)
