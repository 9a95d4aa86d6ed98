from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from denoise import pretrained
from denoise.networks.noise_level import NoiseLevel
from denoise.networks.unet import UNet


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one colour and one gray picture, smooth, with a file beside them that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    y, x = np.mgrid[0:40, 0:52] / 52
    colour = np.stack([x, y, (np.sin(9 * x * y) + 1) / 2], axis=2)
    Image.fromarray(np.rint(20 + 200 * colour).astype(np.uint8)).save(folder / "colour.png")
    (folder / "more").mkdir()
    Image.fromarray(np.rint(20 + 200 * x[:33, :37]).astype(np.uint8)).save(folder / "more" / "gray.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder of small networks that were never trained."""
    torch.manual_seed(0)
    network, noise_level = UNet(widths=(8, 16), depths=(2, 1)), NoiseLevel(width=8, depths=(1, 1))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    card = pretrained.Card("tiny", "untrained", "Apache-2.0", ["none"], "none", "none", ["not trained"])
    weights = pretrained.Weights(network, noise_level, card)
    return pretrained.save(tmp_path_factory.mktemp("weights") / "tiny", weights)
