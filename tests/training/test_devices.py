"""Whatever a training step makes, it makes where its input is.

There may be no accelerator to test with, so every tensor whose place is not given is put on the `meta` device, where
nothing can be computed with the others.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from denoise.corruptions.audio import Noise
from denoise.corruptions.base import Corruption
from denoise.corruptions.jpeg_codec import through_jpeg
from denoise.corruptions.recordings import Recordings
from denoise.corruptions.sound import at_rate
from denoise.corruptions.spec import PICTURES, SOUNDS
from denoise.networks import NoiseLevel, UNet
from denoise.networks.inpainting import InpaintingUNet
from denoise.networks.noise_level import level_curve, pool_level
from denoise.networks.spectral import SpectralUNet
from denoise.training.losses import L1, PSNRLoss, SquaredError
from denoise.training.optimizers import Muon
from denoise.training.perceptual import Disturbance
from denoise.training.sound_losses import SISDR, CompressedSpectrum, MultiResolutionSTFT

RATE_HZ = 16_000


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def pictures() -> torch.Tensor:
    return torch.rand(3, 3, 48, 48, generator=seeded())


def sound() -> torch.Tensor:
    return 0.1 * torch.randn(3, 1, RATE_HZ, generator=seeded())


def test_the_check_finds_what_it_is_for() -> None:
    clean = pictures()
    for wrong in (lambda: clean + torch.arange(48), lambda: torch.arange(48).to(clean)):
        with torch.device("meta"), pytest.raises(RuntimeError, match=r"device meta|meta tensor"):
            wrong()


@pytest.mark.parametrize("make", [*PICTURES.values(), *SOUNDS.values()])
def test_corruptions(make: type[Corruption]) -> None:
    corruption = at_rate(make(), RATE_HZ)
    if isinstance(corruption, Noise):
        corruption.recordings = Recordings({RATE_HZ: torch.ones(2 * RATE_HZ, dtype=torch.int16)})
    clean = sound() if make in SOUNDS.values() else pictures()
    with torch.device("meta"):
        seen = corruption(clean, seeded())
    assert {tensor.device.type for tensor in vars(seen).values() if tensor is not None} == {"cpu"}


def test_jpeg_on_an_accelerator() -> None:
    draw = torch.full((3, 1, 1, 1), 80.0), torch.tensor([True, False, True])[:, None, None, None]
    codes = (255 * pictures()).round()
    with torch.device("meta"):
        assert through_jpeg(codes, *draw).device.type == "cpu"


@pytest.mark.parametrize("loss", [L1(), SquaredError(), PSNRLoss()])
def test_losses_of_pictures(loss: nn.Module) -> None:
    restored, target = pictures(), pictures().flip(0)
    with torch.device("meta"):
        assert loss(restored, target, target[:, :1]).device.type == "cpu"


@pytest.mark.parametrize("loss", [CompressedSpectrum(), MultiResolutionSTFT(), SISDR(), Disturbance()])
def test_losses_of_sound(loss: nn.Module) -> None:
    restored, target = sound(), sound().flip(0)
    with torch.device("meta"):
        assert at_rate(loss, RATE_HZ)(restored, target, None).device.type == "cpu"


@pytest.mark.parametrize("network", [UNet(widths=(4, 8), depths=(1, 1)), InpaintingUNet(widths=(4, 8), depths=(1, 1))])
def test_a_step_with_pictures(network: nn.Module) -> None:
    observed = pictures()
    holes = (observed[:, :1] > 0.5).float()
    optimiser = Muon(network.named_parameters())
    with torch.device("meta"):
        network(observed, holes).square().mean().backward()
        optimiser.step()
    assert {weight.device.type for weight in network.parameters()} == {"cpu"}


def test_the_estimate_of_the_level() -> None:
    network, observed = NoiseLevel(width=4, depths=(1, 1)), pictures()
    with torch.device("meta"):
        levels, weights = network(observed)
        curve = level_curve(levels, weights, levels)
        pooled = pool_level(levels, weights)
    assert {tensor.device.type for tensor in (levels, weights, curve, pooled)} == {"cpu"}


def test_the_network_for_sound() -> None:
    network, spectra = SpectralUNet((4, 8), 32, 8, (1, 2)), torch.randn(2, 2, 9, 257, generator=seeded())
    with torch.device("meta"):
        assert network(spectra, None).device.type == "cpu"
