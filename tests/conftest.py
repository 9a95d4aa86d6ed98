"""What several test files need: tiny weights, small pictures and short sounds."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from denoise import cli, pretrained
from denoise.networks.inpainting import InpaintingUNet
from denoise.networks.noise_level import NoiseLevel
from denoise.networks.spectral import SpectralUNet
from denoise.networks.unet import UNet


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """What a test draws without a generator of its own is alike in every run."""
    torch.manual_seed(0)


def card(name: str = "tiny", **facts: Any) -> pretrained.Card:
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


def awake(network: torch.nn.Module) -> torch.nn.Module:
    """Random weights everywhere, which a new network does not have."""
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5, generator=generator)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def tiny_sound_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder whose network does something to every band, but nothing sensible."""
    network = awake(SpectralUNet(widths=(4, 8), bands=32, temporal=8, dilations=(1, 2)))
    folder = tmp_path_factory.mktemp("weights") / "tiny sound"
    return pretrained.save(folder, pretrained.Weights(network, None, card("tiny sound", medium="sound")))


def sound(length: int, channels: int = 1, rate_hz: int = 16_000, seed: int = 0) -> np.ndarray:
    """A gliding tone in each channel that comes and goes, in some noise. Shape: `[C, T]`, float32, within -0.9..0.9"""
    draw = np.random.default_rng(seed)
    seconds = np.arange(length) / rate_hz
    pitch = 200 + 70 * np.arange(channels)[:, None]
    tone = 0.5 * np.sin(2 * np.pi * pitch * seconds * (1 + 0.2 * seconds)) * np.sin(7 * seconds) ** 2
    return (tone + 0.05 * draw.standard_normal((channels, length))).clip(-0.9, 0.9).astype(np.float32)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command in this process; returns the exit code."""
    monkeypatch.setattr(sys, "argv", ["denoise", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


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


@pytest.fixture(scope="session")
def tiny_inpainting_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder whose network puts something into every hole, but nothing sensible."""
    network = awake(InpaintingUNet(widths=(4, 8), depths=(1, 1)))
    folder = tmp_path_factory.mktemp("weights") / "tiny holes"
    return pretrained.save(folder, pretrained.Weights(network, None, card("tiny holes", hole_px=8)))


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a folder one that may not be read, not even by root."""
    locked: list[Path] = []
    scandir, access = os.scandir, os.access

    def refusing(path: Any) -> Any:
        if Path(path) in locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) not in locked and access(path, mode))
    return locked.append
