"""What several test files need: tiny weights and small pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from denoise import pretrained
from denoise.networks.noise_level import NoiseLevel
from denoise.networks.unet import UNet


def card(name: str = "tiny", **facts: str) -> pretrained.Card:
    """A card that says nothing but is complete."""
    return pretrained.Card(
        name=name,
        summary="For tests",
        licence="CC0-1.0",
        data=["none"],
        recipe="none",
        commit="none",
        limits=["all"],
        **facts,
    )


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder whose network does something to every pixel, but nothing sensible."""
    torch.manual_seed(0)
    network = UNet(widths=(8, 16), depths=(1, 1))
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=0.05)
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    return pretrained.save(folder, pretrained.Weights(network, NoiseLevel(width=8), card(statistic="curve")))


def photo(height: int = 48, width: int = 64, bands: int = 3, seed: int = 0) -> np.ndarray:
    """A smooth picture with some noise. Shape: `[H, W, bands]`, uint8."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 16.0
    waves = np.stack([np.sin(x + k) * np.cos(y - k) for k in range(bands)], axis=-1)
    return (128 + 80 * waves + generator.normal(0, 10, waves.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def noisy_png(tmp_path: Path) -> Path:
    """A small noisy RGB PNG."""
    path = tmp_path / "noisy photo ü.png"
    Image.fromarray(photo()).save(path, dpi=(300, 300))
    return path
