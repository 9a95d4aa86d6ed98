"""The Lightning module for sound: the same training, on complex spectra."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from denoise.corruptions.additive import Babble, Noise
from denoise.corruptions.base import Corrupted, Corruption
from denoise.corruptions.sound import at_rate, sees
from denoise.errors import UsageError
from denoise.networks.stft import analyse, hop_length, synthesise
from denoise.training.modules import Restoration, apply, draw
from denoise.training.sound_losses import AUDIBLE, si_sdr_db


class Sounds(NamedTuple):
    """A batch of excerpts at one rate.

    Shape:
        - clean, observed: `[B, 1, T]`; observed is None where a corruption is to make it
    """

    clean: Tensor
    rate_hz: int
    observed: Tensor | None = None


class SoundRestoration(Restoration):
    """Train a network for spectra to undo what was done to sound; arguments as of `Restoration`.

    Metrics of validation corruptions have their names in their own; pairs of files are validated as they are.
    `Noise` corruptions without a folder use the noise of the data module, `Babble` its voices, and in validations those
    that training never sees.
    """

    medium = "pictures go with denoise.training.modules.Restoration."
    is_of_other_medium = staticmethod(sees)

    def check_sounds(self, batch: Sounds) -> None:
        """Raise UsageError for what is no sound."""
        if not isinstance(batch, Sounds):
            raise UsageError(
                f"The data are pictures or spectrograms and {type(self).__name__} takes sound; {self.medium}"
            )

    def on_fit_start(self) -> None:
        """Noise to mix in lies where the network is."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        for name in ("noise", "held_noise"):
            if (recordings := getattr(data, name, None)) is not None:
                setattr(data, name, recordings.to(self.device))

    def training_step(self, batch: Sounds, batch_idx: int) -> Tensor:  # type: ignore[override]
        """Corrupt, restore, compare; raises DenoiseError when the loss is no longer a number."""
        self.check_sounds(batch)
        generator = self.generator(batch.clean.device, self._number(batch_idx))
        seen = self._seen(batch, self.corruption, "", generator)
        restored = self._restored(seen.observed, batch.rate_hz)
        loss = self._compare(restored, seen, batch.rate_hz)
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/si_sdr_db", _mean_si_sdr_db(restored.detach(), seen.target))
        return self.checked(loss)

    def validation_step(self, batch: Sounds, batch_idx: int) -> dict[str, Tensor]:  # type: ignore[override]
        """SI-SDR before and after, and the loss, of every validation corruption, drawn alike each time."""
        self.check_sounds(batch)
        corruptions = self.validation_corruptions if batch.observed is None else {"validation": self.corruption}
        for name, corruption in corruptions.items():
            seen = self._seen(batch, corruption, "held_", torch.Generator().manual_seed(1000 + batch_idx))
            restored = self._restored(seen.observed, batch.rate_hz)
            which = "" if name == "validation" else f"_{name}"
            scores = {
                f"val/loss{which}": self._compare(restored, seen, batch.rate_hz),
                f"val/si_sdr{which}_noisy_db": _mean_si_sdr_db(seen.observed, seen.target),
                f"val/si_sdr{which}_db": _mean_si_sdr_db(restored, seen.target),
            }
            self.log_dict(scores, sync_dist=True, batch_size=len(batch.clean))
        return {}

    def _seen(self, batch: Sounds, corruption: Corruption, held: str, generator: torch.Generator) -> Corrupted:
        if batch.observed is not None:
            return Corrupted(batch.observed, None, batch.clean)
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        noise, voices = (getattr(data, held + what, None) for what in ("noise", "speech"))
        for part in corruption.modules():
            if isinstance(part, Noise) and part.folder is None:
                part.recordings = noise
            elif isinstance(part, Babble):
                part.recordings = voices
        corruption = at_rate(corruption, batch.rate_hz)
        return apply(corruption, draw(corruption, batch.clean, generator))

    def _restored(self, observed: Tensor, rate_hz: int) -> Tensor:
        hop = hop_length(rate_hz)
        spectra = analyse(observed.flatten(0, 1).float(), hop)
        restored = self.network(spectra, None)
        return synthesise(restored.float(), hop, observed.shape[-1]).view_as(observed)

    def _compare(self, restored: Tensor, seen: Corrupted, rate_hz: int) -> Tensor:
        """The loss in float32: losses for sound take products and differences of large numbers."""
        with torch.autocast(restored.device.type, enabled=False):
            return at_rate(self.loss, rate_hz)(restored, seen.target, seen.weight)  # type: ignore[no-any-return]


def _mean_si_sdr_db(restored: Tensor, target: Tensor) -> Tensor:
    """Over the examples whose target is no silence; 0 where all are."""
    counts = (target.abs().amax((1, 2)) > AUDIBLE).to(restored.dtype)
    return (si_sdr_db(restored, target) * counts).sum() / counts.sum().clamp_min(1)
