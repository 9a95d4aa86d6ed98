"""Before, after and difference side by side, as a picture."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from denoise.errors import MediaError
from denoise.media.image import Frame

_LIMIT_PX = 2000
_BAR_PX = 28
_GAIN = 4


class Comparison:
    """Keeps a look at a frame before it is restored in place; of large frames the middle."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        width, height = frame.size
        self.left, self.width = _middle(width)
        self.top, self.height = _middle(height)
        self.before = self._look()

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the picture; raises MediaError when that fails."""
        after = self._look()
        difference = 0.5 + _GAIN * (self.before - after)
        panels = [("before", self.before), ("after", after), (f"removed, x{_GAIN}", difference)]
        font = ImageFont.load_default(size=16)
        sheet = Image.new("RGB", (3 * self.width + 16, self.height + _BAR_PX), "white")
        draw = ImageDraw.Draw(sheet)
        for k, (title, panel) in enumerate(panels):
            left = k * (self.width + 8)
            draw.text((left + 6, 4), title, fill="black", font=font)
            pixels = np.rint(panel.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
            sheet.paste(Image.fromarray(pixels), (left, _BAR_PX))
        try:
            sheet.save(Path(path))
        except (OSError, ValueError) as error:
            raise MediaError(f"The comparison {path} cannot be written: {error}.") from error

    def _look(self) -> np.ndarray:
        """Shape: `[3, H, W]`, 0..1."""
        rows = self.frame.read(self.top, self.top + self.height)[:, :, self.left : self.left + self.width]
        bands = rows[:3] if rows.shape[0] >= 3 else np.repeat(rows[:1], 3, axis=0)
        return np.array(bands)


def _middle(side: int) -> tuple[int, int]:
    """Start and length of the middle part, at most `_LIMIT_PX` long."""
    length = min(side, _LIMIT_PX)
    return (side - length) // 2, length
