"""Every recipe is parsed and trains for two steps, on small pictures or short sounds and with small networks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image

from denoise.training.main import find_recipe, recipes, train

DATA = {
    "PictureCrops": ["--data.root", "pictures", "--data.crop_px", "32"],
    "SoundExcerpts": ["--data.root", "sounds", "--data.excerpt_s", "0.3", "--data.validation_share", "0.3"],
}
"""Options of the data modules that do not go without"""


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


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    draw = np.random.default_rng(0)
    for kind in ("speech", "noise"):
        (folder / kind).mkdir(parents=True)
        for name, rate_hz in (("a", 48_000), ("b", 16_000)):
            soundfile.write(folder / kind / f"{name}.wav", draw.normal(0, 0.1, 2 * rate_hz), rate_hz)
    return folder


def test_there_are_recipes() -> None:
    assert {"photo/gaussian", "speech/denoise"} <= {f"{path.parent.name}/{path.stem}" for path in recipes()}


@pytest.mark.parametrize("recipe", recipes(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recipe(recipe: Path, pictures: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = yaml.safe_load(recipe.read_text())
    options = [*DATA.get(text["data"]["class_path"].rpartition(".")[2], []), "--data.batch_size", "2"]
    options += ["--trainer.accelerator", "cpu", "--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]
    options += ["--trainer.limit_val_batches", "1", "--trainer.num_sanity_val_steps", "0"]
    options += ["--trainer.enable_progress_bar", "false", "--init", "null"]
    train([str(recipe), *options, *_small(text["model"]["init_args"]["network"])])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "runs", "sounds"]
    checkpoints = list(tmp_path.rglob("last.ckpt"))
    assert len(checkpoints) == 1
    logs = [path.read_text() for path in tmp_path.rglob("metrics.csv")]
    assert len(logs) == 1
    measured = [f"val/psnr_{name}_db" for name in text["model"]["init_args"].get("validation_corruptions", ())]
    for name in measured or ["val/"]:
        assert name in logs[0]


@pytest.mark.parametrize("recipe", recipes(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recipes_say_how_to_run_them(recipe: Path) -> None:
    first, second, *_ = recipe.read_text().splitlines()
    assert first.startswith("# ")
    command = second.split("denoise train ")[1].split()[0]
    assert find_recipe(command).resolve() == recipe
