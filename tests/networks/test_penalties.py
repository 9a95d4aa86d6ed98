import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from denoise.errors import UsageError
from denoise.networks.autoencoder import Autoencoder
from denoise.networks.penalties import Contractive, KLCode, L1Code, Penalty, estimate_jacobian_norm, jacobian_norm


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _network(**settings: object) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(**{"channels": 1, "widths": (4, 8), "code": 6, "side": 8, "activation": "sigmoid", **settings})


def _by_autograd(network: Autoencoder, observed: Tensor) -> Tensor:
    rows = [
        torch.autograd.functional.jacobian(lambda signal: network.encode(signal[None]).flatten(), one)
        for one in observed
    ]
    return torch.stack([row.square().sum() for row in rows])


def test_l1_is_the_sum_over_the_code() -> None:
    code = torch.tensor([[1.0, -2.0], [0.0, 3.0]])[:, :, None, None]
    assert L1Code()(_network(), code, code, seeded()) == 3.0


@pytest.mark.parametrize("rho", [0.01, 0.05, 0.5])
def test_kl_is_the_closed_form(rho: float) -> None:
    code = torch.rand(7, 5, 3, 2, generator=seeded())
    rate = code.double().mean((0, 2, 3))
    bernoulli = torch.distributions.Bernoulli
    truth = torch.distributions.kl_divergence(bernoulli(torch.full_like(rate, rho)), bernoulli(rate)).sum()
    assert KLCode(rho)(_network(), code, code, seeded()).item() == pytest.approx(truth.item(), rel=1e-6)
    at_rho = torch.full_like(code, rho)
    assert KLCode(rho)(_network(), code, at_rho, seeded()).item() == pytest.approx(0, abs=1e-6)


def test_kl_is_finite_where_units_are_always_or_never_active() -> None:
    code = torch.tensor([0.0, 1.0])[None, :, None, None].requires_grad_()
    value = KLCode(0.05)(_network(), code, code, seeded())
    value.backward()
    assert value.isfinite()
    assert code.grad.isfinite().all()


def test_kl_drives_the_mean_activation_to_rho() -> None:
    network, observed, kl = _network(code=32), torch.rand(64, 1, 8, 8), KLCode(0.1)
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(150):
        optimiser.zero_grad()
        code = network.encode(observed)
        kl(network, observed, code, seeded()).backward()
        optimiser.step()
    rate = network.encode(observed).mean(0)
    assert (rate - 0.1).abs().max() < 0.02


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"widths": ()}, (8, 8)),  # closed form
        ({"widths": ()}, (16, 8)),
        ({"widths": ()}, (7, 9)),  # padded
        ({"widths": (), "side": None}, (6, 5)),  # overlapping
        ({"widths": (), "activation": "none"}, (8, 8)),
        ({}, (8, 8)),
        ({"side": None, "depth": 1, "activation": "relu", "channels": 3}, (9, 6)),
    ],
    ids=str,
)
def test_exact_equals_the_jacobian_of_autograd(settings: dict, size: tuple[int, int]) -> None:
    network = _network(**settings)
    observed = torch.rand(3, network.channels, *size, generator=seeded())
    truth = _by_autograd(network, observed)
    torch.testing.assert_close(jacobian_norm(network, observed), truth, rtol=1e-5, atol=0)
    value = Contractive("exact")(network, observed, network.encode(observed), seeded())
    torch.testing.assert_close(value, truth.mean(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("settings", [{"widths": ()}, {"side": None, "depth": 1, "activation": "none"}], ids=str)
def test_hutchinson_is_right_on_average(settings: dict) -> None:
    network = _network(**settings).requires_grad_(False)
    observed = torch.rand(1, 1, 8, 8, generator=seeded()).expand(4096, -1, -1, -1)
    exact = jacobian_norm(network, observed[:1])
    estimates = estimate_jacobian_norm(network, observed, seeded(1), samples=2)
    assert estimates.mean().item() == pytest.approx(exact.item(), rel=0.02)
    assert estimates.std() > 0.01 * exact
    assert torch.equal(estimates, estimate_jacobian_norm(network, observed, seeded(1), samples=2))


@pytest.mark.parametrize("widths", [(), (4, 8)])
def test_hutchinson_has_the_gradient_of_exact_on_average(widths: tuple[int, ...]) -> None:
    observed = torch.rand(1, 1, 8, 8, generator=seeded())
    gradients = []
    for method, count in (("exact", 1), ("hutchinson", 4096)):
        network = _network(widths=widths)
        Contractive(method)(network, observed.expand(count, -1, -1, -1), observed, seeded()).backward()
        gradients.append(network.encoder[0].weight.grad.flatten())
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99
    assert gradients[1].norm().item() == pytest.approx(gradients[0].norm().item(), rel=0.05)


PENALTIES = [L1Code(), KLCode(), Contractive("exact"), Contractive("hutchinson", samples=2)]


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda penalty: f"{penalty.name}-{getattr(penalty, 'method', '')}")
def test_gradients_flow_also_in_bfloat16(penalty: Penalty) -> None:
    observed = torch.rand(1, 3, 9, 7, generator=seeded())
    gradients, values = [], []
    for enabled in (False, True):
        network = _network(channels=3)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            value = penalty(network, observed, network.encode(observed), seeded())
        assert value.dtype == torch.float32
        assert value.shape == ()
        value.backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in network.encoder[:-2].parameters()]))
        values.append(value.item())
        assert gradients[-1].isfinite().all()
        assert gradients[-1].norm() > 0
        assert all(weight.grad is None for weight in network.decoder.parameters())
    assert values[1] == pytest.approx(values[0], rel=0.02)
    assert torch.cosine_similarity(*gradients, dim=0) > 0.98


def test_a_contractive_value_is_float32_under_autocast() -> None:
    network, observed = _network(), torch.rand(2, 1, 8, 8)
    plain = Contractive("exact")(network, observed, observed, seeded())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Contractive("exact")(network, observed, observed, seeded()), plain)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (L1Code, {"weight": -1}),
        (KLCode, {"rho": 0}),
        (KLCode, {"rho": 1.5}),
        (Contractive, {"method": "guess"}),
        (Contractive, {"samples": 0}),
    ],
)
def test_wrong_arguments_are_refused(kind: type[Penalty], arguments: dict) -> None:
    with pytest.raises(UsageError, match="is not allowed: give"):
        kind(**arguments)


def test_kl_wants_a_sigmoid() -> None:
    network = _network(activation="relu")
    code = network.encode(torch.rand(1, 1, 8, 8))
    with pytest.raises(UsageError, match="give the network a sigmoid"):
        KLCode()(network, code, code, seeded())


# Each process has a part of the batch, of unlike sizes; DistributedDataParallel averages the gradients.
SCRIPT = """
import sys
import torch
from torch import distributed as dist
from denoise.networks.autoencoder import Autoencoder
from denoise.networks.penalties import KLCode

rank, folder = int(sys.argv[1]), sys.argv[2]
network = Autoencoder(1, widths=(4,), code=6, side=8, activation="sigmoid")
start = torch.load(f"{folder}/start.pt")
network.load_state_dict(start["weights"])
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
encode = torch.nn.parallel.DistributedDataParallel(network.encoder)
observed = start["observed"][:3] if rank == 0 else start["observed"][3:]
value = KLCode(0.05)(network, observed, encode(observed), torch.Generator())
value.backward()
gradients = [weight.grad for weight in network.encoder.parameters()]
torch.save([value.detach(), *gradients], f"{folder}/{rank}.pt")
dist.destroy_process_group()
"""


def test_kl_is_of_the_whole_batch_of_all_processes(tmp_path: Path) -> None:
    network, observed = _network(widths=(4,)), torch.rand(5, 1, 8, 8, generator=seeded())
    torch.save({"weights": network.state_dict(), "observed": observed}, tmp_path / "start.pt")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    ranks = [subprocess.Popen([*command, str(rank), str(tmp_path)], env=environment) for rank in (0, 1)]
    value = KLCode(0.05)(network, observed, network.encode(observed), seeded())
    value.backward()
    alone = [value.detach(), *(weight.grad for weight in network.encoder.parameters())]
    assert [process.wait(120) for process in ranks] == [0, 0]
    for rank in (0, 1):
        shared = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(shared, alone, rtol=1e-4, atol=1e-7)
