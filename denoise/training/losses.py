"""What a restoration is scored by in training."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class L1(nn.Module):
    """Mean absolute error.

    Shape:
        - restored, target: `[B, C, *S]`; weight: `[B, 1, *S]` or None
    """

    def forward(self, restored: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss, a scalar."""
        return example_mean((restored - target).abs(), weight).mean()


class SquaredError(nn.Module):
    """Mean squared error.

    Shape:
        - restored, target: `[B, C, *S]`; weight: `[B, 1, *S]` or None
    """

    def forward(self, restored: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss, a scalar."""
        return example_mean((restored - target).float().square(), weight).mean()


class PSNRLoss(nn.Module):
    """Mean over the batch of the logarithm of each example's mean squared error: what a mean of PSNRs measures.

    Every example counts alike whatever its noise level (Chen et al., "HINet", CVPR Workshops 2021). `floor` is the
    error below which an example stops counting, as a standard deviation on the 0..1 scale.

    Shape:
        - restored, target: `[B, C, *S]`; weight: `[B, 1, *S]` or None
    """

    def __init__(self, floor: float = 0.003) -> None:
        super().__init__()
        self.floor = floor

    def forward(self, restored: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss, a scalar."""
        return torch.log(example_mean((restored - target).square(), weight) + self.floor**2).mean()


def example_mean(error: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of each example, weighted.

    Shape:
        - error: `[B, C, *S]`; weight: `[B, 1, *S]` or None
        - Output: `[B]`
    """
    if weight is None:
        return error.flatten(1).mean(1)
    weight = weight.expand_as(error)
    return (error * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-8)
