"""Building blocks that the networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """`x + conv(relu(conv(x)))` with bias-free 3x3 convolutions and no norm.

    Without biases and norms the network is homogeneous of degree one in (picture, noise level), which is what lets a
    denoiser generalise to levels it was not trained on (Mohan et al., "Robust and interpretable blind image denoising
    via bias-free convolutional neural networks", ICLR 2020). The second convolution starts at zero, so that a deep
    stack of blocks begins as the identity (Zhang et al., "Fixup initialization", ICLR 2019).

    Shape:
        - Input, output: `[B, width, H, W]`
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """One step, added to its input."""
        change: Tensor = self.second(torch.relu_(self.first(x)))
        return x + change
