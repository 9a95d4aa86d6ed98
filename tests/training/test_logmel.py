from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from denoise.errors import UsageError
from denoise.training.logmel import LogMelPatches, sample_sounds


def _module(root: Path | None, step: int = 0, rank: int = 0, **settings: Any) -> LogMelPatches:
    data = LogMelPatches(root, **{"batch_size": 3, "frames": 16, **settings})
    data.trainer = SimpleNamespace(global_step=step, global_rank=rank, accumulate_grad_batches=1)
    data.setup("fit")
    return data


def _batches(data: LogMelPatches, count: int) -> list[torch.Tensor]:
    batches = iter(data.train_dataloader())
    return [next(batches) for _ in range(count)]


def test_it_makes_up_sounds_without_a_folder() -> None:
    data = _module(None)
    whole = _batches(data, 3)
    assert whole[0].shape == (3, 1, 64, 16)
    assert 0 <= whole[0].min() < 0.5 < whole[0].max() <= 1
    assert torch.equal(_batches(_module(None, step=2), 1)[0], whole[2])
    assert not torch.equal(_batches(_module(None, rank=1), 1)[0], whole[0])
    held = list(data.val_dataloader())
    assert len(held) == 4
    assert all(torch.equal(a, b) for a, b in zip(held, data.val_dataloader(), strict=True))


def test_it_reads_a_folder(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", 0.1 * draw.standard_normal(30_000), 22_050)
    (tmp_path / "b.wav").write_bytes(b"nothing")
    with pytest.warns(UserWarning, match=r"1 files below .* are left out: b\.wav"):
        data = _module(tmp_path, bands=40)
    (batch,) = _batches(data, 1)
    assert batch.shape == (3, 1, 40, 16)
    (tmp_path / "a.wav").unlink()
    with pytest.raises(UsageError, match="There is no usable sound"):
        _module(tmp_path)


def test_sample_sounds_are_of_the_generator() -> None:
    first, second = (sample_sounds(3, 16_000, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.dtype == torch.int16
    assert len(first) == 48_000
    assert 16_000 < first.abs().max() <= 16_384


def test_a_training_goes_on_with_the_same_spectrograms() -> None:
    kept = LogMelPatches(bands=40).state_dict()
    LogMelPatches(bands=40).load_state_dict(kept)
    with pytest.raises(UsageError, match="of 40 bands at 16000 Hz, not 64 bands at 16000 Hz"):
        LogMelPatches().load_state_dict(kept)
