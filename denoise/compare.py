"""Before, after and difference side by side, as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from denoise.media.atomic import check_place, replacing
from denoise.media.image import Frame
from denoise.media.image_formats import format_of, upright

_LIMIT_PX = 2000
_BAR_PX = 28
_GAIN = 4


class Comparison:
    """Keeps a look at a frame before it is restored in place; of large frames the middle."""

    def __init__(self, frame: Frame, orientation: int, path: Path) -> None:
        """Raise UsageError where no such picture can be written: before the work, not after."""
        self.format = format_of(path)
        check_place(path)
        self.frame, self.orientation, self.path = frame, orientation, path
        width, height = frame.size
        self.left, self.width = _middle(width)
        self.top, self.height = _middle(height)
        self.before = self._look()

    def write(self) -> None:
        """Write the picture; raises MediaError when that fails."""
        after = self._look()
        difference = 0.5 + _GAIN * (self.before - after)
        panels = [("before", self.before), ("after", after), (f"removed, x{_GAIN}", difference)]
        font = ImageFont.load_default(size=16)
        pictures = [upright(as_picture(panel), self.orientation) for _, panel in panels]
        width, height = pictures[0].size
        sheet = Image.new("RGB", (3 * width + 16, height + _BAR_PX), "white")
        draw = ImageDraw.Draw(sheet)
        for k, ((title, _), picture) in enumerate(zip(panels, pictures, strict=True)):
            left = k * (width + 8)
            draw.text((left + 6, 4), title, fill="black", font=font)
            sheet.paste(picture, (left, _BAR_PX))
        with replacing(self.path) as file:
            sheet.save(file, self.format)

    def _look(self) -> np.ndarray:
        """Shape: `[3, H, W]`, 0..1."""
        return self.frame.seen(self.top, self.top + self.height)[:, :, self.left : self.left + self.width].copy()


def as_picture(panel: np.ndarray) -> Image.Image:
    """`[3, H, W]`, 0..1, as a picture of 8 bits."""
    return Image.fromarray(np.rint(panel.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))


def _middle(side: int) -> tuple[int, int]:
    """Start and length of the middle part, at most `_LIMIT_PX` long."""
    length = min(side, _LIMIT_PX)
    return (side - length) // 2, length
