from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from denoise.corruptions.audio import Noise
from denoise.errors import UsageError
from denoise.networks.spectral import SpectralUNet
from denoise.training.excerpts import SoundExcerpts
from denoise.training.sound import SoundRestoration, Sounds


def write(folder: Path, *names: str, rate_hz: int = 16_000, seconds: float = 1.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        draw = np.random.default_rng(sum(name.encode()))
        soundfile.write(folder / name, draw.uniform(-0.5, 0.5, round(seconds * rate_hz)), rate_hz)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Speech and noise, at both rates."""
    write(tmp_path / "speech" / "deep", "a.wav", "b.flac")
    write(tmp_path / "speech", "c.wav", rate_hz=48_000)
    write(tmp_path / "noise", "d.wav", rate_hz=48_000)
    return tmp_path


def _module(root: Path, step: int = 0, rank: int = 0, accumulate: int = 1, **settings: Any) -> SoundExcerpts:
    defaults = {"excerpt_s": 0.1, "batch_size": 3, "validation_batches": 4, "validation_share": 0.25}
    data = SoundExcerpts(root, **{**defaults, **settings})
    data.trainer = SimpleNamespace(global_step=step, global_rank=rank, accumulate_grad_batches=accumulate)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* are left out")
        data.setup("fit")
    return data


def _batches(data: SoundExcerpts, count: int) -> list[Sounds]:
    batches = iter(data.train_dataloader())
    return [next(batches) for _ in range(count)]


def test_batches_are_excerpts_at_one_rate(root: Path) -> None:
    rates = set()
    for batch in _batches(_module(root, full_band_share=0.5), 12):
        assert batch.clean.shape == (3, 1, batch.rate_hz / 10)
        assert batch.clean.dtype == torch.float32
        assert 0.1 < batch.clean.abs().max() <= 0.5
        assert batch.observed is None
        rates.add(batch.rate_hz)
    assert rates == {16_000, 48_000}


@pytest.mark.parametrize(("share", "rate_hz"), [(0.0, 16_000), (1.0, 48_000)])
def test_the_share_of_full_band(root: Path, share: float, rate_hz: int) -> None:
    assert {batch.rate_hz for batch in _batches(_module(root, full_band_share=share), 8)} == {rate_hz}


def test_workers_change_nothing_but_the_time(root: Path) -> None:
    alone, helped = (_module(root, step=3, workers=count) for count in (0, 2))
    helped.trainer.lightning_module = SoundRestoration(SpectralUNet((4, 8), 32, 8, (1,)), Noise())
    for clean, same in zip(_batches(alone, 5), _batches(helped, 5), strict=True):
        assert isinstance(same, Sounds)
        assert same.rate_hz == clean.rate_hz
        assert same.observed is None
        assert torch.equal(same.clean, clean.clean)


def test_one_rate_serves_for_both(tmp_path: Path) -> None:
    data = _module(write(tmp_path, "a.wav"), full_band_share=1.0)
    assert {batch.rate_hz for batch in _batches(data, 3)} == {16_000}


def test_a_step_has_the_same_excerpts_whenever_it_runs(root: Path) -> None:
    def clean(data: SoundExcerpts, count: int) -> list[bytes]:
        return [batch.clean.numpy().tobytes() for batch in _batches(data, count)]

    whole = clean(_module(root), 5)
    assert len(set(whole)) == 5
    assert clean(_module(root), 5) == whole
    assert clean(_module(root, step=3), 2) == whole[3:]
    assert clean(_module(root, step=1, accumulate=2), 3) == whole[2:]
    assert not set(clean(_module(root, rank=1), 5)) & set(whole)
    assert not set(clean(_module(root, seed=1), 5)) & set(whole)


def test_validation_is_alike_each_time_and_never_trained_on(root: Path) -> None:
    data = _module(root)
    batches = list(data.val_dataloader())
    assert len(batches) == 4
    data.trainer.global_step = 70
    for batch, again in zip(batches, data.val_dataloader(), strict=True):
        assert torch.equal(batch.clean, again.clean)
    for ours, held in ((data.speech, data.held_speech), (data.noise, data.held_noise)):
        for rate_hz in (16_000, 48_000):
            lengths = len(ours.tracks[rate_hz]), len(held.tracks[rate_hz])
            assert lengths[1] == pytest.approx(0.25 * sum(lengths), abs=1)
    windows = {row.numpy().tobytes() for row in data.speech.tracks[16_000].unfold(0, 8, 1)}
    for batch in batches:
        if batch.rate_hz == 16_000:
            samples = (batch.clean[:, 0, :8] * 32768).round().short()
            assert not any(row.numpy().tobytes() in windows for row in samples)


def test_without_noise_the_corruption_makes_its_own(root: Path, tmp_path: Path) -> None:
    assert _module(root).noise is not None
    for path in (root / "noise").iterdir():
        path.unlink()
    (root / "noise").rmdir()
    data = _module(root)
    assert data.noise is None and data.held_noise is None
    assert len(data.speech.tracks[16_000]) + len(data.held_speech.tracks[16_000]) == 48_000


def test_without_speech_all_of_it_is_clean(tmp_path: Path) -> None:
    data = _module(write(tmp_path / "any" / "where", "a.wav", "b.wav"))
    assert data.noise is None
    assert len(data.speech.tracks[16_000]) == 24_000


@pytest.mark.parametrize(("damaged", "partner"), [("noise", "speech"), ("Noisy", "clean")])
def test_noise_never_passes_for_clean_sound(tmp_path: Path, damaged: str, partner: str) -> None:
    write(tmp_path / damaged, "a.wav")
    write(tmp_path / "voices", "b.wav")
    with pytest.raises(UsageError, match=rf"folder .*{damaged} and no {partner} beside it"):
        _module(tmp_path)


def test_folders_are_known_in_any_case(tmp_path: Path) -> None:
    write(tmp_path / "Speech", "a.wav")
    write(tmp_path / "NOISE", "b.wav")
    data = _module(tmp_path)
    assert data.noise is not None
    assert len(data.speech.tracks[16_000]) == 12_000


def test_pairs_are_taken_as_they_are(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).uniform(-0.2, 0.2, 16_000)
    for kind, gain in (("noisy", 2.0), ("clean", 1.0)):
        (tmp_path / kind).mkdir()
        soundfile.write(tmp_path / kind / "a.wav", gain * rows, 16_000, "FLOAT")
    data = _module(tmp_path)
    for batch in (*_batches(data, 2), *data.val_dataloader()):
        assert batch.observed is not None
        assert batch.observed.shape == batch.clean.shape == (3, 1, 1600)
        torch.testing.assert_close(batch.observed, 2 * batch.clean, atol=2e-4, rtol=0)


def test_what_pairs_leave_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for kind in ("noisy", "clean", "speech", "noise"):
        write(tmp_path / kind, "a.wav")
    with caplog.at_level("INFO"):
        data = _module(tmp_path)
    assert data.noise is None
    assert "noisy and clean are trained on; speech and noise are not" in caplog.text


def test_unusable_files_are_named_and_left_out(root: Path) -> None:
    (root / "speech" / "text.wav").write_text("text")
    soundfile.write(root / "speech" / "silent.wav", np.zeros(100), 16_000)
    with pytest.warns(UserWarning, match=r"2 files below .* are left out: .*silent\.wav \(empty, silent"):
        SoundExcerpts(root).setup()


def test_what_cannot_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--data\.root"):
        SoundExcerpts()
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="no usable sound"):
            SoundExcerpts(folder).setup()


def test_excerpts_may_be_longer_than_the_sound(root: Path) -> None:
    data = _module(root, excerpt_s=5.0)
    assert _batches(data, 1)[0].clean.shape[-1] in (80_000, 240_000)
    assert all(batch.clean.isfinite().all() for batch in data.val_dataloader())
