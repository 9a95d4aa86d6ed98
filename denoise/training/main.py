"""`denoise train`: LightningCLI over the modules and data modules of this package."""

from __future__ import annotations

from collections.abc import Sequence

import lightning as L
from lightning.pytorch.cli import LightningCLI


def train(arguments: Sequence[str]) -> None:
    """Run the recipe named first, with any further `--key value` of LightningCLI."""
    recipe, *rest = arguments
    LightningCLI(
        L.LightningModule,
        L.LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        save_config_kwargs={"overwrite": True},
        args=["fit", "--config", recipe, *rest],
    )


if __name__ == "__main__":
    import sys

    train(sys.argv[1:])
