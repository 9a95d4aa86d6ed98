"""Holes in pictures: what is scratched, written over, lost in transmission or cut away."""

from __future__ import annotations

import math
import string
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from denoise.corruptions.base import Corrupted, Corruption, Params
from denoise.corruptions.draws import Range, as_range
from denoise.corruptions.typefaces import Typefaces
from denoise.errors import UsageError

_RING_PX = 2
_RING_WEIGHT = 0.1


class Holes(Corruption):
    """Base: pixels are gone, and the network is told which. A child draws the mask of one picture.

    The condition is the mask, 1 in a hole and 0 elsewhere; the loss counts in the holes and a little around them.
    Holes come last in a `Compose`: what came before is still seen around them, and several kinds of holes unite.

    Args:
        share: of the area that becomes holes, about; at least one mark is made.

    Shape:
        - Input: `[B, C, H, W]`, 0..1
        - condition, weight: `[B, 1, H, W]`
    """

    def __init__(self, share: Range) -> None:
        super().__init__()
        self.share = as_range(share, "share", high=0.95)

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The mask `[B, 1, H, W]`."""
        height, width = clean.shape[-2:]
        masks = []
        for _ in range(len(clean)):
            seed = torch.randint(2**62, (), generator=generator, device=generator.device)
            rng = np.random.default_rng(int(seed))
            masks.append(torch.from_numpy(self.mask(height, width, rng.uniform(*self.share), rng)))
        return {"mask": torch.stack(masks)[:, None].to(clean)}

    def mask(self, height: int, width: int, share: float, rng: np.random.Generator) -> np.ndarray:
        """Where one picture has holes: `[H, W]`, boolean."""
        raise NotImplementedError

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """The picture with black holes."""
        return self.follow(Corrupted(clean, None, clean), params)

    def follow(self, before: Corrupted, params: Params) -> Corrupted:
        """Holes in a picture that is damaged already; its noise level is forgotten, its holes stay."""
        mask = params["mask"]
        if before.weight is not None and before.condition is not None:  # only holes have weights
            mask = torch.maximum(mask, (before.condition >= 1).to(mask))  # and a noise level is less than 1
        around = F.max_pool2d(mask, 2 * _RING_PX + 1, stride=1, padding=_RING_PX)
        weight = mask.lerp(around, _RING_WEIGHT)
        return Corrupted(before.observed * (1 - mask), mask, before.target, weight)


def makes_holes(corruption: Corruption) -> bool:
    """Whether any part of a corruption makes holes."""
    return any(isinstance(part, Holes) for part in corruption.modules())


class RandomPixels(Holes):
    """Single pixels, each missing by the same chance; at least one is."""

    def __init__(self, share: Range = (0.1, 0.8)) -> None:
        super().__init__(share)

    def mask(self, height: int, width: int, share: float, rng: np.random.Generator) -> np.ndarray:
        """Independent pixels."""
        mask = rng.random((height, width)) < share
        if not mask.any():
            mask[rng.integers(height), rng.integers(width)] = True
        return mask


class Rectangles(Holes):
    """Rectangles with sides of `side_px`; one number gives squares."""

    def __init__(self, side_px: Range = (4, 64), share: Range = (0.02, 0.25)) -> None:
        super().__init__(share)
        self.side_px = as_range(side_px, "side_px", low=1, high=100_000)

    def mask(self, height: int, width: int, share: float, rng: np.random.Generator) -> np.ndarray:
        """Anywhere, also partly outside; no longer than half of the picture."""
        mask = np.zeros((height, width), dtype=bool)
        left = _area(share, height, width)
        while left > 0:
            rows, columns = (
                min(round(rng.uniform(*self.side_px)), max(1, side // 2))
                if self.side_px[0] < self.side_px[1]
                else round(self.side_px[0])
                for side in (height, width)
            )
            top, start = (int(rng.integers(1 - size, side)) for size, side in ((rows, height), (columns, width)))
            piece = mask[max(top, 0) : top + rows, max(start, 0) : start + columns]
            piece[:] = True
            left -= piece.size
        return mask


class Strokes(Holes):
    """Free-form strokes, as of a brush: bent lines with round ends.

    Yu et al., "Free-form image inpainting with gated convolution", ICCV 2019.
    """

    def __init__(self, width_px: Range = (3, 20), share: Range = (0.03, 0.3)) -> None:
        super().__init__(share)
        self.width_px = as_range(width_px, "width_px", low=1, high=10_000)

    def mask(self, height: int, width: int, share: float, rng: np.random.Generator) -> np.ndarray:
        """Each stroke turns a little at every vertex."""
        canvas = Image.new("1", (width, height))
        draw = ImageDraw.Draw(canvas)
        left = _area(share, height, width)
        while left > 0:
            thick = max(1, round(rng.uniform(*self.width_px)))
            step = 2 * thick + 0.1 * min(height, width)
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            angle = rng.uniform(0, 2 * math.pi)
            points = [(x, y)]
            for _ in range(int(rng.integers(1, 8))):
                angle += rng.normal(0, 0.8)
                length = rng.uniform(0.3, 1) * step
                x, y = x + length * math.cos(angle), y + length * math.sin(angle)
                points.append((x, y))
                left -= length * thick
            draw.line(points, fill=1, width=thick, joint="curve")
            for x, y in (points[0], points[-1]):
                draw.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=1)
        return np.array(canvas)


class Scratches(Holes):
    """What old film and prints have: long thin scratches, mostly along one direction, hairs and specks of dust."""

    def __init__(self, width_px: Range = (1, 4), share: Range = (0.005, 0.08)) -> None:
        super().__init__(share)
        self.width_px = as_range(width_px, "width_px", low=1, high=10_000)

    def mask(self, height: int, width: int, share: float, rng: np.random.Generator) -> np.ndarray:
        """Scratches take most of the area, dust makes most of the marks."""
        canvas = Image.new("1", (width, height))
        draw = ImageDraw.Draw(canvas)
        left = _area(share, height, width)
        direction = rng.choice([0, math.pi / 2]) + rng.normal(0, 0.1)
        while left > 0:
            thick = max(1, round(rng.uniform(*self.width_px)))
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            kind = rng.random()
            if kind < 0.6:
                size = rng.uniform(0.5, 2.5) * thick
                draw.ellipse((x - size / 2, y - size / 2, x + size / 2, y + size * rng.uniform(0.3, 1)), fill=1)
                left -= size**2 / 2
                continue
            hair = kind < 0.75
            angle = rng.uniform(0, 2 * math.pi) if hair else direction + rng.normal(0, 0.15)
            length = rng.uniform(10, 40) if hair else rng.uniform(0.2, 1.5) * max(height, width)
            bend = rng.normal(0, 0.3 if hair else 0.04) * length
            draw.line(_arc(x, y, angle, length, bend), fill=1, width=1 if hair else thick)
            left -= length * (1 if hair else thick)
        return np.array(canvas)


class Text(Holes):
    """Lines of writing over the picture, in Pillow's own typefaces or in those of a folder.

    Args:
        size_px: height of the letters.
        share: see `Holes`; what is between the letters is no hole.
        fonts: folder of TrueType or OpenType files, one of which is chosen for each line.
    """

    def __init__(self, size_px: Range = (10, 40), share: Range = (0.02, 0.2), fonts: str | None = None) -> None:
        super().__init__(share)
        self.size_px = as_range(size_px, "size_px", low=4, high=1000)
        self.fonts = fonts
        self._typefaces = Typefaces(fonts)

    def mask(self, height: int, width: int, share: float, rng: np.random.Generator) -> np.ndarray:
        """Line after line, some turned, some in outline."""
        canvas = Image.new("1", (width, height))
        left = _area(share, height, width)
        letters = np.array(list(string.ascii_letters + string.digits + "     .,:;!?&"))
        while left > 0:
            font = self._typefaces.choose(rng.uniform(*self.size_px), rng)
            words = "".join(rng.choice(letters, int(rng.integers(3, 40))))
            bold = int(rng.random() < 0.3) if isinstance(font, ImageFont.FreeTypeFont) else 0
            x0, y0, x1, y1 = (round(edge) for edge in font.getbbox(words))
            line = Image.new("L", (x1 - x0 + 2 + 2 * bold, y1 - y0 + 2 + 2 * bold))
            ImageDraw.Draw(line).text((1 + bold - x0, 1 + bold - y0), words, fill=255, font=font, stroke_width=bold)
            if rng.random() < 0.3:
                line = line.rotate(rng.uniform(-30, 30), expand=True)
            line = line.point(lambda level: 255 * (level > 0), "1")
            x, y = int(rng.integers(-line.width // 2, width)), int(rng.integers(-line.height // 2, height))
            canvas.paste(1, (x, y), line)
            seen = np.array(line)[max(-y, 0) : height - y, max(-x, 0) : width - x]
            left -= max(1, int(seen.sum()))
        return np.array(canvas)


class LostBlocks(Holes):
    """Blocks of a grid, as of JPEG data that did not arrive: some alone, some a run of one row."""

    def __init__(self, block_px: int = 8, share: Range = (0.02, 0.3)) -> None:
        super().__init__(share)
        self.block_px = int(block_px)
        if self.block_px < 1:
            raise UsageError(f"block_px={block_px} is not allowed: give a whole number of at least 1.")

    def mask(self, height: int, width: int, share: float, rng: np.random.Generator) -> np.ndarray:
        """Runs of 1 to 8 blocks."""
        rows, columns = (-(-side // self.block_px) for side in (height, width))
        grid = np.zeros((rows, columns), dtype=bool)
        left = _area(share, rows, columns)
        while left > 0:
            length = int(rng.integers(1, 9)) if rng.random() < 0.3 else 1
            row, start = int(rng.integers(rows)), int(rng.integers(columns))
            grid[row, start : start + length] = True
            left -= min(length, columns - start)
        return grid[np.arange(height)[:, None] // self.block_px, np.arange(width) // self.block_px]


class LostLines(Holes):
    """Whole rows or columns, as of a sensor or a scanner."""

    def __init__(
        self,
        width_px: Range = (1, 3),
        share: Range = (0.02, 0.3),
        along: Literal["rows", "columns", "either"] = "either",
    ) -> None:
        super().__init__(share)
        self.width_px = as_range(width_px, "width_px", low=1, high=10_000)
        if along not in ("rows", "columns", "either"):
            raise UsageError(f"along={along} is not allowed: give rows, columns or either.")
        self.along = along

    def mask(self, height: int, width: int, share: float, rng: np.random.Generator) -> np.ndarray:
        """Lines of one direction."""
        columns = rng.random() < 0.5 if self.along == "either" else self.along == "columns"
        lines = np.zeros(width if columns else height, dtype=bool)
        left = _area(share, len(lines), 1)
        while left > 0:
            thick = max(1, round(rng.uniform(*self.width_px)))
            start = rng.integers(len(lines))
            lines[start : start + thick] = True
            left -= thick
        return np.broadcast_to(lines if columns else lines[:, None], (height, width)).copy()


def _area(share: float, height: int, width: int) -> float:
    """How much area to mark so that a share of the whole is marked at least once, where marks fall at random."""
    return max(1e-9, -math.log(1 - share) * height * width)


def _arc(x: float, y: float, angle: float, length: float, bend: float) -> list[tuple[float, float]]:
    """A parabola through 13 points, its middle `bend` off the straight line."""
    along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    points = []
    for k in range(13):
        t = k / 12 - 0.5
        off = bend * (1 - 4 * t * t)
        points.append((x + length * t * along[0] + off * across[0], y + length * t * along[1] + off * across[1]))
    return points
