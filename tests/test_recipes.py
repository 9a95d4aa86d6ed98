"""Every recipe is parsed and trains for two steps, on small pictures and with small networks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from denoise.training.main import find_recipe, recipes, train


def _small(network: dict[str, Any]) -> list[str]:
    widths = network.get("init_args", {}).get("widths", [])
    return ["--model.network.widths", str([8] * len(widths))] if widths else []


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name in "abc":
        Image.fromarray(draw.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


def test_there_are_recipes() -> None:
    assert "gaussian.yaml" in {path.name for path in recipes()}


@pytest.mark.parametrize("recipe", recipes(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recipe(recipe: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = yaml.safe_load(recipe.read_text())
    options = ["--data.root", str(pictures), "--data.crop_px", "32", "--data.batch_size", "2"]
    options += ["--trainer.accelerator", "cpu", "--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]
    options += ["--trainer.limit_val_batches", "1", "--trainer.num_sanity_val_steps", "0"]
    options += ["--trainer.enable_progress_bar", "false", "--init", "null"]
    train([str(recipe), *options, *_small(text["model"]["init_args"]["network"])])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "runs"]
    checkpoints = list(tmp_path.rglob("last.ckpt"))
    assert len(checkpoints) == 1
    logs = [path.read_text() for path in tmp_path.rglob("metrics.csv")]
    assert len(logs) == 1
    for name in text["model"]["init_args"]["validation_corruptions"]:
        assert f"val/psnr_{name}_db" in logs[0]


@pytest.mark.parametrize("recipe", recipes(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recipes_say_how_to_run_them(recipe: Path) -> None:
    first, second, *_ = recipe.read_text().splitlines()
    assert first.startswith("# ")
    command = second.split("denoise train ")[1].split()[0]
    assert find_recipe(command).resolve() == recipe
