import copy

import pytest
import torch
from torch import nn

from denoise.networks.unet import UNet
from denoise.training.optimizers import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(2, 16, 144), (2, 36, 8), (1, 12, 12)])
def test_orthogonalise_keeps_singular_vectors_and_levels_singular_values(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    u, _, vh = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    values = torch.linspace(0.05, 1, u.shape[-1])
    got = orthogonalise(u * values @ vh)
    inner = u.mT @ got @ vh.mT  # diagonal, if the vectors are the same
    diagonal = inner.diagonal(dim1=-2, dim2=-1)
    assert (inner - torch.diag_embed(diagonal)).abs().max() < 1e-3
    assert diagonal.min() > 0.6
    assert diagonal.max() < 1.25


def test_orthogonalise_ignores_scale_and_leaves_zero() -> None:
    matrix = torch.randn(1, 5, 9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(orthogonalise(1e3 * matrix), orthogonalise(matrix), rtol=1e-4, atol=1e-4)
    assert not orthogonalise(torch.zeros(1, 3, 4)).any()


def test_kernels_go_to_one_half_and_all_else_to_the_other() -> None:
    network = UNet(widths=(4, 4), depths=(1, 1))
    optimizer = Muon(network.named_parameters())
    orthogonal, plain = optimizer.param_groups
    assert orthogonal["orthogonal"]
    assert not plain["orthogonal"]
    assert {id(p) for p in plain["params"]} == {id(network.head.weight), id(network.tail.weight)}
    assert len(orthogonal["params"]) + 2 == len(list(network.parameters()))


def test_the_plain_half_is_adamw() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(7, generator=generator)
    mine, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    ours = Muon([("bias", mine)], lr=1e-2, betas=(0.9, 0.99))
    reference = torch.optim.AdamW([theirs], lr=1e-2, betas=(0.9, 0.99), weight_decay=0)
    for _ in range(5):
        gradient = torch.randn(7, generator=generator)
        mine.grad, theirs.grad = gradient.clone(), gradient.clone()
        ours.step()
        reference.step()
    torch.testing.assert_close(mine, theirs)


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(8, 1, 3, padding=1))


def _fit(network: nn.Module, optimizer: Muon, steps: int) -> list[float]:
    """Learn to blur."""
    picture = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    target = nn.functional.avg_pool2d(picture, 3, 1, 1)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (network(picture) - target).square().mean()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    return losses


def test_a_small_network_learns() -> None:
    network = _network()
    losses = _fit(network, Muon(network.named_parameters(), lr=1e-2), 30)
    assert losses[-1] < 0.2 * losses[0]


def test_a_step_has_the_size_of_an_adam_step() -> None:
    kernel = nn.Parameter(torch.zeros(16, 16, 3, 3))
    kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0))
    Muon([("body.weight", kernel)], lr=1.0).step()
    assert kernel.square().mean().sqrt().item() == pytest.approx(0.2, rel=0.2)


def test_state_survives_a_round_trip() -> None:
    network = _network()
    optimizer = Muon(network.named_parameters(), lr=1e-2)
    _fit(network, optimizer, 3)
    other = copy.deepcopy(network)
    resumed = Muon(other.named_parameters(), lr=1e-2)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    states = optimizer.state_dict()["state"].values()
    assert {tuple(sorted(state)) for state in states} == {("momentum",), ("mean", "square", "step")}
    assert _fit(other, resumed, 3) == _fit(network, optimizer, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_number_formats_and_missing_gradients(dtype: torch.dtype) -> None:
    network = _network().to(dtype)
    before = [p.detach().clone() for p in network.parameters()]
    for p in network.parameters():
        p.grad = torch.ones_like(p)
    network[2].weight.grad = network[4].bias.grad = None
    Muon(network.named_parameters()).step()
    for (name, p), old in zip(network.named_parameters(), before, strict=True):
        assert p.dtype == dtype
        assert torch.equal(p, old) == (name in ("2.weight", "4.bias"))


def test_a_closure_gives_the_loss() -> None:
    p = nn.Parameter(torch.ones(3))

    def closure() -> torch.Tensor:
        loss = p.square().sum()
        loss.backward()
        return loss

    assert Muon([("p", p)]).step(closure) == 3
    assert (p < 1).all()
