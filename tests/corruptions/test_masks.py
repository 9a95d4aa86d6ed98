from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import label
from torch import Tensor

from denoise.corruptions import masks
from denoise.corruptions.base import Compose, OneOf, Sometimes
from denoise.corruptions.image import Gaussian
from denoise.corruptions.spec import parse
from denoise.errors import UsageError

KINDS = [
    masks.RandomPixels,
    masks.Rectangles,
    masks.Strokes,
    masks.Scratches,
    masks.Text,
    masks.LostBlocks,
    masks.LostLines,
]


def pictures(height: int = 96, width: int = 128, count: int = 3, bands: int = 3) -> Tensor:
    return torch.rand(count, bands, height, width, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1


def made(kind: type[masks.Holes], clean: Tensor, seed: int = 0, **settings: object) -> Tensor:
    """The masks that are drawn. Shape: `[B, 1, H, W]`."""
    seen = kind(**settings)(clean, torch.Generator().manual_seed(seed))  # type: ignore[arg-type]
    assert seen.condition is not None
    return seen.condition


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bands", [1, 3])
def test_pixels_are_gone_in_the_holes_and_the_same_elsewhere(kind: type[masks.Holes], bands: int) -> None:
    clean = pictures(bands=bands)
    seen = kind()(clean, torch.Generator().manual_seed(0))  # type: ignore[call-arg]
    assert seen.condition is not None and seen.weight is not None
    assert seen.condition.shape == seen.weight.shape == (3, 1, 96, 128)
    assert set(seen.condition.unique().tolist()) == {0.0, 1.0}
    holes = seen.condition.expand_as(clean) > 0
    assert (seen.observed[holes] == 0).all()
    assert torch.equal(seen.observed[~holes], clean[~holes])
    assert torch.equal(seen.target, clean)
    assert (seen.weight[seen.condition > 0] == 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_draws_alike_and_examples_differ(kind: type[masks.Holes]) -> None:
    first, again, other = (made(kind, pictures(), seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 3), (31, 37)])
def test_any_size(kind: type[masks.Holes], size: tuple[int, int]) -> None:
    assert made(kind, pictures(*size), share=0.2).shape[2:] == size


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_the_share_is_about_what_was_asked_for(kind: type[masks.Holes], share: float) -> None:
    """Marks at the border lie partly outside and some overlap more than others, so it is no exact figure."""
    found = made(kind, pictures(256, 320, 6), share=share).mean().item()
    assert 0.5 * share < found < 1.5 * share


def test_random_pixels_are_independent() -> None:
    mask = made(masks.RandomPixels, pictures(400, 400, 1), share=0.3)
    assert mask.mean().item() == pytest.approx(0.3, abs=0.006)
    both = mask[..., 1:] * mask[..., :-1]
    assert both.mean().item() == pytest.approx(0.09, abs=0.006)


def test_squares_are_squares() -> None:
    mask = made(masks.Rectangles, pictures(200, 200, 1), side_px=16, share=0.005)[0, 0].numpy()
    found, count = label(mask)
    sizes = {(found == k).sum() for k in range(1, count + 1)}
    inside = {256} if not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()) else sizes
    assert 256 in sizes | inside and max(sizes) <= 2 * 256


def test_lost_blocks_lie_on_the_grid() -> None:
    mask = made(masks.LostBlocks, pictures(60, 76, 2), block_px=8)
    for row in range(0, 60, 8):
        for column in range(0, 76, 8):
            assert len(mask[0, 0, row : row + 8, column : column + 8].unique()) == 1


@pytest.mark.parametrize(("along", "axis"), [("rows", 3), ("columns", 2)])
def test_lost_lines_are_whole(along: str, axis: int) -> None:
    mask = made(masks.LostLines, pictures(), along=along, width_px=1)
    assert (mask.mean(axis) * (1 - mask.mean(axis)) == 0).all()


def test_scratches_are_thin() -> None:
    """No square of twice the greatest width fits into one, except where several cross."""
    mask = made(masks.Scratches, pictures(300, 300, 1), share=0.02, width_px=(1, 3))
    eroded = -torch.nn.functional.max_pool2d(-mask, 9, stride=1)
    assert eroded.mean() < 0.02 * mask.mean()


def test_text_takes_typefaces_from_a_folder(tmp_path: Path) -> None:
    import matplotlib as mpl

    fonts = Path(mpl.get_data_path(), "fonts", "ttf")
    assert made(masks.Text, pictures(), fonts=str(fonts)).any()
    with pytest.raises(UsageError, match=r"no \.ttf or \.otf file"):
        masks.Text(fonts=str(tmp_path))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: masks.RandomPixels(share=1.0),
        lambda: masks.Rectangles(side_px=0),
        lambda: masks.LostBlocks(block_px=0),
        lambda: masks.LostLines(along="diagonal"),  # type: ignore[arg-type]
        lambda: masks.Text(size_px=1),
        lambda: masks.Strokes(width_px=(5, 2)),
    ],
)
def test_settings_that_make_no_sense(wrong: object) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        wrong()  # type: ignore[operator]


def test_noise_is_seen_around_the_holes_and_not_told() -> None:
    clean = pictures()
    seen = Compose([Gaussian(25), masks.Rectangles()])(clean, torch.Generator().manual_seed(0))
    assert seen.condition is not None
    assert set(seen.condition.unique().tolist()) == {0.0, 1.0}
    known = (seen.condition == 0).expand_as(clean)
    assert (seen.observed - clean)[known].std().item() == pytest.approx(25 / 255, rel=0.05)
    assert torch.equal(seen.target, clean)


def test_several_kinds_of_holes_unite() -> None:
    clean = pictures()
    both = Compose([masks.LostLines(along="rows"), masks.LostLines(along="columns")])
    params = both.draw(clean, torch.Generator().manual_seed(0))
    seen = both.apply(clean, params)
    assert seen.condition is not None
    assert torch.equal(seen.condition, torch.maximum(params["0"]["mask"], params["1"]["mask"]))


def test_noise_beside_pictures_with_holes_is_none() -> None:
    clean = pictures(count=8)
    mixed = Compose([OneOf([masks.Text(), Gaussian(50)]), masks.Scratches()])
    params = mixed.draw(clean, torch.Generator().manual_seed(0))
    seen = mixed.apply(clean, params)
    assert seen.condition is not None
    noisy = params["0"]["choice"] == 1
    assert 0 < noisy.sum() < 8
    assert torch.equal(seen.condition[noisy], params["1"]["mask"][noisy])
    assert torch.equal(seen.condition[~noisy], torch.maximum(params["0"]["0"]["mask"], params["1"]["mask"][~noisy]))


def test_some_pictures_without_holes() -> None:
    clean = pictures(count=20)
    seen = Sometimes(masks.Strokes(), 0.5)(clean, torch.Generator().manual_seed(0))
    assert seen.condition is not None
    holed = seen.condition.amax((1, 2, 3))
    assert 0 < holed.mean() < 1
    assert torch.equal(seen.observed[holed == 0], clean[holed == 0])


def test_what_makes_holes() -> None:
    assert masks.makes_holes(parse("gaussian:sigma=3+scratches"))
    assert masks.makes_holes(OneOf([Gaussian(1), masks.Text()]))
    assert not masks.makes_holes(parse("gaussian"))


def test_the_area_that_marks_must_have() -> None:
    """Marks that fall at random leave exp(-a) of the area, a their own in units of it."""
    rng = np.random.default_rng(0)
    hit = np.zeros(10_000, dtype=bool)
    for _ in range(round(masks._area(0.4, 100, 100))):
        hit[rng.integers(len(hit))] = True
    assert hit.mean() == pytest.approx(0.4, abs=0.02)
    assert masks._area(0, 5, 5) > 0
    assert math.isfinite(masks._area(0.95, 5, 5))


def test_there_is_always_a_lost_pixel() -> None:
    seen = masks.RandomPixels(share=1e-6)(torch.rand(4, 3, 8, 8), torch.Generator().manual_seed(0))
    assert (seen.condition.sum((1, 2, 3)) == 1).all()


def test_one_block_may_be_larger_than_the_picture() -> None:
    rng = np.random.default_rng(0)
    assert masks.LostBlocks(block_px=1_000_000).mask(20, 30, 0.9, rng).all()
