"""What the tour measures on points in the plane, where everything can be drawn.

A point is a picture of one pixel with two bands, so the networks are the same `Autoencoder` as everywhere.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from denoise.corruptions.image import Gaussian
from denoise.networks.autoencoder import Autoencoder
from denoise.tour.training import Trainings
from denoise.training.autoencoders import DenoisingAutoencoder, UndercompleteAutoencoder

SCATTER = 0.012
"""Standard deviation of the points around the curve, where the side of the plane is 1"""
NOISE = 0.05
"""Standard deviation of the noise that the denoising autoencoder learns to undo"""


def curve(place: Tensor) -> Tensor:
    """The manifold of the tour: a piece of a spiral. Shape: `[N]` in 0..1 -> `[N, 2]` within 0..1."""
    angle = math.pi * (1.5 * place - 0.1)
    radius = 0.25 + 0.2 * place
    return torch.stack([0.56 + 1.2 * radius * angle.cos(), 0.5 + 0.7 * radius * angle.sin()], 1)


def points(count: int, seed: int, scatter: float = SCATTER) -> Tensor:
    """Points near the curve. Shape: `[count, 2]`."""
    generator = torch.Generator().manual_seed(seed)
    on_curve = curve(torch.rand(count, generator=generator))
    return on_curve + scatter * torch.randn(count, 2, generator=generator)


def nearest(places: Tensor) -> Tensor:
    """The nearest point of the curve. Shape: `[N, 2] -> [N, 2]`."""
    line = curve(torch.linspace(0, 1, 2000))
    return line[torch.cdist(places, line).argmin(1)]


def rebuild(network: Autoencoder, places: Tensor) -> Tensor:
    """What an autoencoder makes of points. Shape: `[N, 2] -> [N, 2]`."""
    made: Tensor = network(places[:, :, None, None])
    return made[:, :, 0, 0]


def distance(first: Tensor, second: Tensor) -> float:
    """Root of the mean squared distance. Shape: `[N, 2], [N, 2] -> []`."""
    return float((first - second).square().sum(1).mean().sqrt())


@dataclass(frozen=True)
class LineAndCurve:
    """One number a point: what is left of the points, and how far off that is (root mean square)."""

    test: Tensor
    line: Tensor
    bent: Tensor
    """What the autoencoder makes of the curve's own points, in their order"""
    pca: float
    linear: float
    curved: float
    degrees: float
    """Between the line of the linear autoencoder and that of the principal component"""


def line_against_curve(trainings: Trainings) -> LineAndCurve:
    """A code of one number: principal component, linear autoencoder, autoencoder."""
    train, test = points(1000, 1), points(400, 2)
    linear = trainings.fit(
        UndercompleteAutoencoder(trainings.network(channels=2, widths=(), code=1, side=1), lr=0.05),
        train[:, :, None, None],
        500,
    )
    bent = trainings.fit(
        UndercompleteAutoencoder(trainings.network(channels=2, widths=(64,), code=1, side=2, depth=1), lr=5e-3),
        train[:, :, None, None],
        2000,
    )
    middle = train.mean(0)
    direction = torch.linalg.svd(train - middle, full_matrices=False).Vh[0]
    flat = middle + ((test - middle) @ direction)[:, None] * direction
    ends = torch.tensor([-0.5, 0.5])
    theirs = linear.decoder[0].weight.flatten()  # type: ignore[operator]
    cosine = float((theirs @ direction / theirs.norm()).abs().clamp(max=1))
    return LineAndCurve(
        test=test,
        line=middle + ends[:, None] * direction,
        bent=rebuild(bent, curve(torch.linspace(0, 1, 400))),
        pca=distance(test, flat),
        linear=distance(test, rebuild(linear, test)),
        curved=distance(test, rebuild(bent, test)),
        degrees=math.degrees(math.acos(cosine)),
    )


@dataclass(frozen=True)
class Field:
    """Where a denoising autoencoder moves the points of the plane to."""

    near: Tensor
    near_moved: Tensor
    grid: Tensor
    moved: Tensor
    bins: Tensor
    """Distances to the curve, in multiples of the noise of the training"""
    before: Tensor
    after: Tensor
    """Median distance to the curve of the points of each bin"""
    near_before: float
    near_after: float
    near_off: float
    """Median distance between where points end and the point of the curve that was nearest to them"""
    far_before: float
    far_after: float
    far_off: float


PLANE = (-0.7, 1.7)
"""The part of the plane that is looked at, in both directions"""
NEAR, FAR = 2.0, 10.0
"""Near and far are below and above so many standard deviations of the noise"""


def vector_field(trainings: Trainings) -> Field:
    """Train with noise and look at what is undone, near the curve and far from it."""
    network = trainings.fit(
        DenoisingAutoencoder(
            trainings.network(channels=2, widths=(64,), code=32, side=2, depth=1),
            corruption=Gaussian(NOISE * 255),
            lr=4e-3,
        ),
        points(4000, 3, scatter=0.0)[:, :, None, None],
        1500,
    )
    axis = torch.linspace(*PLANE, 31)
    grid = torch.cartesian_prod(axis, axis)
    near = torch.cartesian_prod(torch.linspace(-0.1, 1.1, 31), torch.linspace(-0.1, 1.1, 31))
    near = near[(near - nearest(near)).norm(dim=1) < 2 * NEAR * NOISE]
    wide = PLANE[0] + (PLANE[1] - PLANE[0]) * torch.rand(8000, 2, generator=torch.Generator().manual_seed(4))
    moved = rebuild(network, wide)
    target = nearest(wide)
    start = (wide - target).norm(dim=1)
    end = (moved - nearest(moved)).norm(dim=1)
    off = (moved - target).norm(dim=1)
    edges = torch.arange(0, 21) * NOISE
    inside = [(start >= low) & (start < high) for low, high in itertools.pairwise(edges)]
    close, away = start < NEAR * NOISE, start > FAR * NOISE
    return Field(
        near=near,
        near_moved=rebuild(network, near),
        grid=grid,
        moved=rebuild(network, grid),
        bins=torch.arange(20) + 0.5,
        before=torch.stack([start[those].median() for those in inside]),
        after=torch.stack([end[those].median() for those in inside]),
        near_before=float(start[close].median()),
        near_after=float(end[close].median()),
        near_off=float(off[close].median()),
        far_before=float(start[away].median()),
        far_after=float(end[away].median()),
        far_off=float(off[away].median()),
    )


@dataclass(frozen=True)
class Memorised:
    """What a network that is able to do too much makes of a few noisy points."""

    train: Tensor
    line: Tensor
    """The signals of all its codes, in order"""
    trained: float
    tested: float


def memorise(trainings: Trainings) -> Memorised:
    """Ten points with a good deal of scatter and a network that could tell thousands apart."""
    scatter = 0.04
    generator = torch.Generator().manual_seed(7)
    train = curve(torch.linspace(0.03, 0.97, 10)) + scatter * torch.randn(10, 2, generator=generator)
    test = points(500, 8, scatter)
    network = trainings.fit(
        UndercompleteAutoencoder(trainings.network(channels=2, widths=(64,), code=1, side=2, depth=2), lr=4e-3),
        train[:, :, None, None],
        1500,
    )
    codes = network.encode(train[:, :, None, None]).flatten()
    every = torch.linspace(float(codes.min()), float(codes.max()), 1500)
    return Memorised(
        train=train,
        line=network.decode(every[:, None, None, None])[:, :, 0, 0],
        trained=distance(train, rebuild(network, train)),
        tested=distance(test, rebuild(network, test)),
    )
