"""Blur, resolution, precision and JPEG against SciPy, scikit-image and Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from skimage.transform import downscale_local_mean
from torch import Tensor

from denoise.corruptions.base import Compose, Identity, Sometimes
from denoise.corruptions.image import AsJpeg, Blur, Downsample, Gaussian, Gray, Jpeg, Quantize
from denoise.errors import UsageError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(batch: int = 2, bands: int = 3, height: int = 40, width: int = 56) -> Tensor:
    """Smooth colours with a few edges, 0..1."""
    coarse = torch.rand(batch, bands, 5, 7, generator=seeded(1))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")


def test_blur_is_scipys() -> None:
    clean = pictures()
    ours = Blur(1.5)(clean, seeded()).observed
    theirs = ndimage.gaussian_filter(clean.numpy(), (0, 0, 1.5, 1.5), mode="nearest", truncate=4)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)


def test_blur_of_nothing_is_the_identity() -> None:
    clean = pictures()
    torch.testing.assert_close(Blur(0.0)(clean, seeded()).observed, clean)
    torch.testing.assert_close(Blur((0.0, 3.0)).apply(clean, {"std_px": torch.zeros(2, 1, 1, 1)}).observed, clean)


def test_downsample_by_area_loses_what_a_mean_loses() -> None:
    clean = pictures()
    small = torch.from_numpy(downscale_local_mean(clean.numpy(), (1, 1, 2, 2)))
    expected = torch.nn.functional.interpolate(small, (40, 56), mode="bicubic")
    torch.testing.assert_close(Downsample(2.0, "area")(clean, seeded()).observed, expected)


def test_downsample_gives_each_example_its_factor() -> None:
    clean = torch.rand(3, 1, 32, 32, generator=seeded())
    params = {"factor": torch.tensor([1.0, 2.0, 8.0]).reshape(3, 1, 1, 1)}
    observed = Downsample((1.0, 8.0)).apply(clean, params).observed
    torch.testing.assert_close(observed[0], clean[0])
    assert clean[1].std() > observed[1].std() > observed[2].std()


def test_downsample_refuses_unknown_methods() -> None:
    with pytest.raises(UsageError, match="bicubic or area"):
        Downsample(2.0, "nearest")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="factor"):
        Downsample(0.5)


@pytest.mark.parametrize("bits", [1, 8])
def test_quantize_is_clipping_and_rounding(bits: int) -> None:
    clean = torch.linspace(-0.2, 1.2, 300).reshape(1, 1, 10, 30)
    steps = 2**bits - 1
    observed = Quantize(bits)(clean, seeded()).observed * steps
    torch.testing.assert_close(observed, observed.round())
    torch.testing.assert_close(observed, (clean.clamp(0, 1) * steps).round())
    with pytest.raises(UsageError, match="bits=0"):
        Quantize(0)


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("half_colour", [0.0, 1.0])
def test_jpeg_is_what_pillow_decodes(bands: int, half_colour: float) -> None:
    clean = pictures(bands=bands, height=37, width=23)
    corruption = Jpeg((60.0, 95.0), half_colour)
    params = corruption.draw(clean, seeded())
    observed = corruption.apply(clean, params).observed
    for one, quality in enumerate(params["quality"].flatten().tolist()):
        codes = (clean[one] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        file = io.BytesIO()
        picture = Image.fromarray(codes[..., 0]) if bands == 1 else Image.fromarray(codes)
        picture.save(file, "JPEG", quality=int(quality), subsampling=2 if half_colour else 0)
        decoded = np.asarray(Image.open(file)).reshape(codes.shape)
        np.testing.assert_array_equal((observed[one] * 255).round().permute(1, 2, 0).numpy(), decoded)


@pytest.mark.parametrize("bands", [1, 3])
def test_jpeg_tells_what_rounding_by_the_finest_step_of_its_file_leaves(bands: int) -> None:
    clean, qualities = pictures(bands=bands), (1, 10, 35, 50, 75, 96, 100)
    told, expected = [], []
    for quality in qualities:
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
        expected.append(min(Image.open(file).quantization[0]) / 12**0.5 / 255)  # type: ignore[attr-defined]
        condition = Jpeg(float(quality))(clean, seeded()).condition
        assert condition is not None
        assert condition.shape == (len(clean), 1, *clean.shape[2:])
        assert condition.unique().numel() == 1
        told.append(condition.flatten()[0].item())
    assert told == pytest.approx(expected)


def test_jpeg_draws_whole_qualities_and_both_kinds_of_colour() -> None:
    params = Jpeg((60.0, 100.0), 0.5).draw(torch.zeros(500, 3, 1, 1), seeded())
    quality = params["quality"]
    assert torch.equal(quality, quality.round())
    assert (quality.min(), quality.max()) == (60, 100)
    assert params["half_colour"].float().mean().item() == pytest.approx(0.5, abs=0.07)


def test_jpeg_loses_more_at_lower_quality_and_clips() -> None:
    clean = pictures() + 0.1 * torch.randn(2, 3, 40, 56, generator=seeded())
    losses = [(Jpeg(quality)(clean, seeded()).observed - clean.clamp(0, 1)).square().mean() for quality in (95.0, 30.0)]
    assert losses[0] < losses[1]
    assert Jpeg(90.0)(clean * 9, seeded()).observed.max() == 1
    with pytest.raises(UsageError, match="2 bands"):
        Jpeg()(clean[:, :2], seeded())
    with pytest.raises(UsageError, match="quality"):
        Jpeg(0.0)


def test_what_a_jpeg_file_holds_is_the_target() -> None:
    clean = pictures(16, height=32, width=48)
    result = AsJpeg(Gaussian(20.0), probability=0.5, quality=80.0)(clean, seeded())
    stored = Jpeg(80.0, half_colour=1.0)(clean, seeded()).observed
    through = (result.target != clean).flatten(1).any(1)
    assert 3 <= through.sum() <= 13
    assert torch.equal(result.target[through], stored[through])
    noise = 255 * (result.observed - result.target)
    assert noise.std().item() == pytest.approx(20, rel=0.02)
    assert abs(noise.mean().item()) < 0.5
    torch.testing.assert_close(result.condition, torch.full_like(clean[:, :1], 20 / 255))


def test_a_jpeg_file_forgets_no_damage() -> None:
    clean, stored = pictures(), AsJpeg(Identity(), probability=1.0)
    for inner in (stored, Sometimes(stored, 1.0)):
        with pytest.raises(UsageError, match="AsJpeg would throw away the damage before it"):
            Compose([Gaussian(50.0), inner])(clean, seeded())
    for whole in (Gray(Compose([Identity(), stored])), Compose([Sometimes(Gaussian(), 0.0), stored, Gaussian(50.0)])):
        assert torch.isfinite(whole(clean, seeded()).observed).all()


def test_a_gray_picture_goes_through_jpeg_as_one_band() -> None:
    clean = pictures()
    result = Gray(AsJpeg(Gaussian(0.0), probability=1.0, quality=50.0), probability=1.0)(clean, seeded())
    assert torch.equal(result.target[:, 0], result.target[:, 2])
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    assert 0 < (result.target[:, 0] - (clean * weights).sum(1)).abs().max() < 0.2
