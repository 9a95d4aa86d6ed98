import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from torch.nn import functional as F

from denoise.errors import ModelError
from denoise.networks import build, describe
from denoise.networks.autoencoder import Autoencoder
from denoise.training.arrays import load_digits

KINDS = [
    {"widths": (4, 8), "code": 5},
    {"widths": (4, 8), "code": 5, "side": 8, "activation": "sigmoid", "depth": 1},
    {"widths": (4,), "code": 6, "side": (8, 4), "activation": "relu"},
    {"widths": (), "code": 3, "side": 7},
    {"widths": (), "code": 3},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (1, 1), (7, 29), (33, 12)])
def test_any_size_comes_back(kind: dict, channels: int, size: tuple[int, int]) -> None:
    network = Autoencoder(channels, **kind)
    observed = torch.rand(1, channels, *size)
    code = network.encode(observed)
    cells = [-(-side // step) for side, step in zip(size, network.stride, strict=True)]
    assert code.shape == (1, kind["code"], *cells)
    restored = network(observed)
    assert restored.shape == observed.shape
    assert torch.equal(network.decode(code, size), restored)
    assert network.decode(code).shape[-2:] == tuple(n * step for n, step in zip(cells, network.stride, strict=True))
    restored.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_receptive_field_is_a_tight_upper_bound(kind: dict) -> None:
    network = Autoencoder(1, **{**kind, "activation": "none"}).double()
    for weight in network.parameters():
        weight.data.uniform_(0.1, 0.2).requires_grad_(False)  # positive: no ReLU hides a path
    step = network.multiple_of
    middle = (network.receptive_field // step + 1) * step
    reach = 0
    for pixel in range(middle, middle + step):
        observed = torch.rand(1, 1, 2 * middle + step, 2 * middle + step, dtype=torch.double).requires_grad_()
        network(observed)[0, 0, pixel, pixel].backward()
        reach = max(reach, int((observed.grad[0, 0].nonzero() - pixel).abs().max()))
    assert reach == network.receptive_field


def test_without_a_side_the_code_moves_with_the_signal() -> None:
    network = Autoencoder(1, widths=(4, 8), code=5)
    signal = torch.rand(1, 1, 64, 64)
    first, second = network.encode(signal), network.encode(signal.roll((4, 8), (2, 3)))
    torch.testing.assert_close(first[..., 3:10, 3:10], second[..., 4:11, 5:12])


def test_with_a_side_patches_do_not_see_each_other() -> None:
    network = Autoencoder(1, widths=(), code=5, side=8)
    signal = torch.rand(1, 1, 24, 16)
    torch.testing.assert_close(network.encode(signal)[..., 1:2, 1:2], network.encode(signal[..., 8:16, 8:16]))


@pytest.mark.parametrize(
    ("activation", "low", "high"), [("none", -np.inf, np.inf), ("relu", 0, np.inf), ("sigmoid", 0, 1)]
)
def test_the_activation_bounds_the_code(activation: str, low: float, high: float) -> None:
    code = Autoencoder(1, code=64, activation=activation).encode(10 * torch.randn(4, 1, 16, 16))
    assert low <= code.min() < code.max() <= high
    assert activation != "none" or code.min() < 0


def test_bfloat16() -> None:
    network, observed = Autoencoder(1, code=8, side=8, activation="sigmoid"), torch.rand(2, 1, 9, 8)
    with torch.autocast("cpu", torch.bfloat16):
        restored = network(observed)
    torch.testing.assert_close(restored.float(), network(observed), atol=0.02, rtol=0)
    assert network.bfloat16()(observed.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"activation": "tanh"}, "give one of none, relu, sigmoid"),
        ({"side": 30}, "give a multiple of 4"),
        ({"side": 0}, "give a multiple of 4"),
        ({"side": (8, 8, 8)}, "give a multiple of 4"),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        build({"class": "Autoencoder", **wrong})


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_config_rebuilds_it(kind: dict) -> None:
    network = Autoencoder(1, **kind)
    again = build(describe(network))
    again.load_state_dict(network.state_dict())
    observed = torch.rand(1, 1, 9, 9)
    assert torch.equal(again(observed), network(observed))


def test_the_linear_one_spans_the_principal_components() -> None:
    pictures = load_digits().train.double()
    pictures -= pictures.mean(0)  # as PCA does; the biases would learn it, but slowly
    flat = pictures.flatten(1).numpy()
    pca = PCA(16).fit(flat)
    best = np.square(pca.inverse_transform(pca.transform(flat)) - flat).mean()
    network = Autoencoder(1, widths=(), code=16, side=8).double()
    settings = {"max_iter": 200, "history_size": 50, "tolerance_change": 0, "line_search_fn": "strong_wolfe"}
    optimiser = torch.optim.LBFGS(network.parameters(), **settings)

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        error = 64 * F.mse_loss(network(pictures), pictures)
        error.backward()
        return error.detach()

    optimiser.step(loss)
    decoder = network.decoder[0].weight.detach().flatten(1).numpy()
    assert np.degrees(subspace_angles(decoder.T, pca.components_.T).max()) < 2
    assert loss().item() / 64 == pytest.approx(best, rel=0.001)
