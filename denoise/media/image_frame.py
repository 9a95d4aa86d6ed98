"""The pixels of one frame: colour bands out as float, colour bands in, and everything else in the raster stays."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from denoise.errors import UsageError

Samples = NDArray[np.generic]

COLOURS = {"1": 1, "L": 1, "LA": 1, "I;16": 1, "I;16B": 1, "P": 3, "RGB": 3, "RGBA": 3, "RGBa": 3, "RGBX": 3, "CMYK": 4}
_SLAB_ROWS = 256
WITH_ALPHA = {"LA", "RGBA", "RGBa"}


class Raster(Protocol):
    """Where the samples of a frame lie, in the integers they came in.

    Shape:
        - rows: `[N, W, S]`, S samples a pixel: colours first, then alpha if there is one
    """

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""

    def rows(self, start: int, stop: int) -> Samples:
        """A copy of some rows."""

    def put(self, start: int, rows: Samples) -> None:
        """Overwrite the rows from `start` on."""


class PillowRaster:
    """Samples inside a Pillow image, taken out and put back band by band: there is never a second whole picture."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.image.size

    def rows(self, start: int, stop: int) -> Samples:
        """A copy of some rows."""
        size = (self.image.width, stop - start)
        band = Image.new(self.image.mode, size, None)
        band.paste(self.image, (0, -start))  # not crop, which warns of decompression bombs if the band is large
        return np.array(band).reshape(*size[::-1], -1)

    def put(self, start: int, rows: Samples) -> None:
        """Overwrite the rows from `start` on."""
        mode = self.image.mode
        size = (rows.shape[1], rows.shape[0])
        packing = "1;8" if mode == "1" else mode
        self.image.paste(Image.frombuffer(mode, size, rows.tobytes(), "raw", packing, 0, 1), (0, start))


class ArrayRaster:
    """Samples in an array, for what Pillow cannot hold.

    Shape:
        - array: `[H, W, S]`
    """

    def __init__(self, array: Samples) -> None:
        self.array = array

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.array.shape[1], self.array.shape[0]

    def rows(self, start: int, stop: int) -> Samples:
        """A copy of some rows."""
        return self.array[start:stop].copy()

    def put(self, start: int, rows: Samples) -> None:
        """Overwrite the rows from `start` on."""
        self.array[start : start + len(rows)] = rows


def turn_over(raster: Raster) -> None:
    """Make black white and white black, for samples of 16 bits."""
    for start in range(0, raster.size[1], _SLAB_ROWS):
        rows = raster.rows(start, min(start + _SLAB_ROWS, raster.size[1]))
        raster.put(start, np.invert(rows, out=rows))  # in place, for results are in the machine's order of bytes


class Frame:
    """One picture of a file, as the colour bands a model sees.

    A palette image shows three bands; writing picks the nearest colour of its palette. Alpha never changes, and where
    a pixel is fully transparent neither does its colour.

    Args:
        bits: The depth of a colour sample. Values of 2 and 4 bits lie spread over 0..255 in the raster.
        palette: Red, green, blue and alpha of its entries, `[K, 4]`.
        key: The one colour that counts as transparent, if the file names one, as the raster has it.
    """

    def __init__(
        self,
        raster: Raster,
        mode: str,
        bits: int,
        palette: NDArray[np.uint8] | None = None,
        key: tuple[int, ...] | None = None,
    ) -> None:
        self.raster = raster
        self.mode = mode
        self.bits = bits
        self.channels = COLOURS[mode]
        self._peak = 2**bits - 1
        self._step = 255 // self._peak if 1 < bits < 8 else 1
        self._palette = palette
        self._key = key
        self._opaque = self._peak * self._step

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.raster.size

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """The rows from `start` up to `stop`, 0..1.

        Shape:
            - Output: `[C, stop - start, W]`
        """
        assert 0 <= start < stop <= self.size[1]
        rows = self.raster.rows(start, stop)
        colour = (
            rows[..., : self.channels] if self._palette is None else _looked_up(self._palette, rows[..., 0])[..., :3]
        )
        band = np.ascontiguousarray(colour.transpose(2, 0, 1), dtype=np.float32)
        band /= self._peak * self._step
        return band

    def seen(self, start: int, stop: int) -> NDArray[np.float32]:
        """The rows as a person sees them on white paper: grey in three equal bands, ink as what it leaves of the white,
        and the white through what is transparent.

        Shape:
            - Output: `[3, stop - start, W]`
        """
        rows = self.read(start, stop)
        if self.mode == "CMYK":
            rows = (1 - rows[:3]) * (1 - rows[3:])
        elif len(rows) == 1:
            rows = np.repeat(rows, 3, axis=0)
        if self.has_transparency:
            alpha = (self._alpha(start, stop) / self._opaque).astype(np.float32)
            if self.mode != "RGBa":  # whose colours are multiplied by it already
                rows *= alpha
            rows += 1 - alpha
        return rows

    def write(self, start: int, stop: int, rows: NDArray[np.float32]) -> None:
        """Put rows back: clipped to 0..1 and rounded to the depth of the frame.

        Shape:
            - rows: `[C, stop - start, W]`
        """
        assert rows.shape == (self.channels, stop - start, self.size[0])
        levels = rows * np.float32(self._peak)
        np.clip(levels, 0, self._peak, out=levels)
        np.rint(levels, out=levels)
        levels *= self._step
        wanted: Samples = levels.transpose(1, 2, 0)
        stored = self.raster.rows(start, stop)
        if self._palette is not None:
            stored[..., 0] = _nearest(self._palette, stored[..., 0], wanted.astype(np.uint8))
        else:
            colour = stored[..., : self.channels]
            wanted = wanted.astype(stored.dtype)
            if self.mode == "RGBa":  # multiplied by alpha, which no colour exceeds, but for those that did
                wanted = np.minimum(wanted, np.maximum(colour, stored[..., self.channels, None]))
            if self._key is not None:
                wanted = self._beside_key(colour, wanted, self._key)
            if self.mode in WITH_ALPHA:
                wanted = np.where(stored[..., self.channels, None] == 0, colour, wanted)
            stored[..., : self.channels] = wanted
        self.raster.put(start, stored)

    @property
    def has_transparency(self) -> bool:
        """Whether any pixel could be transparent."""
        return self.mode in WITH_ALPHA or self._key is not None or self._clear_entries

    def transparent(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Which pixels of some rows are less than half opaque. Shape: `[stop - start, W]`."""
        return np.asarray(self._alpha(start, stop) * 2 < self._opaque)

    def hidden(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Which pixels of some rows nobody sees, so that their colour never changes. Shape: `[stop - start, W]`."""
        return np.asarray(self._alpha(start, stop) == 0)

    def reveal(self, start: int, mask: NDArray[np.bool_]) -> None:
        """Make pixels opaque, so that what is then written there is seen. Shape of the mask: `[N, W]`."""
        stored = self.raster.rows(start, start + len(mask))
        if self.mode in WITH_ALPHA:
            stored[mask, self.channels] = self._opaque
        elif self._palette is not None:
            solid = int(self._palette[:, 3].argmax())
            if self._palette[solid, 3] < self._opaque / 2:
                raise UsageError("No colour of the palette is opaque, so none can be filled in; save it as RGBA first.")
            index = stored[..., 0]
            index[mask & (_looked_up(self._palette, index)[..., 3] < 255)] = solid
        elif self._key is not None:
            stored[mask & (stored[..., : self.channels] == self._key).all(-1), 0] = self._beside(self._key)
        self.raster.put(start, stored)

    def _alpha(self, start: int, stop: int) -> NDArray[np.uint32]:
        rows = self.raster.rows(start, stop)
        if self.mode in WITH_ALPHA:
            return rows[..., self.channels].astype(np.uint32)
        if self._palette is not None:
            return _looked_up(self._palette, rows[..., 0])[..., 3].astype(np.uint32)
        clear = (
            np.zeros(rows.shape[:2], bool) if self._key is None else (rows[..., : self.channels] == self._key).all(-1)
        )
        return np.where(clear, 0, self._opaque).astype(np.uint32)

    def _beside_key(self, colour: Samples, wanted: Samples, key: tuple[int, ...]) -> Samples:
        """Keep the pixels of the transparent colour, and let no other pixel take it on."""
        wanted[(wanted == key).all(-1), 0] = self._beside(key)
        return np.where((colour == key).all(-1, keepdims=True), colour, wanted)

    def _beside(self, key: tuple[int, ...]) -> int:
        """The first sample of a colour next to the transparent one."""
        return key[0] + self._step if key[0] < self._opaque else key[0] - self._step

    @property
    def _clear_entries(self) -> bool:
        return self._palette is not None and bool((self._palette[:, 3] < 255).any())


def spread_key(image: Image.Image, bits: int) -> None:
    """Spread the transparent shade of a grey PNG over 0..255, as Pillow does with the others of 2 and 4 bits."""
    if image.mode == "L" and "transparency" in image.info:
        image.info["transparency"] *= 255 // (2**bits - 1)


def pillow_frame(image: Image.Image, bits: int) -> Frame:
    """The frame whose raster is that very image."""
    transparency = image.info.get("transparency")
    palette = key = None
    if image.mode == "P":
        colours = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
        palette = np.concatenate([colours, np.full((len(colours), 1), 255, dtype=np.uint8)], axis=1)
        if isinstance(transparency, bytes):
            palette[: len(transparency), 3] = np.frombuffer(transparency, dtype=np.uint8)[: len(palette)]
        elif transparency is not None:
            palette[transparency : transparency + 1, 3] = 0
    elif image.mode == "1" and transparency is not None:
        key = (int(transparency > 0),)
    elif transparency is not None and image.mode not in WITH_ALPHA:
        key = transparency if isinstance(transparency, tuple) else (transparency,)
    return Frame(PillowRaster(image), image.mode, bits, palette, key)


def _looked_up(palette: NDArray[np.uint8], index: Samples) -> NDArray[np.uint8]:
    return palette[np.minimum(index, len(palette) - 1)]


def _nearest(palette: NDArray[np.uint8], index: Samples, wanted: NDArray[np.uint8]) -> Samples:
    """The index of the nearest palette colour of equal alpha; where the colour is right already, the index it has.

    Shape:
        - palette: `[K, 4]`, index: `[N, W]`, wanted: `[N, W, 3]`
    """
    now = _looked_up(palette, index)
    moved = (now[..., :3] != wanted).any(-1) & (now[..., 3] > 0)
    asked = np.concatenate([wanted, now[..., 3:]], axis=-1)[moved]
    colours, place = np.unique(np.ascontiguousarray(asked).view(np.uint32), return_inverse=True)
    found = np.empty(len(colours), dtype=index.dtype)
    entries = palette.astype(np.int32)
    for first in range(0, len(colours), 4096):  # bounds the table of distances: 4096 colours x 256 entries
        some = colours[first : first + 4096].view(np.uint8).reshape(-1, 1, 4).astype(np.int32)
        distance = ((some[..., :3] - entries[:, :3]) ** 2).sum(-1)
        distance[some[..., 3] != entries[:, 3]] += 10**6  # more than any distance between colours
        found[first : first + 4096] = distance.argmin(1)
    chosen = index.copy()
    chosen[moved] = found[place.ravel()]
    return chosen
