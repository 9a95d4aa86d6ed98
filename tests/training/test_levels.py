from pathlib import Path
from typing import Any

import pytest
import torch

from denoise.corruptions.base import Corrupted
from denoise.errors import UsageError
from denoise.networks import NoiseLevel, UNet
from denoise.training.levels import NoiseLevelEstimation
from denoise.training.main import train


def _state(path: Path, part: str) -> dict[str, Any]:
    state = torch.load(path, weights_only=True)["state_dict"]
    return {key: value for key, value in state.items() if key.startswith(part + ".")}


def test_only_the_estimator_learns(folder: Path) -> None:
    recipe = folder / "tiny.yaml"
    recipe.write_text(recipe.read_text().replace("modules.Restoration", "levels.NoiseLevelEstimation"))
    train([str(recipe), "--data.root", "pictures", "--trainer.max_steps", "4"])
    early, late = (folder / "runs" / "tiny" / f"step={step}.ckpt" for step in (2, 4))
    network = _state(early, "network")
    torch.testing.assert_close(_state(late, "network"), network, rtol=1e-6, atol=0)  # averaging rounds
    before = _state(early, "noise_level")
    late_levels = _state(late, "noise_level")
    assert all((late_levels[key] - value).abs().max() > 1e-4 for key, value in before.items())


def test_there_must_be_an_estimator(folder: Path) -> None:
    recipe = folder / "tiny.yaml"
    recipe.write_text(recipe.read_text().replace("modules.Restoration", "levels.NoiseLevelEstimation"))
    with pytest.raises(UsageError, match="add a noise_level network"):
        train([str(recipe), "--data.root", "pictures", "--model.noise_level", "null"])


def test_the_loss_is_the_relative_error_of_map_whole_and_curve() -> None:
    module = NoiseLevelEstimation(UNet(widths=(4,), depths=(1,)), corruption=None, noise_level=NoiseLevel(width=4))
    picture = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen = Corrupted(picture, torch.full((2, 1, 32, 32), 50 / 255), picture)
    levels = torch.full((2, 1, 4, 4), 25 / 255)
    assert float(module._level_loss(levels, torch.zeros_like(levels), seen)) == pytest.approx(3 * 25 / 55, rel=1e-4)
