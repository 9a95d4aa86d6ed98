"""A noisy photo for a first try."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from denoise.corruptions.spec import parse
from denoise.errors import MediaError, UsageError
from denoise.media.atomic import replacing

CORRUPTION = "camera:iso=6400"


def write_samples(folder: Path) -> list[Path]:
    """Write `photo.png`, a photograph that scikit-learn ships with camera noise on it, and `photo.clean.png`.

    Raises:
        UsageError: a file of that name exists and is not the sample.
        MediaError: the folder or a file cannot be written.
    """
    from sklearn.datasets import load_sample_image

    clean = np.asarray(load_sample_image("china.jpg"))
    batch = torch.from_numpy(clean.transpose(2, 0, 1).astype(np.float32) / 255)[None]
    observed = parse(CORRUPTION)(batch, torch.Generator().manual_seed(0)).observed[0]
    noisy = np.rint(observed.clamp(0, 1).numpy() * 255).astype(np.uint8).transpose(1, 2, 0)
    files = {folder / "photo.png": _png(noisy), folder / "photo.clean.png": _png(clean)}
    for path, content in files.items():
        if path.exists() and (not path.is_file() or path.read_bytes() != content):
            raise UsageError(f"{path} exists and is something else; choose another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"{folder} cannot be made: {error.strerror}; choose another folder.") from error
    for path, content in files.items():
        with replacing(path) as file:
            file.write(content)
    return list(files)


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    return file.getvalue()
