"""Where the time of training goes: the wait for data, and the share of the machine's peak that convolutions reach.

Runs a few steps of a U-Net and of an estimator of the noise level, both with their defaults, on crops of 128 pixels
with white noise, from a folder of pictures; recipes differ in networks, crops, optimiser and what networks are told.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from _common import macs_per_pixel, matrix_gflops, parser, report, run, write_json

from denoise.corruptions.image import Gaussian, Gray
from denoise.devices import DTYPES, choose_device, choose_dtype
from denoise.networks.noise_level import NoiseLevel
from denoise.networks.unet import UNet
from denoise.training.data import PictureCrops
from denoise.training.modules import Restoration

WARM_UP = 5


class Clock(L.Callback):
    """Time in steps and between them; what lies between is the wait for the next batch."""

    def __init__(self) -> None:
        self.steps, self.waits = [0.0], [0.0]
        self.began = self.ended = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """The wait is over."""
        self.began = time.perf_counter()
        if trainer.global_step > WARM_UP:
            self.waits.append(self.began - self.ended)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """The wait begins."""
        self.ended = time.perf_counter()
        if trainer.global_step > WARM_UP:
            self.steps.append(self.ended - self.began)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, model=None)
    options.add_argument("--data", type=Path, required=True, help="folder of pictures")
    options.add_argument("--steps", type=int, default=25)
    chosen = options.parse_args(arguments)
    device = choose_device()
    dtype, _ = choose_dtype(chosen.dtype, device)
    data = PictureCrops(chosen.data, crop_px=128, batch_size=12)
    module = Restoration(UNet(), Gray(Gaussian((0, 55)), 0.08), NoiseLevel())
    clock = Clock()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = L.Trainer(
        max_steps=chosen.steps,
        precision="32-true" if dtype == DTYPES["float32"] else "bf16-mixed",
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(module, data)
    total = sum(clock.steps) + sum(clock.waits)
    pixels = 12 * 128**2 * (len(clock.steps) - 1)
    macs = sum(macs_per_pixel(network, device) for network in (module.network, module.noise_level) if network)
    peak = matrix_gflops(device, dtype, repeats=3)
    # Backward takes two products for the forward's one: by the weights and by the input.
    reached = 3 * 2 * macs * pixels / total / 1e9
    rows = [
        {"what": "training", "value": pixels / total / 1e6, "unit": "megapixels/s"},
        {"what": "wait for data", "value": sum(clock.waits) / total, "unit": "of the time"},
        {"what": "convolutions", "value": reached, "unit": "GFLOP/s"},
        {"what": "share of the matrix product", "value": reached / peak, "unit": ""},
    ]
    report(rows)
    write_json(chosen.json, rows=rows)


if __name__ == "__main__":
    run(main)
