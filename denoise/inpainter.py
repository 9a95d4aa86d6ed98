"""Inpainter: fill the holes of pictures of any size, at the price of the holes alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from denoise.arrays import copied, from_tensor, to_tensor, transparent
from denoise.devices import choose_device, choose_dtype, from_cpu, place
from denoise.ensemble import check_ensemble
from denoise.errors import UsageError
from denoise.holes import check_holes, masks_for
from denoise.media.mask import Mask
from denoise.networks.inpainting import CELL, fill, fill_coarse, pull
from denoise.noise import brighter
from denoise.options import check_strength
from denoise.pretrained import Card
from denoise.restorer import restore_bands, window_px
from denoise.windows import Read, Windows, rows_of, sweep_rows

# Around the holes of a window so much is looked at. Measured on photos, that keeps the difference to a picture seen
# whole below half an 8-bit step, though the receptive field is wider.
CONTEXT_PX = 64
_ROWS = 32 * CELL


class Inpainter:
    """Fill holes in arrays of any size with one set of weights; every other pixel stays bit for bit as it was.

    Made by `denoise.load(name)`. Called with a picture and a mask it returns the same kind of picture, see `Restorer`.
    """

    def __init__(
        self,
        network: nn.Module,
        card: Card | None = None,
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
        self.windows = windows or Windows(size=512, context=CONTEXT_PX, fade=16, multiple_of=CELL)

    def __repr__(self) -> str:
        name = self.card.name if self.card else type(self.network).__name__
        return f"Inpainter({name}, {self.device}, {str(self.dtype).removeprefix('torch.')})"

    @from_cpu
    def __call__(self, picture: Any, mask: Any, strength: float = 1.0) -> Any:
        """Fill the holes of a picture or of each of a batch.

        Args:
            picture: see the class.
            mask: where holes are, of the size of the picture: see `denoise.holes.as_mask`; or a tensor of a mask for
                each picture of a batch, `[B, 1, H, W]`.
            strength: 0 returns a copy of the input, bit for bit; 1 what the network makes of the holes, between them a
                mix.

        Raises:
            UsageError: picture, mask or strength are not one of the above or do not fit; nothing is left to go by.
        """
        check_strength(strength)
        batch, kind = to_tensor(picture)
        masks = masks_for(mask, batch.shape)
        for one in masks:
            check_holes(one, "the picture")
        if strength == 0 or not any(one.any() for one in masks):
            return copied(picture)
        if strength < 1 and (clear := transparent(kind)) is not None and (clear & masks[0]).any():
            raise UsageError("What is transparent has no colour to mix with; leave out strength.")
        restored = torch.empty_like(batch)
        for filled, observed, holes in zip(restored, batch, masks, strict=True):
            for start, stop, rows in self.fill_rows(rows_of(observed), observed.shape, holes, strength):
                filled[:, start:stop] = rows
        return _in_holes(from_tensor(restored, kind, masks[0]), picture, np.stack(masks))

    def fill_rows(
        self, read: Read, shape: Sequence[int], mask: Mask, strength: float = 1.0
    ) -> Iterator[tuple[int, int, Tensor]]:
        """Fill a picture that is read row by row, twice over; yields `(start, stop, rows)` in order.

        Shape:
            - shape: `(C, H, W)`; mask: `[H, W]`
            - Yielded: `[C, stop - start, W]` float32
        """
        marked = torch.from_numpy(np.array(mask, order="C"))[None]  # a copy: a mask may be read-only
        with torch.autocast("cpu", enabled=False):
            coarse, white = _coarse(read, shape, marked)
        gain = brighter(white)

        def read_both(start: int, stop: int) -> Tensor:
            return torch.cat([read(start, stop), marked[:, start:stop].float()])

        @torch.inference_mode()
        def restore(window: Tensor, position: tuple[slice, ...]) -> Tensor:
            observed, holes = window[:, :-1], window[:, -1:]
            box = _box(holes[0, 0] > 0)
            if box is not None:
                rows, columns = box
                seen, missing = (part[..., rows, columns].to(self.device) for part in (observed, holes))
                first = [(place.start + side.start) // CELL for place, side in zip(position, box, strict=True)]
                with torch.autocast(self.device.type, enabled=False):  # the caller's; `run` chooses for the network
                    rough = fill(seen, missing, _cells(coarse, first, seen.shape).to(self.device)) * gain
                    found = restore_bands(self.network.refine, self.dtype, self.ensemble, rough, missing) / gain
                found = seen.lerp(found, strength)
                observed[..., rows, columns] = torch.where(missing > 0, found, seen).to(observed)
            return observed

        yield from sweep_rows(restore, read_both, shape[1:], replace(self.windows, size=window_px(self.windows, shape)))


def _in_holes(filled: Any, picture: Any, masks: Mask) -> Any:
    """The original outside of the holes, whose type may hold more digits than the filled one. Masks: `[B, H, W]`."""
    if isinstance(picture, Tensor):
        several = torch.from_numpy(masks if picture.ndim == 4 else masks[0]).to(picture.device)
        return torch.where(several.unsqueeze(-3), filled, picture.detach())
    if isinstance(picture, np.ndarray):
        holes = masks[0] if picture.ndim == 2 else masks[0, ..., None]
        return np.where(holes, filled, picture).astype(picture.dtype, copy=False)
    return filled


def _coarse(read: Read, shape: Sequence[int], marked: Tensor) -> tuple[Tensor, float]:
    """The cells of the whole picture, filled, so that a hole may be larger than a window, and its brightest pixel.

    Shape:
        - cells: `[1, C, h, w]`
    """
    cells, white = [], 0.0
    for start in range(0, shape[1], _ROWS):
        stop = min(start + _ROWS, shape[1])
        rows, holes = read(start, stop), marked[:, start:stop]
        cells.append(pull(rows[None], holes[None].float()))
        white = max(white, float(rows.masked_fill(holes, 0).max()))
    colours, known = (torch.cat(parts, dim=2) for parts in zip(*cells, strict=True))
    return fill_coarse(colours, known), white


def _box(holes: Tensor) -> tuple[slice, slice] | None:
    """Where the holes of a window are, with the context of a window and in whole cells; None without any."""
    slices = []
    for axis in (1, 0):
        places = holes.any(axis).nonzero()
        if len(places) == 0:
            return None
        start = max(int(places[0]) - CONTEXT_PX, 0) // CELL * CELL
        stop = min(-(-(int(places[-1]) + 1 + CONTEXT_PX) // CELL) * CELL, holes.shape[1 - axis])
        slices.append(slice(start, stop))
    return slices[0], slices[1]


def _cells(coarse: Tensor, start: Sequence[int], shape: Sequence[int]) -> Tensor:
    """The cells below a part of a window; at the far borders, which are padded, the last cell again."""
    for axis, first in zip((2, 3), start, strict=True):
        index = torch.arange(first, first + shape[axis] // CELL)
        coarse = coarse.index_select(axis, index.clamp(max=coarse.shape[axis] - 1))
    return coarse
