import pytest
import torch
from scipy.stats import norm

from denoise.networks import NoiseLevel, noise_level
from denoise.networks.noise_level import before_clipping, level_curve, pool_level


@pytest.mark.parametrize(("depths", "unshuffle", "cell"), [((2, 1, 1), 2, 8), ((1,), 4, 4)])
def test_shapes_and_range(depths: tuple[int, ...], unshuffle: int, cell: int) -> None:
    network = NoiseLevel(width=4, depths=depths, unshuffle=unshuffle)
    assert network.multiple_of == cell
    levels, weights = network(torch.rand(2, 3, 16, 24))
    assert levels.shape == weights.shape == (2, 1, 16 // cell, 24 // cell)
    assert (levels > 0).all()


def test_levels_are_float32_in_any_format() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        levels, weights = NoiseLevel(width=4)(torch.rand(1, 3, 8, 8))
    assert levels.dtype == weights.dtype == torch.float32


def test_no_cell_is_surer_than_the_bound() -> None:
    network = NoiseLevel(width=4)
    torch.nn.init.constant_(network.tail.bias, 1e6)
    _, weights = network(torch.rand(1, 3, 8, 8))
    assert weights.max() == 8


@pytest.mark.parametrize("sigma", [0.004, 0.05, 0.2])
@pytest.mark.parametrize("distance", [0, 0.3, 0.6, 1, 1.5, 2, 3, 4])
def test_the_level_before_clipping_is_that_of_the_normal_distribution(sigma: float, distance: float) -> None:
    below, at = norm.cdf(distance), norm.pdf(distance)  # of min(noise, distance), in units of sigma
    mean = distance * (1 - below) - at
    deviation = (below - distance * at + distance**2 * (1 - below) - mean**2) ** 0.5
    observed = torch.full((1, 3, 8, 8), 1 + sigma * (mean - distance))
    level = before_clipping(torch.full((1, 1, 1, 1), sigma * deviation), observed)
    assert level.item() == pytest.approx(sigma, rel=0.02)


def test_what_was_not_clipped_keeps_its_level() -> None:
    observed = 1 + 0.1 * torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    levels = torch.full((1, 1, 2, 2), 0.1)
    assert torch.equal(before_clipping(levels, observed), levels)
    torch.testing.assert_close(before_clipping(levels, (observed - 0.9).clamp(0, 1)), levels, rtol=1e-4, atol=0)


def test_the_pooled_level_is_a_weighted_mean() -> None:
    levels = torch.tensor([[[[1.0, 3.0]]], [[[2.0, 2.0]]]])
    assert pool_level(levels, torch.zeros_like(levels)).tolist() == [2, 2]
    sure_of_the_second = torch.tensor([0.0, 50.0]).expand_as(levels)
    torch.testing.assert_close(pool_level(levels, sure_of_the_second), torch.tensor([3.0, 2.0]))


def test_the_curve_of_equal_levels_is_that_level() -> None:
    generator = torch.Generator().manual_seed(0)
    weights, brightness = (torch.rand(1, 1, 5, 7, generator=generator) for _ in range(2))
    levels = torch.full((1, 1, 5, 7), 0.1)
    torch.testing.assert_close(level_curve(levels, weights, brightness), levels)


def test_each_picture_of_a_batch_has_its_own_curve() -> None:
    levels, weights, brightness = torch.rand(3, 2, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    alone = [level_curve(*(values[k : k + 1] for values in (levels, weights, brightness))) for k in range(2)]
    torch.testing.assert_close(level_curve(levels, weights, brightness), torch.cat(alone))


def test_the_curve_follows_brightness_and_distrusts_what_is_unsure() -> None:
    generator = torch.Generator().manual_seed(0)
    brightness = torch.rand(1, 1, 40, 50, generator=generator)
    truth = 0.02 + 0.06 * brightness
    unsure = torch.rand(1, 1, 40, 50, generator=generator) < 0.5
    levels = torch.where(unsure, truth + 0.2, truth)
    weights = torch.where(unsure, -8.0, 0.0)
    curve = level_curve(levels, weights, brightness)
    inner = (brightness > 0.15) & (brightness < 0.85)  # smoothing bends the ends
    assert ((curve - truth).abs() / truth)[inner].max() < 0.1


def test_the_curve_is_the_same_by_parts_and_can_be_learned_through(monkeypatch: pytest.MonkeyPatch) -> None:
    levels, weights, brightness = torch.rand(3, 2, 1, 9, 11, generator=torch.Generator().manual_seed(0))
    whole, slopes, held = [], [], []
    exp = torch.exp
    monkeypatch.setattr(torch, "exp", lambda table: held.append(table.numel()) or exp(table))
    for cells in (2**16, 10):
        monkeypatch.setattr(noise_level, "_CELLS", cells)
        asked = levels.clone().requires_grad_()
        whole.append(level_curve(asked, weights, brightness))
        slopes.append(torch.autograd.grad(whole[-1].square().sum(), asked)[0])
    torch.testing.assert_close(whole[1], whole[0], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-4, atol=1e-7)
    assert held[0] == 2 * 33 * 99 and max(held[1:]) == 2 * 33 * 10


@pytest.mark.parametrize("value", [-0.2, 0.0, 1.0, 1.3])
def test_the_curve_takes_any_brightness(value: float) -> None:
    one = torch.ones(1, 1, 1, 1)
    assert float(level_curve(0.07 * one, 0 * one, value * one)) == pytest.approx(0.07)
