"""Ctrl-C and SIGTERM end a training between two steps, and what it has reached is saved."""

from __future__ import annotations

import signal
import threading
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info

from denoise.errors import DenoiseError


class StoppedError(DenoiseError):
    """The training was told to stop."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


class SaveWhenStopped(L.Callback):
    """After a signal finish the step, save it as others are and raise `StoppedError`; a second Ctrl-C ends at once.

    It comes last of the callbacks, so that the mean of the weights has this step. Lightning gives the signals back.
    """

    def __init__(self) -> None:
        self.signum = 0

    def on_train_start(self, *_: Any) -> None:
        """From now on there is something to save."""
        if threading.current_thread() is not threading.main_thread():  # no other may
            return
        for signum in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(signum) != signal.SIG_IGN:
                signal.signal(signum, self._heed)

    def on_train_batch_end(self, trainer: L.Trainer, _module: Any, _outputs: Any, _batch: Any, batch_idx: int) -> None:
        """Save and stop if a process was told to."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches:  # within a step
            return
        if trainer.strategy.reduce_boolean_decision(bool(self.signum), all=False):
            saved = " and ".join(save_last(trainer))
            went = f"saved as {saved}; go on with --ckpt_path last" if saved else "lost: the recipe saves no last.ckpt"
            message = f"The training was stopped; step {trainer.global_step} is {went}."
            raise StoppedError(message, self.signum or signal.SIGTERM)

    def _heed(self, signum: int, _frame: Any) -> None:
        if self.signum and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum
        rank_zero_info("The training stops after this step, or the validation; Ctrl-C once more ends it at once")


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
