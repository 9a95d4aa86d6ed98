from collections.abc import Callable

import pytest
import torch
from torch import nn

from denoise.networks.inpainting import InpaintingUNet
from denoise.networks.noise_level import NoiseLevel
from denoise.networks.spectral import SpectralUNet
from denoise.networks.unet import UNet
from denoise.training.growth import grow, is_larger

Make = Callable[[], nn.Module]


def _trained(network: nn.Module) -> nn.Module:
    """With no weight left at zero, as after a training."""
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)
    return network


def _seen(network: nn.Module) -> tuple[torch.Tensor, ...]:
    if isinstance(network, SpectralUNet):
        return (torch.randn(1, 2, 9, 120),)
    return torch.rand(1, 3, 16, 24), torch.full((1, 1, 16, 24), 0.1)


# Several channels are new in each layer: of one or two, all may be dead from the beginning.
@pytest.mark.parametrize(
    ("make_small", "make_large"),
    [
        (lambda: UNet(widths=(4, 6), depths=(1, 1)), lambda: UNet(widths=(9, 13), depths=(1, 1))),
        (lambda: UNet(widths=(4, 6), depths=(1, 1)), lambda: UNet(widths=(4, 8), depths=(2, 3))),
        (
            lambda: SpectralUNet((2, 3), temporal=6, dilations=(1, 2)),
            lambda: SpectralUNet((8, 9), temporal=14, dilations=(1, 2)),
        ),
    ],
)
def test_a_larger_network_begins_as_the_smaller_one_and_all_of_it_learns(make_small: Make, make_large: Make) -> None:
    small, large = _trained(make_small()), make_large()
    assert is_larger(large, small)
    assert not is_larger(small, large)
    grow(large, small)
    seen = _seen(small)
    restored = large(*seen)
    torch.testing.assert_close(restored, small(*seen))
    for _ in range(4):  # each step wakes the weights behind the next zeros
        large.zero_grad()
        (large(*seen) - seen[0].flip(-1)).square().mean().backward()
        with torch.no_grad():
            for weight in large.parameters():
                weight.sub_(weight.grad, alpha=1e-3)
    new = [weight.grad[size:] for weight, size in zip(large.parameters(), _sizes(large, small), strict=True)]
    assert all(bool((grad != 0).any()) for grad in new if len(grad))


def test_a_larger_one_that_fills_holes_begins_as_a_denoiser() -> None:
    small, large = _trained(UNet(widths=(4, 6), depths=(1, 1))), InpaintingUNet(widths=(4, 6), depths=(2, 1))
    assert is_larger(large, small)
    grow(large, small)
    seen = _seen(small)
    torch.testing.assert_close(large.refine(*seen), small(*seen))


def _sizes(large: nn.Module, small: nn.Module) -> list[int]:
    """How much of the first axis of each weight of the larger network is the smaller one's."""
    known = dict(small.named_parameters())
    return [len(known[name]) if name in known else 0 for name, _ in large.named_parameters()]


@pytest.mark.parametrize(
    ("small", "other"),
    [
        (UNet(widths=(4, 6), depths=(1, 1)), UNet(widths=(4, 6), depths=(1, 1))),
        (UNet(widths=(4, 6), depths=(1, 1)), UNet(widths=(3, 9), depths=(1, 1))),
        (UNet(widths=(4, 6), depths=(1, 1)), UNet(widths=(4, 6, 8), depths=(1, 1, 1))),
        (UNet(widths=(4, 6), depths=(1, 1)), UNet(widths=(5, 9), depths=(1, 1), unshuffle=4)),
        (InpaintingUNet(widths=(4, 6), depths=(1, 1)), UNet(widths=(5, 9), depths=(1, 1))),
        (SpectralUNet((2, 3), dilations=(1, 2)), SpectralUNet((4, 5), dilations=(1, 2, 4))),
        (NoiseLevel(width=4, depths=(1, 1)), NoiseLevel(width=4, depths=(1, 2))),
        (UNet(widths=(4, 6), depths=(1, 1)), NoiseLevel(width=8, depths=(1, 2))),
    ],
)
def test_what_is_not_larger_in_every_way_it_can_grow_does_not_count(small: nn.Module, other: nn.Module):
    assert not is_larger(other, small)
