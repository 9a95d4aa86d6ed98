"""Floors for the weights that fill holes, on the two photographs that scikit-learn ships."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest
import torch
from skimage.restoration import inpaint_biharmonic
from sklearn.datasets import load_sample_images
from torch import Tensor

import denoise
from denoise.corruptions.spec import parse
from denoise.evaluation.metrics import psnr_db
from denoise.inpainter import CONTEXT_PX
from denoise.networks.inpainting import CELL
from denoise.windows import Windows


@pytest.fixture(scope="module")
def photos() -> list[Tensor]:
    """The middles of both photographs. Shape: `[3, 192, 192]`, 0..1."""
    images = load_sample_images().images
    return [torch.from_numpy(image[110:302, 220:412].transpose(2, 0, 1).astype(np.float32)) / 255 for image in images]


def holed(clean: Tensor, spec: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The picture with black holes, and its mask `[1, H, W]`."""
    seen = parse(spec)(clean[None], torch.Generator().manual_seed(seed))
    assert seen.condition is not None
    return seen.observed[0], seen.condition[0]


def gain_db(photos: list[Tensor], spec: str) -> float:
    """How many decibels better than biharmonic inpainting inside the holes; the mean."""
    inpainter, gains = denoise.load("inpaint"), []
    for number, clean in enumerate(photos):
        observed, mask = holed(clean, spec, number)
        theirs = inpaint_biharmonic(observed.permute(1, 2, 0).numpy(), mask[0].numpy() > 0, channel_axis=2)
        peer = torch.from_numpy(theirs.astype(np.float32)).permute(2, 0, 1)
        gains.append(psnr_db(inpainter(observed, mask), clean, mask) - psnr_db(peer, clean, mask))
    return fmean(gains)


@pytest.mark.parametrize(
    ("spec", "floor"),
    [
        ("text:share=0.1,size_px=12..28", 2.6),
        ("scratches:share=0.03", 2.1),
        ("random-pixels:share=0.5", 1.8),
        ("random-pixels:share=0.8", 1.0),
        ("rectangles:side_px=16,share=0.1", 2.5),
    ],
)
def test_it_is_ahead_of_biharmonic_inpainting(photos: list[Tensor], spec: str, floor: float) -> None:
    assert gain_db(photos, spec) > floor


def test_gray_pictures(photos: list[Tensor]) -> None:
    assert gain_db([photo.mean(0, keepdim=True) for photo in photos], "random-pixels:share=0.5") > 0.3


def test_windows_leave_no_seam(photos: list[Tensor]) -> None:
    """With the default context the windowed result is within half an 8-bit step of the result in one piece."""
    observed, mask = holed(photos[0], "random-pixels:share=0.5")
    whole, parts = denoise.load("inpaint", dtype="float32"), denoise.load("inpaint", dtype="float32")
    whole.windows = Windows(size=512, context=CONTEXT_PX, multiple_of=CELL)
    parts.windows = Windows(size=192, context=CONTEXT_PX, fade=16, multiple_of=CELL)
    assert (whole(observed, mask) - parts(observed, mask)).abs().max() < 0.5 / 255
