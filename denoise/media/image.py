"""Pictures: a file -> bands of colour -> a file that carries everything else unchanged."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from denoise.errors import DenoiseError, MediaError, UsageError
from denoise.media.atomic import check_place, replacing
from denoise.media.audio_formats import FORMATS as SOUND
from denoise.media.audio_formats import READ_ONLY
from denoise.media.image_deep import deep_mode, deep_options, encode_deep, read_deep
from denoise.media.image_formats import (
    FORMATS,
    Source,
    avif_is_deep,
    avif_primaries,
    check_target,
    encode,
    format_of,
    native_options,
    png_header,
    upright,
    white_is_zero,
)
from denoise.media.image_frame import COLOURS, Frame, pillow_frame, spread_key, turn_over
from denoise.media.image_metadata import Carried, gather
from denoise.media.inputs import check_input
from denoise.media.pillow_settings import MAX_PIXELS, open_unmapped, pillow_settings

__all__ = ["Frame", "Picture", "is_image", "open_image"]

_NAMES = {"1": "black and white", "L": "grey", "LA": "grey with alpha", "I;16": "grey", "P": "palette"}
_NAMES |= {"RGBA": "RGB with alpha", "RGBa": "RGB with alpha"}
_SAMPLES_PER_PIXEL = 277
_TIFF_SIGNATURES = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}
_HOLDS_DECODER = {"WEBP", "AVIF"}  # their Pillow images keep the decoder and its memory for as long as they live


def is_image(path: str | os.PathLike[str]) -> bool:
    """Whether the suffix is that of a picture format."""
    return Path(path).suffix.lower() in FORMATS


def open_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Open a picture and decode its first frame.

    Args:
        max_pixels: The most pixels to accept, all frames together; the header is asked before anything is decoded.

    Raises:
        UsageError: the file is missing, a folder, larger than `max_pixels` or of a mode that cannot be restored.
        MediaError: the file is empty, damaged, not a picture, or may not be read.
    """
    return Picture(Path(path), max_pixels)


class Picture:
    """An open picture: its frames, and how to write them back.

    The raster stays as it is stored and the EXIF orientation stays with it, so a viewer turns the result exactly as it
    turned the original; turning it here would need a second raster. Only what Pillow turns by itself while decoding
    (TIFF, but for 16-bit colour) comes upright and loses the tag. Formats without EXIF (BMP, GIF) are written upright.

    Frames are decoded one by one as they are asked for and kept until the picture is closed.

    Attributes:
        size: Width and height, as stored.
        mode: Pillow's name of what a pixel is: "L", "RGBA", "I;16" and so on.
        depth: Bits a colour sample.
        left_out: What the file holds that is not written again, in a sentence; empty if there is nothing.
    """

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        check_input(path, "picture")
        self.path = path
        self._max_pixels = max_pixels
        self._frames: list[Frame] = []
        self._carried: list[Carried] = []
        with pillow_settings(max_pixels), _reading(path, max_pixels):
            self._image: Image.Image = open_unmapped(path, formats=sorted(set(FORMATS.values())))
            try:
                self.format = "JPEG" if self._image.format == "MPO" else self._image.format or ""
                self.left_out = _left_out(self._image, path)
                self.n_frames = 1 if self.format == "JPEG" else getattr(self._image, "n_frames", 1)
                self._deep = self._inspect()
                self._load_next()
            except BaseException:
                self._image.close()
                raise
        first = self._frames[0]
        self.size = first.size
        self.mode = "I;16" if first.mode == "I;16B" else first.mode
        self.depth = first.bits

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._image.close()

    @property
    def frames(self) -> Iterator[Frame]:
        """The frames of an animation or the pages of a TIFF, in order; at least one."""
        for index in range(self.n_frames):
            self._load(index)
            yield self._frames[index]

    @property
    def orientation(self) -> int:
        """The EXIF orientation, 1..8, that a viewer applies to the stored raster."""
        return self._carried[0].orientation

    def seen(self) -> NDArray[np.float32]:
        """The first frame as a viewer shows it, upright and in the colours of `Frame.seen`. Shape: `[3, H, W]`."""
        frame = next(self.frames)
        bands = frame.seen(0, frame.size[1])
        if self.orientation == 1:
            return bands
        turned = np.empty((3, *frame.size) if self.orientation >= 5 else bands.shape, np.float32)
        for index, band in enumerate(bands):
            turned[index] = np.asarray(upright(Image.fromarray(band), self.orientation))
        return turned

    def describe(self) -> str:
        """One line for a person, such as `JPEG, RGB, 8 bit, 3000x2000`."""
        many = f", {self.n_frames} {'pages' if self.format == 'TIFF' else 'frames'}" if self.n_frames > 1 else ""
        return (
            f"{self.format}, {_NAMES.get(self.mode, self.mode)}, {self.depth} bit, {self.size[0]}x{self.size[1]}{many}"
        )

    def check_output(self, path: str | os.PathLike[str]) -> None:
        """Raise UsageError if this picture cannot be saved under `path`: ask before the work, not after."""
        path = Path(path)
        alpha = self._carried[0].transparency
        check_target(Source(self.format, self.mode, self.depth, self.size, self.n_frames, alpha), path)
        check_place(path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture in the format of the suffix, whole or not at all.

        Raises:
            UsageError: as `check_output`.
            MediaError: the file could not be written.
        """
        path = Path(path)
        self.check_output(path)
        self._load(self.n_frames - 1)
        with replacing(path) as file, pillow_settings(self._max_pixels):
            if self._deep:
                encode_deep(file, format_of(path), self._frames, self._carried)
            else:
                encode(file, format_of(path), self.format, self._frames, self._carried)

    def _inspect(self) -> list[str]:
        """Refuse what cannot be restored, going by headers alone; the modes of the frames that Pillow cannot hold."""
        image = self._image
        pages = range(self.n_frames) if self.format == "TIFF" else range(1)
        pixels, deep = 0, []
        for page in pages:
            if self.n_frames > 1:
                image.seek(page)
            pixels += image.width * image.height
            if mode := deep_mode(image, self.path):
                deep.append(mode)
            else:
                self._check_mode(image)
        pixels *= self.n_frames // len(pages)
        if pixels > self._max_pixels:
            raise _too_large(self.path, self._max_pixels)
        if deep and len(deep) < self.n_frames:
            what = "mixes 16-bit colour with other frames" if self.format == "TIFF" else "is animated 16-bit colour"
            raise UsageError(f"{self.path.name} {what}; save the frames to files of their own first.")
        return deep

    def _check_mode(self, image: Image.Image) -> None:
        name = self.path.name
        if image.mode in {"F", "I"}:
            raise UsageError(
                f"{name} has signed or 32-bit samples, which name no white point; convert it to unsigned 16 bits first."
            )
        if image.mode not in COLOURS or _bits(image, self.path) == 12:
            raise UsageError(f"{name} holds {image.mode} samples in a way not handled here; convert it to RGB first.")
        if image.format == "AVIF" and avif_is_deep(self.path):
            raise UsageError(f"{name} is an AVIF of more than 8 bits a channel; convert it to a 16-bit PNG first.")
        stored = image.tag_v2.get(_SAMPLES_PER_PIXEL, 1) if isinstance(image, TiffImageFile) else 1
        if stored > len(image.getbands()):
            raise UsageError(
                f"{name} has {stored} channels, of which only {', '.join(image.getbands())} can be kept; "
                "save it without the others first."
            )

    def _load(self, index: int) -> None:
        while len(self._frames) <= index:
            with pillow_settings(self._max_pixels), _reading(self.path, self._max_pixels):
                self._load_next()

    def _load_next(self) -> None:
        image, index = self._image, len(self._frames)
        if self.n_frames > 1:
            image.seek(index)
        if self._deep:
            frame = read_deep(self.path, self.format, index, self._deep[index])
            carried = gather(image, self.path, deep_options(image))
        else:
            image.load()
            carried = gather(image, self.path, native_options(image, self.path))
            own = image.copy() if self.n_frames > 1 or self.format in _HOLDS_DECODER else image
            if self.format == "PNG":
                spread_key(own, _bits(image, self.path))
            frame = pillow_frame(own, _bits(image, self.path))
            if white_is_zero(image):
                turn_over(frame.raster)
            if isinstance(own, TiffImageFile):
                del own.tag, own.tag_v2  # Pillow's writer would mix them, layout and all, into what it is told
            if own is not image and index + 1 == self.n_frames:
                image.close()
                self._image = own
        self._frames.append(frame)
        self._carried.append(carried)


def _bits(image: Image.Image, path: Path) -> int:
    if image.format == "PNG" and image.mode == "L":
        return png_header(path)[0]
    if isinstance(image, TiffImageFile) and image.tag_v2.get(258) == (12,):
        return 12
    return {"1": 1, "I;16": 16, "I;16B": 16}.get(image.mode, 8)


def _left_out(image: Image.Image, path: Path) -> str:
    if image.format == "AVIF" and not image.info.get("icc_profile") and avif_primaries(path) not in (1, 2):
        return "The colour space that this AVIF names is not kept: the result counts as sRGB."
    # Pillow takes a JPEG with a gain map (Ultra HDR) for one with a single picture.
    mapped = isinstance(image, JpegImageFile) and any(b"hdrgm:Version" in content for _, content in image.applist)
    if image.format != "MPO" and not ("mp" in image.info and mapped):
        return ""
    return "Of the pictures in this JPEG only the first is kept; views, depth or gain maps are left out."


def _too_large(path: Path, max_pixels: int) -> UsageError:
    return UsageError(
        f"{path.name} has more than the {max_pixels:,} pixels accepted, all frames together; cut it into parts."
    )


@contextlib.contextmanager
def _reading(path: Path, max_pixels: int) -> Iterator[None]:
    """The many exceptions of decoders as one of ours."""
    try:
        yield
    except DenoiseError:
        raise
    except MemoryError as error:
        raise MediaError(f"{path} takes more memory than there is; restore it on a larger machine.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(path, max_pixels) from None
    except PermissionError as error:
        raise MediaError(f"{path} may not be read: permission denied.") from error
    except Exception as error:  # decoders raise whatever the damaged bytes led to
        raise MediaError(f"{path} is {_what_is_wrong(path, error)}") from error


def _what_is_wrong(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        if file.read(4) in _TIFF_SIGNATURES:
            return (
                "damaged, cut off, or a TIFF with samples or a compression not read here; "
                "get a whole copy of it, or save it as uncompressed grey or RGB of 16 bits."
            )
    if isinstance(error, UnidentifiedImageError):
        known = ", ".join(sorted(set(FORMATS.values())))
        if path.suffix.lower() not in FORMATS:  # it may as well have been meant as sound
            known += f" and, as sound, {', '.join((*SOUND, *sorted(READ_ONLY)))}"
        return f"not a picture, is damaged, or is of a kind not read here ({known} are)."
    return f"damaged or cut off ({error}); get a whole copy of it."
