"""`denoise train`: LightningCLI over the modules and data modules of this package."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info

from denoise.devices import choose_device, cpu_multiplies_bfloat16
from denoise.errors import DenoiseError, UsageError, chain
from denoise.training.batches import LostWorkerError
from denoise.training.callbacks import WholeCheckpoints, newest_checkpoint
from denoise.training.checks import check_numbers, why_no_weights
from denoise.training.modules import Restoration
from denoise.training.refusals import wrong_option
from denoise.training.stopping import SaveAtEnd, SaveWhenStopped, StoppedError, what_ended

USAGE = "denoise train RECIPE --data.root DIR [--init NAME] [--ckpt_path last] [--key value ...]"
PACKAGE = Path(__file__).resolve().parents[1]

_NOISE = (
    r"Checkpoint directory .* exists and is not empty",  # what is in it is kept, see WholeCheckpoints
    r".*does not have many workers",  # crops come from memory: nothing to wait for
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning's own use of PyTorch
)


class RecipeCLI(LightningCLI):
    """LightningCLI without verbs, which can start from weights that exist."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what Lightning does not have, or has with a verb only."""
        parser.add_argument("--init", type=str | None, default=None, help="Name or folder of weights to start from.")
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="Checkpoint to resume, or `last`.")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse `args` without regard to `sys.argv`, which stays because processes for more devices start from it."""
        assert isinstance(args, list)
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise UsageError(wrong_option(str(error))) from None
        except UnicodeDecodeError:
            raise UsageError(f"The recipe {args[1]} is no text; give a YAML file.") from None
        check_numbers(self.config)
        self.asks_for_precision = any(arg.split("=")[0] == "--trainer.precision" for arg in args)

    def before_instantiate_classes(self) -> None:
        """Leave bfloat16 where a processor would only imitate it, unless it was asked for beside the recipe."""
        trainer = self.config.trainer
        on_cpu = trainer.accelerator == "cpu" or (trainer.accelerator == "auto" and choose_device().type == "cpu")
        if trainer.precision != "bf16-mixed" or self.asks_for_precision or not on_cpu or cpu_multiplies_bfloat16():
            return
        trainer.precision = "32-true"
        rank_zero_info("This CPU has no bfloat16, which would be slower: trained with --trainer.precision 32-true")

    def instantiate_classes(self) -> None:
        """Build what the recipe names; our own errors come out as they went in, others as UsageError."""
        try:
            super().instantiate_classes()
        except (ValueError, TypeError, MisconfigurationException) as error:
            reasons = [*chain(error)]
            ours = (reason for reason in reasons if isinstance(reason, DenoiseError))
            raise next(ours, UsageError(f"The recipe cannot be run so: {_in_one_line(reasons[-1])}")) from None


def train(arguments: Sequence[str]) -> None:
    """Run the recipe named first, with any further `--key value` of LightningCLI; `--help` lists them.

    Raises:
        UsageError: there is no such recipe, option or checkpoint, one that does not fit, or no usable picture.
        ModelError: weights or a checkpoint are damaged.
        StoppedError: Ctrl-C, SIGTERM or SIGHUP came; what was reached is saved, unless that was before the first step
            or Ctrl-C came twice.
        DenoiseError: the loss is no longer a number, or a worker was lost.
    """
    asked = not arguments or arguments[0] in ("-h", "--help")
    recipe = None if asked else find_recipe(arguments[0])
    if (here := str(Path.cwd())) not in sys.path:  # as `python -m` has it: recipes may name classes that lie here
        sys.path.append(here)
    with _quiet(), _flushed():
        cli = RecipeCLI(
            Restoration,
            L.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={"enable_model_summary": False},
            parser_kwargs={
                "prog": "denoise train RECIPE",
                "usage": USAGE,
                "description": None,
                "exit_on_error": False,
            },
            run=False,
            args=["--help"] if recipe is None else ["--config", str(recipe), *arguments[1:]],
        )
        assert recipe is not None  # --help exits
        checkpoint = cli.config.ckpt_path
        if checkpoint not in (None, "last") and not Path(checkpoint).is_file():
            raise UsageError(f"There is no checkpoint {checkpoint}; give a file or `last` as --ckpt_path.")
        folders = _checkpoint_folders(cli.trainer)
        if checkpoint == "last" and not any(path for folder in folders for path in folder.glob("last*.ckpt")):
            where = " or ".join(map(str, folders)) or "any folder of the recipe"
            raise UsageError(f"There is no checkpoint in {where} to resume; leave out --ckpt_path to begin.")
        cli.model.origin = {"recipe": _public_name(recipe), "commit": commit()}
        if cli.config.init is not None:
            cli.model.load_pretrained(cli.config.init)
        for name, part in cli.model.named_children():
            if weights := sum(parameter.numel() for parameter in part.parameters()):
                rank_zero_info(f"{name}: {type(part).__name__}, {weights / 1e6:.2f} million weights")
        for part in (cli.model.network, cli.model.noise_level):
            if part is not None and (reason := why_no_weights(part)):
                rank_zero_info(f"{reason}: `denoise export-weights` will refuse the checkpoints")
        cli.trainer.strategy.checkpoint_io = WholeCheckpoints(cli.trainer)
        _add_tensorboard(cli.trainer)
        callbacks = cli.trainer.callbacks  # type: ignore[attr-defined]
        if cli.trainer.fast_dev_run:  # type: ignore[attr-defined]  # of one step nobody wants a checkpoint
            callbacks = [one for one in callbacks if not isinstance(one, ModelCheckpoint)]
        if not cli.trainer.loggers:  # its folder is the current one, which is the user's
            callbacks = [one for one in callbacks if not isinstance(one, SaveConfigCallback)]
        stop = SaveWhenStopped()
        cli.trainer.callbacks = [SaveAtEnd(), *callbacks, stop]  # type: ignore[attr-defined]
        try:
            cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=checkpoint)
        except MisconfigurationException as error:  # such as a metric to watch that nobody measures
            raise UsageError(f"The recipe cannot be run so: {_in_one_line(error)}") from error
        except LostWorkerError as lost:
            raise stop.stopped() if stop.signum else DenoiseError(f"{lost} Now {stop.fate}.") from lost
        except SystemExit as ended:  # Lightning's answer to signals before the first step, and to a second Ctrl-C
            newest = newest_checkpoint(cli.trainer)
            advice = f"; go on from its last checkpoint with --ckpt_path {newest}" if newest else ""
            message = f"The training was stopped at once and saved nothing more{advice}."
            raise StoppedError(message, what_ended(ended)) from ended


def find_recipe(name: str) -> Path:
    """A recipe file: a path, or the name of one that is shipped (`photo/denoise` or `recipes/photo/denoise.yaml`)."""
    path = Path(name)
    shipped = _shipped()
    inside = Path(*path.parts[1:]) if path.parts[:1] == ("recipes",) else path
    candidates = [path, shipped / inside.with_suffix(".yaml")] if inside.name else [path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    known = ", ".join(str(p.relative_to(shipped).with_suffix("")) for p in recipes())
    raise UsageError(f"There is no recipe {name}; give a YAML file or one of {known}.")


def recipes() -> list[Path]:
    """The shipped recipes."""
    return sorted(_shipped().rglob("*.yaml"))


def commit() -> str:
    """The commit of the checkout that this package is, or `unknown` where it is none."""
    if not (PACKAGE.parent / ".git").exists():
        return "unknown"
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        answer = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()


def _shipped() -> Path:
    """The folder of recipes: inside the installed package, or beside it in a checkout."""
    installed = PACKAGE / "recipes"
    return installed if installed.is_dir() else PACKAGE.parent / "recipes"


def _public_name(recipe: Path) -> str:
    """A recipe as a model card may name it: nobody's folders, and `denoise train` finds it if it is shipped."""
    shipped = (f"recipes/{path.relative_to(_shipped()).as_posix()}" for path in recipes())
    resolved = recipe.resolve()
    return next((name for name in shipped if resolved.as_posix().endswith(f"/{name}")), resolved.name)


def _add_tensorboard(trainer: L.Trainer) -> None:
    """Beside the CSV log, where TensorBoard is installed, one for it in the same folder."""
    first = trainer.loggers[0] if trainer.loggers else None
    if isinstance(first, CSVLogger) and find_spec("tensorboard") is not None:
        second = TensorBoardLogger(first.root_dir, name="", version=first.version, default_hp_metric=False)
        trainer.loggers = [*trainer.loggers, second]


def _checkpoint_folders(trainer: L.Trainer) -> list[Path]:
    callbacks = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    return [Path(callback.dirpath) for callback in callbacks if callback.dirpath]


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without advertisements and without warnings that concern nobody who trains here."""
    log = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # between Lightning and its libraries
        for message in _NOISE:
            warnings.filterwarnings("ignore", message)
        log.addFilter(_is_no_tip)
        try:
            yield
        finally:
            log.removeFilter(_is_no_tip)


@contextmanager
def _flushed() -> Iterator[None]:
    """Without numbers so small that processors take many times longer for them.

    The momentum of weights that get no gradient fades to such, and its products in Muon are smaller still.
    """
    torch.set_flush_denormal(True)  # also in the threads that begin from now on
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _is_no_tip(record: logging.LogRecord) -> bool:
    return "Tip: " not in str(record.msg)
