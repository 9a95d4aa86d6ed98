"""Ctrl-C, SIGTERM and a terminal that closes end a training between two steps, and what it has reached is saved."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import threading
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import SIGTERMException

from denoise.errors import DenoiseError
from denoise.signals import ENDING, STOPPED
from denoise.training.batches import LostWorkerError


class StoppedError(DenoiseError):
    """The training was told to stop."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


def what_ended(ended: SystemExit) -> int:
    """The signal that Lightning, or the command before it, answered by an exit."""
    if isinstance(ended, SIGTERMException):
        return signal.SIGTERM
    return ended.code - 128 if isinstance(ended.code, int) and ended.code in STOPPED else signal.SIGINT


class SaveWhenStopped(L.Callback):
    """After a signal finish the step, save it as others are and raise `StoppedError`; a second Ctrl-C ends at once.

    Nothing cuts that save short. A lost worker has the last step saved too.

    It comes last of the callbacks, so that the mean of the weights has this step. Lightning gives the signals back.
    """

    def __init__(self) -> None:
        self.signum = 0
        self.saves = False
        self.whole = False
        """Whether the last batch was the end of a step"""
        self.fate = "nothing more is saved"

    def on_train_start(self, *_: Any) -> None:
        """From now on there is something to save."""
        if threading.current_thread() is not threading.main_thread():  # no other may
            return
        for signum in (signal.SIGINT, *ENDING):
            if signal.getsignal(signum) != signal.SIG_IGN:
                signal.signal(signum, self._heed)

    def on_train_batch_end(self, trainer: L.Trainer, _module: Any, _outputs: Any, _batch: Any, batch_idx: int) -> None:
        """Save and stop if a process was told to."""
        self.whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if self.whole and trainer.strategy.reduce_boolean_decision(bool(self.signum), all=False):
            self._save(trainer)
            raise self.stopped()

    def on_exception(self, trainer: L.Trainer, _module: Any, exception: BaseException) -> None:
        """Save what was reached before a worker was lost, where no other process would have to take part."""
        if isinstance(exception, LostWorkerError) and self.whole and trainer.world_size == 1:
            self._save(trainer)

    def stopped(self) -> StoppedError:
        """What to raise after a signal."""
        return StoppedError(f"The training was stopped; {self.fate}.", self.signum or signal.SIGTERM)

    def _save(self, trainer: L.Trainer) -> None:
        self.saves = True
        saved = " and ".join(save_last(trainer))
        went = f"saved as {saved}; go on with --ckpt_path last" if saved else "lost: the recipe saves no last.ckpt"
        self.fate = f"step {trainer.global_step} is {went}"

    def _heed(self, signum: int, _frame: Any) -> None:
        if self.saves:
            return
        if self.signum and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum
        _leave_closed_terminals()
        rank_zero_info("The training stops after this step, or the validation; Ctrl-C once more ends it at once")


def _leave_closed_terminals() -> None:
    """What would be printed to a terminal that is gone is printed nowhere: a progress bar must not cost the save."""
    for stream in (1, 2):
        with contextlib.suppress(OSError):  # of streams that are closed
            if stat.S_ISCHR(os.fstat(stream).st_mode) and not os.isatty(stream):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream)
                os.close(nowhere)


class SaveAtEnd(L.Callback):
    """Saves the very last step too, for there the learning rate is lowest.

    It comes first of the callbacks: at the end the mean of the weights takes their place, and what goes on from the
    checkpoint needs both.
    """

    def on_train_end(self, trainer: L.Trainer, _module: Any) -> None:
        """Save, or say that nothing was."""
        if not save_last(trainer) and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            rank_zero_info("Nothing was saved, for no ModelCheckpoint of the recipe has save_last")


def save_last(trainer: L.Trainer) -> list[str]:
    """Save this step where the recipe keeps the last one, and say where that is."""
    kept = [part for part in trainer.checkpoint_callbacks if isinstance(part, ModelCheckpoint) and part.save_last]
    for part in kept:
        part.last_model_path = part.last_model_path or f"{part.dirpath}/{part.CHECKPOINT_NAME_LAST}.ckpt"
        trainer.save_checkpoint(part.last_model_path, weights_only=False)
        part._last_checkpoint_saved = part.last_model_path  # else it saves once more at the end, with the mean alone
    return [part.last_model_path for part in kept]
