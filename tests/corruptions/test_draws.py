"""Ranges are checked, numbers are drawn per example."""

from __future__ import annotations

import math

import pytest
import torch

from denoise.corruptions.draws import as_fraction, as_range, choose, normal, uniform
from denoise.errors import UsageError


def test_a_number_and_a_list_become_a_pair() -> None:
    assert as_range(5, "sigma") == (5.0, 5.0)
    assert as_range([0, 55], "sigma") == (0.0, 55.0)


@pytest.mark.parametrize("value", [-1.0, 256.0, (5.0, 2.0), (1.0,), (1.0, 2.0, 3.0), math.nan, (0.0, math.nan)])
def test_ranges_out_of_bounds_are_refused(value: float | tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match=r"sigma=.* is not allowed"):
        as_range(value, "sigma", high=255)


def test_nothing_infinite() -> None:
    with pytest.raises(UsageError):
        as_range(math.inf, "sigma")


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_fractions_out_of_bounds_are_refused(value: float) -> None:
    with pytest.raises(UsageError, match=r"within 0\.\.1"):
        as_fraction(value, "probability")


def test_uniform_is_one_number_per_example_within_bounds() -> None:
    numbers = uniform((2.0, 4.0), torch.zeros(3000, 1, 2, 2), torch.Generator().manual_seed(0))
    assert numbers.shape == (3000, 1, 1, 1)
    assert 2 <= numbers.min() < 2.01 < 3.99 < numbers.max() <= 4
    assert uniform((2.0, 4.0), torch.zeros(3, 1, 7), torch.Generator()).shape == (3, 1, 1)


def test_draws_lie_on_the_device_of_the_signal() -> None:
    elsewhere = torch.zeros(3, 1, 2, 2, device="meta")  # with a generator of the CPU
    generator = torch.Generator().manual_seed(0)
    for drawn in (
        uniform((0.0, 1.0), elsewhere, generator),
        normal((3, 1), elsewhere, generator),
        choose([1.0, 1.0], elsewhere, generator),
    ):
        assert drawn.device.type == "meta"
