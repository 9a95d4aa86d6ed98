"""Pillow as we need it while a file is read or written: its process-wide settings, and how it opens a file."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import GifImagePlugin, Image, PngImagePlugin
from PIL.ImageFile import ImageFile

MAX_PIXELS = 1_000_000_000
MAX_TEXT = 2**26
"""Bytes that compressed metadata of a PNG may unfold to; XMP and ICC profiles of a megabyte and more exist"""

_PILLOW = threading.RLock()


@contextlib.contextmanager
def pillow_settings(max_pixels: int = MAX_PIXELS) -> Iterator[None]:
    """Settings for pictures of up to so many pixels, put back afterwards; one thread at a time, so that they are."""
    with _PILLOW, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damaged metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before = Image.MAX_IMAGE_PIXELS, GifImagePlugin.LOADING_STRATEGY
        texts = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
        Image.MAX_IMAGE_PIXELS = max_pixels
        GifImagePlugin.LOADING_STRATEGY = GifImagePlugin.LoadingStrategy.RGB_AFTER_DIFFERENT_PALETTE_ONLY
        PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, GifImagePlugin.LOADING_STRATEGY = before
            PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = texts


def open_unmapped(path: Path, formats: list[str] | None = None) -> ImageFile:
    """An opened picture that is read, not mapped: of a TIFF on its side Pillow maps rows as long as upright ones."""
    image = Image.open(path, formats=formats)
    image.filename = ""  # what is mapped is the file of that name
    return image
