"""Clean pictures for training: any folder in, batches of random crops out."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from denoise.errors import UsageError
from denoise.media.folders import files_below
from denoise.media.image import is_image
from denoise.media.pillow_settings import open_unmapped, pillow_settings
from denoise.training.batches import Endless, load
from denoise.training.callbacks import is_sheet
from denoise.training.checks import MOST_SEED, require_within

_STEP_PX = 16
"""Sides of crops are multiples of this, which the networks here can take"""

_OVERSIZED = (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning)
_UNREADABLE = (OSError, ValueError, SyntaxError, RuntimeError, *_OVERSIZED)
"""What Pillow raises for damaged or oversized files"""


class PictureCrops(L.LightningDataModule):
    """Random crops of the pictures below a folder, decoded once and kept in memory as 8-bit RGB.

    All files are looked at first: unreadable ones and those smaller than a crop are named in one warning. A share of
    the files, chosen by their names, is held back for validation; of each one the middle is used. Where nothing else is
    left, training and validation have the same pictures.

    Args:
        root: folder of pictures, searched recursively; hidden files and folders are skipped.
        crop_px: side of a training crop, a multiple of 16.
        batch_size: crops a step (per process).
        validation_share: share of the files held back, at least one file.
        validation_px: side of a validation crop, a multiple of 16; of a smaller picture as much as there is.
        smallest_scale: crops are also taken from pictures scaled down, at most to this, 0..1: what large pictures show
            in shades becomes fine detail, and what their compression left becomes small. 1 scales none.
        largest_scale: all crops are scaled down at least to this, `smallest_scale`..1; with 1 a third are not scaled.
        cache_gb: memory for decoded pictures; beyond it only a random part of each picture is kept.
        workers: processes that make the batches in place of the one that trains, for an accelerator that would wait
            for it otherwise. Corruptions with holes are drawn by them too: masks are a processor's work.
        seed: of the choice of crops.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        crop_px: int = 96,
        batch_size: int = 16,
        validation_share: float = 0.04,
        validation_px: int = 256,
        smallest_scale: float = 1.0,
        largest_scale: float = 1.0,
        cache_gb: float = 4.0,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, side in (("crop_px", crop_px), ("validation_px", validation_px)):
            if side < _STEP_PX or side % _STEP_PX:
                raise UsageError(f"--data.{name} {side} is not allowed: give a multiple of {_STEP_PX}.")
        if not 0 < smallest_scale <= 1:
            raise UsageError(f"--data.smallest_scale {smallest_scale:g} is not allowed: give a number in 0..1, not 0.")
        if not smallest_scale <= largest_scale <= 1:
            raise UsageError(
                f"--data.largest_scale {largest_scale:g} is not allowed: give a number from the smallest scale "
                f"({smallest_scale:g}) to 1."
            )
        require_within("data.batch_size", batch_size, 1)
        require_within("data.validation_share", validation_share, 0, 1)
        require_within("data.cache_gb", cache_gb, 0)
        require_within("data.workers", workers, 0)
        require_within("data.seed", seed, 0, MOST_SEED)
        if root is None:
            raise UsageError("Which pictures? Give the folder that holds them as --data.root.")
        self.root = Path(root)
        self.crop_px = crop_px
        self.batch_size = batch_size
        self.validation_share = validation_share
        self.validation_px = validation_px
        self.scales = smallest_scale, largest_scale
        self.cache_bytes = cache_gb * 1e9
        self.workers = workers
        self.seed = seed

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002
        """Scan the folder and decode what fits into the cache; raises UsageError when no picture is usable."""
        sizes, refused = scan(self.root, self.crop_px)

        def middle(image: Image.Image) -> np.ndarray:
            return _middle(image, self.validation_px)

        held = [path for path in sizes if _share(path, self.root) < self.validation_share]
        spare = sorted(sizes.keys() - set(held), key=lambda path: _share(path, self.root))
        self.validation = _decode(held, middle, refused)
        while spare and not self.validation:
            held.append(spare.pop(0))
            self.validation = _decode(held[-1:], middle, refused)
        apart = set(held)
        train = [path for path in sizes if path not in apart]
        total = 3 * sum(width * height for width, height in (sizes[path] for path in train or held))
        part = min(1.0, self.cache_bytes / total) if total else 1.0

        def crop(image: Image.Image) -> np.ndarray:
            return _part(image, part, self.crop_px, generator)

        generator = np.random.default_rng(self.seed)
        others = _decode(train, crop, refused)
        self.pictures = others or _decode(held, crop, refused)
        if refused:
            named = [f"{path.relative_to(self.root)} ({reason})" for path, reason in refused.items()]
            more = ", ..." if len(named) > 10 else ""
            rank_zero_warn(f"{len(named)} files below {self.root} are left out: {', '.join(named[:10])}{more}")
        if not self.pictures:
            raise UsageError(
                f"There is no usable picture of at least {self.crop_px} x {self.crop_px} pixels below {self.root}; "
                "give another folder as --data.root, or a smaller --data.crop_px."
            )
        megapixels = sum(picture.shape[0] * picture.shape[1] for picture in self.pictures) / 1e6
        rank_zero_info(
            f"{len(self.pictures)} pictures for training ({megapixels:.0f} megapixels in memory, "
            f"{part:.0%} of what there is), {'' if others else 'the same '}{len(self.validation)} for validation"
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches `[B, 3, crop, crop]` without end, or what workers make of these."""
        return load(self.crops(), self.workers)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """One picture a batch: `[1, 3, H, W]`."""
        return DataLoader(_Pictures(self.validation), batch_size=1)

    def crops(self) -> Endless:
        """What batches are before workers make anything of them."""
        assert self.trainer is not None
        return _Crops(self.pictures, self.crop_px, self.batch_size, self.scales, self.seed, self.trainer)


class _Crops(Endless):
    def __init__(
        self,
        pictures: list[np.ndarray],
        side: int,
        batch_size: int,
        scales: tuple[float, float],
        seed: int,
        trainer: L.Trainer,
    ) -> None:
        super().__init__(trainer)
        self.pictures, self.side, self.batch_size, self.seed = pictures, side, batch_size, seed
        self.scales = scales
        areas = np.array([picture.shape[0] * picture.shape[1] for picture in pictures], dtype=np.float64)
        self.chances = areas / areas.sum()

    def batch(self, number: int) -> Tensor:
        """Batch `number` of this process."""
        generator = np.random.default_rng([self.seed, self.trainer.global_rank, number])
        side = self.side
        crops = np.empty((self.batch_size, side, side, 3), np.uint8)
        for k, index in enumerate(generator.choice(len(self.pictures), self.batch_size, p=self.chances)):
            picture = self.pictures[index]
            span = self._span(picture, generator)
            top, left = (generator.integers(size - span + 1) for size in picture.shape[:2])
            crop = _shrunk(picture[top : top + span, left : left + span], side)
            down, right, turned = generator.random(3) < 0.5
            crop = crop[:: -1 if down else 1, :: -1 if right else 1]
            crops[k] = crop.transpose(1, 0, 2) if turned else crop
        return _to_float(torch.from_numpy(crops))

    def _span(self, picture: np.ndarray, generator: np.random.Generator) -> int:
        """How many pixels of the picture go into the side of a crop."""
        low, high = self.scales
        if low == 1:
            return self.side
        scale = min(1.0, generator.uniform(low, high if high < 1 else 1 + (1 - low) / 2))
        return int(min(round(self.side / scale), *picture.shape[:2]))


class _Pictures(Dataset[Tensor]):
    def __init__(self, pictures: list[np.ndarray]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Tensor:
        return _to_float(torch.from_numpy(self.pictures[index][None]))[0]


def scan(root: Path, smallest_px: int) -> tuple[dict[Path, tuple[int, int]], dict[Path, str]]:
    """Sizes `(width, height)` of the usable pictures below a folder, and why each of the others is not usable.

    Only headers are read; a folder that cannot be read is one of the others. What trainings show of themselves is not
    looked at. Raises UsageError when there is no such folder.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder; give the folder that holds the pictures as --data.root.")
    sizes, refused = {}, {}
    for path in files_below(root, is_image):
        if is_sheet(path):
            continue
        try:
            with _opened(path) as image:
                size = image.size
        except _UNREADABLE:
            refused[path] = "cannot be read"
        else:
            if min(size) < smallest_px:
                refused[path] = f"{size[0]} x {size[1]} pixels"
            else:
                sizes[path] = size
    return sizes, refused


def _share(path: Path, root: Path) -> float:
    """A number in 0..1 that depends on nothing but the file's name."""
    return zlib.crc32(os.fsencode(path.relative_to(root).as_posix())) / 2**32


def _decode(
    paths: Iterable[Path], choose: Callable[[Image.Image], np.ndarray], refused: dict[Path, str]
) -> list[np.ndarray]:
    pictures = []
    for path in paths:
        try:
            with _opened(path) as image:
                pictures.append(choose(image))
        except _UNREADABLE:
            refused[path] = "cannot be decoded"
    return pictures


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with pillow_settings(), open_unmapped(path) as image:
        yield image


def _part(image: Image.Image, share: float, smallest: int, generator: np.random.Generator) -> np.ndarray:
    """A random rectangle of the given share of the picture."""
    width, height = (max(smallest, int(side * share**0.5)) for side in image.size)
    left, top = (int(generator.integers(a - b + 1)) for a, b in zip(image.size, (width, height), strict=True))
    return np.array(to_rgb(image).crop((left, top, left + width, top + height)))


def _middle(image: Image.Image, side: int) -> np.ndarray:
    """The middle square, or the largest part of it with sides that networks can take."""
    width, height = (min(side, size - size % _STEP_PX) for size in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.array(to_rgb(image).crop((left, top, left + width, top + height)))


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB: 16-bit gray is scaled, not clipped as Pillow does, and what is transparent becomes white."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.float32) / 257).round().astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"samples of mode {image.mode} name no white")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _shrunk(crop: np.ndarray, side: int) -> np.ndarray:
    """`[H, W, 3]` scaled to `[side, side, 3]` with a filter against aliasing."""
    if crop.shape[0] == side:
        return crop
    return np.array(Image.fromarray(crop).resize((side, side), Image.Resampling.LANCZOS))


def _to_float(pictures: Tensor) -> Tensor:
    """`[B, H, W, 3]` uint8 -> `[B, 3, H, W]` float32 0..1, channels last in memory."""
    return pictures.permute(0, 3, 1, 2).float() / 255
