"""Pillow's process-wide settings as we need them while a file is read or written."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator

from PIL import GifImagePlugin, Image, PngImagePlugin

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
