"""A noisy photo for a first try."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from denoise.corruptions.spec import parse
from denoise.errors import MediaError

CORRUPTION = "camera:iso=6400"


def write_samples(folder: Path) -> list[Path]:
    """Write `photo.png`, a photograph that scikit-learn ships with camera noise on it, and `photo.clean.png`."""
    from sklearn.datasets import load_sample_image

    clean = np.asarray(load_sample_image("china.jpg"))
    batch = torch.from_numpy(clean.transpose(2, 0, 1).astype(np.float32) / 255)[None]
    observed = parse(CORRUPTION)(batch, torch.Generator().manual_seed(0)).observed[0]
    noisy = np.rint(observed.clamp(0, 1).numpy() * 255).astype(np.uint8).transpose(1, 2, 0)
    paths = []
    for name, pixels in (("photo.png", noisy), ("photo.clean.png", clean)):
        path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(pixels)).save(path)
        except OSError as error:
            raise MediaError(f"{path} cannot be written: {error.strerror}; choose another folder.") from error
        paths.append(path)
    return paths
