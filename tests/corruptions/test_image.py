"""What every picture corruption keeps: shape, seed, replay, any size, gray and colour, and a place in a YAML recipe."""

from __future__ import annotations

import json

import jsonargparse
import pytest
import torch

from denoise.corruptions import image
from denoise.corruptions.base import Compose, Corruption, OneOf
from denoise.corruptions.spec import PICTURES

EVERY = [
    *PICTURES.values(),
    lambda: image.Gray(image.Camera(), 0.5),
    lambda: image.AsJpeg(image.Camera(), 0.5),
    lambda: image.Drawing(image.Camera()),
]


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (17, 33)])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("make", EVERY)
def test_contract(make: type[Corruption], bands: int, size: tuple[int, int]) -> None:
    corruption = make()
    for batch in (1, 3):
        clean = torch.rand(batch, bands, *size, generator=torch.Generator().manual_seed(1))
        copy = clean.clone()
        params = corruption.draw(clean, torch.Generator().manual_seed(2))
        first, second = corruption.apply(clean, params), corruption.apply(clean, params)
        again = corruption(clean, torch.Generator().manual_seed(2))
        assert first.observed.shape == first.target.shape == clean.shape
        assert first.condition is not None
        assert first.condition.shape == (batch, 1, *size)
        assert first.observed.dtype == first.condition.dtype == torch.float32
        assert bool(first.observed.isfinite().all())
        assert bool((first.condition >= 0).all())
        assert torch.equal(first.observed, second.observed)
        assert torch.equal(first.observed, again.observed)
        assert torch.equal(first.condition, again.condition)
        assert torch.equal(clean, copy)


@pytest.mark.parametrize("make", PICTURES.values())
def test_examples_do_not_leak_into_each_other(make: type[Corruption]) -> None:
    one = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    other = torch.cat([one[:1], 1 - one[1:]])
    corruption = make()
    results = [corruption(clean, torch.Generator().manual_seed(2)) for clean in (one, other)]
    assert torch.equal(results[0].observed[0], results[1].observed[0])
    assert torch.equal(results[0].condition[0], results[1].condition[0])


@pytest.mark.parametrize("make", PICTURES.values())
def test_memory_format_changes_nothing(make: type[Corruption]) -> None:
    clean = torch.rand(2, 3, 9, 8, generator=torch.Generator().manual_seed(1))
    packed = clean.contiguous(memory_format=torch.channels_last)
    corruption = make()
    params = corruption.draw(clean, torch.Generator().manual_seed(2))
    torch.testing.assert_close(corruption.apply(packed, params).observed, corruption.apply(clean, params).observed)


def build(corruption: Corruption) -> Corruption:
    return corruption


def test_a_recipe_may_nest_them() -> None:
    def entry(path: str, **settings: object) -> dict[str, object]:
        return {"class_path": f"denoise.corruptions.{path}", "init_args": settings}

    camera = entry("image.Camera", iso=[100, 3200], quality=None)
    noise = entry("base.Compose", corruptions=[entry("image.Gaussian", sigma=[0, 55]), entry("image.Jpeg", quality=90)])
    recipe = entry("base.OneOf", weights=[1, 3], corruptions=[noise, entry("image.Gray", corruption=camera)])
    built = jsonargparse.auto_cli(build, args=[json.dumps(recipe)])
    assert isinstance(built, OneOf)
    assert built.weights == [1, 3]
    assert isinstance(built.corruptions[0], Compose)
    assert built.corruptions[0].corruptions[0].sigma == (0.0, 55.0)
    assert built.corruptions[0].corruptions[1].quality == (90.0, 90.0)
    assert isinstance(built.corruptions[1], image.Gray)
