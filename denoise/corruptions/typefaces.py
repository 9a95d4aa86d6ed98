"""Typefaces to write with: Pillow's own, or those of a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ImageFont

from denoise.errors import UsageError

Typeface = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Typefaces:
    """Pillow's own two typefaces, or those of a folder.

    Args:
        folder: of TrueType or OpenType files, searched recursively; raises UsageError when there is none.
    """

    def __init__(self, folder: str | None) -> None:
        self.files = [] if folder is None else _font_files(folder)

    def choose(self, size_px: float, rng: np.random.Generator) -> Typeface:
        """One of them; only Pillow's bitmap letters have a size of their own."""
        if self.files:
            return ImageFont.truetype(str(rng.choice(self.files)), size_px)
        return ImageFont.load_default_imagefont() if rng.random() < 0.15 else ImageFont.load_default(size_px)


def _font_files(folder: str) -> list[str]:
    found = sorted(str(path) for path in Path(folder).rglob("*") if path.suffix.lower() in (".ttf", ".otf"))
    if not found:
        raise UsageError(f"There is no .ttf or .otf file below {folder}; name a folder of typefaces.")
    return found
