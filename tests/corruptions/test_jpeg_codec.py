import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor

from denoise.corruptions.degradations import Jpeg
from denoise.corruptions.jpeg_codec import through_jpeg

PHOTOS = torch.from_numpy(np.stack(load_sample_images().images)).permute(0, 3, 1, 2)[..., 100:292, 200:392].float()


def _both(codes: Tensor, quality: float, half: bool) -> tuple[Tensor, Tensor]:
    """What Pillow makes of a picture, and what we make of it."""
    draw = {
        "quality": torch.full((len(codes), 1, 1, 1), quality),
        "half_colour": torch.full((len(codes), 1, 1, 1), half),
    }
    return Jpeg().apply(codes / 255, draw).observed * 255, through_jpeg(codes, **draw)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("quality", [1.0, 30.0, 60.0, 90.0, 97.0])
@pytest.mark.parametrize("bands", [1, 3])
def test_the_damage_is_that_of_pillow(quality: float, half: bool, bands: int) -> None:
    codes = PHOTOS[:, :bands]
    theirs, ours = _both(codes, quality, half)
    damage = (theirs - codes).square().mean().item()
    assert (ours - codes).square().mean().item() == pytest.approx(damage, rel=0.02)
    assert (ours - theirs).square().mean() < 0.02 * damage + 1, "what differs is rounding"


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (16, 33), (97, 131)])
@pytest.mark.parametrize("half", [False, True])
def test_any_size(size: tuple[int, int], half: bool) -> None:
    codes = PHOTOS[..., : size[0], : size[1]]
    theirs, ours = _both(codes, 90.0, half)
    assert ours.shape == codes.shape
    assert (ours - theirs).abs().mean() < 1.5
    assert torch.equal(ours, ours.round().clamp(0, 255))


def test_each_example_has_its_own_quality() -> None:
    quality = torch.tensor([20.0, 90.0])[:, None, None, None]
    half = torch.tensor([True, False])[:, None, None, None]
    together = through_jpeg(PHOTOS, quality, half)
    for k in range(2):
        assert torch.equal(together[k : k + 1], through_jpeg(PHOTOS[k : k + 1], quality[k : k + 1], half[k : k + 1]))
