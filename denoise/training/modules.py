"""One Lightning module trains every restoration: network, corruption, loss, optimiser, schedule."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn import functional as F

from denoise import pretrained
from denoise.corruptions.base import Corrupted, Corruption, Params
from denoise.corruptions.draws import as_fraction
from denoise.corruptions.sound import hears
from denoise.errors import DenoiseError, UsageError
from denoise.networks import describe
from denoise.networks.noise_level import NoiseLevel, level_curve, pool_level
from denoise.networks.unet import UNet
from denoise.training.batches import batch_seed
from denoise.training.callbacks import newest_checkpoint
from denoise.training.checks import MOST_SEED, require_within
from denoise.training.growth import grow, is_larger
from denoise.training.losses import PSNRLoss, example_mean
from denoise.training.optimizers import Muon


class Drawn(NamedTuple):
    """A clean batch and everything random about its corruption."""

    clean: Tensor
    params: Params


class Restoration(L.LightningModule):
    """Train a network to undo a corruption; beside it, a noise-level estimator from the same batches.

    The learning rate rises over `warmup_steps` and falls along a cosine to zero at the end of the training, where the
    end is whatever comes first of `trainer.max_steps` and `trainer.max_time`.

    Args:
        network: called as `network(observed, condition)`; its `config` is the dict of arguments that it is built with.
        corruption: makes the training pairs.
        noise_level: estimates the condition from `observed` alone; None where nothing is to be estimated.
        blind_share: share of the examples whose condition is the estimate (the curve over brightness, as in `restore`)
            in place of the truth, so that the network learns to live with estimates.
        loss: called as `loss(restored, target, weight)`.
        validation_corruptions: name -> corruption, each measured on every validation picture.
        optimizer: `adamw`, with the defaults of PyTorch, or `muon` for convolution kernels and AdamW without weight
            decay for the rest.
        lr: peak learning rate.
        warmup_steps: steps until the peak.
        seed: of the corruption's draws.
    """

    def __init__(
        self,
        network: nn.Module,
        corruption: Corruption,
        noise_level: nn.Module | None = None,
        blind_share: float = 0.0,
        loss: nn.Module | None = None,
        validation_corruptions: dict[str, Corruption] | None = None,
        optimizer: Literal["adamw", "muon"] = "adamw",
        lr: float = 2e-3,
        warmup_steps: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_within("model.seed", seed, 0, MOST_SEED)
        require_within("model.warmup_steps", warmup_steps, 0)
        require_within("model.lr", lr, 0, 1e30)
        for part in (corruption, *(validation_corruptions or {}).values()):
            if self.is_of_other_medium(part):
                raise UsageError(f"{type(self).__name__} cannot learn to undo {type(part).__name__}: {self.medium}")
        for module in (network, noise_level):
            if module is not None and not isinstance(getattr(module, "config", None), dict):
                raise UsageError(
                    f"{type(module).__name__} has no `config`, by which a checkpoint knows the network that it is of: "
                    "give it one, a dict of the arguments that it is built with."
                )
        self.blind_share = as_fraction(blind_share, "blind_share")
        if blind_share and noise_level is None:
            raise UsageError("A blind_share needs a noise_level network; add one to the recipe or leave it out.")
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.noise_level = None if noise_level is None else noise_level.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.corruption = corruption
        self.loss = loss or PSNRLoss()
        self.validation_corruptions = validation_corruptions or {"validation": corruption}
        self.optimizer = optimizer
        self.lr = lr
        self.warmup_steps = warmup_steps
        self.seed = seed
        self.measured: dict[str, float] = {}
        """The last validation of the training that is resumed; stands in checkpoints until there is a newer one"""
        self.origin = {"recipe": "", "commit": "unknown"}
        """Which recipe at which commit this training runs; goes into checkpoints"""

    medium = "sound goes with denoise.training.sound.SoundRestoration."
    is_of_other_medium = staticmethod(hears)

    def training_step(self, batch: Tensor | Drawn, batch_idx: int) -> Tensor:
        """Corrupt, restore, compare; raises DenoiseError when the loss is no longer a number."""
        self.check_shape(batch)
        seen = self.see(batch, batch_idx)
        observed = seen.observed.contiguous(memory_format=torch.channels_last)
        condition, level_loss = seen.condition, None
        takes = getattr(self.network, "config", {}).get("condition_channels")
        if condition is not None and takes not in (None, condition.shape[1]):
            raise UsageError(
                f"The network is told of damage in {takes} bands and {type(self.corruption).__name__} tells of it in "
                f"{condition.shape[1]}; train with --model.network.condition_channels {condition.shape[1]}."
            )
        if self.noise_level is not None:
            levels, weights = self.noise_level(observed)
            level_loss = self.level_loss(levels, weights, seen)
            if self.blind_share and condition is not None:
                lots = self.generator(observed.device, self._number(batch_idx), stream=1)
                lot = torch.rand(len(observed), 1, 1, 1, generator=lots, device=lots.device)
                condition = torch.where(lot < self.blind_share, _as_condition(levels, weights, observed), condition)
            self.log("train/noise_level", level_loss)
        loss: Tensor = self.loss(self.network(observed, condition), seen.target, seen.weight)
        self.log("train/loss", loss, prog_bar=True)
        if level_loss is not None:
            loss = loss + level_loss
        return self.checked(loss)

    def checked(self, loss: Tensor) -> Tensor:
        """The loss itself; raises DenoiseError when it is no longer a number."""
        if not torch.isfinite(loss):
            newest = newest_checkpoint(self.trainer)
            raise DenoiseError(
                f"The loss became {loss.item()} at step {self.global_step}; train with a lower --model.lr "
                f"(it is {self.lr:g}){f', from the last checkpoint with --ckpt_path {newest}' if newest else ''}."
            )
        return loss

    def see(self, batch: Tensor | Drawn, batch_idx: int) -> Corrupted:
        """A batch as the network is to meet it, by draws of the loader's processes or else by some made here."""
        return apply(self.corruption, batch if isinstance(batch, Drawn) else self.draw(batch, self._number(batch_idx)))

    def check_shape(self, batch: Tensor | Drawn) -> None:
        """Raise UsageError where the signals are not what the networks are for."""
        if not isinstance(batch, Tensor | Drawn):
            raise UsageError(
                f"The data are {type(batch).__name__} and {type(self).__name__} takes pictures; {self.medium}"
            )
        _, bands, *sides = (batch.clean if isinstance(batch, Drawn) else batch).shape
        parts = {"network": self.network, "noise_level": self.noise_level}
        for name, part in parts.items():
            if bands != (wanted := getattr(part, "channels", bands)):
                raise UsageError(
                    f"The pictures have {bands} bands and the {name} is for {wanted}; "
                    f"train with --model.{name}.channels {bands}."
                )
        cell = math.lcm(*(part.multiple_of for part in parts.values() if isinstance(part, UNet | NoiseLevel)))
        if any(side % cell for side in sides):
            raise UsageError(
                f"Pictures of {' x '.join(map(str, sides))} pixels do not suit the networks, which take multiples of "
                f"{cell}; give such ones as --data.crop_px and --data.validation_px, no larger than the pictures are."
            )

    def draw(self, clean: Tensor, number: int) -> Drawn:
        """Batch `number` of this process, with draws that are alike whenever it comes."""
        return draw(self.corruption, clean, self.generator(clean.device, number))

    def generator(self, device: torch.device, number: int, stream: int = 0) -> torch.Generator:
        """What is random about batch `number` of this process; streams are independent."""
        return torch.Generator(device).manual_seed(batch_seed(self.seed, number, self.global_rank, stream))

    def _number(self, batch_idx: int) -> int:
        """Of a batch, counted from the beginning of the training, also when it is resumed."""
        accumulated: int = self.trainer.accumulate_grad_batches
        return self.global_step * accumulated + batch_idx % accumulated

    def level_loss(self, levels: Tensor, weights: Tensor, seen: Corrupted) -> Tensor:
        """Relative errors of the map, of its curve over brightness and of the pooled level."""
        if seen.condition is None or seen.condition.shape[1] != 1:
            raise UsageError(
                f"{type(self.corruption).__name__} tells no noise level, so none can be learned; "
                "train with --model.noise_level null."
            )
        truth = F.adaptive_avg_pool2d(seen.condition, (levels.shape[2], levels.shape[3]))
        curve = _curve(levels, weights, seen.observed)
        whole = level_error(pool_level(levels, weights), truth.mean((1, 2, 3)))
        return level_error(levels, truth) + level_error(curve, truth) + whole

    def validation_step(self, clean: Tensor, batch_idx: int) -> dict[str, Tensor]:
        """PSNR of every validation corruption, and how far off the estimated level is.

        The draws are alike each time and on every device.
        """
        self.check_shape(clean)
        shown: dict[str, Tensor] = {}
        for k, (name, corruption) in enumerate(self.validation_corruptions.items()):
            drawn = draw(corruption, clean, torch.Generator().manual_seed(1000 * batch_idx + k))
            seen = apply(corruption, drawn)
            observed = seen.observed.contiguous(memory_format=torch.channels_last)
            restored = self.network(observed, seen.condition)
            self.log(f"val/psnr_{name}_db", _psnr_db(restored, seen), sync_dist=True)
            if self.noise_level is not None and seen.condition is not None:
                levels, weights = self.noise_level(observed)
                truth = seen.condition.mean((1, 2, 3))
                error = (pool_level(levels, weights) - truth).abs() / truth.clamp_min(1 / 255)
                self.log(f"val/level_{name}_error", error.mean(), sync_dist=True)
                if self.blind_share:
                    restored = self.network(observed, _as_condition(levels, weights, observed))
                    self.log(f"val/psnr_{name}_blind_db", _psnr_db(restored, seen), sync_dist=True)
            shown = {"observed": observed, "restored": restored, "target": seen.target}
        return shown

    def configure_optimizers(self) -> Any:
        """The optimiser, with the learning rate that `on_train_batch_start` sets."""
        learning = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        if self.optimizer == "muon":
            return Muon(learning, lr=self.lr)
        return torch.optim.AdamW([p for _, p in learning], lr=self.lr)

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient of each network by its own norm.

        The loss of the level has gradients many times those of the restoration: with one norm for both, how far the
        restoring network is clipped depends on how well the other one does, and it hardly learns.
        """
        if gradient_clip_algorithm == "value":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:
            for part in (self.network, self.noise_level):
                if part is not None:
                    nn.utils.clip_grad_norm_(part.parameters(), gradient_clip_val)

    def on_train_batch_start(self, batch: Tensor, batch_idx: int) -> None:  # noqa: ARG002
        """Set the learning rate of this step."""
        rise = min(1.0, (self.global_step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        lr = self.lr * rise * 0.5 * (1 + math.cos(math.pi * self.progress()))
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = lr
        self.log("train/lr", lr)

    def progress(self) -> float:
        """How much of the training is done, 0..1: by steps or by the clock, whichever is further."""
        steps = self.trainer.estimated_stepping_batches  # not positive where the number of steps is not limited
        done = self.global_step / steps if steps > 0 else 0.0
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Timer) and (left := callback.time_remaining()) is not None:
                used = callback.time_elapsed()
                # Clocks differ, and processes with unlike learning rates would drift apart: the first one's counts.
                done = max(done, self.trainer.strategy.broadcast(used / (used + left)))
        return min(1.0, done)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what `denoise export-weights` needs beside the weights, as plain data."""
        metrics = {k: float(v) for k, v in self.trainer.callback_metrics.items() if k.startswith("val/")}
        facts = {"networks": self._networks(), "optimizer": self.optimizer, "metrics": metrics or self.measured}
        checkpoint["denoise"] = facts | self.origin

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on from a training of other networks or by another optimiser; keep what it measured last."""
        facts = checkpoint.get("denoise", {})
        self.measured = facts.get("metrics", {})
        if (optimizer := facts.get("optimizer", self.optimizer)) != self.optimizer:
            raise UsageError(
                f"The checkpoint was trained by {optimizer}, not {self.optimizer}: go on with --model.optimizer "
                f"{optimizer}, or begin anew from its exported weights with --init."
            )
        mine, theirs = self._networks(), facts.get("networks", {})
        for part in {**mine, **theirs}:
            require_alike(part, mine.get(part, {}), theirs.get(part, {}), "the checkpoint")
        learns = sum(parameter.requires_grad for parameter in self.parameters())
        for state in checkpoint.get("optimizer_states", []):
            if (learned := sum(len(group["params"]) for group in state["param_groups"])) != learns:
                raise UsageError(
                    f"The checkpoint's training learned {learned} weight tensors and this one learns {learns}: go on "
                    f"with its recipe ({facts.get('recipe')}), or begin anew from its exported weights with --init."
                )

    def load_pretrained(self, name_or_path: str) -> None:
        """Start from weights that exist; raises UsageError when they do not fit the networks of the recipe.

        The network may be of another kind, as long as its weights have the same names and shapes; or larger than the
        trained one in what its class `grows` by, and then begins as that does.
        """
        weights = pretrained.load(name_or_path)
        _take_over("network", self.network, weights.network, name_or_path)
        if self.noise_level is None:
            return
        if weights.noise_level is None:
            rank_zero_info(f"The weights {name_or_path} estimate no noise level; that network starts from scratch.")
            return
        _take_over("noise_level", self.noise_level, weights.noise_level, name_or_path)

    def _networks(self) -> dict[str, dict[str, Any]]:
        parts = {"network": self.network, "noise_level": self.noise_level}
        return {part: describe(module) for part, module in parts.items() if module is not None}


def level_error(level: Tensor, truth: Tensor) -> Tensor:
    """Mean error relative to the true level plus 5 of 255, which keeps it finite where there is no noise."""
    return ((level - truth).abs() / (truth + 5 / 255)).mean()


def draw(corruption: Corruption, clean: Tensor, generator: torch.Generator) -> Drawn:
    """Draw in float32, whatever the network computes in."""
    with torch.autocast(clean.device.type, enabled=False):
        return Drawn(clean, corruption.draw(clean, generator))


def apply(corruption: Corruption, drawn: Drawn) -> Corrupted:
    """Corrupt in float32: filters in bfloat16 would add errors of their own."""
    with torch.autocast(drawn.clean.device.type, enabled=False):
        return corruption.apply(*drawn)


def _curve(levels: Tensor, weights: Tensor, observed: Tensor) -> Tensor:
    """The estimate that `restore` goes by, a cell each; in float32 as there."""
    with torch.autocast(levels.device.type, enabled=False):
        brightness = F.adaptive_avg_pool2d(observed.mean(1, keepdim=True), (levels.shape[2], levels.shape[3]))
        return level_curve(levels, weights, brightness)


def _as_condition(levels: Tensor, weights: Tensor, observed: Tensor) -> Tensor:
    """The estimate as the network is given it; nothing is learned through it."""
    curve = _curve(levels.detach(), weights.detach(), observed)
    return F.interpolate(curve, size=observed.shape[-2:], mode="bilinear", align_corners=False)


def _psnr_db(restored: Tensor, seen: Corrupted) -> Tensor:
    error = example_mean((restored.float().clamp(0, 1) - seen.target).square(), seen.weight)
    return -10 * error.clamp_min(1e-10).log10().mean()


def _take_over(part: str, network: nn.Module, trained: nn.Module, name: str) -> None:
    """Copy the weights of a trained network; of the same kind they must be described alike, or it be larger."""
    if is_larger(network, trained):
        grow(network, trained)
        return
    mine, theirs = describe(network), describe(trained)
    shapes = [{key: value.shape for key, value in module.state_dict().items()} for module in (network, trained)]
    if mine["class"] == theirs["class"] or shapes[0] != shapes[1]:
        require_alike(part, mine, theirs, f"the weights {name}")
    network.load_state_dict(trained.state_dict())


def require_alike(part: str, mine: dict[str, Any], theirs: dict[str, Any], whose: str) -> None:
    """Raise UsageError with what differs between two descriptions of a network."""
    keys = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
    if keys:
        unlike = ", ".join(f"{key} {theirs.get(key)} (recipe: {mine.get(key)})" for key in keys)
        raise UsageError(f"The {part} of {whose} is not the recipe's: it has {unlike}; make them alike.")
