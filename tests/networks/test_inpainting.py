from __future__ import annotations

import pytest
import torch
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from denoise.networks import build, describe
from denoise.networks.inpainting import CELL, InpaintingUNet, fill, fill_coarse, pull
from denoise.networks.unet import UNet
from tests.conftest import awake


def filled(picture: Tensor, holes: Tensor) -> Tensor:
    return fill(picture, holes, fill_coarse(*pull(picture, holes)))


def holes_of(share: float, height: int = 64, width: int = 96) -> Tensor:
    return (torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0)) < share).float()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_known_pixels_stay(share: float) -> None:
    picture, holes = torch.rand(1, 3, 64, 96), holes_of(share)
    known = (holes == 0).expand_as(picture)
    assert torch.equal(filled(picture, holes)[known], picture[known])


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_flat_picture_is_filled_flat(share: float) -> None:
    picture = torch.full((1, 3, 64, 96), 0.7)
    torch.testing.assert_close(filled(picture, holes_of(share)), picture, atol=1e-5, rtol=0)


def test_what_is_in_the_holes_is_not_looked_at() -> None:
    picture, holes = torch.rand(1, 3, 64, 96), holes_of(0.4)
    other = torch.where(holes > 0, 5.0, picture)
    torch.testing.assert_close(filled(picture, holes), filled(other, holes), atol=1e-6, rtol=0)


def test_a_hole_is_filled_from_around_it_within_the_range() -> None:
    ramp = torch.linspace(0, 1, 128).expand(1, 1, 128, 128).contiguous()
    holes = torch.zeros(1, 1, 128, 128)
    holes[..., 40:80, 40:80] = 1
    found = filled(ramp, holes)
    assert found.min() >= 0 and found.max() <= 1
    assert (found - ramp).abs().max() < 0.2
    assert found[0, 0, 60, 42] < found[0, 0, 60, 78]


def test_small_holes_are_filled_as_by_the_biharmonic_equation() -> None:
    rows, columns = torch.meshgrid(torch.linspace(0, 3, 64), torch.linspace(0, 4, 96), indexing="ij")
    picture = (0.5 + 0.4 * torch.sin(2 * rows) * torch.cos(3 * columns))[None, None]
    holes = holes_of(0.5)
    solved = inpaint_biharmonic(picture[0, 0].double().numpy(), holes[0, 0].numpy() > 0)
    found = filled(picture, holes)[0, 0]
    assert (found - torch.from_numpy(solved)).abs()[8:-8, 8:-8].max() < 0.003
    assert (found - picture[0, 0]).abs()[8:-8, 8:-8].max() < 0.003


def test_nothing_known_is_black() -> None:
    assert torch.equal(filled(torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)), torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("rows", [slice(0, 160), slice(96, 256), slice(32, 192)])
def test_a_part_is_filled_as_the_whole_given_its_cells(rows: slice) -> None:
    picture = torch.rand(1, 3, 256, 96)
    holes = holes_of(0.5, 256)
    holes[..., 20:230, 10:80] = 1
    whole = filled(picture, holes)
    coarse = fill_coarse(*pull(picture, holes))[:, :, rows.start // CELL : rows.stop // CELL]
    part = fill(picture[:, :, rows], holes[:, :, rows], coarse)
    inner = slice(64, part.shape[2] - 64)  # nearer to the edge what lies beyond it is missed
    torch.testing.assert_close(part[:, :, inner], whole[:, :, rows][:, :, inner], atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (8, 24)])
def test_the_network_keeps_the_shape_and_has_gradients(size: tuple[int, int]) -> None:
    network = InpaintingUNet(widths=(4, 8), depths=(1, 1))
    picture, holes = torch.rand(2, 3, *size), holes_of(0.3, *size).expand(2, -1, -1, -1)
    restored = network(picture, holes)
    assert restored.shape == picture.shape
    restored.sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


def test_it_begins_as_the_rough_filling() -> None:
    network = InpaintingUNet(widths=(4, 8), depths=(1, 1))
    torch.nn.init.zeros_(network.tail.weight)
    picture, holes = torch.rand(1, 3, 64, 96), holes_of(0.3)
    assert torch.equal(network(picture, holes), filled(picture, holes))


def test_weights_of_a_denoiser_fit() -> None:
    denoiser = awake(UNet(widths=(4, 8), depths=(1, 1)))
    network = InpaintingUNet(widths=(4, 8), depths=(1, 1))
    network.load_state_dict(denoiser.state_dict())
    picture, holes = torch.rand(1, 3, 64, 96), holes_of(0.3)
    torch.testing.assert_close(network(picture, holes), denoiser(filled(picture, holes), holes))


def test_it_is_built_from_its_description() -> None:
    described = describe(InpaintingUNet(widths=(4, 8), depths=(1, 1)))
    assert described["class"] == "InpaintingUNet"
    assert describe(build(described)) == described


def test_autocast_leaves_the_rough_filling_exact() -> None:
    picture, holes = torch.rand(1, 3, 64, 96), holes_of(0.3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(filled(picture, holes), filled(picture, holes).float())
        assert filled(picture, holes).dtype == torch.float32
