from pathlib import Path

import pytest

from denoise.errors import UsageError
from denoise.training.main import train


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--trainer.precision", "bf16-true"], "bf16-true is not allowed: give one of 32-true, bf16-mixed, 16-mixed"),
        (["--trainer.precision", "64-true"], "64-true is not allowed: give one of 32-true, bf16-mixed, 16-mixed"),
        (["--trainer.val_check_interval", "0"], "val_check_interval 0 is not allowed: give a number of at least 1"),
        (["--trainer.accumulate_grad_batches", "0"], "batches 0 is not allowed: give a number of at least 1"),
        (["--trainer.gradient_clip_val", "-1"], "gradient_clip_val -1 is not allowed: give a number of at least 0"),
        (["--trainer.check_val_every_n_epoch", "0"], "epoch 0 is not allowed: give a number of at least 1"),
        (["--seed_everything", "-1"], r"seed_everything -1 is not allowed: give a number within 0\.\.4294967295"),
        (["--trainer.devices", "3x"], "The recipe cannot be run so: `devices`"),
    ],
)
def test_what_lightning_would_not_refuse_in_a_sentence(folder: Path, options: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        train(["tiny.yaml", "--data.root", "pictures", *options])
    assert not Path("runs").exists()


def test_a_picture_is_no_recipe(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"pictures/a\.png is no text; give a YAML file"):
        train(["pictures/a.png"])


def test_a_metric_to_watch_that_nobody_measures(folder: Path) -> None:
    recipe = folder / "tiny.yaml"
    recipe.write_text(recipe.read_text().replace("save_top_k: -1", "save_top_k: 1, monitor: val/nothing"))
    with pytest.raises(
        UsageError, match=r"The recipe cannot be run so: .*val/nothing.* could not find the monitored key"
    ):
        train(["tiny.yaml", "--data.root", "pictures"])
