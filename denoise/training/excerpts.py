"""Sound for training: folders in, batches of excerpts out."""

from __future__ import annotations

import os
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch.utils.data import DataLoader

from denoise.corruptions.recordings import Recordings
from denoise.errors import UsageError
from denoise.media.folders import folders_in
from denoise.training.batches import EXCERPTS, Endless, Some, batch_seed, load
from denoise.training.checks import MOST_SEED, require_within
from denoise.training.sound import Sounds


class SoundExcerpts(L.LightningDataModule):
    """Random excerpts of clean sound, with noise to mix in if there is some; decoded once and kept in memory.

    Args:
        root: folder with clean sound in `speech/` and noise in `noise/`; or with pairs of files of one name in
            `noisy/` and `clean/`, which no corruption touches; or of clean sound alone, and noise is for the corruption
            to make. All are searched recursively; the case of these names does not matter.
        excerpt_s: length of an excerpt.
        batch_size: excerpts a step (per process).
        full_band_share: share of the batches at 48 kHz, if there is sound at that rate; the others have 16 kHz.
        validation_share: share of the sound, and of the noise, held back.
        validation_batches: batches in a validation.
        workers: processes that make the batches, see `PictureCrops`.
        seed: of the choice of excerpts.
    """

    rates_hz = (16_000, 48_000)

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        excerpt_s: float = 4.0,
        batch_size: int = 16,
        full_band_share: float = 0.2,
        validation_share: float = 0.04,
        validation_batches: int = 12,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_within("data.excerpt_s", excerpt_s, 0.01)
        require_within("data.batch_size", batch_size, 1)
        require_within("data.full_band_share", full_band_share, 0, 1)
        require_within("data.validation_share", validation_share, 0, 1)
        require_within("data.validation_batches", validation_batches, 1)
        require_within("data.workers", workers, 0)
        require_within("data.seed", seed, 0, MOST_SEED)
        if root is None:
            raise UsageError("Which sound? Give the folder that holds it as --data.root.")
        self.root = Path(root)
        self.excerpt_s = excerpt_s
        self.batch_size = batch_size
        self.full_band_share = full_band_share
        self.validation_share = validation_share
        self.validation_batches = validation_batches
        self.workers = workers
        self.seed = seed
        self.noise: Recordings | None = None
        self.held_noise: Recordings | None = None

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002
        """Decode everything; raises UsageError when there is no usable sound, or noise that would pass for clean."""
        found = folders_in(self.root)
        speech, noise, noisy, clean = (found.get(name) for name in ("speech", "noise", "noisy", "clean"))
        for damaged, partner in (("noise", "speech"), ("noisy", "clean")):
            if damaged in found and partner not in found:
                raise UsageError(
                    f"There is a folder {found[damaged]} and no {partner} beside it; name the folder of clean sound "
                    f"{self.root / partner}, or give another folder as --data.root."
                )
        if noisy and clean:
            if speech:
                rank_zero_info(f"Of {self.root} noisy and clean are trained on; speech and noise are not")
            self.speech, self.held_speech = self._read(noisy, clean)
            return
        self.speech, self.held_speech = self._read(speech or self.root)
        if speech and noise:
            self.noise, self.held_noise = self._read(noise)
            if not self.shared_hz:
                raise UsageError(f"All of {noise} has a lower sampling rate than {speech}; add noise of the same rate.")
        else:
            rank_zero_info(f"There are no folders speech and noise in {self.root}: the corruption makes its own noise")

    @property
    def shared_hz(self) -> list[int]:
        """Rates at which there is speech, and noise if there is any."""
        noise = self.speech.rates_hz if self.noise is None else self.noise.rates_hz
        return [rate_hz for rate_hz in self.speech.rates_hz if rate_hz in noise]

    def _read(self, *folders: Path) -> tuple[Recordings, Recordings]:
        recordings, refused = Recordings.read(*folders, rates_hz=self.rates_hz, seed=self.seed)
        if refused:
            named = [f"{path.relative_to(self.root)} ({reason})" for path, reason in list(refused.items())[:10]]
            rank_zero_warn(f"{len(refused)} files below {self.root} are left out: {', '.join(named)}")
        amounts = [f"{recordings.minutes(rate):.3g} minutes at {rate} Hz" for rate in recordings.rates_hz]
        rank_zero_info(f"{' and '.join(folder.name for folder in folders)}: {', '.join(amounts)}")
        return recordings.split(self.validation_share)

    def train_dataloader(self) -> DataLoader[Sounds]:
        """Batches without end, or what workers make of these."""
        assert self.trainer is not None
        return load(_Batches(self, self.speech, self.trainer), self.workers)

    def val_dataloader(self) -> DataLoader[Sounds]:
        """The same batches each time."""
        assert self.trainer is not None
        batches = _Batches(self, self.held_speech, self.trainer)
        return DataLoader(Some(batches, self.validation_batches), batch_size=None)


class _Batches(Endless):
    def __init__(self, data: SoundExcerpts, speech: Recordings, trainer: L.Trainer) -> None:
        super().__init__(trainer)
        self.data, self.speech = data, speech

    def batch(self, number: int) -> Sounds:
        """Batch `number` of this process."""
        seed = batch_seed(self.data.seed, number, self.trainer.global_rank, EXCERPTS)
        generator = torch.Generator().manual_seed(seed)
        full_band = float(torch.rand((), generator=generator)) < self.data.full_band_share
        rates = [rate for rate in self.data.shared_hz if (rate > 16_000) == full_band] or self.data.shared_hz
        length = round(self.data.excerpt_s * rates[0])
        drawn = self.speech.draw(self.data.batch_size, length, rates[0], generator)
        if drawn.ndim == 3:  # in step: noisy, clean
            return Sounds(drawn[:, None, :, 1], rates[0], drawn[:, None, :, 0])
        return Sounds(drawn[:, None], rates[0])
