import pytest
import torch

from denoise.networks import UNet


def _awake(network: UNet, positive: bool = False) -> UNet:
    """Random weights everywhere, which a new network does not have; positive ones let no ReLU hide a path."""
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5, generator=generator)
        if positive:
            weight.data.abs_()
    return network.requires_grad_(False)


@pytest.mark.parametrize(
    ("widths", "depths", "unshuffle"), [((4, 4, 4), (2, 2, 2), 2), ((4, 4), (1, 2), 1), ((4,), (3,), 4)]
)
def test_the_receptive_field_is_a_tight_upper_bound(
    widths: tuple[int, ...], depths: tuple[int, ...], unshuffle: int
) -> None:
    network = _awake(UNet(channels=1, widths=widths, depths=depths, unshuffle=unshuffle), positive=True)
    step = network.multiple_of
    middle = (network.receptive_field // step + 1) * step
    side = 2 * middle + step
    reach = 0
    for offset in {0, step - 1}:  # the ends of a coarsest cell see furthest
        observed = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(0)).requires_grad_()
        restored = network(observed, torch.ones_like(observed))
        (restored - observed)[0, 0, middle + offset, middle + offset].backward()
        seen = observed.grad[0, 0].nonzero() - (middle + offset)
        reach = max(reach, int(seen.abs().max()))
    assert reach <= network.receptive_field <= 1.3 * reach


def test_it_is_homogeneous() -> None:
    network = _awake(UNet(widths=(4, 8), depths=(1, 1)))
    generator = torch.Generator().manual_seed(0)
    observed, condition = torch.rand(1, 3, 16, 12, generator=generator), torch.rand(1, 1, 16, 12, generator=generator)
    torch.testing.assert_close(network(3 * observed, 3 * condition), 3 * network(observed, condition))


def test_shapes_and_conditions() -> None:
    network = UNet(channels=2, condition_channels=3, widths=(4, 8, 8), depths=(1, 1, 1), unshuffle=2)
    assert network.multiple_of == 8
    assert network(torch.rand(2, 2, 16, 24), torch.rand(2, 3, 16, 24)).shape == (2, 2, 16, 24)


def test_the_condition_matters() -> None:
    network = _awake(UNet(widths=(4, 4), depths=(1, 1)))
    observed = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    level = torch.ones(1, 1, 8, 8)
    assert not torch.allclose(network(observed, 0.1 * level), network(observed, 0.2 * level))


def test_blocks_begin_as_the_identity() -> None:
    network = UNet(widths=(4, 4), depths=(2, 2))
    x = torch.randn(1, 4, 6, 6)
    assert torch.equal(network.encoder[0](x), x)
