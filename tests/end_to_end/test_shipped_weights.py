"""Floors for the weights that are shipped, on the two photographs that scikit-learn ships."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_images
from torch import Tensor

import denoise
from denoise import pretrained
from denoise.corruptions.spec import parse
from denoise.evaluation.metrics import psnr_db
from denoise.windows import rows_of


@pytest.fixture(scope="module")
def whole_photos() -> list[Tensor]:
    """Shape: `[3, 427, 640]`, 0..1."""
    return [
        torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32)) / 255 for image in load_sample_images().images
    ]


@pytest.fixture(scope="module")
def photos(whole_photos: list[Tensor]) -> list[Tensor]:
    """The middles of both photographs. Shape: `[3, 192, 192]`, 0..1."""
    return [photo[:, 110:302, 220:412] for photo in whole_photos]


def gain_db(restorer: denoise.Restorer, photos: list[Tensor], spec: str, sigma: float | str = "auto") -> float:
    """How many decibels closer to the clean photo the restored one is than the noisy one; the mean."""
    gains = []
    for number, clean in enumerate(photos):
        observed = parse(spec)(clean[None], torch.Generator().manual_seed(number)).observed[0]
        gains.append(psnr_db(restorer(observed, sigma), clean) - psnr_db(observed, clean))
    return fmean(gains)


def test_every_card_is_complete() -> None:
    import denoise.networks  # must not hide the function of a similar name

    assert {"gaussian", "photo"} <= set(pretrained.names())
    assert [card.name for card in denoise.models()] == pretrained.names()
    for card in denoise.models():
        assert card.licence and card.summary and card.data and card.limits and card.recipe.endswith(".yaml")
        assert card.metrics, card.name


@pytest.mark.parametrize(("sigma", "floor"), [(15, 6.5), (25, 8.1), (50, 10.2)])
def test_gaussian_denoises_known_and_estimated_levels(photos: list[Tensor], sigma: int, floor: float) -> None:
    restorer = denoise.load("gaussian")
    known, blind = (gain_db(restorer, photos, f"gaussian:sigma={sigma}", level) for level in (sigma, "auto"))
    assert known > floor
    assert blind > known - 0.1


@pytest.mark.parametrize(("iso", "floor"), [(800, 2.1), (3200, 3.9), (12800, 5.7)])
def test_photo_denoises_camera_noise(photos: list[Tensor], iso: int, floor: float) -> None:
    assert gain_db(denoise.load("photo"), photos, f"camera:iso={iso},quality=90") > floor


def test_photo_leaves_a_clean_photo_alone(photos: list[Tensor], whole_photos: list[Tensor]) -> None:
    restorer = denoise.load("photo")
    assert min(psnr_db(restorer(clean), clean) for clean in photos + whole_photos) > 42


@pytest.mark.parametrize("sigma", [10, 25, 50])
def test_the_estimate_is_close(photos: list[Tensor], sigma: int) -> None:
    restorer = denoise.load("gaussian")
    for number, clean in enumerate(photos):
        observed = clean + sigma / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(number))
        estimate = restorer.estimate(lambda start, stop, x=observed: x[:, start:stop], observed.shape)
        assert estimate.sigma == pytest.approx(sigma, rel=0.08)


@pytest.mark.parametrize("model", ["gaussian", "photo"])
def test_a_dark_picture_of_many_bits_is_restored_as_a_bright_one(photos: list[Tensor], model: str) -> None:
    restorer = denoise.load(model, dtype="float32")
    observed = photos[0] + 10 / 255 * torch.randn(photos[0].shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(64 * restorer(observed / 64), restorer(observed), atol=0.01, rtol=0)
    assert psnr_db(64 * restorer(observed / 64), photos[0]) > psnr_db(observed, photos[0]) + 3


@pytest.fixture
def noisy(photos: list[Tensor]) -> np.ndarray:
    """Shape: `[192, 192, 3]`, uint8."""
    observed = photos[0] + 20 / 255 * torch.randn(photos[0].shape, generator=torch.Generator().manual_seed(0))
    return np.asarray((255 * observed.clamp(0, 1)).round().byte().permute(1, 2, 0))


@pytest.mark.parametrize("model", ["gaussian", "photo"])
def test_bars_and_what_is_cut_out_do_not_lower_the_level(noisy: np.ndarray, model: str, tmp_path: Path) -> None:
    barred = noisy.copy()
    barred[:20] = barred[-20:] = 0
    alpha = np.full((192, 192, 1), 255, dtype=np.uint8)
    alpha[:40] = alpha[:, 150:] = 0
    cut = np.concatenate([noisy * (alpha > 0), alpha], axis=2)
    Image.fromarray(cut).save(tmp_path / "cut.png")
    Image.fromarray(barred).save(tmp_path / "barred.png")
    for name in ("cut.png", "barred.png"):
        assert denoise.restore(tmp_path / name, model=model).sigma == [pytest.approx(20, abs=4)]
    with Image.open(tmp_path / "cut.restored.png") as restored:
        again = denoise.restore(Image.fromarray(cut), model=model)
        assert np.array_equal(np.asarray(restored), np.asarray(again))


def written(spacing: int, ink: int, paper: int) -> Tensor:
    """A page of small writing. Shape: `[3, 192, 256]`, 0..1."""
    page = Image.new("L", (256, 192), paper)
    for line in range(180 // spacing):
        place, words = (3, spacing * line), "Wherever one looks, letters: agWQ5& " * 2
        ImageDraw.Draw(page).text(place, words, ink, font=ImageFont.load_default(12))
    return torch.from_numpy(np.array(page) / np.float32(255)).expand(3, -1, -1)


def test_photo_leaves_a_drawing_alone() -> None:
    drawing = Image.new("RGB", (256, 192), "white")
    ends = np.random.default_rng(0).integers(0, 192, (40, 4)).tolist()
    for width, line in enumerate(ends):
        ImageDraw.Draw(drawing).line(line, fill="black", width=1 + width % 4)
    assert np.array_equal(np.asarray(denoise.load("photo")(drawing)), np.asarray(drawing))


@pytest.mark.parametrize("spacing", [18, 12])
@pytest.mark.parametrize(("ink", "paper"), [(20, 255), (220, 20)])
def test_writing_in_a_jpeg_file_does_not_pass_for_noise(ink: int, paper: int, spacing: int) -> None:
    clean = written(spacing, ink, paper)
    observed = parse("jpeg:quality=95")(clean[None], torch.Generator()).observed[0]
    restorer = denoise.load("photo")
    assert restorer.estimate(rows_of(observed), observed.shape).sigma < 1
    assert psnr_db(restorer(observed), clean) > psnr_db(observed, clean) - 2.5


@pytest.mark.parametrize("sigma", [8, 15, 30])
def test_noise_on_white_paper_is_found_though_half_of_it_is_clipped(sigma: int) -> None:
    clean = written(24, 20, 255)
    observed = parse(f"gaussian:sigma={sigma}+quantize")(clean[None], torch.Generator().manual_seed(0)).observed[0]
    noise = denoise.load("photo").estimate(rows_of(observed), observed.shape)
    assert noise.sigma == pytest.approx(sigma, rel=0.25)


@pytest.mark.parametrize("model", ["gaussian", "photo"])
def test_what_is_filled_does_not_lower_the_level(noisy: np.ndarray, model: str, tmp_path: Path) -> None:
    holes = np.zeros((192, 192), dtype=bool)
    holes[80:110, 90:120] = True
    Image.fromarray(noisy).save(tmp_path / "a.png")
    report = denoise.restore(tmp_path / "a.png", mask=holes, model=f"{model},inpaint")
    assert report.sigma == [pytest.approx(20, abs=3)]
    with Image.open(tmp_path / "a.restored.png") as restored:
        again = denoise.restore(noisy, mask=holes, model=f"{model},inpaint").astype(int)
        assert np.abs(np.asarray(restored) - again).max() <= 3  # the filled were rounded in between


def test_gray_pictures_are_restored_as_well(photos: list[Tensor]) -> None:
    gray = [photo.mean(0, keepdim=True) for photo in photos]
    assert gain_db(denoise.load("gaussian"), gray, "gaussian:sigma=25", 25) > 7.2


@pytest.mark.parametrize("model", ["gaussian", "photo"])
def test_windows_leave_no_seam(photos: list[Tensor], model: str) -> None:
    """With the default context the windowed result is within half an 8-bit step of the result in one piece."""
    from denoise.windows import Windows

    whole, cut = denoise.load(model), denoise.load(model)
    cut.windows = Windows(size=168, context=whole.windows.context, fade=whole.windows.fade, multiple_of=8)
    for number, photo in enumerate(photos):
        observed = photo + 25 / 255 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(number))
        assert (whole(observed, 25) - cut(observed, 25)).abs().max() < 0.5 / 255


@pytest.mark.parametrize("weights", ["photo", "gaussian"])
def test_a_dithered_picture_has_no_noise(photos: list[Tensor], weights: str) -> None:
    dithered = Image.fromarray((photos[0] * 255).byte().permute(1, 2, 0).numpy()).convert("1")
    restored = denoise.load(weights)(dithered.convert("L"))
    assert (np.asarray(restored.point(lambda level: 255 * (level > 127))) == np.asarray(dithered) * 255).all()
