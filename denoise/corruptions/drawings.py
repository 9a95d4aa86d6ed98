"""What screens and documents show in place of photographs: writing, lines, areas, patterns."""

from __future__ import annotations

import string
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from denoise.corruptions.base import Combination, Corrupted, Corruption, Params, require_undamaged
from denoise.corruptions.filters import luma, require_bands
from denoise.corruptions.typefaces import Typefaces

_LETTERS = np.array(list(string.ascii_lowercase * 4 + string.ascii_uppercase + string.digits + ".,:;()=-&"))

Colour = tuple[int, int, int]


class Drawing(Combination):
    """A corruption that meets a drawing in place of the picture.

    Drawings hold what photographs do not: dense small writing passes for noise with a network that saw none. Each is
    drawn anew, some with the picture as the ground or a part. As the target is the drawing, this goes around all other
    damage: in a `Compose` behind something that damages, applying it raises UsageError.

    Args:
        corruption: what the drawing meets.
        fonts: folder of TrueType or OpenType files to write with, beside Pillow's own.

    Shape:
        - Input: `[B, C, H, W]`, 0..1, C = 1 or 3
    """

    def __init__(self, corruption: Corruption, fonts: str | None = None) -> None:
        super().__init__([corruption])
        self.fonts = fonts
        self._typefaces = [Typefaces(folder) for folder in ([None] if fonts is None else [None, fonts])]

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The drawings, in shades of 8 bits, and what happens to them."""
        require_bands(clean, type(self).__name__)
        seeds = torch.randint(2**62, (len(clean),), generator=generator, device=generator.device)
        drawn = torch.stack([self._drawn(one, int(seed)) for one, seed in zip(clean, seeds, strict=True)])
        return {"drawing": drawn, **{name: member.draw(drawn, generator) for name, member in self.members()}}

    def follow(self, before: Corrupted, params: Params) -> Corrupted:
        """The drawing, damaged."""
        require_undamaged(before, type(self).__name__)
        after = replace(before, observed=params["drawing"], target=params["drawing"])
        for name, member in self.members():
            after = member.follow(after, params[name])
        return after

    def _drawn(self, clean: Tensor, seed: int) -> Tensor:
        codes = (clean.detach().cpu() * 255).round().clamp(0, 255).byte().expand(3, -1, -1)
        rng = np.random.default_rng(seed)
        typefaces = self._typefaces[int(rng.integers(len(self._typefaces)))]
        page = _Page(Image.fromarray(codes.permute(1, 2, 0).contiguous().numpy()), typefaces, rng).draw()
        drawn = torch.from_numpy(page).permute(2, 0, 1).to(clean) / 255
        return drawn if len(clean) == 3 else luma(drawn[None])[0]


class _Page:
    """One drawing, of the size of a picture; some are drawn twice as large and reduced, which softens every edge."""

    def __init__(self, picture: Image.Image, typefaces: Typefaces, rng: np.random.Generator) -> None:
        self.picture, self.typefaces, self.rng = picture, typefaces, rng
        self.scale = 2 if rng.random() < 0.3 else 1
        self.width, self.height = (side * self.scale for side in picture.size)
        kind = rng.random()
        self.paper, self.ink = self._pair(dark=kind < 0.4, strong=kind < 0.8)
        self.canvas = Image.new("RGB", (self.width, self.height), self.paper)
        self.pen = ImageDraw.Draw(self.canvas)

    def draw(self) -> NDArray[np.uint8]:
        """Ground, then areas, lines and patterns, then writing. Shape: `[H, W, 3]`."""
        if self.rng.random() < 0.15:
            self.canvas.paste(self.picture.resize(self.canvas.size))
        elif self.rng.random() < 0.2:
            self._shade()
        if self.rng.random() < 0.4:
            for _ in range(int(self.rng.integers(1, 5))):
                self._area()
        if self.rng.random() < 0.25:
            self._pattern()
        if self.rng.random() < 0.4:
            for _ in range(int(self.rng.integers(1, 8))):
                self._line()
        if (whole := self.rng.random() < 0.7) or self.rng.random() < 0.7:
            for _ in range(1 if whole else int(self.rng.integers(1, 5))):
                self._write((0, 0, self.width, self.height) if whole else self._box())
        return np.array(self.canvas.reduce(self.scale) if self.scale > 1 else self.canvas)

    def _write(self, box: tuple[int, int, int, int]) -> None:
        """Lines of words from the top to the bottom of a box."""
        left, top, right, bottom = box
        size = self.scale * float(np.exp(self.rng.uniform(np.log(6), np.log(36))))
        font = self.typefaces.choose(size, self.rng)
        spacing, many = self.rng.uniform(0.8, 1.8), self.rng.random() < 0.2
        inks = [self._near(self.ink, 90) for _ in range(4)] if many else [self.ink]
        y = float(top)
        while y < bottom:
            x = left + self.rng.integers(0, 4) * size * (self.rng.random() < 0.3)
            while x < right and self.rng.random() > 0.01:
                word = "".join(self.rng.choice(_LETTERS, int(self.rng.integers(1, 11))))
                colour = inks[int(self.rng.integers(len(inks)))]
                self.pen.text((x, y), word, fill=colour, font=font)
                x += font.getlength(word + " ")
            y += spacing * size

    def _area(self) -> None:
        """A box of one colour, with or without a border, or a part of the picture."""
        box = self._box()
        if self.rng.random() < 0.2:
            self.canvas.paste(self.picture.resize((box[2] - box[0], box[3] - box[1])), box[:2])
            return
        fill = self._near(self.paper, 60) if self.rng.random() < 0.7 else self._colour()
        border = self._near(self.ink, 60) if self.rng.random() < 0.5 else None
        if self.rng.random() < 0.2:
            self.pen.ellipse(box, fill, border, self.scale)
        else:
            self.pen.rounded_rectangle(box, int(self.rng.integers(0, 9)) * self.scale, fill, border, self.scale)

    def _line(self) -> None:
        """A straight line, a curve as of a plot, or its points."""
        colour, thick = self._near(self.ink, 120), int(self.rng.integers(1, 4)) * self.scale
        if (kind := self.rng.random()) < 0.4:
            at = int(self.rng.integers(self.height if kind < 0.2 else self.width))
            self.pen.line((0, at, self.width, at) if kind < 0.2 else (at, 0, at, self.height), colour, thick)
            return
        x = np.linspace(0, self.width, int(self.rng.integers(5, 80)))
        steps = self.rng.normal(0, self.height / 15, x.size)
        y = self.height * self.rng.random() + (steps.cumsum() if kind < 0.8 else 3 * steps)
        if kind < 0.8:
            self.pen.line([*zip(x.tolist(), y.tolist(), strict=True)], colour, thick)
            return
        for across, down in zip(x.tolist(), y.tolist(), strict=True):
            self.pen.ellipse((across - thick, down - thick, across + thick, down + thick), colour)

    def _pattern(self) -> None:
        """Stripes, a grid, or squares that each have a colour of a few, as of dithering and of small pictures."""
        left, top, right, bottom = self._box()
        cell = int(self.rng.integers(1, 9)) * self.scale
        rows, columns = -(-(bottom - top) // cell), -(-(right - left) // cell)
        colours = np.array([self._colour() for _ in range(int(self.rng.integers(2, 9)))], np.uint8)
        down, across = np.indices((rows, columns))
        every = int(self.rng.integers(2, 6))
        drawn = (
            lambda: self.rng.integers(len(colours), size=(rows, columns)),
            lambda: (across + down * self.rng.integers(0, 2)) % every == 0,
            lambda: (across % every == 0) | (down % every == 0),
        )[int(self.rng.integers(3))]().astype(int)
        cells = Image.fromarray(colours[drawn]).resize((columns * cell, rows * cell), Image.Resampling.NEAREST)
        self.canvas.paste(cells, (left, top))

    def _shade(self) -> None:
        """From the colour of the paper to one near to it, from one side to the other."""
        turned = Image.linear_gradient("L").rotate(90 * int(self.rng.integers(4)))
        other = Image.new("RGB", self.canvas.size, self._near(self.paper, 50))
        self.canvas.paste(other, mask=turned.resize(self.canvas.size))

    def _box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom; at least a twelfth of each side."""

        def span(side: int) -> tuple[int, int]:
            length = max(1, int(self.rng.uniform(side / 12, side)))
            start = int(self.rng.integers(side - length + 1))
            return start, start + length

        (left, right), (top, bottom) = span(self.width), span(self.height)
        return left, top, right, bottom

    def _pair(self, *, dark: bool, strong: bool) -> tuple[Colour, Colour]:
        """Paper and ink that differ enough to read by."""
        if strong:
            light, deep = (230, 230, 230) if self.rng.random() < 0.7 else (190, 190, 190), (25, 25, 25)
            pair = self._near(light, 65), self._near(deep, 60)
            return pair[::-1] if dark else pair
        while True:
            paper, ink = self._colour(), self._colour()
            if max(abs(one - other) for one, other in zip(paper, ink, strict=True)) > 60:
                return paper, ink

    def _colour(self) -> Colour:
        red, green, blue = self.rng.integers(256, size=3).tolist()
        return red, green, blue

    def _near(self, colour: Colour, most: int) -> Colour:
        """A colour that is at most so far off in each band; a third of them as far in all."""
        off = self.rng.integers(-most, most + 1, size=1 if self.rng.random() < 1 / 3 else 3)
        red, green, blue = np.clip(np.array(colour) + off, 0, 255).tolist()
        return red, green, blue
