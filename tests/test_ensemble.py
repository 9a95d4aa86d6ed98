"""The mean over flipped and turned views."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import denoise
from denoise.cli import app
from denoise.ensemble import run_ensemble
from denoise.errors import UsageError
from denoise.inpainter import Inpainter
from denoise.networks.inpainting import InpaintingUNet
from denoise.networks.unet import UNet
from tests.conftest import photo


class ToTheRight(nn.Module):
    """Shifts a picture by a pixel and adds the condition: the least symmetric network there is."""

    def forward(self, observed: Tensor, condition: Tensor) -> Tensor:
        return observed.roll(1, dims=3) + condition


@pytest.mark.parametrize("ensemble", [1, 2, 4, 8])
def test_each_view_is_turned_back(ensemble: int) -> None:
    dot, ramp = torch.zeros(1, 1, 6, 8), torch.arange(48.0).view(1, 1, 6, 8)
    dot[0, 0, 2, 3] = 1
    result = run_ensemble(ToTheRight(), torch.float32, ensemble, dot, ramp) - ramp
    right, left, below, above = (result[0, 0, y, x].item() for y, x in ((2, 4), (2, 2), (3, 3), (1, 3)))
    expected = {1: (1, 0, 0, 0), 2: (0.5, 0.5, 0, 0), 4: (0.25,) * 4, 8: (0.25,) * 4}[ensemble]
    assert (right, left, below, above) == pytest.approx(expected, abs=1e-5)
    assert result.sum().item() == pytest.approx(1, abs=1e-3)


def test_an_ensemble_of_eight_does_not_care_how_the_picture_lies() -> None:
    network = UNet(widths=(8, 16), depths=(1, 1)).eval()
    picture, level = torch.rand(1, 3, 16, 24), torch.full((1, 1, 16, 24), 0.1)
    upright = run_ensemble(network, torch.float32, 8, picture, level)
    for turned in (lambda x: x.mT, lambda x: x.flip(2), lambda x: torch.rot90(x, 1, (2, 3))):
        lying = run_ensemble(network, torch.float32, 8, turned(picture), turned(level))
        torch.testing.assert_close(lying, turned(upright))
    assert not torch.allclose(network(picture.mT, level.mT), network(picture, level).mT, atol=1e-4)


def test_an_ensemble_fills_holes_alike_however_the_picture_lies() -> None:
    inpainter = Inpainter(InpaintingUNet(widths=(8, 16), depths=(1, 1)), None, "cpu", "float32", ensemble=8)
    picture, mask = torch.rand(3, 64, 96), torch.zeros(64, 96, dtype=torch.bool)
    mask[20:30, 40:70] = True
    torch.testing.assert_close(inpainter(picture.flip(2), mask.flip(1)).flip(2), inpainter(picture, mask))


def test_the_command_and_the_call_agree(tiny_weights: Path, noisy_png: Path, tmp_path: Path) -> None:
    command = ["restore", str(noisy_png), "--model", str(tiny_weights), "--sigma", "20", "--device", "cpu"]
    for name, more in (("one.png", []), ("eight.png", ["--ensemble", "8"])):
        assert CliRunner().invoke(app, [*command, "-o", str(tmp_path / name), *more]).exit_code == 0
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "eight.png").read_bytes()
    denoise.restore(noisy_png, tmp_path / "called.png", model=tiny_weights, sigma=20, device="cpu", ensemble=8)
    assert (tmp_path / "called.png").read_bytes() == (tmp_path / "eight.png").read_bytes()


def test_other_numbers_are_refused(tiny_weights: Path) -> None:
    with pytest.raises(UsageError, match="An ensemble of 3 is not possible; give 1, 2, 4 or 8"):
        denoise.load(tiny_weights, ensemble=3)
    assert denoise.load(tiny_weights, ensemble=np.int64(2)).ensemble == 2  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="ensemble of 0"):
        denoise.restore(photo(8, 8), model=tiny_weights, ensemble=0)
