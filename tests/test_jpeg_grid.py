from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from denoise.corruptions.spec import parse
from denoise.evaluation.metrics import psnr_db, round_to_8_bits
from denoise.jpeg_grid import find_lead, led
from denoise.loading import load
from denoise.noise import Noise
from denoise.restorer import Restorer
from denoise.windows import Windows, rows_of
from tests.conftest import card


def through_jpeg(picture: torch.Tensor, quality: int) -> torch.Tensor:
    return parse(f"jpeg:quality={quality},half_colour=1")(picture[None], torch.Generator()).observed[0]


def lead_of(picture: torch.Tensor) -> tuple[int, int]:
    return find_lead(rows_of(picture), picture.shape)


@pytest.fixture(scope="module")
def small() -> torch.Tensor:
    """A photo scaled down to a third, where no block that it once had is left. Shape: `[3, 142, 213]`, 0..1"""
    photo = Image.fromarray(load_sample_image("china.jpg"))
    pixels = np.asarray(photo.resize((213, 142), Image.Resampling.LANCZOS), np.float32)
    return torch.from_numpy(pixels / 255).movedim(2, 0)


@pytest.mark.parametrize("quality", [30, 75, 90])
@pytest.mark.parametrize("cut", [(0, 0), (3, 5), (7, 1), (0, 4), (4, 0)])
def test_blocks_are_found_wherever_a_picture_was_cut(small: torch.Tensor, cut: tuple[int, int], quality: int) -> None:
    held = through_jpeg(small, quality)
    assert lead_of(held[:, cut[0] :, cut[1] :]) == cut


def test_blocks_of_gray_pictures_and_below_noise_from_before(small: torch.Tensor) -> None:
    noisy = small + 12 / 255 * torch.randn(small.shape)
    assert lead_of(through_jpeg(noisy, 85)[:, 2:, 6:]) == (2, 6)
    assert lead_of(through_jpeg(small[1:2], 75)[:, 2:, 6:]) == (2, 6)


def test_a_picture_of_any_size_is_sampled(small: torch.Tensor) -> None:
    """Each row of tiles is read once, whatever the length."""
    tall = through_jpeg(small, 80)[:, :136].repeat(1, 12, 1)
    picture, asked = tall[:, 1:, 2:], []

    def read(start: int, stop: int) -> torch.Tensor:
        asked.append(stop - start)
        return picture[:, start:stop]

    assert find_lead(read, picture.shape) == (1, 2)
    assert len(asked) == 4 and sum(asked) < picture.shape[1] / 5


def test_what_was_never_jpeg_stays_where_it_is(small: torch.Tensor) -> None:
    for sigma in (0, 1, 5, 25):
        noisy = round_to_8_bits(small + sigma / 255 * torch.randn(small.shape))
        assert lead_of(noisy) == (0, 0)
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


def test_a_cut_jpeg_is_restored_as_the_whole(small: torch.Tensor) -> None:
    """As good on average; to the bit it cannot be, for what is beyond the borders is mirrored."""
    restorer = load("photo")
    for quality in (40, 85):
        held = through_jpeg(small, quality)
        whole, cut = restorer(held)[:, 4:, 3:], restorer(held[:, 4:, 3:])
        inner = slice(16, -16)
        clean, damaged, *restored = (x[:, inner, inner] for x in (small[:, 4:, 3:], held[:, 4:, 3:], whole, cut))
        of_whole, of_cut = (psnr_db(one, clean) - psnr_db(damaged, clean) for one in restored)
        assert of_whole > 0.4
        assert of_cut == pytest.approx(of_whole, abs=0.05)
