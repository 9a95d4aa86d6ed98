"""Log-mel patches of recordings for training: a folder in, batches of spectrograms out."""

from __future__ import annotations

import math
import os
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader

from denoise.corruptions.recordings import Recordings
from denoise.errors import UsageError
from denoise.networks.logmel import log_mel
from denoise.networks.stft import hop_length
from denoise.training.batches import EXCERPTS, Endless, Some, batch_seed
from denoise.training.checks import MOST_SEED, require_within


class LogMelPatches(L.LightningDataModule):
    """Random patches of the log-mel spectrograms of recordings, decoded once and kept in memory.

    Args:
        root: folder with sound, searched recursively; None makes up a minute of notes.
        rate_hz: sampling rate; recordings of a lower one are left out.
        bands: mel bands, the height of a patch.
        frames: width of a patch, 16 ms each.
        batch_size: patches a step (per process).
        validation_share: share of the sound held back.
        validation_batches: batches in a validation.
        seed: of the choice of patches.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        rate_hz: int = 16_000,
        bands: int = 64,
        frames: int = 64,
        batch_size: int = 32,
        validation_share: float = 0.1,
        validation_batches: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_within("data.rate_hz", rate_hz, 4000)
        require_within("data.bands", bands, 1)
        require_within("data.frames", frames, 1)
        require_within("data.batch_size", batch_size, 1)
        require_within("data.validation_share", validation_share, 0, 1)
        require_within("data.validation_batches", validation_batches, 1)
        require_within("data.seed", seed, 0, MOST_SEED)
        self.root = None if root is None else Path(root)
        self.rate_hz = rate_hz
        self.bands = bands
        self.frames = frames
        self.batch_size = batch_size
        self.validation_share = validation_share
        self.validation_batches = validation_batches
        self.seed = seed

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002
        """Decode everything; raises UsageError when there is no usable sound."""
        if self.root is None:
            found = Recordings(
                {self.rate_hz: sample_sounds(60, self.rate_hz, torch.Generator().manual_seed(self.seed))}
            )
        else:
            found, refused = Recordings.read(self.root, rates_hz=[self.rate_hz], seed=self.seed)
            if refused:
                named = [f"{path.relative_to(self.root)} ({reason})" for path, reason in list(refused.items())[:10]]
                rank_zero_warn(f"{len(refused)} files below {self.root} are left out: {', '.join(named)}")
        rank_zero_info(f"{found.minutes(self.rate_hz):.3g} minutes of sound")
        self.sound, self.held_sound = found.split(self.validation_share)

    def state_dict(self) -> dict[str, int]:
        """How the spectrograms are made, which whoever uses the weights has to do alike; checkpoints keep it."""
        return {"rate_hz": self.rate_hz, "bands": self.bands}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Refuse to go on with other spectrograms; raises UsageError."""
        mine = self.state_dict()
        if state_dict != mine:
            was, given = (f"{how['bands']} bands at {how['rate_hz']} Hz" for how in (state_dict, mine))
            raise UsageError(
                f"The checkpoint learned from spectrograms of {was}, not {given}; "
                "go on with its --data.bands and --data.rate_hz."
            )

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Batches `[B, 1, bands, frames]`, without end."""
        assert self.trainer is not None
        return DataLoader(_Patches(self, self.sound, self.trainer), batch_size=None)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """The same batches each time."""
        assert self.trainer is not None
        patches = _Patches(self, self.held_sound, self.trainer)
        return DataLoader(Some(patches, self.validation_batches), batch_size=None)


class _Patches(Endless):
    def __init__(self, data: LogMelPatches, sound: Recordings, trainer: L.Trainer) -> None:
        super().__init__(trainer)
        self.data, self.sound = data, sound

    def batch(self, number: int) -> Tensor:
        """Batch `number` of this process."""
        data = self.data
        seed = batch_seed(data.seed, number, self.trainer.global_rank, EXCERPTS)
        generator = torch.Generator().manual_seed(seed)
        length = (data.frames + 1) * hop_length(data.rate_hz)
        drawn = self.sound.draw(data.batch_size, length, data.rate_hz, generator)
        return log_mel(drawn, data.rate_hz, data.bands)[..., 1:-1]  # the outermost frames look beyond the excerpt


def sample_sounds(length_s: float, rate_hz: int, generator: torch.Generator) -> Tensor:
    """Notes of half a second with overtones, each gliding a little and dying away. Shape: `[N]` int16."""
    length = rate_hz // 2
    seconds = torch.arange(length) / rate_hz
    notes = []
    for _ in range(math.ceil(2 * length_s)):
        pitch, glide, fall, colour = torch.rand(4, generator=generator).tolist()
        cycles = 110 * 8**pitch * (seconds + (glide - 0.5) * seconds.square())
        tones = sum(torch.sin(2 * math.pi * k * cycles) * (0.3 + 0.6 * colour) ** k for k in range(1, 7))
        note = torch.as_tensor(tones) * torch.exp(-(1 + 7 * fall) * seconds)
        notes.append(note * (0.5 / note.abs().max()))
    return (torch.cat(notes) * 32767).round().to(torch.int16)
