"""Codes to find pictures by: of the whole picture, and of its patches at several sizes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from denoise import pretrained
from denoise.arrays import to_tensor
from denoise.errors import UsageError
from denoise.media.image import open_image
from denoise.media.image_formats import upright
from denoise.media.image_frame import pillow_frame
from denoise.media.image_metadata import ORIENTATION, parse_exif
from denoise.networks.autoencoder import Autoencoder

MOST_PATCHES = 1024
"""A level of patches with more than that is left out, so that large pictures do not fill the index"""
_CELLS = 8  # of a network without a patch of its own, along the side of what one code is made of
_POOLED = 4  # to so many cells
_BATCH = 256

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels of the picture as a viewer shows it"""


class Codes(NamedTuple):
    """Code vectors of parts of a picture.

    Shape:
        - vectors: `[N, K]` float32
    """

    boxes: list[Box]
    vectors: Tensor


class Coder:
    """Turns pictures into code vectors by the encoder of an autoencoder.

    What the network is shown is always of one size: the patch that its code vectors stand for, or eight by eight cells
    where a code vector stands for one cell. Pictures and patches are brought to it by bilinear interpolation with
    antialiasing.

    Args:
        model: name or folder of weights of an `Autoencoder`.

    Raises:
        ModelError: the weights cannot be read.
        UsageError: they are of another network, which has no code.
    """

    def __init__(self, model: str | os.PathLike[str]) -> None:
        folder = pretrained.find(model)
        weights = pretrained.load(model)
        if not isinstance(weights.network, Autoencoder) or weights.card.medium != "image":
            raise UsageError(
                f"The weights {str(model)!r} are no autoencoder for pictures, so there is no code to search by; train "
                "one with a recipe of recipes/autoencoders and export it."
            )
        self.network = weights.network
        self.model = os.fspath(folder.resolve())
        self.digest = hashlib.sha256((folder / pretrained.WEIGHTS).read_bytes()).hexdigest()
        self.patch = self.network.config["side"] is not None
        self.side = self.network.stride if self.patch else tuple(_CELLS * step for step in self.network.stride)
        """Height and width of what one code vector is made of, in pixels"""

    def whole(self, picture: Tensor) -> Tensor:
        """One vector for all of it. Shape: `[C, H, W] -> [1, K]`."""
        return self._encode(_resize(picture, self.side[0], self.side[1])[None])

    def patches(self, picture: Tensor, fine: int = 2, coarsest: int | None = None, most: int = MOST_PATCHES) -> Codes:
        """Vectors of overlapping patches, of the network's own size and of twice, four times ... that.

        A picture that is smaller than a patch is one.

        Args:
            picture: `[C, H, W]`.
            fine: patches follow each other at this fraction of their side.
            coarsest: keep so many levels, of the largest patches; all of them by default.
            most: levels of more patches are left out.
        """
        height, width = picture.shape[1:]
        levels = []
        scale = 1
        while self.side[0] * scale <= height and self.side[1] * scale <= width:
            tops = _places(height, self.side[0] * scale, fine)
            lefts = _places(width, self.side[1] * scale, fine)
            if len(tops) * len(lefts) <= most:
                levels.append((scale, tops, lefts))
            scale *= 2
        if not levels:
            return Codes([(0, 0, width, height)], self.whole(picture))
        boxes: list[Box] = []
        vectors = []
        for scale, tops, lefts in levels[-coarsest if coarsest else 0 :]:
            high, wide = self.side[0] * scale, self.side[1] * scale
            small = _resize(picture, round(height / scale), round(width / scale)) if scale > 1 else picture
            pieces = []
            for top in tops:
                for left in lefts:
                    boxes.append((left, top, left + wide, top + high))
                    y = min(round(top / scale), small.shape[1] - self.side[0])
                    x = min(round(left / scale), small.shape[2] - self.side[1])
                    pieces.append(small[:, y : y + self.side[0], x : x + self.side[1]])
            vectors.append(self._encode(torch.stack(pieces)))
        return Codes(boxes, torch.cat(vectors))

    def read(self, picture: Any) -> Tensor:
        """What `as_seen` sees, in as many bands as the network takes; raises as that does.

        Shape: `-> [C, H, W]` float32, 0..1
        """
        signal = as_seen(picture)
        return signal.mean(0, keepdim=True) if self.network.channels == 1 else signal

    @torch.no_grad()
    def _encode(self, batch: Tensor) -> Tensor:
        codes = [self.network.encode(part.contiguous()) for part in torch.split(batch, _BATCH)]
        code = torch.cat(codes)
        return (code if self.patch else F.adaptive_avg_pool2d(code, _POOLED)).flatten(1).contiguous()


def as_seen(picture: Any) -> Tensor:
    """A file (its first frame) or a picture in memory as a viewer shows it, what is transparent on white.

    Shape: `-> [3, H, W]` float32, 0..1

    Raises:
        UsageError, MediaError: it is no picture, more than one, or cannot be read.
    """
    if isinstance(picture, str | os.PathLike):
        with open_image(Path(picture)) as source:
            return torch.from_numpy(source.seen())
    batch, _ = to_tensor(picture)
    if len(batch) != 1:
        raise UsageError(f"A batch of {len(batch)} pictures was given; search for one at a time.")
    if isinstance(picture, Image.Image):
        turned = upright(picture, parse_exif(picture.info.get("exif", b"")).get(ORIENTATION, 1))
        return torch.from_numpy(pillow_frame(turned, 8).seen(0, turned.height))
    return batch[0].expand(3, -1, -1)


def _resize(picture: Tensor, height: int, width: int) -> Tensor:
    if picture.shape[1:] == (height, width):
        return picture
    return F.interpolate(picture[None], (height, width), mode="bilinear", antialias=True)[0]


def _places(length: int, side: int, fine: int) -> list[int]:
    """Where spans of `side` begin so that they follow each other by `side / fine` and reach both ends."""
    last = length - side
    return [*range(0, last, max(1, side // fine)), last]
