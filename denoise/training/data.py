"""Clean pictures for training: any folder in, batches of random crops out."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from denoise.errors import UsageError

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".avif"}


class PictureCrops(L.LightningDataModule):
    """Random crops of the pictures below a folder, decoded once and kept in memory.

    All files are looked at first: unreadable ones and those smaller than a crop are named in one warning. A share of
    the files, chosen by their names, is held back for validation; of each one the middle is used.

    Args:
        root: folder of pictures, searched recursively.
        crop_px: side of a training crop.
        batch_size: crops a step (per process).
        validation_share: share of the files held back.
        validation_px: side of a validation crop.
        cache_gb: memory for decoded pictures; beyond it only a random part of each picture is kept.
        seed: of the choice of crops.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        crop_px: int = 96,
        batch_size: int = 16,
        validation_share: float = 0.04,
        validation_px: int = 256,
        cache_gb: float = 4.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.root = Path(root)
        self.crop_px = crop_px
        self.batch_size = batch_size
        self.validation_share = validation_share
        self.validation_px = validation_px
        self.cache_bytes = cache_gb * 1e9
        self.seed = seed

    def setup(self, stage: str | None = None) -> None:
        """Scan the folder and decode what fits into the cache."""
        sizes = scan(self.root, max(self.crop_px, 16))
        held = {path for path in sizes if _share(path, self.root) < self.validation_share}
        if not held:
            held = {min(sizes, key=lambda path: _share(path, self.root))}
        train = [path for path in sizes if path not in held] or list(held)
        total = 3 * sum(w * h for w, h in (sizes[path] for path in train))
        part = min(1.0, self.cache_bytes / total)
        generator = np.random.default_rng(self.seed)
        self.pictures = [_decode(path, part, self.crop_px, generator) for path in train]
        self.validation = [_middle(path, self.validation_px) for path in sorted(held)]
        rank_zero_info(
            f"{len(train)} pictures for training ({total / 3e6:.0f} megapixels, {part:.0%} of them kept in memory), "
            f"{len(held)} for validation"
        )

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Batches `[B, 3, crop, crop]`, without end."""
        assert self.trainer is not None
        crops = _Crops(self.pictures, self.crop_px, self.batch_size, self.seed, self.trainer)
        return DataLoader(crops, batch_size=None)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """One picture a batch: `[1, 3, H, W]`."""
        return DataLoader(_Pictures(self.validation), batch_size=1)


class _Crops(IterableDataset[Tensor]):
    """Step n of process r sees the same crops whenever it runs, so a resumed training goes on where it was."""

    def __init__(self, pictures: list[np.ndarray], side: int, batch_size: int, seed: int, trainer: L.Trainer) -> None:
        self.pictures, self.side, self.batch_size, self.seed, self.trainer = pictures, side, batch_size, seed, trainer
        areas = np.array([picture.shape[0] * picture.shape[1] for picture in pictures], dtype=np.float64)
        self.chances = areas / areas.sum()

    def __iter__(self) -> Iterator[Tensor]:
        step = self.trainer.global_step
        while True:
            yield self._batch(np.random.default_rng([self.seed, self.trainer.global_rank, step]))
            step += 1

    def _batch(self, generator: np.random.Generator) -> Tensor:
        side = self.side
        crops = np.empty((self.batch_size, side, side, 3), np.uint8)
        for k, index in enumerate(generator.choice(len(self.pictures), self.batch_size, p=self.chances)):
            picture = self.pictures[index]
            top, left = (generator.integers(size - side + 1) for size in picture.shape[:2])
            crop = picture[top : top + side, left : left + side]
            down, right, turned = generator.random(3) < 0.5
            crop = crop[:: -1 if down else 1, :: -1 if right else 1]
            crops[k] = crop.transpose(1, 0, 2) if turned else crop
        return _to_float(torch.from_numpy(crops))


class _Pictures(Dataset[Tensor]):
    def __init__(self, pictures: list[np.ndarray]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Tensor:
        return _to_float(torch.from_numpy(self.pictures[index][None]))[0]


def scan(root: Path, smallest_px: int) -> dict[Path, tuple[int, int]]:
    """Sizes `(width, height)` of all usable pictures below a folder; warns of the others, raises if none is left."""
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder; give the folder that holds the pictures as --data.root.")
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in _SUFFIXES and not path.name.startswith("."))
    sizes, unreadable, small = {}, [], []
    for path in paths:
        try:
            with Image.open(path) as image:
                size = image.size
        except (OSError, ValueError, SyntaxError):
            unreadable.append(path)
            continue
        if min(size) < smallest_px:
            small.append(path)
        else:
            sizes[path] = size
    for what, which in (("cannot be read", unreadable), (f"are smaller than {smallest_px} pixels", small)):
        if which:
            names = ", ".join(str(path.relative_to(root)) for path in which[:10])
            rank_zero_warn(f"{len(which)} pictures {what} and are left out: {names}{' ...' if len(which) > 10 else ''}")
    if not sizes:
        raise UsageError(f"No usable picture of at least {smallest_px} x {smallest_px} pixels below {root}.")
    return sizes


def _share(path: Path, root: Path) -> float:
    """A number in 0..1 that depends on nothing but the file's name."""
    return zlib.crc32(path.relative_to(root).as_posix().encode()) / 2**32


def _decode(path: Path, part: float, smallest: int, generator: np.random.Generator) -> np.ndarray:
    with Image.open(path) as image:
        width, height = (max(smallest, int(side * part**0.5)) for side in image.size)
        left, top = (int(generator.integers(a - b + 1)) for a, b in zip(image.size, (width, height), strict=True))
        return np.array(image.convert("RGB").crop((left, top, left + width, top + height)))


def _middle(path: Path, side: int) -> np.ndarray:
    with Image.open(path) as image:
        picture = np.array(image.convert("RGB"))
    height, width = (min(side, size - size % 16) for size in picture.shape[:2])
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]


def _to_float(pictures: Tensor) -> Tensor:
    """`[B, H, W, 3]` uint8 -> `[B, 3, H, W]` float32 0..1, channels last in memory."""
    return pictures.permute(0, 3, 1, 2).float() / 255
