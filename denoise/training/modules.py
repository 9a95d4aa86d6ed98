"""One Lightning module trains every restoration: network, corruption, loss, optimiser, schedule."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Timer
from torch import Tensor, nn
from torch.nn import functional as F

from denoise import pretrained
from denoise.corruptions.base import Corruption
from denoise.errors import ModelError
from denoise.models import describe
from denoise.models.noise_level import pool_level
from denoise.training.losses import PSNRLoss
from denoise.training.optimizers import Muon


class Restoration(L.LightningModule):
    """Train a network to undo a corruption; beside it, a noise-level estimator from the same batches.

    The learning rate rises over `warmup_steps` and falls along a cosine to zero at the end of the training, where the
    end is whatever comes first of `trainer.max_steps` and `trainer.max_time`.

    Args:
        network: called as `network(observed, condition)`.
        corruption: makes the training pairs.
        noise_level: estimates the condition from `observed` alone; None where nothing is to be estimated.
        loss: called as `loss(restored, target, weight)`.
        validation_corruptions: name -> corruption, each measured on every validation picture.
        lr: peak learning rate.
        warmup_steps: steps until the peak.
        seed: of the corruption's draws.
    """

    def __init__(
        self,
        network: nn.Module,
        corruption: Corruption,
        noise_level: nn.Module | None = None,
        loss: nn.Module | None = None,
        validation_corruptions: dict[str, Corruption] | None = None,
        lr: float = 2e-3,
        warmup_steps: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.noise_level = None if noise_level is None else noise_level.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.corruption = corruption
        self.loss = loss or PSNRLoss()
        self.validation_corruptions = validation_corruptions or {"validation": corruption}
        self.lr = lr
        self.warmup_steps = warmup_steps
        self.seed = seed
        self.recipe = ""

    def training_step(self, clean: Tensor, batch_idx: int) -> Tensor:
        """Corrupt, restore, compare."""
        step = (self.seed * 1_000_003 + self.global_step) * 1009 + self.global_rank
        generator = torch.Generator(clean.device).manual_seed(step)
        seen = self.corruption(clean, generator)
        observed = seen.observed.contiguous(memory_format=torch.channels_last)
        loss = self.loss(self.network(observed, seen.condition), seen.target, seen.weight)
        self.log("train/loss", loss, prog_bar=True)
        if self.noise_level is not None:
            level_loss = self._level_loss(observed, seen.condition)
            self.log("train/noise_level", level_loss)
            loss = loss + level_loss
        return loss

    def _level_loss(self, observed: Tensor, condition: Tensor) -> Tensor:
        """Relative error of the map and of the pooled level, each against the corruption's own."""
        levels, weights = self.noise_level(observed)
        truth = F.adaptive_avg_pool2d(condition, levels.shape[-2:])
        whole = truth.mean((1, 2, 3))
        local = (levels - truth).abs() / (truth + 5 / 255)
        pooled = (pool_level(levels, weights) - whole).abs() / (whole + 5 / 255)
        return local.mean() + pooled.mean()

    def validation_step(self, clean: Tensor, batch_idx: int) -> dict[str, Tensor]:
        """PSNR of every validation corruption, drawn alike each time, and the error of the estimated level."""
        shown: dict[str, Tensor] = {}
        for k, (name, corruption) in enumerate(self.validation_corruptions.items()):
            seen = corruption(clean, torch.Generator(clean.device).manual_seed(1000 * batch_idx + k))
            restored = self.network(seen.observed.contiguous(memory_format=torch.channels_last), seen.condition)
            error = (restored.float().clamp(0, 1) - seen.target).square().mean()
            self.log(f"val/psnr_{name}_db", -10 * torch.log10(error), sync_dist=True)
            shown = {"observed": seen.observed, "restored": restored, "target": seen.target}
            if self.noise_level is not None and seen.condition is not None:
                level = pool_level(*self.noise_level(seen.observed))
                truth = seen.condition.mean()
                self.log(f"val/level_{name}_error", ((level - truth) / truth).abs().mean(), sync_dist=True)
        return shown

    def configure_optimizers(self) -> Any:
        """Muon for the kernels, AdamW for the rest."""
        return Muon([(name, p) for name, p in self.named_parameters() if p.requires_grad], lr=self.lr)

    def on_train_batch_start(self, batch: Tensor, batch_idx: int) -> None:
        """Set the learning rate of this step."""
        rise = min(1.0, (self.global_step + 1) / self.warmup_steps)
        factor = rise * 0.5 * (1 + math.cos(math.pi * self.progress()))
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = self.lr * factor
        self.log("train/lr", self.lr * factor)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what `denoise export-weights` needs beside the weights, as plain data."""
        networks = {"network": self.network, "noise_level": self.noise_level}
        checkpoint["denoise"] = {
            "networks": {part: describe(module) for part, module in networks.items() if module is not None},
            "recipe": self.recipe,
            "metrics": {k: float(v) for k, v in self.trainer.callback_metrics.items() if k.startswith("val/")},
        }

    def load_pretrained(self, name_or_path: str) -> None:
        """Start from weights that exist; raises ModelError when they do not fit the networks of the recipe."""
        weights = pretrained.load(name_or_path)
        for mine, theirs in ((self.network, weights.network), (self.noise_level, weights.noise_level)):
            if mine is None or theirs is None:
                continue
            if describe(mine) != describe(theirs):
                raise ModelError(
                    f"The weights {name_or_path} are of {describe(theirs)}, the recipe has {describe(mine)}; make them alike."
                )
            mine.load_state_dict(theirs.state_dict())

    def progress(self) -> float:
        """How much of the training is done, 0..1: by steps or by the clock, whichever is further."""
        done = 0.0
        if self.trainer.max_steps and self.trainer.max_steps > 0:
            done = self.global_step / self.trainer.max_steps
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Timer) and (left := callback.time_remaining()) is not None:
                used = callback.time_elapsed()
                done = max(done, used / (used + left))
        return min(1.0, done)
