"""What a corruption is, and how corruptions combine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

Params = Mapping[str, Tensor]


@dataclass(frozen=True)
class Corrupted:
    """What a corruption makes of a clean batch: everything a network is given and is asked for.

    Shape:
        - observed, target: `[B, C, *S]`
        - condition: `[B, K, *S]`, what the network is told about the damage (here K = 1: the noise level as a standard
          deviation on the scale of the signal, 0..1), or None
        - weight: `[B, 1, *S]`, where the loss counts and how much, or None for everywhere alike
    """

    observed: Tensor
    condition: Tensor | None
    target: Tensor
    weight: Tensor | None = None


class Corruption(nn.Module):
    """Clean signal in, observed signal and what we know about it out.

    A child class writes two methods: `draw` owns the randomness and `apply` is a pure function, so that a draw can be
    replayed. Draws are per example: every parameter leads with the batch dimension.

    Shape:
        - Input: `[B, C, *S]`, float32; pictures 0..1
    """

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        raise NotImplementedError

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]  # nn.Module.apply is unused
        raise NotImplementedError

    def forward(self, clean: Tensor, generator: torch.Generator) -> Corrupted:
        return self.apply(clean, self.draw(clean, generator))
