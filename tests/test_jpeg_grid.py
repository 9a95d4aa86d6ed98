from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from denoise.jpeg_grid import find_lead, led
from denoise.loading import load
from denoise.noise import Noise
from denoise.restorer import Restorer
from denoise.windows import Windows, rows_of
from tests.conftest import card


def through_jpeg(picture: np.ndarray, quality: int, subsampling: int = 2) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file))


def floats(picture: np.ndarray) -> torch.Tensor:
    """Shape: `[H, W]` or `[H, W, C]`, 0..255 -> `[C, H, W]`, 0..1"""
    return torch.from_numpy(np.atleast_3d(picture).astype(np.float32) / 255).movedim(2, 0)


def lead_of(picture: torch.Tensor) -> tuple[int, int]:
    return find_lead(rows_of(picture), picture.shape)


@pytest.fixture(scope="module")
def small() -> np.ndarray:
    """A photo scaled down to a third, where no block that it once had is left. Shape: `[142, 213, 3]`"""
    return np.asarray(Image.fromarray(load_sample_image("china.jpg")).resize((213, 142), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("quality", [30, 75, 90])
@pytest.mark.parametrize("cut", [(0, 0), (3, 5), (7, 1), (0, 4), (4, 0)])
def test_blocks_are_found_wherever_a_picture_was_cut(small: np.ndarray, cut: tuple[int, int], quality: int) -> None:
    held = floats(through_jpeg(small, quality))
    assert lead_of(held[:, cut[0] :, cut[1] :]) == cut


def test_blocks_of_gray_pictures_and_below_noise_from_before(small: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(0, 12, small.shape)
    noisy = (small + noise).clip(0, 255).round().astype(np.uint8)
    assert lead_of(floats(through_jpeg(noisy, 85))[:, 2:, 6:]) == (2, 6)
    assert lead_of(floats(through_jpeg(small[..., 1], 75))[:, 2:, 6:]) == (2, 6)


def test_a_picture_of_any_size_is_sampled(small: np.ndarray) -> None:
    """Each row of tiles is read once, whatever the length."""
    tall = np.concatenate([through_jpeg(small[:, :208], 80)[:136]] * 12)
    picture, asked = floats(tall)[:, 1:, 2:], []

    def read(start: int, stop: int) -> torch.Tensor:
        asked.append(stop - start)
        return picture[:, start:stop]

    assert find_lead(read, picture.shape) == (1, 2)
    assert len(asked) == 4 and sum(asked) < picture.shape[1] / 5


def test_what_was_never_jpeg_stays_where_it_is(small: np.ndarray) -> None:
    draw = np.random.default_rng(0)
    for sigma in (0, 1, 5, 25):
        noisy = (small + draw.normal(0, sigma, small.shape)).clip(0, 255).round()
        assert lead_of(floats(noisy)) == (0, 0)
    assert lead_of(torch.rand(1, 9, 200)) == lead_of(torch.full((3, 64, 64), 0.3)) == (0, 0)


@pytest.mark.parametrize("lead", [(0, 0), (3, 0), (0, 7), (5, 2)])
@pytest.mark.parametrize("size", [(9, 20), (40, 33)])
def test_what_leads_is_mirrored(lead: tuple[int, int], size: tuple[int, int]) -> None:
    picture = torch.rand(2, *size)
    read, shape = led(rows_of(picture), picture.shape, lead)
    expected = np.pad(picture.numpy(), ((0, 0), (lead[0], 0), (lead[1], 0)), mode="reflect")
    assert shape == expected.shape
    parts = [read(start, min(start + 6, shape[1])) for start in range(0, shape[1], 6)]
    assert np.array_equal(torch.cat(parts, dim=1).numpy(), expected)


def test_one_row_leads_itself() -> None:
    read, shape = led(rows_of(torch.tensor([[[1.0, 2.0]]])), (1, 1, 2), (2, 3))
    assert torch.equal(read(0, shape[1]), torch.tensor([[[2.0, 2.0, 2.0, 1.0, 2.0]] * 3]).reshape(1, 3, 5))


class Copy(torch.nn.Module):
    """Restores nothing."""

    multiple_of = 8
    receptive_field = 0

    def forward(self, observed: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return observed


class Level(Copy):
    """Shows what it is told."""

    def forward(self, observed: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return condition.expand_as(observed)


@pytest.mark.parametrize("size", [(8, 8), (61, 150), (150, 61)])
def test_what_leads_is_not_in_the_result(size: tuple[int, int]) -> None:
    """In one window and in several, rows come in order, and those before have been read: they may be written over."""
    picture = torch.rand(3, *size)
    restorer = Restorer(Copy(), None, card(), "cpu", "float32", Windows(64, 16, 8, 8))
    source, done = picture.clone(), 0
    noise = Noise(10.0, lead=(3, 5))
    for start, stop, rows in restorer.restore_rows(rows_of(source), source.shape, noise):
        assert start == done
        assert torch.equal(rows, picture[:, start:stop])
        source[:, start:stop] = 9
        done = stop
    assert done == size[0]


def test_the_noise_map_belongs_to_what_is_seen() -> None:
    cells = torch.arange(12.0).reshape(1, 1, 3, 4)
    noise = Noise(10.0, map=cells, cell=8, lead=(3, 5))
    restorer = Restorer(Level(), None, card(), "cpu", "float32")
    rows = torch.cat([r for _, _, r in restorer.restore_rows(rows_of(torch.rand(3, 21, 27)), (3, 21, 27), noise)], 1)
    fine = torch.nn.functional.interpolate(cells, scale_factor=8, mode="bilinear", align_corners=False)
    torch.testing.assert_close(rows, fine[0, :, 3:, 5:].expand_as(rows))


def test_a_cut_jpeg_is_restored_as_the_whole(small: np.ndarray) -> None:
    """As good on average; to the bit it cannot be, for what is beyond the borders is mirrored."""
    restorer, clean = load("photo"), floats(small)
    gains = []
    for quality in (40, 85):
        held = floats(through_jpeg(small, quality))
        whole, cut = restorer(held), restorer(held[:, 4:, 3:])
        inner = (slice(None), slice(16, -16), slice(16, -16))
        errors = [
            (x[:, 4:, 3:][inner] - clean[:, 4:, 3:][inner]).square().mean().log10().item()
            for x in (held, whole, torch.nn.functional.pad(cut, (3, 0, 4, 0)))
        ]
        gains.append([10 * (errors[0] - error) for error in errors[1:]])
    for of_whole, of_cut in gains:
        assert of_whole > 0.4
        assert of_cut == pytest.approx(of_whole, abs=0.05)
