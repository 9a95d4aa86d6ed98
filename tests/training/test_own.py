"""What users bring along, and what a training leaves alone of what is theirs."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from denoise.errors import DenoiseError, UsageError
from denoise.training.main import train
from denoise.training.modules import Restoration
from tests.conftest import run

NETWORK = """
import torch

class Bare(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 3, 1)

    def forward(self, observed, condition):
        return self.layer(observed)

class Net(Bare):
    config = {}
"""


def _train(*options: str) -> None:
    train(["tiny.yaml", "--data.root", "pictures", *options])


def test_a_network_that_lies_beside_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "beside.py").write_text(NETWORK)
    (folder / "card.yaml").write_text("{summary: Tiny, licence: CC0-1.0, data: [noise], limits: [all]}")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    _train("--model.network", "beside.Net")
    assert torch.load("runs/tiny/last.ckpt", weights_only=True)["denoise"]["networks"]["network"] == {"class": "Net"}
    told = "The Net is no network of this package and cannot become weights: `denoise export-weights` will refuse"
    assert told in caplog.text
    assert run(monkeypatch, "train", "tiny.yaml", "--data.root", "pictures", "--model.network", "beside.Bare") == 2
    assert "denoise: Bare has no `config`, by which a checkpoint knows" in capsys.readouterr().err


def test_that_gray_networks_become_no_weights_is_said_before(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    _train(
        "--data",
        "denoise.training.arrays.GrayCrops",
        "--model.network.channels",
        "1",
        "--data.crop_px",
        "16",
        "--model.noise_level",
        "null",
    )
    assert "The UNet is for 1 bands and would restore no files, which takes three: `denoise export" in caplog.text


def test_advice_names_no_checkpoint_of_another_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverged(module: Restoration, *arguments: object) -> torch.Tensor:
        loss = step(module, *arguments)
        return module.checked(loss if module.global_step < 3 else loss * float("nan"))

    _train()
    step = Restoration.training_step
    monkeypatch.setattr(Restoration, "training_step", diverged)
    last, further = Path("runs/tiny/last.ckpt"), ("--trainer.max_steps", "9", "--trainer.val_check_interval", "99")
    with pytest.raises(DenoiseError, match=r"at step 3; .* lower --model.lr \(it is 0.002\)\.$"):
        _train(*further, "--trainer.callbacks", "null")
    with pytest.raises(DenoiseError, match=r"from the last checkpoint with --ckpt_path runs/tiny/last.ckpt\.$"):
        _train(*further, "--ckpt_path", str(last))
    with pytest.raises(DenoiseError, match=r"from the last checkpoint with --ckpt_path .*/runs/tiny/last-v1\.ckpt\.$"):
        _train(*further)


def test_without_a_logger_nothing_is_written_beside_what_is_there(folder: Path) -> None:
    (folder / "config.yaml").write_text("mine")
    before = sorted(folder.iterdir())
    _train("--trainer.logger", "false")
    assert (folder / "config.yaml").read_text() == "mine"
    assert [path.name for path in sorted(folder.iterdir()) if path not in before] == ["runs"]


def test_numbers_close_to_zero_are_zero_in_a_training_and_not_after_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def product() -> float:
        return (torch.tensor([1e-30]) * 1e-10).item()

    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot")
    seen = []
    step = Restoration.training_step

    def spy(self: Restoration, *batch: Any) -> torch.Tensor:
        seen.append(product())
        return step(self, *batch)

    monkeypatch.setattr(Restoration, "training_step", spy)
    _train()
    assert set(seen) == {0.0}
    assert product() > 0


def test_idle_units_of_a_network_that_does_not_learn_are_not_begun_anew(folder: Path) -> None:
    option = "--trainer.callbacks+=denoise.training.dormant.RecycleDormant"
    with pytest.raises(UsageError, match="RecycleDormant found no residual blocks that learn"):
        _train("--model", "denoise.training.levels.NoiseLevelEstimation", option)
