"""What a training shows of itself, and how it keeps what it has reached."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_info
from PIL import Image
from torch import Tensor

from denoise.errors import ModelError
from denoise.media.atomic import replacing


class PictureGrid(L.Callback):
    """At each validation write a sheet of observed, restored and clean pictures, a row each, below the log folder.

    Pictures of other than three bands are shown by the mean of these. Without a logger there is no sheet.

    Args:
        rows: validation pictures to show, each with the last of the validation corruptions.
    """

    def __init__(self, rows: int = 4) -> None:
        self.rows = rows
        self.sheet: list[Tensor] = []

    def on_validation_batch_end(self, trainer: L.Trainer, _module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Keep one row."""
        if trainer.is_global_zero and len(self.sheet) < self.rows and not trainer.sanity_checking:
            observed, restored, target = (outputs[key][0].float().cpu() for key in ("observed", "restored", "target"))
            row = torch.cat([observed, restored, target], dim=2).clamp(0, 1)
            self.sheet.append(row if len(row) == 3 else row.mean(0).expand(3, -1, -1))

    def on_validation_end(self, trainer: L.Trainer, _module: L.LightningModule) -> None:
        """Write the sheet."""
        log_dir = trainer.log_dir  # asks all processes, so every one of them must get here
        sheet, self.sheet = self.sheet, []
        if not sheet or log_dir is None or not trainer.loggers:
            return
        width = max(row.shape[2] for row in sheet)
        rows = [torch.nn.functional.pad(row, (0, width - row.shape[2])) for row in sheet]
        pixels = (torch.cat(rows, dim=1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
        folder = Path(log_dir) / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"step{trainer.global_step:07d}.png")


def is_sheet(path: Path) -> bool:
    """Whether a picture is a `PictureGrid`'s of any training, beside whose config its folder lies."""
    named = path.parent.name == "pictures" and re.fullmatch(r"step\d{7,}\.png", path.name)
    return bool(named) and (path.parents[1] / "config.yaml").is_file()


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that neither a kill or a power cut during the write nor another training can cost.

    Lightning writes to the folder for temporary files and moves the result, which is a copy where that folder is
    another disk, and asks for no flush. Here the file lies beside its target, is flushed, and is renamed.

    A file that is there already, or that another training has put there since, is kept as `earlier-1.ckpt` and so on. A
    training that goes on replaces its own: those beside the one that it goes on from, but for another `last.ckpt`.

    Args:
        trainer: knows what the training goes on from.
    """

    def __init__(self, trainer: L.Trainer) -> None:
        super().__init__()
        self.trainer = trainer
        self.own: dict[Path, tuple[int, int]] = {}

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write it whole or not at all."""
        if "://" in str(path):  # not on a disk
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
            if path.is_file() and not self._is_own(path):  # only now, for the disk may have been full
                self._keep_earlier(path)
        self.own[path] = _identity(path)

    def _is_own(self, path: Path) -> bool:
        if path in self.own:
            return self.own[path] == _identity(path)
        resumed = self.trainer.ckpt_path
        if resumed is None:
            return False
        before, now = Path(os.path.realpath(resumed)), Path(os.path.realpath(path))
        return before == now or (before.parent == now.parent and path.stem != "last")

    def _keep_earlier(self, path: Path) -> None:
        names = (path.with_name(f"earlier-{number}.ckpt") for number in itertools.count(1))
        kept = next(name for name in names if not name.exists())
        path.rename(kept)
        rank_zero_info(f"The checkpoint of another training is kept as {kept}")

    def load_checkpoint(self, path: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Read it; raises ModelError when it is none."""
        try:
            state = super().load_checkpoint(path, *arguments, **options)
            state["denoise"]["networks"]
        except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, UnpicklingError) as error:
            raise ModelError(
                f"{path} is not a whole checkpoint of `denoise train`; go on from another with --ckpt_path FILE."
            ) from error
        return state


def newest_checkpoint(trainer: L.Trainer) -> Path | None:
    """What this training has written last, or goes on from; None where there is neither."""
    checkpoints = trainer.strategy.checkpoint_io
    own = [path for path in getattr(checkpoints, "own", ()) if path.is_file()]
    resumed = None if trainer.ckpt_path is None else Path(trainer.ckpt_path)
    return max(own, key=lambda path: path.stat().st_mtime_ns, default=resumed)


def _identity(path: Path) -> tuple[int, int]:
    """What no two writes of a file have in common."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns
