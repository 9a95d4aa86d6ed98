"""What the tour measures on scikit-learn's handwritten digits: 1437 to learn from, 360 others to measure on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from denoise.corruptions.image import Gaussian
from denoise.networks.autoencoder import Autoencoder
from denoise.networks.penalties import Contractive, KLCode, L1Code, jacobian, mean_activation
from denoise.tour.training import Trainings
from denoise.training.arrays import Split
from denoise.training.autoencoders import (
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    RegularizedAutoencoder,
    SparseAutoencoder,
    UndercompleteAutoencoder,
)

WIDTHS = (32, 64)
RHO = 0.05
SIGMA = 128.0
"""Noise for the denoising autoencoder, as a standard deviation on the 0..255 scale"""


def error(made: Tensor, clean: Tensor) -> float:
    """Mean squared error a pixel, on a scale where black is 0 and white 1."""
    return float((made - clean).square().mean())


def decibels(squared: float) -> float:
    """Peak signal-to-noise ratio of a mean squared error."""
    return -10 * math.log10(squared)


class Components:
    """Principal components of the training pictures, the most important first."""

    def __init__(self, train: Tensor) -> None:
        flat = train.flatten(1)
        self.middle = flat.mean(0)
        self.directions = torch.linalg.svd(flat - self.middle, full_matrices=False).Vh

    def __call__(self, pictures: Tensor, count: int) -> Tensor:
        """The pictures, as far as the first `count` components can say them. Shape: `[N, C, H, W]` -> the same."""
        kept = self.directions[:count]
        made: Tensor = (pictures.flatten(1) - self.middle) @ kept.T @ kept + self.middle
        return made.reshape(pictures.shape)


@dataclass(frozen=True)
class Sizes:
    """Mean squared error on the test pictures by length of the code."""

    sizes: list[int]
    pca: list[float]
    linear: dict[int, float]
    """By length of the code"""
    deep: list[float]
    shown: int
    """Length of the code of the pictures below, which are `[10, 1, 8, 8]`"""
    originals: Tensor
    by_pca: Tensor
    by_deep: Tensor


def code_sizes(trainings: Trainings, digits: Split, sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)) -> Sizes:
    """PCA, the linear autoencoder and a convolutional one, at the same length of code."""
    components = Components(digits.train)
    shown = sizes[min(2, len(sizes) - 1)]
    originals = one_of_each(digits)
    linear, deep, by_deep = {}, [], originals
    for size in sizes[3::2]:  # shorter ones take a linear network more steps than a tour has
        network = trainings.network(channels=1, widths=(), code=size, side=8)
        network = trainings.fit(UndercompleteAutoencoder(network, lr=0.02), digits.train, 1000)
        linear[size] = error(network(digits.test), digits.test)
    for size in sizes:
        network = trainings.network(channels=1, widths=WIDTHS, code=size, side=8)
        network = trainings.fit(UndercompleteAutoencoder(network, lr=4e-3), digits.train, 800)
        deep.append(error(network(digits.test), digits.test))
        if size == shown:
            by_deep = network(originals)
    pca = [error(components(digits.test, size), digits.test) for size in sizes]
    return Sizes(list(sizes), pca, linear, deep, shown, originals, components(originals, shown), by_deep)


@dataclass(frozen=True)
class Rates:
    """Mean activation of each unit over the test pictures, `[K]`, and the error of the reconstruction."""

    free: Tensor
    held: Tensor
    free_error: float
    held_error: float


def rates(trainings: Trainings, digits: Split) -> Rates:
    """A sigmoid code without the KL penalty and with it."""
    pair = []
    for weight in (0.0, 1e-3):
        network = trainings.network(channels=1, widths=WIDTHS, code=128, side=8, activation="sigmoid")
        module = SparseAutoencoder(network, sparsity=KLCode(RHO, weight), lr=4e-3)
        pair.append(trainings.fit(module, digits.train, 800))
    free, held = (mean_activation(network.encode(digits.test)) for network in pair)
    return Rates(free, held, *(error(network(digits.test), digits.test) for network in pair))


@dataclass(frozen=True)
class Activations:
    """Codes of a zero to a nine, `[10, K]`, and shares of active units over all test pictures."""

    dense: Tensor
    sparse: Tensor
    dense_share: float
    sparse_share: float
    dense_overlap: float
    """Units active in two different digits, as a share of those active in either, mean over pairs"""
    sparse_overlap: float
    dense_error: float
    sparse_error: float


def activations(trainings: Trainings, digits: Split) -> Activations:
    """A code of twice as many numbers as pixels, without the L1 penalty and with it."""
    pair = []
    for weight in (0.0, 1e-3):
        network = trainings.network(channels=1, widths=WIDTHS, code=128, side=8, activation="relu")
        module = SparseAutoencoder(network, sparsity=L1Code(weight), lr=2e-3)
        pair.append(trainings.fit(module, digits.train, 1000))
    pictures = one_of_each(digits)
    dense, sparse = (network.encode(pictures).flatten(1) for network in pair)
    codes = [network.encode(digits.test).flatten(1) for network in pair]
    active = [code > 0.05 * code.max() for code in codes]
    labels = digits.test_labels
    assert labels is not None
    return Activations(
        dense,
        sparse,
        *(float(units.float().mean()) for units in active),
        *(overlap(units, labels) for units in active),
        *(error(network(digits.test), digits.test) for network in pair),
    )


def overlap(active: Tensor, labels: Tensor) -> float:
    """Jaccard index of the active units, mean over pairs of unlike labels. Shape: `[N, K] bool, [N]`."""
    units = active.float()
    both = units @ units.T
    either = units.sum(1)[:, None] + units.sum(1)[None] - both
    unlike = labels[:, None] != labels[None]
    return float((both / either.clamp_min(1))[unlike].mean())


@dataclass(frozen=True)
class Contraction:
    """How fast the code changes, without the penalty and with it."""

    singular: tuple[Tensor, Tensor]
    """Singular values of the Jacobian, the largest first, mean over test pictures. Shape: `[K]` each"""
    norms: tuple[float, float]
    """Squared Frobenius norm, mean over test pictures"""
    steps: Tensor
    """Standard deviation of the noise added to the pictures"""
    drift: tuple[Tensor, Tensor]
    """How far the code moves by that, in multiples of the mean distance of the codes of two different pictures"""
    errors: tuple[float, float]


def contraction(trainings: Trainings, digits: Split) -> Contraction:
    """A sigmoid code without the contractive penalty and with it."""
    pair = []
    for weight in (0.0, 5e-4):
        network = trainings.network(channels=1, widths=WIDTHS, code=32, side=8, activation="sigmoid")
        module = ContractiveAutoencoder(network, contraction=Contractive("hutchinson", weight=weight), lr=4e-3)
        pair.append(trainings.fit(module, digits.train, 800))
    steps = torch.linspace(0, 0.3, 13)
    whole = [jacobian(network, digits.test) for network in pair]
    first, second = (torch.linalg.svdvals(part).mean(0) for part in whole)
    before, after = (float(part.square().sum((1, 2)).mean()) for part in whole)
    free, held = (_drift(network, digits.test, steps) for network in pair)
    errors = [error(network(digits.test), digits.test) for network in pair]
    return Contraction((first, second), (before, after), steps, (free, held), (errors[0], errors[1]))


def _drift(network: Autoencoder, pictures: Tensor, steps: Tensor) -> Tensor:
    code = network.encode(pictures).flatten(1)
    apart = torch.pdist(code).mean()
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(5))
    moved = [network.encode(pictures + step * noise).flatten(1) - code for step in steps]
    return torch.stack([part.norm(dim=1).mean() for part in moved]) / apart


@dataclass(frozen=True)
class Denoised:
    """Test pictures with noise, and what became of them; `[10, 1, 8, 8]` and errors over all of them."""

    clean: Tensor
    noisy: Tensor
    by_pca: Tensor
    by_network: Tensor
    errors: tuple[float, float, float]
    """Noisy, by PCA with the count of components that is best on these pictures, by the network"""
    components: int


def denoise_digits(trainings: Trainings, digits: Split) -> Denoised:
    """A denoising autoencoder with a code larger than the picture, beside PCA."""
    network = trainings.network(channels=1, widths=WIDTHS, code=128, side=8)
    network = trainings.fit(DenoisingAutoencoder(network, corruption=Gaussian(SIGMA), lr=4e-3), digits.train, 1200)
    noise = torch.randn(digits.test.shape, generator=torch.Generator().manual_seed(6))
    noisy = digits.test + SIGMA / 255 * noise
    components = Components(digits.train)
    by_count = {count: error(components(noisy, count), digits.test) for count in range(1, 65)}
    best = min(by_count, key=by_count.__getitem__)
    first = first_of_each(digits)
    return Denoised(
        digits.test[first],
        noisy[first],
        components(noisy[first], best),
        network(noisy[first]),
        (error(noisy, digits.test), by_count[best], error(network(noisy), digits.test)),
        best,
    )


@dataclass(frozen=True)
class Overfitted:
    """Errors on the few pictures that were learned from and on others, as the training goes on."""

    count: int
    steps: list[int]
    trained: dict[int, list[float]]
    """By length of the code"""
    tested: dict[int, list[float]]


def overfit(trainings: Trainings, digits: Split, sizes: tuple[int, int] = (4, 64), count: int = 50) -> Overfitted:
    """Little to learn from, and a code that need not leave anything out."""
    few, steps = digits.train[:count], 1000
    result = Overfitted(count, [], {}, {})
    for size in sizes:
        network = trainings.network(channels=1, widths=WIDTHS, code=size, side=8)
        trained, tested = result.trained.setdefault(size, []), result.tested.setdefault(size, [])
        result.steps.clear()

        def watch(
            network: Autoencoder, step: int, trained: list[float] = trained, tested: list[float] = tested
        ) -> None:
            if step & (step - 1) and step % 25:
                return
            result.steps.append(step)
            trained.append(error(network(few), few))
            tested.append(error(network(digits.test), digits.test))

        trainings.fit(RegularizedAutoencoder(network, lr=4e-3), few, steps, watch)
    return result


def first_of_each(digits: Split) -> Tensor:
    """Indices of the first zero, one ... nine of the test pictures. Shape: `[10]`."""
    assert digits.test_labels is not None
    return torch.stack([(digits.test_labels == digit).nonzero()[0, 0] for digit in range(10)])


def one_of_each(digits: Split) -> Tensor:
    """The first zero, one ... nine of the test pictures. Shape: `[10, 1, 8, 8]`."""
    return digits.test[first_of_each(digits)]
