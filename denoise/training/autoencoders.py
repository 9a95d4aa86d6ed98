"""The autoencoder family: one training, and four names for what keeps the code from being a copy."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from denoise.corruptions.base import Corruption, Identity
from denoise.errors import UsageError
from denoise.networks.autoencoder import Autoencoder
from denoise.networks.penalties import Contractive, KLCode, L1Code, Penalty
from denoise.training.losses import SquaredError
from denoise.training.modules import Drawn, Restoration, apply, draw


class RegularizedAutoencoder(Restoration):
    """Train an autoencoder; the loss is the reconstruction's plus the weighted penalties, each of which is logged.

    Args:
        network: the autoencoder.
        penalties: what its code is asked to be; each has a weight of its own.
        corruption: what is done to the input; nothing by default.
        loss: of the reconstruction, called as `loss(restored, target, weight)`; squared error by default.
        validation_corruptions, optimizer, lr, warmup_steps, seed: as of `Restoration`.

    Shape:
        - batches: `[B, C, H, W]`, pictures or log-mel spectrograms, 0..1
    """

    network: Autoencoder

    def __init__(
        self,
        network: Autoencoder,
        penalties: list[Penalty] | None = None,
        corruption: Corruption | None = None,
        loss: nn.Module | None = None,
        validation_corruptions: dict[str, Corruption] | None = None,
        optimizer: Literal["adamw", "muon"] = "adamw",
        lr: float = 2e-3,
        warmup_steps: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__(
            network,
            corruption or Identity(),
            loss=loss or SquaredError(),
            validation_corruptions=validation_corruptions,
            optimizer=optimizer,
            lr=lr,
            warmup_steps=warmup_steps,
            seed=seed,
        )
        self.penalties = nn.ModuleList(penalties or [])

    def training_step(self, batch: Tensor | Drawn, batch_idx: int) -> Tensor:
        """Corrupt, encode, decode, compare; raises DenoiseError when the loss is no longer a number."""
        self.check_shape(batch)
        done = isinstance(batch, Drawn)
        generator = self.generator(self.device, self._number(batch_idx), stream=int(done))
        drawn = batch if isinstance(batch, Drawn) else draw(self.corruption, batch, generator)
        seen = apply(self.corruption, drawn)
        observed = seen.observed.contiguous(memory_format=torch.channels_last)
        code = self.network.encode(observed)
        self.check(observed, code)
        loss: Tensor = self.loss(self.network.decode(code, observed.shape[-2:]), seen.target, seen.weight)
        self.log("train/reconstruction", loss)
        for penalty in self.penalties:
            value = penalty(self.network, observed, code, generator)
            self.log(f"train/{penalty.name}", value)
            loss = loss + penalty.weight * value
        self.log("train/loss", loss, prog_bar=True)
        return self.checked(loss)

    def check(self, observed: Tensor, code: Tensor) -> None:
        """What the code must be besides; raises UsageError."""


class UndercompleteAutoencoder(RegularizedAutoencoder):
    """Constrained by a code that is smaller than the signal, and by nothing else.

    Linear, with a network without levels and activation, it finds the space of the principal components (Baldi and
    Hornik, Neural Networks 1989). Arguments as of `RegularizedAutoencoder`.
    """

    def check(self, observed: Tensor, code: Tensor) -> None:
        """The code is smaller than the signal; raises UsageError."""
        if code[0].numel() >= observed[0].numel():
            raise UsageError(
                f"A code of {code[0].numel()} numbers for a signal of {observed[0].numel()} is no bottleneck: "
                "give a smaller --model.network.code."
            )


class SparseAutoencoder(RegularizedAutoencoder):
    """Constrained by few active units at a time, out of as many as you like (Ng, "Sparse autoencoder", 2011).

    Further arguments as of `RegularizedAutoencoder`.

    Args:
        sparsity: the L1 norm of the code, or the divergence of its mean activation from a rate.
    """

    def __init__(
        self, network: Autoencoder, sparsity: L1Code | KLCode, penalties: list[Penalty] | None = None, **further: Any
    ) -> None:
        super().__init__(network, penalties=[sparsity, *(penalties or [])], **further)


class DenoisingAutoencoder(RegularizedAutoencoder):
    """Constrained by having to undo a corruption of its input.

    Vincent et al., "Extracting and composing robust features with denoising autoencoders", ICML 2008, and "Stacked
    denoising autoencoders", JMLR 2010. Further arguments as of `RegularizedAutoencoder`.

    Args:
        corruption: what is done to the input; the target is the clean signal.
    """

    def __init__(self, network: Autoencoder, corruption: Corruption, **further: Any) -> None:
        super().__init__(network, corruption=corruption, **further)


class ContractiveAutoencoder(RegularizedAutoencoder):
    """Constrained by a code that changes little with the input (Rifai et al., ICML 2011).

    With a corruption it is denoising as well. Further arguments as of `RegularizedAutoencoder`.

    Args:
        contraction: the norm of the encoder's Jacobian, exact or estimated.
    """

    def __init__(
        self, network: Autoencoder, contraction: Contractive, penalties: list[Penalty] | None = None, **further: Any
    ) -> None:
        super().__init__(network, penalties=[contraction, *(penalties or [])], **further)
