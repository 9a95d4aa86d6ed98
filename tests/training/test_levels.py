from pathlib import Path
from typing import Any

import pytest
import torch

from denoise.errors import UsageError
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


def test_the_estimator_is_for_the_pictures(folder: Path) -> None:
    recipe = folder / "tiny.yaml"
    recipe.write_text(recipe.read_text().replace("modules.Restoration", "levels.NoiseLevelEstimation"))
    gray = ["--data", "denoise.training.arrays.GrayCrops", "--data.root", "pictures", "--model.network.channels", "1"]
    with pytest.raises(UsageError, match=r"the noise_level is for 3; train with --model\.noise_level\.channels 1"):
        train([str(recipe), *gray])


def test_a_training_of_everything_is_not_gone_on_with(folder: Path) -> None:
    train(["tiny.yaml", "--data.root", "pictures"])
    levels = ["--model", "denoise.training.levels.NoiseLevelEstimation", "--trainer.max_steps", "4"]
    with pytest.raises(UsageError, match=r"learns \d+: go on with its recipe \(tiny\.yaml\), or begin anew"):
        train(["tiny.yaml", "--data.root", "pictures", *levels, "--ckpt_path", "last"])
