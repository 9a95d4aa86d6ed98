import pytest
import torch

from denoise.models import NoiseLevel
from denoise.models.noise_level import pool_level


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


def test_the_pooled_level_is_a_weighted_mean() -> None:
    levels = torch.tensor([[[[1.0, 3.0]]], [[[2.0, 2.0]]]])
    assert pool_level(levels, torch.zeros_like(levels)).tolist() == [2, 2]
    sure_of_the_second = torch.tensor([0.0, 50.0]).expand_as(levels)
    torch.testing.assert_close(pool_level(levels, sure_of_the_second), torch.tensor([3.0, 2.0]))
