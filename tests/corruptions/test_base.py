"""How corruptions combine: levels, targets, weights, choices and replays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from denoise.corruptions.base import Combination, Compose, Corrupted, Corruption, Identity, OneOf, Params, Sometimes
from denoise.corruptions.image import Blur, Demosaic, Gaussian, Gray, Speckle
from denoise.errors import UsageError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Shift(Corruption):
    """Adds a constant; says where it counts, and nothing of noise."""

    def __init__(self, by: float, weight: float | None = None) -> None:
        super().__init__()
        self.by = by
        self.weight = weight

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:  # noqa: ARG002
        return {}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # noqa: ARG002
        weight = None if self.weight is None else torch.full_like(clean[:, :1], self.weight)
        return Corrupted(clean + self.by, None, clean, weight)


def test_compose_adds_independent_levels_in_variance() -> None:
    clean = torch.full((2, 3, 128, 128), 0.5)
    result = Compose([Gaussian(30.0), Gaussian(40.0)])(clean, seeded())
    assert result.condition is not None
    torch.testing.assert_close(result.condition, torch.full((2, 1, 128, 128), 50 / 255))
    assert (result.observed - clean).std().item() == pytest.approx(50 / 255, rel=0.02)
    assert result.target is clean


def test_compose_applies_each_part_to_what_came_before_and_multiplies_weights() -> None:
    clean = torch.rand(2, 1, 4, 5)
    result = Compose([Shift(1.0, 0.5), Shift(2.0), Shift(4.0, 0.5)])(clean, seeded())
    torch.testing.assert_close(result.observed, clean + 7)
    torch.testing.assert_close(result.weight, torch.full((2, 1, 4, 5), 0.25))
    assert result.condition is None


def test_one_corruption_may_stand_at_two_places() -> None:
    clean = torch.full((1, 3, 128, 128), 0.5)
    twice = Gaussian(30.0)
    result = Compose([twice, twice])(clean, seeded())
    assert (result.observed - clean).std().item() == pytest.approx(2**0.5 * 30 / 255, rel=0.02)


def test_a_step_that_is_no_noise_keeps_the_level_and_reports_zero_alone() -> None:
    clean = torch.rand(2, 3, 9, 7)
    noisy = Gaussian((5.0, 50.0))
    assert torch.count_nonzero(Blur()(clean, seeded()).condition) == 0
    composed = Compose([noisy, Blur()])
    params = composed.draw(clean, seeded())
    torch.testing.assert_close(composed.apply(clean, params).condition, noisy.apply(clean, params["0"]).condition)


def test_a_later_step_may_transform_the_level() -> None:
    clean = torch.full((4, 3, 128, 128), 0.5)
    result = Compose([Gaussian(25.0), Demosaic()])(clean, seeded())
    torch.testing.assert_close(result.observed.sub(0.5).std(), result.condition.mean(), rtol=0.02, atol=0)


def test_one_of_follows_its_weights_and_sends_each_example_one_way() -> None:
    clean = torch.zeros(4000, 1, 1, 1)
    result = OneOf([Shift(1.0), Shift(2.0), Shift(3.0), Shift(4.0)], [1, 2, 1, 0])(clean, seeded())
    counts = torch.bincount(result.observed.flatten().long(), minlength=5) / 4000
    torch.testing.assert_close(counts, torch.tensor([0, 0.25, 0.5, 0.25, 0]), rtol=0, atol=0.03)


def test_one_of_keeps_every_example_in_its_place() -> None:
    clean = torch.arange(64.0).reshape(64, 1, 1, 1).expand(64, 1, 2, 3)
    result = OneOf([Shift(0.25), Shift(0.5)])(clean, seeded())
    torch.testing.assert_close(result.observed.floor(), clean)
    torch.testing.assert_close(result.target, clean)


def test_one_of_fills_in_for_parts_that_say_nothing() -> None:
    clean = torch.zeros(32, 1, 2, 2)
    result = OneOf([Shift(1.0, 0.5), Gaussian(51.0)])(clean, seeded())
    shifted = result.observed[:, 0, 0, 0] == 1
    assert 0 < shifted.sum() < 32
    torch.testing.assert_close(result.condition[:, 0, 0, 0], torch.where(shifted, 0.0, 0.2))
    torch.testing.assert_close(result.weight[:, 0, 0, 0], torch.where(shifted, 0.5, 1.0))


def test_one_of_inside_compose_adds_to_the_level_per_example() -> None:
    clean = torch.full((16, 1, 2, 2), 0.5)
    composed = Compose([Gaussian(30.0), OneOf([Gaussian(40.0), Identity()])])
    params = composed.draw(clean, seeded())
    expected = torch.where(params["1"]["choice"] == 0, 50 / 255, 30 / 255)
    torch.testing.assert_close(composed.apply(clean, params).condition[:, 0, 0, 0], expected)


@pytest.mark.parametrize("batch", [1, 5])
def test_sometimes_never_and_always(batch: int) -> None:
    clean = torch.rand(batch, 3, 4, 4)
    never = Sometimes(Gaussian(25.0), 0.0)(clean, seeded())
    assert torch.equal(never.observed, clean)
    assert torch.count_nonzero(never.condition) == 0
    always = Sometimes(Gaussian(25.0), 1.0)(clean, seeded())
    torch.testing.assert_close(always.condition, torch.full((batch, 1, 4, 4), 25 / 255))


def test_sometimes_is_per_example() -> None:
    result = Sometimes(Gaussian(25.0), 0.3)(torch.zeros(2000, 1, 1, 1), seeded())
    assert (result.condition > 0).float().mean().item() == pytest.approx(0.3, abs=0.04)


class Same(Corruption):
    """Leaves everything as it is, and remembers whether the target was still what is observed."""

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:  # noqa: ARG002
        return {}

    def follow(self, before: Corrupted, params: Params) -> Corrupted:  # noqa: ARG002
        self.same = before.observed is before.target
        return before

    def apply(self, clean: Tensor, params: Params) -> Corrupted:
        return self.follow(Corrupted(clean, None, clean), params)


def test_observed_and_target_are_one_tensor_until_there_is_damage() -> None:
    clean, same = torch.rand(8, 3, 4, 4), Same()
    for before in (Identity(), Sometimes(Identity()), Gray(Sometimes(Identity()), 0.5)):
        Compose([before, Sometimes(same)])(clean, seeded())
        assert same.same
    for before in (Blur(), Sometimes(Blur()), Gray(Blur(), 0.5)):
        Compose([before, Sometimes(same)])(clean, seeded())
        assert not same.same


def nested() -> Combination:
    return OneOf([Compose([Gaussian((0.0, 50.0)), Sometimes(Blur())]), Speckle(), Identity()])


def test_nested_draws_replay() -> None:
    clean = torch.rand(12, 3, 6, 5)
    corruption = nested()
    params = corruption.draw(clean, seeded())
    first, second = corruption.apply(clean, params), corruption.apply(clean, params)
    again = nested()(clean, seeded())
    assert torch.equal(first.observed, second.observed)
    assert torch.equal(first.observed, again.observed)
    assert not torch.equal(first.observed, nested()(clean, seeded(1)).observed)


def test_nested_corruptions_never_touch_the_clean_batch_or_the_global_generator() -> None:
    clean = torch.rand(12, 3, 6, 5)
    copy, state = clean.clone(), torch.random.get_rng_state()
    nested()(clean, seeded())
    assert torch.equal(clean, copy)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_combinations_serve_one_dimension_too() -> None:
    sound = torch.rand(8, 2, 50)
    result = Sometimes(Shift(1.0))(sound, seeded())
    assert result.observed.shape == sound.shape
    assert result.condition.shape == (8, 1, 50)


def test_printed_form_shows_parts_and_settings() -> None:
    text = repr(Compose([Gaussian((0.0, 55.0)), Sometimes(Blur(1.0), 0.25)]))
    for part in (
        "Compose",
        "Gaussian(sigma=(0.0, 55.0))",
        "Sometimes",
        "weights=[0.25, 0.75]",
        "Blur(std_px=(1.0, 1.0))",
    ):
        assert part in text


def test_what_cannot_be_combined_is_refused() -> None:
    with pytest.raises(UsageError, match="Compose got no corruptions"):
        Compose([])
    with pytest.raises(UsageError, match="weights"):
        OneOf([Identity()], [1.0, 2.0])
    with pytest.raises(UsageError, match="weights"):
        OneOf([Identity(), Identity()], [0.0, 0.0])
    with pytest.raises(UsageError, match="probability"):
        Sometimes(Identity(), 1.5)
