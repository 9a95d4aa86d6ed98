"""The kinds of arrays a caller may bring, as float batches and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from denoise.errors import UsageError
from denoise.media.image_frame import pillow_frame
from denoise.media.mask import Mask

_MODES = ("L", "LA", "RGB", "RGBA")
_ALLOWED = (
    "give a torch tensor [C, H, W] or [B, C, H, W] of floats 0..1, a NumPy array [H, W] or [H, W, C] "
    "(uint8, uint16 or floats 0..1) or a PIL image of mode L, LA, RGB or RGBA"
)

_BRIGHTEST = 8.0  # white is 1; noise that is not clipped and highlights stay below, what nobody has divided does not


@dataclass(frozen=True)
class Kind:
    """What a picture was before it became a float batch, so that the result can be made the same."""

    family: Literal["torch", "numpy", "pil"]
    original: Any


def to_tensor(picture: Any) -> tuple[Tensor, Kind]:
    """A picture as float32 `[B, C, H, W]` on the CPU, and its kind; raises UsageError for what is none."""
    if isinstance(picture, Tensor):
        if not picture.is_floating_point() or picture.ndim not in (3, 4) or picture.shape[-3] not in (1, 3):
            raise UsageError(f"A {picture.dtype} tensor of shape {list(picture.shape)} is no picture; {_ALLOWED}.")
        batch = picture.detach().float().cpu()
        return _checked(batch if batch.ndim == 4 else batch[None]), Kind("torch", picture)
    if isinstance(picture, np.ma.MaskedArray):
        raise UsageError("A masked array hides samples; give its data, and where they are missing as a mask of holes.")
    if isinstance(picture, np.ndarray):
        picture = np.asarray(picture)  # a matrix never loses an axis
        if picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] not in (1, 3)):
            raise UsageError(f"A NumPy array of shape {list(picture.shape)} is no picture; {_ALLOWED}.")
        return _checked(_from_numpy(picture)), Kind("numpy", picture)
    if isinstance(picture, Image.Image):
        if picture.mode not in _MODES:
            raise UsageError(f"A PIL image of mode {picture.mode} cannot be restored; {_ALLOWED}.")
        try:
            picture.load()
        except Exception as error:  # Pillow's plugins raise all kinds
            raise UsageError("The PIL image cannot be read; its file is closed or cut off.") from error
        if 0 in picture.size:
            raise UsageError(f"A picture of {picture.width}x{picture.height} is empty; it needs at least one pixel.")
        return torch.from_numpy(pillow_frame(picture, 8).read(0, picture.height))[None], Kind("pil", picture)
    raise UsageError(f"A {type(picture).__name__} is no picture; {_ALLOWED}.")


def transparent(kind: Kind) -> Mask | None:
    """Where a picture is less than half opaque, `[H, W]`; None where its kind has no transparency."""
    if kind.family != "pil" or not (frame := pillow_frame(kind.original, 8)).has_transparency:
        return None
    return frame.transparent(0, frame.size[1])


def from_tensor(batch: Tensor, kind: Kind, filled: Mask | None = None) -> Any:
    """The restored batch as the kind the original was: same type, shape, dtype, device, mode and transparency.

    What is transparent in a PIL image stays as it is, unless it was `filled`: then it is opaque.
    """
    original = kind.original
    if kind.family == "torch":
        return batch.reshape(original.shape).to(original)
    if kind.family == "numpy":
        return _to_numpy(batch[0].permute(1, 2, 0).numpy(), original.dtype).reshape(original.shape)
    restored = original.copy()
    frame = pillow_frame(restored, 8)
    if filled is not None:
        frame.reveal(0, filled & frame.transparent(0, restored.height))
    frame.write(0, restored.height, batch[0].numpy())
    return restored


def copied(original: Any) -> Any:
    """A tensor, array or PIL image once more, bit for bit: what is done to a result is not done to the input."""
    return original.detach().clone() if isinstance(original, Tensor) else original.copy()


def _from_numpy(picture: np.ndarray) -> Tensor:
    pixels = picture if picture.ndim == 3 else picture[..., None]
    if pixels.dtype.newbyteorder("=") in (np.uint8, np.uint16):
        scaled = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    elif np.issubdtype(pixels.dtype, np.floating):
        scaled = pixels.astype(np.float32)
    else:
        raise UsageError(f"A NumPy array of {picture.dtype} is no picture; {_ALLOWED}.")
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))[None]


def _to_numpy(rows: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    if np.issubdtype(dtype, np.floating):
        return rows.astype(dtype)
    scale = np.iinfo(dtype).max
    return np.asarray(np.rint(rows.clip(0, 1) * np.float32(scale)).astype(dtype))


def _checked(batch: Tensor) -> Tensor:
    if batch.numel() == 0:
        raise UsageError(f"A picture of shape {list(batch.shape)} is empty; it needs at least one pixel.")
    if not torch.isfinite(batch).all():
        raise UsageError("The picture holds NaN or infinity; replace those pixels first.")
    if (peak := max(float(batch.max()), -float(batch.min()))) > _BRIGHTEST:
        raise UsageError(f"Floats are 0..1 and this picture reaches {peak:g}; divide it by its white, such as 255.")
    return batch
