"""Ranges and random numbers, always from the generator that the caller passes.

Numbers are drawn on the generator's own device and then moved to the signal's, so that a CPU generator gives the same
draw for a signal on any device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from denoise.errors import UsageError

Range = float | tuple[float, float]


def as_range(value: float | Sequence[float], name: str, low: float = 0, high: float = math.inf) -> tuple[float, float]:
    """One number or a (low, high) pair as a pair, checked against what is allowed; raises UsageError."""
    pair = tuple(float(v) for v in value) if isinstance(value, Sequence) else (float(value), float(value))
    if len(pair) != 2 or not low <= pair[0] <= pair[1] <= high or math.isinf(pair[1]):
        raise UsageError(f"{name}={value} is not allowed: give a number or a pair low, high within {low:g}..{high:g}.")
    return pair[0], pair[1]


def as_fraction(value: float, name: str) -> float:
    """A probability, checked to lie in 0..1; raises UsageError."""
    if not 0 <= value <= 1:
        raise UsageError(f"{name}={value} is not allowed: give a number within 0..1.")
    return float(value)


def uniform(bounds: tuple[float, float], signal: Tensor, generator: torch.Generator) -> Tensor:
    """One number per example, ready to multiply the signal: `[B, 1, ...]`."""
    unit = torch.rand(signal.shape[0], *[1] * (signal.dim() - 1), generator=generator, device=generator.device)
    return (bounds[0] + (bounds[1] - bounds[0]) * unit).to(signal.device)


def normal(shape: Sequence[int], signal: Tensor, generator: torch.Generator) -> Tensor:
    """Independent standard normal numbers of the given shape, on the signal's device."""
    return torch.randn(shape, generator=generator, device=generator.device).to(signal.device)


def choose(weights: Sequence[float], signal: Tensor, generator: torch.Generator) -> Tensor:
    """One choice per example with the given weights: `[B]`, integers."""
    chances = torch.tensor(weights, device=generator.device)
    return torch.multinomial(chances, signal.shape[0], replacement=True, generator=generator).to(signal.device)
