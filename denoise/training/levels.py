"""Train the noise-level network alone, many times faster than beside the network that restores."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from denoise.corruptions.base import Corrupted
from denoise.errors import UsageError
from denoise.networks.noise_level import level_curve
from denoise.training.modules import Restoration, corrupt, level_error


class NoiseLevelEstimation(Restoration):
    """A `Restoration` whose restoring network stays as it is: use with `--init`.

    Beside the levels of cells and of whole crops it looks at the curve over brightness, which is what `restore` goes
    by (see `level_curve`). Crops should be large, so that they show flat and textured places as pictures do.

    The arguments are those of `Restoration`; `noise_level` is required.
    """

    def setup(self, stage: str) -> None:  # noqa: ARG002
        """Leave the restoring network as it is; raises UsageError when there is no estimator to train."""
        if self.noise_level is None:
            raise UsageError("There is no noise level to train; add a noise_level network to the recipe.")
        self.network.requires_grad_(False)

    def training_step(self, clean: Tensor, batch_idx: int) -> Tensor:
        """Corrupt, estimate, compare; raises DenoiseError when the loss is no longer a number."""
        assert self.noise_level is not None
        seen = corrupt(self.corruption, clean, self._generator(clean, batch_idx))
        levels, weights = self.noise_level(seen.observed.contiguous(memory_format=torch.channels_last))
        loss = self._level_loss(levels, weights, seen)
        self.log("train/loss", loss, prog_bar=True)
        return self.checked(loss)

    def _level_loss(self, levels: Tensor, weights: Tensor, seen: Corrupted) -> Tensor:
        """As of a `Restoration`, and the relative error of the curve over brightness."""
        loss = super()._level_loss(levels, weights, seen)
        size = (levels.shape[2], levels.shape[3])
        assert seen.condition is not None
        truth = F.adaptive_avg_pool2d(seen.condition, size)
        brightness = F.adaptive_avg_pool2d(seen.observed.mean(1, keepdim=True), size)
        return loss + level_error(level_curve(levels, weights, brightness), truth)
