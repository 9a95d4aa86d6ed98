from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from denoise.corruptions.audio import Gain, Noise
from denoise.corruptions.base import Compose, Identity, OneOf
from denoise.errors import DenoiseError
from denoise.networks.spectral import SpectralUNet
from denoise.training.sound import SoundRestoration, Sounds
from denoise.training.sound_losses import SISDR, CompressedSpectrum, WeightedSum


class _Recorded(SoundRestoration):
    """A module outside of a training, with what it logs."""

    def log(self, name: str, value: Any, **_: Any) -> None:
        self.__dict__.setdefault("logged", {})[name] = float(torch.as_tensor(value).detach())


class _Constant:
    """Recordings that are all the same number."""

    def __init__(self, value: float) -> None:
        self.value, self.asked = value, []

    def draw(self, count: int, length: int, rate_hz: int, generator: torch.Generator) -> Tensor:
        self.asked.append(rate_hz)
        return self.value * torch.randn(count, length, generator=generator)


def _module(step: int = 0, **settings: Any) -> _Recorded:
    torch.manual_seed(0)
    network = SpectralUNet(widths=(4, 8), bands=32, temporal=8, dilations=(1, 2))
    loss = WeightedSum([CompressedSpectrum(), SISDR()], [10, 0.02])
    defaults = {"network": network, "corruption": Noise((0.0, 10.0)), "loss": loss, "lr": 1e-3}
    module = _Recorded(**{**defaults, **settings})
    module._trainer = SimpleNamespace(
        estimated_stepping_batches=-1,
        callbacks=[],
        global_step=step,
        global_rank=0,
        accumulate_grad_batches=1,
        callback_metrics={},
        barebones=False,
        ckpt_path=None,
        strategy=SimpleNamespace(checkpoint_io=None),
        datamodule=SimpleNamespace(noise=_Constant(1.0), held_noise=_Constant(2.0)),
    )
    type(module).global_step = property(lambda self: self._trainer.global_step)
    return module


def _sounds(batch: int = 2, rate_hz: int = 16_000) -> Sounds:
    seconds = torch.arange(rate_hz // 4) / rate_hz
    pitch = torch.tensor([200.0 + 90 * k for k in range(batch)])[:, None, None]
    return Sounds(0.3 * torch.sin(2 * torch.pi * pitch * seconds) * torch.sin(20 * seconds).abs(), rate_hz)


def test_a_step_is_the_same_whenever_it_runs() -> None:
    module = _module(step=7)
    first = module.training_step(_sounds(), 0)
    assert module.training_step(_sounds(), 0) == first
    assert set(module.logged) == {"train/loss", "train/si_sdr_db"}
    assert module.logged["train/loss"] == pytest.approx(first.item())
    module.trainer.global_step = 8
    assert module.training_step(_sounds(), 0) != first


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_the_rate_of_the_batch_reaches_corruption_and_loss(rate_hz: int) -> None:
    module = _module()
    module.on_train_start()
    module.training_step(_sounds(rate_hz=rate_hz), 0)
    assert module.corruption.rate_hz == rate_hz
    assert module.loss.losses[0].rate_hz == rate_hz
    assert set(module.trainer.datamodule.noise.asked) == {rate_hz}


def test_a_few_steps_make_it_better() -> None:
    module = _module(corruption=Noise(0.0))
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = module.training_step(_sounds(4), 0)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0] < losses[0]


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    sounds = _sounds()
    broken = Sounds(sounds.clean * float("nan"), sounds.rate_hz, sounds.clean)
    with pytest.raises(DenoiseError, match=r"The loss became nan at step 3; train with a lower --model.lr"):
        _module(step=3).training_step(broken, 0)


def test_pairs_are_not_corrupted_again() -> None:
    clean = _sounds().clean
    module = _module()
    module.validation_step(Sounds(clean, 16_000, clean), 0)
    assert module.logged["val/si_sdr_noisy_db"] > 60
    # A new network turns everything down by the same: also perfect but for its level.
    assert module.logged["val/si_sdr_db"] > 40


def test_validation_is_drawn_alike_each_time() -> None:
    module = _module()
    module.on_validation_start()
    assert module.validation_step(_sounds(), 0) == {}
    first = dict(module.logged)
    assert set(first) == {"val/loss", "val/si_sdr_noisy_db", "val/si_sdr_db"}
    module.trainer.global_step = 50
    module.validation_step(_sounds(), 0)
    assert module.logged == first
    module.validation_step(_sounds(), 1)
    assert module.logged != first


def test_every_validation_corruption_is_measured() -> None:
    loud, weak = Noise(0.0), Noise(30.0)
    module = _module(validation_corruptions={"loud": loud, "weak": weak})
    module.validation_step(_sounds(), 0)
    names = {f"val/{what}" for what in ("loss_loud", "loss_weak", "si_sdr_loud_db", "si_sdr_weak_db")}
    assert set(module.logged) == names | {"val/si_sdr_loud_noisy_db", "val/si_sdr_weak_noisy_db"}
    assert module.logged["val/si_sdr_weak_noisy_db"] > module.logged["val/si_sdr_loud_noisy_db"] + 20
    assert loud.recordings is weak.recordings is module.trainer.datamodule.held_noise
    pairs = _module(validation_corruptions={"loud": loud})
    pairs.validation_step(Sounds(_sounds().clean, 16_000, _sounds().clean), 0)
    assert set(pairs.logged) == {"val/loss", "val/si_sdr_noisy_db", "val/si_sdr_db"}


def test_validation_hears_noise_that_training_never_does() -> None:
    noise, own = Noise(), Noise(folder="somewhere")
    module = _module(corruption=Compose([Gain(), OneOf([noise, Identity()])]))
    module.corruption.corruptions.append(OneOf([own, Identity()], [0, 1]))
    data = module.trainer.datamodule
    for step, recordings in (
        (module.training_step, data.noise),
        (module.validation_step, data.held_noise),
        (module.training_step, data.noise),
    ):
        step(_sounds(), 0)
        assert noise.recordings is recordings
    assert own.recordings is None, "a corruption with a folder of its own keeps to it"


def test_without_recordings_noise_is_made_up() -> None:
    module = _module()
    module.trainer.datamodule = SimpleNamespace(noise=None, held_noise=None)
    assert module.training_step(_sounds(), 0).isfinite()
    module.trainer.datamodule = None
    module.validation_step(_sounds(), 0)
    assert module.corruption.recordings is None


def test_corruptions_are_computed_in_float32() -> None:
    heard: list[torch.dtype] = []

    class Listening(Identity):
        def apply(self, clean: Tensor, params: Any) -> Any:
            heard.append(torch.nn.functional.conv1d(clean, torch.ones(1, 1, 3)).dtype)
            return super().apply(clean, params)

    module = _module(corruption=Listening())
    with torch.autocast("cpu", torch.bfloat16):
        assert module.training_step(_sounds(), 0).isfinite()
        module.validation_step(_sounds(), 0)
    assert heard == [torch.float32] * 2
