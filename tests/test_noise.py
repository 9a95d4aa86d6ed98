from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from denoise.loading import load
from denoise.noise import Noise, brighter
from denoise.restorer import Restorer
from denoise.windows import Windows, rows_of
from tests.conftest import card, photo


def test_estimate_sees_the_whole_picture(tiny_weights: Path) -> None:
    """In windows as in one piece: the map agrees away from what the smaller context cannot see, the mean nearly so."""
    picture = torch.rand(3, 150, 210)
    small, large = load(tiny_weights, dtype="float32"), load(tiny_weights, dtype="float32")
    small.windows = Windows(size=96, context=24, fade=8, multiple_of=8)
    one, other = (r.estimate(lambda a, b: picture[:, a:b], picture.shape) for r in (small, large))
    assert one.map is not None and other.map is not None
    assert one.map.shape == other.map.shape == (1, 1, 19, 27)
    torch.testing.assert_close(one.map, other.map, atol=1e-4, rtol=0)
    assert one.sigma == pytest.approx(other.sigma, rel=1e-3)


def test_statistic_picture_is_one_level(tiny_weights: Path) -> None:
    mapped = load(tiny_weights, dtype="float32")
    single = Restorer(mapped.network, mapped.noise_level, card(statistic="picture"), dtype="float32")
    picture = torch.rand(3, 32, 32)
    noise = single.estimate(lambda a, b: picture[:, a:b], picture.shape)
    assert noise.map is None
    torch.testing.assert_close(single(picture), single(picture, sigma=noise.sigma))


class Brightness(torch.nn.Module):
    """Takes how bright a cell is for how noisy it is."""

    multiple_of = 8

    def forward(self, observed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        level = torch.nn.functional.avg_pool2d(observed.mean(1, keepdim=True), self.multiple_of)
        return level, torch.zeros_like(level)


def brightness(picture: torch.Tensor, silent: np.ndarray | None = None) -> float:
    """The estimate of `Brightness`, 0..1."""
    restorer = Restorer(Brightness(), Brightness(), card(statistic="picture"), "cpu", "float32", Windows(72))
    of_rows = None if silent is None else lambda start, stop: silent[start:stop]
    return restorer.estimate(lambda start, stop: picture[:, start:stop], picture.shape, of_rows).sigma / 255


@pytest.mark.parametrize("bands", [1, 3])
def test_places_of_one_colour_do_not_count_for_the_level(bands: int) -> None:
    """Nor do those beside them, which may be of it in part."""
    picture = torch.rand(bands, 48, 40)
    picture[:, :19] = torch.arange(bands)[:, None, None] / 4
    assert brightness(picture) == pytest.approx(picture[:, 24:].mean().item())
    assert found(picture[:, :16]) == Noise(0.0, drawn=True)


def test_in_a_drawing_places_of_one_colour_do_count() -> None:
    picture = torch.rand(3, 48, 40)
    picture[:, :16] = 0
    picture[:, 30, 20:30] = 1
    assert brightness(picture) == pytest.approx(picture[:, 24:].mean().item())
    picture[:, 24:, 1::4] = picture[:, 24:, 2::4] = picture[:, 24:, ::4]
    picture[:, 25::4] = picture[:, 26::4] = picture[:, 24::4]
    assert brightness(picture) == pytest.approx(picture.mean().item())


def test_bands_of_one_colour_do_not_count_for_the_level() -> None:
    ink = torch.rand(4, 16, 16)
    ink[3] = 0
    assert brightness(ink) == pytest.approx(ink[:3].mean().item())


def test_silent_places_do_not_count_for_the_level() -> None:
    picture, silent = torch.rand(3, 40, 48), np.zeros((40, 48), dtype=bool)
    assert brightness(picture, silent) == pytest.approx(picture.mean().item())
    silent[3, 11] = silent[34:, 32:] = True
    counts = torch.ones(40, 48, dtype=torch.bool)
    counts[:16, :24] = counts[24:, 24:] = False
    assert brightness(picture, silent) == pytest.approx(picture[:, counts].mean().item())
    silent[::8, ::8] = True
    assert brightness(picture, silent) == pytest.approx(picture.mean().item())


def written(size_px: int, ink: int = 20, paper: int = 255) -> torch.Tensor:
    """A page that is full of writing. Shape: `[3, 120, 160]`, 0..1."""
    page = Image.new("L", (160, 120), paper)
    font = ImageFont.load_default(size_px)
    for line in range(120 // size_px):
        ImageDraw.Draw(page).text((3, line * size_px), "Wherever one looks, letters: agWQ5& " * 3, ink, font=font)
    return torch.from_numpy(np.asarray(page) / np.float32(255)).expand(3, -1, -1)


def blocks(side_px: int) -> torch.Tensor:
    """Squares of any colour, as of a small picture that was enlarged. Shape: `[3, 96, 96]`, 0..1."""
    draw = torch.Generator().manual_seed(side_px)
    colours = torch.randint(256, (3, 96 // side_px, 96 // side_px), generator=draw) / 255
    return colours.repeat_interleave(side_px, 1).repeat_interleave(side_px, 2)


def found(picture: torch.Tensor) -> Noise:
    """What is found by an estimator that takes brightness for noise."""
    restorer = Restorer(Brightness(), Brightness(), card(statistic="picture"), "cpu", "float32", Windows(72))
    return restorer.estimate(rows_of(picture), picture.shape)


def noisy(picture: torch.Tensor, sigma: float) -> torch.Tensor:
    """Noise, and the 8 bits of a file."""
    return ((picture + sigma / 255 * torch.randn(picture.shape)).clamp(0, 1) * 255).round() / 255


DRAWINGS = [written(9), written(12), written(24), written(12, 220, 30), blocks(3), blocks(8), blocks(16)]


@pytest.mark.parametrize("picture", DRAWINGS)
@pytest.mark.parametrize("bands", [1, 3])
def test_what_was_drawn_has_no_noise(picture: torch.Tensor, bands: int) -> None:
    assert found(picture[:bands]) == Noise(0.0, drawn=True)
    for sigma in (1, 3, 30):
        assert not found(noisy(picture[:bands], sigma)).drawn


def test_a_dithered_picture_has_no_noise() -> None:
    pixels = np.asarray(Image.fromarray(photo()).convert("1"), dtype=np.float32)
    assert found(torch.from_numpy(pixels)[None]) == Noise(0.0, drawn=True)


def test_a_starry_sky_was_not_drawn() -> None:
    """Of 16 bits there are many, and in 8 there are few shades."""
    sky = (2 + 0.5 * torch.randn(3, 64, 64)).clamp(0) / 255
    sky[:, 30, 20] = 1
    assert len((sky * 255).round().unique()) < 10
    assert not found(sky).drawn


def test_a_noisy_thing_on_white_was_not_drawn() -> None:
    picture = torch.ones(3, 96, 96)
    picture[:, 20:70, 30:60] = noisy(torch.full((3, 50, 30), 0.4), 8)
    assert not found(picture).drawn


def test_each_pixel_twice_is_no_drawing() -> None:
    assert not found(noisy(torch.full((3, 48, 48), 0.5), 20).repeat_interleave(2, 1).repeat_interleave(2, 2)).drawn


@pytest.mark.parametrize(("white", "by"), [(1.7, 1), (1.0, 1), (0.51, 1), (0.5, 2), (0.01, 64), (1e-9, 2**16), (0, 1)])
def test_how_much_brighter(white: float, by: int) -> None:
    assert brighter(white) == by


class OfPhotos(Brightness):
    """Sees nothing in what is darker than any photo."""

    def forward(self, observed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        level, weight = super().forward(observed)
        return level * (observed.max() > 0.25), weight


@pytest.mark.parametrize("white", [1.0, 0.2, 0.01])
def test_a_dark_picture_is_looked_at_brighter(white: float) -> None:
    for statistic in ("picture", "curve"):
        restorer = Restorer(OfPhotos(), OfPhotos(), card(statistic=statistic), "cpu", "float32", Windows(72))
        picture = torch.rand(3, 100, 80) * white
        noise = restorer.estimate(rows_of(picture), picture.shape)
        assert noise.sigma == pytest.approx(255 * picture.mean().item(), rel=1e-3)
        assert noise.map is None or noise.map.mean().item() == pytest.approx(noise.sigma / 255, rel=0.02)
