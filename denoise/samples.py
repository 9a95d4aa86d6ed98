"""Damaged photos for a first try."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from denoise.corruptions.spec import parse
from denoise.errors import UsageError
from denoise.media.atomic import replacing
from denoise.media.folders import check_folder, make_folder

CORRUPTION = "camera:iso=6400"
HOLES = "scratches:share=0.02+text:size_px=16..28,share=0.04"


def write_samples(folder: Path) -> list[Path]:
    """Write a photograph that scikit-learn ships: noisy, with holes, and as it was.

    `photo.png` has camera noise, `scratched.png` holes that are white in `mask.png`, `photo.clean.png` neither.

    Raises:
        UsageError: a file of that name exists and is not the sample, or the folder is no place to write to.
        MediaError: the folder or a file cannot be written.
    """
    from sklearn.datasets import load_sample_image

    check_folder(folder)
    clean = np.asarray(load_sample_image("china.jpg"))
    batch = torch.from_numpy(clean.transpose(2, 0, 1).astype(np.float32) / 255)[None]
    noisy, holed = (parse(spec)(batch, torch.Generator().manual_seed(0)) for spec in (CORRUPTION, HOLES))
    assert holed.condition is not None
    files = {
        folder / "photo.png": _png(noisy.observed),
        folder / "scratched.png": _png(holed.observed),
        folder / "mask.png": _png(holed.condition),
        folder / "photo.clean.png": _png(batch),
    }
    for path, content in files.items():
        if path.exists() and (not path.is_file() or path.read_bytes() != content):
            raise UsageError(f"{path} exists and is something else; choose another folder.")
    make_folder(folder)
    for path, content in files.items():
        with replacing(path) as file:
            file.write(content)
    return list(files)


def _png(picture: Tensor) -> bytes:
    """Shape: `[1, C, H, W]`, 0..1."""
    pixels = np.rint(picture[0].clamp(0, 1).numpy() * 255).astype(np.uint8).transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])).save(file, "PNG")
    return file.getvalue()
