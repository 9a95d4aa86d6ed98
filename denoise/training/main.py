"""`denoise train`: LightningCLI over the modules and data modules of this package."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

from denoise.errors import UsageError

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


class RecipeCLI(LightningCLI):
    """LightningCLI that can start from shipped weights and that logs to TensorBoard where it is installed."""

    recipe = ""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what Lightning does not have."""
        parser.add_argument("--init", type=str | None, default=None, help="Shipped name or folder of weights to start from.")

    def before_fit(self) -> None:
        """Fill the networks and set the loggers."""
        self.model.recipe = self.recipe
        init = self.config.fit.init
        if init is not None:
            self.model.load_pretrained(init)
        if find_spec("tensorboard") is not None and self.trainer.loggers and not self.trainer.fast_dev_run:
            where = self.trainer.loggers[0]
            self.trainer.loggers = [*self.trainer.loggers, TensorBoardLogger(where.root_dir, name="", version=where.version)]


def train(arguments: Sequence[str]) -> None:
    """Run the recipe named first, with any further `--key value` of LightningCLI; `--help` lists them.

    Raises:
        UsageError: there is no such recipe.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        rest: list[str] = ["--help"]
        recipe = None
    else:
        recipe, rest = find_recipe(arguments[0]), list(arguments[1:])
        RecipeCLI.recipe = arguments[0]
    given: list[Any] = ["fit", *([] if recipe is None else ["--config", str(recipe)]), *rest]
    argv, sys.argv = sys.argv, ["denoise train"]  # LightningCLI warns when it finds arguments of its own there
    try:
        RecipeCLI(
            L.LightningModule,
            L.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_kwargs={"overwrite": True},
            args=given,
        )
    finally:
        sys.argv = argv


def find_recipe(name: str) -> Path:
    """A recipe file: a path, or the name of one that is shipped (`photo/denoise` or `recipes/photo/denoise.yaml`)."""
    path = Path(name)
    shipped = RECIPES if RECIPES.is_dir() else RECIPES.parents[1] / "recipes"
    inside = Path(*path.parts[1:]) if path.parts[:1] == ("recipes",) else path
    for candidate in (path, shipped / inside.with_suffix(".yaml")):
        if candidate.is_file():
            return candidate
    known = ", ".join(str(p.relative_to(shipped).with_suffix("")) for p in sorted(shipped.rglob("*.yaml")))
    raise UsageError(f"There is no recipe {name}; give a YAML file or one of {known}.")
