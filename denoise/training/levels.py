"""Train the noise-level network alone, many times faster than beside the network that restores."""

from __future__ import annotations

import torch
from torch import Tensor

from denoise.errors import UsageError
from denoise.training.modules import Drawn, Restoration


class NoiseLevelEstimation(Restoration):
    """A `Restoration` whose restoring network stays as it is: use with `--init`.

    Crops should be large, so that they show flat and textured places as pictures do.

    The arguments are those of `Restoration`; `noise_level` is required.
    """

    def setup(self, stage: str) -> None:  # noqa: ARG002
        """Leave the restoring network as it is; raises UsageError when there is no estimator to train."""
        if self.noise_level is None:
            raise UsageError("There is no noise level to train; add a noise_level network to the recipe.")
        self.network.requires_grad_(False)

    def training_step(self, batch: Tensor | Drawn, batch_idx: int) -> Tensor:
        """Corrupt, estimate, compare; raises DenoiseError when the loss is no longer a number."""
        assert self.noise_level is not None
        self.check_shape(batch)
        seen = self.see(batch, batch_idx)
        levels, weights = self.noise_level(seen.observed.contiguous(memory_format=torch.channels_last))
        loss = self.level_loss(levels, weights, seen)
        self.log("train/loss", loss, prog_bar=True)
        return self.checked(loss)
