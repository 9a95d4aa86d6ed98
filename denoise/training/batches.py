"""Batches without end, made by the process that trains or by others beside it."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from denoise.corruptions.masks import makes_holes
from denoise.errors import DenoiseError, UsageError
from denoise.signals import ENDING

EXCERPTS = 2
"""The stream of what a batch is made of; those of corruptions, with the same seed, have lower numbers"""
VIEWS = 3
"""The stream of how a teacher sees a batch"""


def batch_seed(seed: int, number: int, rank: int, stream: int = 0) -> int:
    """What is random about batch `number` of process `rank` begins with this; streams are independent."""
    return (seed * 1_000_003 + number) * 1009 + rank + 500_000_000_000_000 * stream


class Endless(IterableDataset[Any]):
    """Batch n of process r is the same whenever it is made, so a resumed training goes on where it was."""

    def __init__(self, trainer: L.Trainer) -> None:
        self.trainer = trainer

    def batch(self, number: int) -> Any:
        """Batch `number` of this process."""
        raise NotImplementedError

    def first(self) -> int:
        """The number of the batch that the training takes next."""
        return self.trainer.global_step * self.trainer.accumulate_grad_batches

    def __iter__(self) -> Iterator[Any]:
        return map(self.batch, itertools.count(self.first()))


class Some(IterableDataset[Any]):
    """The first batches of an endless row, the same in each validation; every process has its own."""

    def __init__(self, batches: Endless, count: int) -> None:
        self.batches, self.count = batches, count

    def __iter__(self) -> Iterator[Any]:
        return map(self.batches.batch, range(self.count))


def load(batches: Endless, workers: int) -> DataLoader[Any]:
    """The loader of a training: clean batches. Workers also draw holes, which is a processor's work on any machine.

    Workers share the memory of the process that trains; raises UsageError where the system has no such processes.
    """
    if not workers:
        return DataLoader(batches, batch_size=None)
    if "fork" not in multiprocessing.get_all_start_methods():
        raise UsageError("Workers cannot share memory on this system; leave out --data.workers.")
    return _Loader(
        _Shared(batches),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="fork",
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4,
    )


class LostWorkerError(DenoiseError):
    """A process that makes batches is gone."""


class _Loader(DataLoader[Any]):
    """Tells of a lost worker where its batch is due, between two steps, and not at once, amid whatever is done."""

    def __iter__(self) -> Any:
        main = threading.current_thread() is threading.main_thread()  # no other may
        before = signal.getsignal(signal.SIGCHLD)
        batches = super().__iter__()
        if main:
            signal.signal(signal.SIGCHLD, before)
        try:
            yield from batches
        except (RuntimeError, ConnectionError, EOFError, FileNotFoundError) as error:
            if not _is_of_lost_worker(error):
                raise
            raise LostWorkerError(
                "A process that makes batches was ended from outside, perhaps for want of memory; train with fewer "
                "--data.workers."
            ) from error


def _is_of_lost_worker(error: Exception) -> bool:
    """What PyTorch says of one, or how the memory that it shared is missing; no error of a worker's own."""
    if isinstance(error, RuntimeError):
        return str(error).startswith("DataLoader worker (pid")
    return "in DataLoader worker process" not in str(error)


class _Shared(IterableDataset[Any]):
    """What one worker makes: of so many batches one, so that together they make all, in order."""

    def __init__(self, batches: Endless) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        assert worker is not None
        # A signal to all is answered by the one that trains, which saves its step; by SIGTERM it also ends its workers.
        for signum in (signal.SIGINT, *ENDING):
            signal.signal(signum, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        module: Any = self.batches.trainer.lightning_module
        draws = makes_holes(module.corruption)
        for number in itertools.count(self.batches.first() + worker.id, worker.num_workers):
            clean = self.batches.batch(number)
            yield module.draw(clean, number) if draws else clean
