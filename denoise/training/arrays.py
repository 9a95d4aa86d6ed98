"""Small pictures for training: arrays in a file, or the digits that come with scikit-learn; and gray crops."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader

from denoise.errors import UsageError
from denoise.training.batches import Endless
from denoise.training.checks import MOST_SEED, require_within
from denoise.training.data import PictureCrops


class Split(NamedTuple):
    """Pictures for training and others for testing, with their labels where there are some.

    Shape:
        - train, test: `[N, C, H, W]` float32, 0..1
        - train_labels, test_labels: `[N]` int64, or None
    """

    train: Tensor
    test: Tensor
    train_labels: Tensor | None = None
    test_labels: Tensor | None = None


class Arrays(L.LightningDataModule):
    """Whole small pictures of one size, kept in memory.

    Args:
        root: an `.npz` file with `train_images` and `test_images`, `[N, H, W]` or `[N, H, W, C]`, uint8 or float 0..1,
            and optionally `train_labels` and `test_labels`; None for scikit-learn's 1797 handwritten digits of 8x8.
        classes: labels to keep, all by default.
        batch_size: pictures a step (per process).
        seed: of the choice of pictures.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        classes: list[int] | None = None,
        batch_size: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_within("data.batch_size", batch_size, 1)
        require_within("data.seed", seed, 0, MOST_SEED)
        self.root = root
        self.classes = classes
        self.batch_size = batch_size
        self.seed = seed

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002
        """Read everything; raises UsageError when it is not there or not as it should be."""
        self.split = load_digits() if self.root is None else load_arrays(self.root)
        if self.classes is not None:
            self.split = keep_classes(self.split, self.classes)
        shape = " x ".join(str(side) for side in self.split.train.shape[1:])
        rank_zero_info(f"{len(self.split.train)} pictures of {shape} for training, {len(self.split.test)} to validate")

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Batches `[B, C, H, W]`, without end."""
        assert self.trainer is not None
        return DataLoader(_Batches(self.split.train, self.batch_size, self.seed, self.trainer), batch_size=None)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """The test pictures in order, in the same batches each time."""
        return DataLoader(self.split.test, batch_size=self.batch_size)  # type: ignore[arg-type]


class GrayCrops(PictureCrops):
    """`PictureCrops` in one band, the mean of the three; arguments as there."""

    def crops(self) -> Endless:
        """Batches `[B, 1, crop, crop]`; gray already where workers draw holes, which are to be those of one band."""
        return _Gray(super().crops())

    def val_dataloader(self) -> DataLoader[Tensor]:
        """One picture a batch: `[1, 1, H, W]`."""
        return DataLoader(super().val_dataloader().dataset, batch_size=1, collate_fn=_gray)


class _Gray(Endless):
    def __init__(self, colour: Endless) -> None:
        super().__init__(colour.trainer)
        self.colour = colour

    def batch(self, number: int) -> Tensor:
        """Batch `number` of this process."""
        return self.colour.batch(number).mean(1, keepdim=True)  # type: ignore[no-any-return]


def _gray(pictures: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(pictures)).mean(1, keepdim=True)


class _Batches(Endless):
    def __init__(self, pictures: Tensor, batch_size: int, seed: int, trainer: L.Trainer) -> None:
        super().__init__(trainer)
        self.pictures, self.batch_size, self.seed = pictures, batch_size, seed

    def batch(self, number: int) -> Tensor:
        """Batch `number` of this process."""
        generator = np.random.default_rng([self.seed, self.trainer.global_rank, number])
        count = len(self.pictures)
        chosen = generator.choice(count, self.batch_size, replace=self.batch_size > count)
        return self.pictures[torch.from_numpy(chosen)]


def load_digits() -> Split:
    """The digits of scikit-learn, 8x8 with 17 shades; every fifth one is for testing.

    Alpaydin and Kaynak, "Optical recognition of handwritten digits", UCI repository 1998.
    """
    from sklearn.datasets import load_digits as load

    found = load()
    images = torch.from_numpy(found.images).float()[:, None] / 16
    labels = torch.from_numpy(found.target).long()
    test = torch.arange(len(images)) % 5 == 0
    return Split(images[~test], images[test], labels[~test], labels[test])


def load_arrays(path: str | os.PathLike[str]) -> Split:
    """The pictures of an `.npz` file, as `Arrays` describes it; raises UsageError when it is none."""
    try:
        with Path(path).open("rb") as file:
            arrays = dict(np.load(file, allow_pickle=False))
        train, test = (_as_pictures(key, arrays[key]) for key in ("train_images", "test_images"))
        if train.shape[1] != test.shape[1]:
            raise ValueError(f"train_images have {train.shape[1]} bands and test_images {test.shape[1]}")
        labels = [_as_labels(key, arrays, len(x)) for key, x in (("train_labels", train), ("test_labels", test))]
    except (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, BadZipFile, zlib.error) as error:
        raise UsageError(
            f"{path} cannot be used ({error}); give as --data.root an .npz file with train_images and test_images, "
            "[N, H, W] or [N, H, W, C], uint8 or float 0..1."
        ) from error
    return Split(train, test, *labels)


def keep_classes(split: Split, classes: Sequence[int]) -> Split:
    """The pictures with one of these labels; raises UsageError when there are none."""
    kept: list[Any] = []
    for images, labels in ((split.train, split.train_labels), (split.test, split.test_labels)):
        if labels is None:
            raise UsageError(f"There are no labels to choose classes {list(classes)} by: add train_ and test_labels.")
        chosen = torch.isin(labels, torch.tensor(list(classes)))
        if not chosen.any():
            raise UsageError(f"No picture is of the classes {list(classes)}: there are {sorted(set(labels.tolist()))}.")
        kept.append((images[chosen], labels[chosen]))
    (train, train_labels), (test, test_labels) = kept
    return Split(train, test, train_labels, test_labels)


def _as_pictures(name: str, array: np.ndarray) -> Tensor:
    """`[N, H, W]` or `[N, H, W, C]` -> `[N, C, H, W]` float32, 0..1; raises ValueError."""
    if array.ndim not in (3, 4) or not array.size:
        raise ValueError(f"{name} has shape {list(array.shape)}")
    floating = np.issubdtype(array.dtype, np.floating)
    if not (floating or array.dtype == np.uint8):
        raise ValueError(f"{name} holds {array.dtype}")
    pictures = torch.from_numpy(array).float() / (1 if floating else 255)
    if not (pictures.min() >= 0 and pictures.max() <= 1):  # also where something is not a number
        raise ValueError(f"{name} goes beyond 0..1")
    return pictures[:, None] if pictures.ndim == 3 else pictures.permute(0, 3, 1, 2).contiguous()


def _as_labels(name: str, arrays: dict[str, np.ndarray], count: int) -> Tensor | None:
    if name not in arrays:
        return None
    if arrays[name].shape != (count,):
        raise ValueError(f"{name} has shape {list(arrays[name].shape)} for {count} pictures")
    return torch.from_numpy(arrays[name].astype(np.int64))
