import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Timer
from torch import Tensor, nn

from denoise import pretrained
from denoise.corruptions.base import Corrupted, Corruption
from denoise.corruptions.image import Gaussian
from denoise.errors import DenoiseError, UsageError
from denoise.networks import NoiseLevel, UNet
from denoise.networks.blocks import ResidualBlock
from denoise.training.modules import Restoration, _curve
from denoise.training.optimizers import Muon


class _Recorded(Restoration):
    """A module outside of a training, with what it logs."""

    def log(self, name: str, value: Any, **_: Any) -> None:
        self.__dict__.setdefault("logged", {})[name] = float(torch.as_tensor(value).detach())


def _module(step: int = 0, **settings: Any) -> _Recorded:
    torch.manual_seed(0)
    defaults = {"network": UNet(widths=(4, 4), depths=(1, 1)), "corruption": Gaussian((0, 55)), "lr": 1e-3}
    module = _Recorded(**{**defaults, **settings})
    strategy = SimpleNamespace(broadcast=lambda value: value, checkpoint_io=None)
    module._trainer = SimpleNamespace(
        estimated_stepping_batches=-1,
        callbacks=[],
        global_step=step,
        ckpt_path=None,
        global_rank=0,
        accumulate_grad_batches=1,
        strategy=strategy,
        callback_metrics={"val/psnr_sigma25_db": torch.tensor(30.0), "train/loss": torch.tensor(1.0)},
        barebones=False,
    )
    type(module).global_step = property(lambda self: self._trainer.global_step)
    return module


class _Listening(UNet):
    """Keeps the conditions that it is called with."""

    def __init__(self) -> None:
        super().__init__(widths=(4, 4), depths=(1, 1))
        self.heard: list[Tensor] = []

    def forward(self, observed: Tensor, condition: Tensor) -> Tensor:
        self.heard.append(condition)
        return super().forward(observed, condition)


def _clean(batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class _Silent(Corruption):
    """Says nothing about a level, and counts only the left half."""

    def draw(self, clean: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        return {"noise": torch.randn(clean.shape, generator=generator)}

    def apply(self, clean: Tensor, params: Any) -> Corrupted:
        weight = torch.zeros_like(clean[:, :1])
        weight[..., :8] = 1
        return Corrupted(clean + 0.1 * params["noise"], None, clean, weight)


class _Blind(nn.Module):
    config: dict[str, Any] = {}

    def forward(self, observed: Tensor, condition: Tensor | None) -> Tensor:
        assert condition is None
        damage = torch.zeros_like(observed)
        damage[..., 8:] = 5
        return observed + damage


def test_a_step_is_the_same_whenever_it_runs() -> None:
    module = _module(step=7, noise_level=NoiseLevel(width=4, depths=(1, 1)))
    first = module.training_step(_clean(), 0)
    assert module.training_step(_clean(), 0) == first
    assert set(module.logged) == {"train/loss", "train/noise_level"}
    assert first.item() == pytest.approx(module.logged["train/loss"] + module.logged["train/noise_level"])
    module.trainer.global_step = 8
    assert module.training_step(_clean(), 0) != first


def test_gathered_batches_are_corrupted_each_in_its_own_way() -> None:
    module = _module()
    module.trainer.accumulate_grad_batches = 2
    assert module.training_step(_clean(), 0) != module.training_step(_clean(), 1)


def test_without_noise_level_condition_or_weight_outside() -> None:
    module = _module(network=_Blind(), corruption=_Silent())
    loss = module.training_step(_clean(), 0)  # what the network breaks lies where nothing counts
    assert loss.item() == pytest.approx(math.log(0.1**2), abs=0.3)
    module.validation_step(_clean(1), 0)
    assert module.logged["val/psnr_validation_db"] == pytest.approx(20, abs=2)
    assert set(module.logged) == {"train/loss", "val/psnr_validation_db"}


def test_a_level_that_nobody_tells_cannot_be_learned() -> None:
    module = _module(network=_Blind(), corruption=_Silent(), noise_level=NoiseLevel(width=4))
    with pytest.raises(UsageError, match="_Silent tells no noise level"):
        module.training_step(_clean(), 0)
    with pytest.raises(UsageError, match="blind_share"):
        _module(blind_share=0.5)


@pytest.mark.parametrize("step", [_Recorded.training_step, _Recorded.validation_step])
def test_signals_fit_the_networks(step: Any) -> None:
    module = _module(network=UNet(1, widths=(4, 4), depths=(1, 1)), noise_level=NoiseLevel(width=4))
    with pytest.raises(
        UsageError, match=r"have 1 bands and the noise_level is for 3; .* --model\.noise_level\.channels 1"
    ):
        step(module, _clean()[:, :1], 0)
    module = _module(network=UNet(widths=(4, 4, 4, 4, 4), depths=(1, 1, 1, 1, 1)))
    with pytest.raises(
        UsageError, match=r"48 x 48 pixels do not suit the networks, which take multiples of 32; give such"
    ):
        step(module, torch.rand(1, 3, 48, 48), 0)


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    with pytest.raises(DenoiseError, match=r"The loss became nan at step 3; train with a lower --model.lr"):
        _module(step=3).training_step(_clean() * float("nan"), 0)


def test_corruptions_are_computed_in_float32() -> None:
    class Filter(Gaussian):
        def draw(self, clean: Tensor, generator: torch.Generator) -> Any:
            self.filter(clean)
            return super().draw(clean, generator)

        def apply(self, clean: Tensor, params: Any) -> Corrupted:
            self.filter(clean)
            return super().apply(clean, params)

        def filter(self, clean: Tensor) -> None:
            seen.append(nn.functional.conv2d(clean, torch.ones(3, 1, 1, 1), groups=3).dtype)

    seen: list[torch.dtype] = []
    module = _module(corruption=Filter(25.0))
    with torch.autocast("cpu", torch.bfloat16):
        module.training_step(_clean(), 0)
        module.validation_step(_clean(1), 0)
    assert seen == [torch.float32] * 4


class _Known(nn.Module):
    """A noise-level estimator that always says the same."""

    config: dict[str, Any] = {}

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))

    def forward(self, observed: Tensor) -> tuple[Tensor, Tensor]:
        levels = self.level.expand(len(observed), 1, 4, 4)
        return levels, torch.zeros_like(levels)


def test_the_level_loss_is_the_relative_error_of_map_curve_and_whole() -> None:
    module = _module(corruption=Gaussian(50.0), noise_level=_Known(25 / 255))
    module.training_step(_clean(), 0)
    assert module.logged["train/noise_level"] == pytest.approx(3 * 25 / 55, rel=1e-4)
    module.validation_step(_clean(1), 0)
    assert module.logged["val/level_validation_error"] == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(("share", "told"), [(0.0, 50), (1.0, 25)])
def test_a_blind_example_is_conditioned_on_the_estimate(share: float, told: float) -> None:
    network = _Listening()
    module = _module(network=network, corruption=Gaussian(50.0), noise_level=_Known(25 / 255), blind_share=share)
    module.training_step(_clean(), 0)
    torch.testing.assert_close(network.heard[0], torch.full((2, 1, 16, 16), told / 255))
    assert not network.heard[0].requires_grad
    module.validation_step(_clean(1), 0)
    assert ("val/psnr_validation_blind_db" in module.logged) == bool(share)


def test_a_blind_example_is_conditioned_on_the_curve_over_brightness() -> None:
    class Unsure(nn.Module):
        """Trusts the left half, where it says 10, and not the right, where it says 90."""

        config: dict[str, Any] = {}

        def forward(self, observed: Tensor) -> tuple[Tensor, Tensor]:
            levels = torch.full_like(observed[:, :1, ::8, ::8], 90 / 255)
            levels[..., : levels.shape[-1] // 2] = 10 / 255
            return levels, torch.where(levels < 50 / 255, 5.0, -5.0)

    network = _Listening()
    module = _module(network=network, corruption=Gaussian(0.0), noise_level=Unsure(), blind_share=1.0)
    module.training_step(torch.full((1, 3, 32, 32), 0.5), 0)
    torch.testing.assert_close(network.heard[0], torch.full((1, 1, 32, 32), 10 / 255), rtol=0.01, atol=0)


def test_the_curve_is_computed_in_float32_as_in_restore() -> None:
    levels, weights = NoiseLevel(width=4)(_clean(1))
    expected = _curve(levels, weights, _clean(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(_curve(levels, weights, _clean(1)), expected)


def test_validation_is_drawn_alike_each_time() -> None:
    module = _module(validation_corruptions={"sigma25": Gaussian(25.0), "sigma50": Gaussian(50.0)})
    shown = module.validation_step(_clean(1), 0)
    first = dict(module.logged)
    module.validation_step(_clean(1), 0)
    assert module.logged == first
    assert set(first) == {"val/psnr_sigma25_db", "val/psnr_sigma50_db"}
    assert first["val/psnr_sigma50_db"] < first["val/psnr_sigma25_db"] < 25
    assert set(shown) == {"observed", "restored", "target"}


def test_a_perfect_restoration_has_a_finite_psnr() -> None:
    module = _module(corruption=Gaussian(0.0))
    module.network.tail.weight.data.zero_()
    module.validation_step(_clean(1), 0)
    assert module.logged["val/psnr_validation_db"] == pytest.approx(100)


def _lr(module: _Recorded) -> float:
    optimizer = module.configure_optimizers()
    module.optimizers = lambda: optimizer
    module.on_train_batch_start(_clean(), 0)
    (lr,) = {group["lr"] for group in optimizer.param_groups}
    assert module.logged["train/lr"] == pytest.approx(lr)
    return lr


@pytest.mark.parametrize(
    ("step", "share"), [(0, 0.1), (4, 0.5), (50, 0.5), (75, 0.5 * (1 - math.sqrt(0.5))), (100, 0), (120, 0)]
)
def test_the_learning_rate_rises_and_falls_along_a_cosine_of_steps(step: int, share: float) -> None:
    module = _module(step=step, warmup_steps=10)
    module.trainer.estimated_stepping_batches = 100
    assert _lr(module) == pytest.approx(1e-3 * share, rel=0.01, abs=1e-9)


@pytest.mark.parametrize(("step", "elapsed_s", "progress"), [(0, 30, 0.5), (80, 30, 0.8), (10, 60, 1), (0, 90, 1)])
def test_steps_or_the_clock_whichever_is_further(step: int, elapsed_s: float, progress: float) -> None:
    module = _module(step=step)
    timer = Timer({"seconds": 60})
    timer._offset = elapsed_s  # as after a resumption
    module.trainer.estimated_stepping_batches = 100
    module.trainer.callbacks = [timer, Timer()]
    assert module.progress() == pytest.approx(progress)


def test_the_first_process_s_clock_counts_for_all() -> None:
    module = _module()
    module.trainer.callbacks = [Timer({"seconds": 60})]
    module.trainer.strategy.broadcast = lambda _: 0.25
    assert module.progress() == 0.25


@pytest.mark.parametrize("steps", [-1, float("inf")])
def test_a_training_without_end_keeps_its_learning_rate(steps: float) -> None:
    module = _module(step=500, warmup_steps=0)
    module.trainer.estimated_stepping_batches = steps
    assert _lr(module) == pytest.approx(1e-3)


@pytest.mark.parametrize("noise_level", [None, NoiseLevel(width=4, depths=(1, 1))])
def test_the_gradient_of_each_network_is_clipped_by_its_own_norm(noise_level: nn.Module | None) -> None:
    module = _module(noise_level=noise_level)
    module.network.tail.weight.grad = torch.full_like(module.network.tail.weight, 1e-3)
    small = module.network.tail.weight.grad.clone()
    parameters = [] if noise_level is None else list(noise_level.parameters())
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 100.0)
    module.configure_gradient_clipping(None, 2.0, "norm")
    assert torch.equal(module.network.tail.weight.grad, small)
    if parameters:
        assert math.sqrt(sum(float(p.grad.square().sum()) for p in parameters)) == pytest.approx(2, rel=1e-3)
    module.network.tail.weight.grad *= 1e6
    module.configure_gradient_clipping(None, 2.0, "norm")
    assert float(module.network.tail.weight.grad.norm()) == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("muon", Muon)])
def test_the_optimiser_has_every_weight_that_learns(name: Any, kind: type[torch.optim.Optimizer]) -> None:
    module = _module(noise_level=NoiseLevel(width=4), optimizer=name, lr=3e-4)
    module.noise_level.requires_grad_(False)
    optimizer = module.configure_optimizers()
    assert type(optimizer) is kind
    given = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in given} == {id(p) for p in module.network.parameters()}
    assert {group["lr"] for group in optimizer.param_groups} == {3e-4}


def test_clipping_by_value_is_lightning_s_and_no_bound_clips_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    module, seen = _module(), []
    monkeypatch.setattr(module, "clip_gradients", lambda *asked: seen.append(asked))
    gradient = module.network.tail.weight.grad = torch.full_like(module.network.tail.weight, 100.0)
    module.configure_gradient_clipping(None, None, None)
    module.configure_gradient_clipping(None, 2.0, "value")
    assert seen == [(None, 2.0, "value")]
    assert bool((gradient == 100).all())


def test_a_checkpoint_describes_itself_in_plain_data(tmp_path: Path) -> None:
    module = _module(noise_level=NoiseLevel(width=4, depths=(1, 1)))
    module.origin = {"recipe": "recipes/photo/x.yaml", "commit": "abc"}
    checkpoint: dict[str, Any] = {}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "x.ckpt")
    ours = torch.load(tmp_path / "x.ckpt", weights_only=True)["denoise"]
    assert ours["metrics"] == {"val/psnr_sigma25_db": 30.0}
    assert (ours["recipe"], ours["commit"]) == ("recipes/photo/x.yaml", "abc")
    assert ours["networks"]["network"]["widths"] == [4, 4]
    assert ours["networks"]["noise_level"]["class"] == "NoiseLevel"
    module.on_load_checkpoint(checkpoint)
    with pytest.raises(UsageError, match=r"network of the checkpoint .* widths \[4, 4\] \(recipe: \[8, 4\]\)"):
        _module(network=UNet(widths=(8, 4), depths=(1, 1))).on_load_checkpoint(checkpoint)
    with pytest.raises(UsageError, match="The noise_level of the checkpoint is not the recipe's"):
        _module().on_load_checkpoint(checkpoint)
    with pytest.raises(UsageError, match="not the recipe's"):
        module.on_load_checkpoint({})


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    card = pretrained.Card("w", "Summary", "CC0-1.0", ["data"], "recipe", "commit", ["limits"])
    network, noise_level = UNet(widths=(4, 4), depths=(1, 1)), NoiseLevel(width=4, depths=(1, 1))
    return pretrained.save(tmp_path / "w", pretrained.Weights(network, noise_level, card))


def test_a_training_can_start_from_weights(weights: Path) -> None:
    module = _module(noise_level=NoiseLevel(width=4, depths=(1, 1)))
    module.load_pretrained(str(weights))
    loaded = pretrained.load(weights)
    assert torch.equal(module.network.head.weight, loaded.network.head.weight)
    assert loaded.noise_level is not None
    assert torch.equal(module.noise_level.head.weight, loaded.noise_level.head.weight)
    assert all(p.requires_grad for p in module.parameters())
    _module().load_pretrained(str(weights))


def test_weights_of_other_networks_are_refused(weights: Path) -> None:
    with pytest.raises(UsageError, match=r"network of the weights .* widths \[4, 4\] \(recipe: \[4, 2\]\)"):
        _module(network=UNet(widths=(4, 2), depths=(1, 1))).load_pretrained(str(weights))
    with pytest.raises(UsageError, match="noise_level of the weights"):
        _module(noise_level=NoiseLevel(width=8, depths=(1, 1))).load_pretrained(str(weights))


def test_a_deeper_network_begins_as_the_weights_do(weights: Path) -> None:
    trained, deeper = pretrained.load(weights).network, UNet(widths=(4, 4), depths=(3, 2))
    for block in (m for m in trained.modules() if isinstance(m, ResidualBlock)):
        torch.nn.init.normal_(block.second.weight, std=0.1)
    pretrained.save(weights, replace(pretrained.load(weights), network=trained), overwrite=True)
    _module(network=deeper).load_pretrained(str(weights))
    picture, level = torch.rand(1, 3, 16, 24), torch.full((1, 1, 16, 24), 0.1)
    with torch.inference_mode():
        torch.testing.assert_close(deeper(picture, level), pretrained.load(weights).network(picture, level))
    assert all(p.requires_grad for p in deeper.parameters())


def test_a_shallower_network_cannot_begin_from_weights(tmp_path: Path, weights: Path) -> None:
    deep = replace(pretrained.load(weights), network=UNet(widths=(4, 4), depths=(2, 1)))
    folder = pretrained.save(tmp_path / "deep", deep)
    with pytest.raises(UsageError, match=r"depths \[2, 1\] \(recipe: \[1, 2\]\)"):
        _module(network=UNet(widths=(4, 4), depths=(1, 2))).load_pretrained(str(folder))


def test_weights_without_an_estimator_leave_ours_as_it_is(weights: Path, tmp_path: Path) -> None:
    loaded = pretrained.load(weights)
    alone = pretrained.save(tmp_path / "alone", pretrained.Weights(loaded.network, None, loaded.card))
    module = _module(noise_level=NoiseLevel(width=4, depths=(1, 1)))
    before = module.noise_level.head.weight.clone()
    module.load_pretrained(str(alone))
    assert torch.equal(module.noise_level.head.weight, before)
