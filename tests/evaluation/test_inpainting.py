from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import denoise
from denoise.errors import UsageError
from denoise.evaluation.inpainting import evaluate_inpainting
from denoise.evaluation.metrics import psnr_db
from denoise.inpainter import Inpainter
from denoise.networks.inpainting import InpaintingUNet
from tests.conftest import photo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for k in range(2):
        Image.fromarray(photo(60, 70, seed=k)).save(tmp_path / f"{k}.png")
    return tmp_path


def rough() -> Inpainter:
    """Fills by push and pull alone."""
    network = InpaintingUNet(widths=(4, 8), depths=(1, 1))
    torch.nn.init.zeros_(network.tail.weight)
    return Inpainter(network, None, "cpu", "float32")


def test_scores_are_of_the_holes(folder: Path) -> None:
    scores = evaluate_inpainting(rough(), folder, "random-pixels:share=0.3")
    assert scores.pictures == 2
    assert scores.holes == pytest.approx(0.3, abs=0.03)
    assert 20 < scores.psnr_db < 35  # the noise of the pictures cannot be guessed
    assert 0.5 < scores.ssim < 1
    assert "PSNR inside the holes" in str(scores)


def test_scores_do_not_depend_on_other_files(folder: Path) -> None:
    both = evaluate_inpainting(rough(), folder, "text:size_px=8").psnr_db
    alone = []
    for name, other in (("0.png", "1.png"), ("1.png", "0.png")):
        (folder / other).rename(folder / "hidden")
        alone.append(evaluate_inpainting(rough(), folder, "text:size_px=8").psnr_db)
        (folder / "hidden").rename(folder / other)
        assert (folder / name).is_file()
    assert both == pytest.approx(sum(alone) / 2)


def test_psnr_in_a_mask_is_a_closed_form() -> None:
    clean = torch.full((3, 8, 8), 100 / 255)
    mask = torch.zeros(1, 8, 8)
    mask[0, 2:4] = 1
    restored = clean + torch.where(mask > 0, 10 / 255, 50 / 255)
    assert psnr_db(restored, clean, mask) == pytest.approx(20 * np.log10(255 / 10), abs=1e-4)


def test_what_makes_no_holes_is_refused(folder: Path, tiny_weights: Path) -> None:
    with pytest.raises(UsageError, match="makes no holes"):
        evaluate_inpainting(rough(), folder, "gaussian")
    from denoise.evaluation.benchmark import evaluate

    with pytest.raises(UsageError, match="makes holes"):
        evaluate(denoise.load(tiny_weights), folder, "text")


def test_pictures_that_cannot_be_read_are_left_out_and_named(folder: Path) -> None:
    alone = evaluate_inpainting(rough(), folder, "scratches")
    (folder / "broken.png").write_bytes(b"no picture")
    scores = evaluate_inpainting(rough(), folder, "scratches")
    assert (scores.pictures, scores.psnr_db) == (2, alone.psnr_db)
    assert list(scores.failures) == [str(folder / "broken.png")]


def test_a_picture_of_which_nothing_is_left_is_named(folder: Path) -> None:
    Image.new("RGB", (16, 16)).save(folder / "small.png")
    scores = evaluate_inpainting(rough(), folder, "rectangles:side_px=30,share=0.9")
    assert scores.pictures == 2
    assert "covers all" in scores.failures[str(folder / "small.png")]


def test_a_picture_without_a_hole_is_left_out(folder: Path) -> None:
    """The draw depends on the name: at this one, no writing falls into a picture this small."""
    Image.fromarray(photo(11, 11)).save(folder / "10.png")
    scores = evaluate_inpainting(rough(), folder, "text:share=0.0001")
    assert np.isfinite(scores.psnr_db)
    assert "made no hole" in scores.failures[str(folder / "10.png")]
