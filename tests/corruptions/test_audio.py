"""What every sound corruption keeps: shape, seed, replay, any length, silence, and a place in a YAML recipe."""

from __future__ import annotations

import json

import jsonargparse
import pytest
import torch
from torch import Tensor

from denoise.corruptions import audio
from denoise.corruptions.base import Compose, Corruption, OneOf, Sometimes
from denoise.corruptions.sound import at_rate
from denoise.corruptions.spec import SOUNDS

EVERY = [*SOUNDS.values(), lambda: Compose([audio.Reverb(), Sometimes(audio.Noise()), audio.Clip(), audio.Gain()])]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tensors(params: object) -> list[Tensor]:
    return [params] if isinstance(params, Tensor) else [t for part in params.values() for t in tensors(part)]


@pytest.mark.parametrize(("length", "rate_hz"), [(1, 48_000), (37, 16_000), (4001, 16_000), (4801, 48_000)])
@pytest.mark.parametrize("make", EVERY)
def test_contract(make: type[Corruption], length: int, rate_hz: int) -> None:
    corruption = at_rate(make(), rate_hz)
    for batch, channels in ((1, 2), (3, 1)):
        clean = torch.randn(batch, channels, length, generator=seeded(1)) * 0.1
        copy = clean.clone()
        params = corruption.draw(clean, seeded(2))
        first, second = corruption.apply(clean, params), corruption.apply(clean, params)
        again = corruption(clean, seeded(2))
        for sound in (first.observed, first.target):
            assert sound.shape == clean.shape
            assert sound.dtype == torch.float32
            assert bool(sound.isfinite().all())
        assert first.weight is None
        assert isinstance(corruption, Compose) or first.condition is None
        assert torch.equal(first.observed, second.observed)
        assert torch.equal(first.observed, again.observed)
        assert torch.equal(first.target, again.target)
        assert torch.equal(clean, copy)


@pytest.mark.parametrize("make", [make for make in EVERY if make is not audio.MuLaw])
def test_another_seed_is_another_draw(make: type[Corruption]) -> None:
    clean = torch.randn(4, 1, 4001, generator=seeded(1)) * 0.1
    corruption = at_rate(make(), 16_000)
    one, other = (tensors(corruption.draw(clean, seeded(seed))) for seed in (2, 3))
    if make is not audio.Dropouts:  # which may have none to tell apart
        assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("make", EVERY)
def test_silence_is_no_trouble(make: type[Corruption]) -> None:
    clean = torch.zeros(2, 1, 3001)
    result = at_rate(make(), 16_000)(clean, seeded())
    assert bool(result.observed.isfinite().all())
    assert result.observed.abs().max() < 0.2
    assert not result.target.any()


@pytest.mark.parametrize("make", [make for make in SOUNDS.values() if make is not audio.Babble])
def test_examples_do_not_leak_into_each_other(make: type[Corruption]) -> None:
    one = torch.randn(2, 1, 4001, generator=seeded(1)) * 0.1
    other = torch.cat([one[:1], one[1:].flip(-1)])
    corruption = at_rate(make(), 16_000)
    results = [corruption(clean, seeded(2)) for clean in (one, other)]
    torch.testing.assert_close(results[0].observed[0], results[1].observed[0])


def build(corruption: Corruption) -> Corruption:
    return corruption


def test_a_recipe_may_nest_them() -> None:
    def entry(path: str, **settings: object) -> dict[str, object]:
        return {"class_path": f"denoise.corruptions.{path}", "init_args": settings}

    noise = entry("audio.Noise", snr_db=[-5, 15], count=[1, 2], folder=None)
    hum = entry("audio.Hum", snr_db=10, harmonics=5)
    choice = entry("base.OneOf", corruptions=[noise, hum], weights=[3, 1])
    reverb = entry("base.Sometimes", corruption=entry("audio.Reverb", rt60_s=[0.1, 0.3]), probability=0.2)
    recipe = entry("base.Compose", corruptions=[reverb, choice, entry("audio.Codec", kind="opus")])
    built = jsonargparse.auto_cli(build, args=[json.dumps(recipe)])
    assert isinstance(built, Compose)
    chosen = built.corruptions[1]
    assert isinstance(chosen, OneOf)
    assert (chosen.corruptions[0].snr_db, chosen.corruptions[0].count) == ((-5.0, 15.0), (1, 2))
    assert chosen.corruptions[1].harmonics == (5, 5)
    assert built.corruptions[2].kind == "opus"
