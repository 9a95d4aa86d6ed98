"""What a training shows of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from PIL import Image
from torch import Tensor


class PictureGrid(L.Callback):
    """At each validation write a sheet of observed, restored and clean pictures, a row each, below the log folder.

    Args:
        rows: validation pictures to show.
    """

    def __init__(self, rows: int = 4) -> None:
        self.rows = rows
        self.sheet: list[Tensor] = []

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Keep one row."""
        if trainer.is_global_zero and len(self.sheet) < self.rows and not trainer.sanity_checking:
            observed, restored, target = (outputs[key][0].float().cpu() for key in ("observed", "restored", "target"))
            self.sheet.append(torch.cat([observed, restored, target], dim=2).clamp(0, 1))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the sheet."""
        if not self.sheet or trainer.log_dir is None:
            return
        width = max(row.shape[2] for row in self.sheet)
        rows = [torch.nn.functional.pad(row, (0, width - row.shape[2])) for row in self.sheet]
        pixels = (torch.cat(rows, dim=1) * 255).round().byte().permute(1, 2, 0).numpy()
        folder = Path(trainer.log_dir) / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"step{trainer.global_step:07d}.png")
        self.sheet = []
