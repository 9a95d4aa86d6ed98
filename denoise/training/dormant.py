"""A new start for the hidden units that a network does not use."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from denoise.corruptions.draws import as_fraction
from denoise.errors import UsageError
from denoise.networks.blocks import ResidualBlock
from denoise.training.checks import require_within
from denoise.training.modules import Restoration

RARELY = 1e-3
"""A unit that fires in a smaller share of the places than this is dormant"""


class RecycleDormant(L.Callback):
    """Draw the weights of hidden units of residual blocks anew where these hardly ever fire, so that all of them learn.

    What a ReLU holds at zero everywhere gets no gradient and stays there, more and more of it in a long training: what
    it costs to compute is wasted. New input weights are drawn as a new block has them, less what answers to the mean of
    all inputs, so that the unit fires in about half of the places; its output weights become zero, so that what the
    network computes stays nearly as it was. After `latest` nothing is recycled, for which the time left would be too
    short, and an average of the weights would hold units that are half the old and half the new ones.

    Source: Sokar et al., "The dormant neuron phenomenon in deep reinforcement learning", ICML 2023.

    Args:
        every_n_steps: optimiser steps from one look at the units to the next; the first is at the start.
        batches: how many are looked at each time.
        least: a unit that fires in a smaller share of the places is dormant.
        latest: how much of the training may be done, 0..1.
    """

    def __init__(
        self, every_n_steps: int = 500, batches: int = 32, least: float = RARELY, latest: float = 0.75
    ) -> None:
        require_within("every_n_steps", every_n_steps, 1)
        require_within("batches", batches, 1)
        self.every_n_steps = every_n_steps
        self.batches = batches
        self.least = as_fraction(least, "least")
        self.latest = as_fraction(latest, "latest")
        self._due = 0
        self._looks: list[Activity] = []

    def state_dict(self) -> dict[str, Any]:
        """When the next look is due."""
        return {"due": self._due}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the looks where they were."""
        self._due = state_dict["due"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Raise UsageError where the network has no residual blocks that learn."""
        if not any(block.first.weight.requires_grad for block in _blocks(pl_module)):
            raise UsageError(
                "RecycleDormant found no residual blocks that learn in the network of this training; leave it out of "
                "the callbacks."
            )

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Begin to look."""
        assert isinstance(pl_module, Restoration)
        if not self._looks and trainer.global_step >= self._due and pl_module.progress() <= self.latest:
            self._looks = [Activity(block) for block in _blocks(pl_module)]

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Recycle what was dormant all the while."""
        if not self._looks or self._looks[0].batches < self.batches:
            return
        generator = torch.Generator().manual_seed(trainer.global_step)  # alike in all processes
        found = total = 0
        for look in self._looks:
            look.handle.remove()
            mean = trainer.strategy.reduce(look.inputs / look.batches, reduce_op="mean")
            fired = trainer.strategy.reduce(look.fired / look.batches, reduce_op="mean")
            dormant = fired < self.least
            recycle(look.block, dormant, mean, generator)
            found, total = found + int(dormant.sum()), total + len(dormant)
        self._looks, self._due = [], trainer.global_step + self.every_n_steps
        if found:
            rank_zero_info(f"{found} of {total} hidden units were dormant and begin anew (step {trainer.global_step})")


def _blocks(module: L.LightningModule) -> list[ResidualBlock]:
    assert isinstance(module, Restoration)
    return [part for part in module.network.modules() if isinstance(part, ResidualBlock)]


class Activity:
    """How often the hidden units of one block fire while it trains, and the mean of what they see.

    Attributes:
        batches: how many went through the block.
        fired: `[width]`, the share of places where each unit was above zero, summed over the batches.
        inputs: `[width]`, the mean of each input, summed over the batches.
        handle: whose `remove` ends the count.
    """

    def __init__(self, block: ResidualBlock) -> None:
        self.block = block
        self.batches = 0
        self.inputs = block.first.weight.new_zeros(block.first.in_channels)
        self.fired = block.first.weight.new_zeros(block.first.out_channels)
        self.handle: RemovableHandle = block.first.register_forward_hook(self._count)

    @torch.no_grad()
    def _count(self, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if self.block.training:
            self.batches += 1
            self.inputs += inputs[0].float().mean((0, 2, 3))
            self.fired += (output > 0).float().mean((0, 2, 3))


@torch.no_grad()
def recycle(block: ResidualBlock, units: Tensor, mean: Tensor, generator: torch.Generator) -> None:
    """Draw the weights of some hidden units of a block anew; their outputs become zero.

    Shape:
        - units: `[width]`, true where one begins anew
        - mean: `[width]`, of the inputs of the block
    """
    weight = block.first.weight
    fresh = torch.empty_like(weight, device="cpu")
    nn.init.kaiming_normal_(fresh, nonlinearity="relu", generator=generator)
    fresh = fresh.to(weight.device)
    answers = fresh.sum((2, 3)) @ mean
    taps = fresh[0, 0].numel()
    fresh -= answers[:, None, None, None] * (mean / (taps * mean.square().sum()).clamp_min(1e-12))[:, None, None]
    weight[units] = fresh[units]
    block.second.weight[:, units] = 0
