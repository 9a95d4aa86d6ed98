"""Trains the small networks of the tour."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from denoise.networks.autoencoder import Autoencoder
from denoise.progress import Progress
from denoise.training.autoencoders import RegularizedAutoencoder

BATCH = 64
TRAININGS = 21
"""In the whole tour"""


class Trainings:
    """Carries out the trainings of the tour, one after the other, and counts them.

    Args:
        effort: factor on the number of steps of every training.
        seed: of the first weights, of the choice of examples and of the corruptions.
        progress: called with trainings done, trainings in all, and the name of the next one.
    """

    def __init__(self, effort: float = 1.0, seed: int = 0, progress: Progress | None = None) -> None:
        self.effort, self.seed, self.progress = effort, seed, progress
        self.steps = 0
        self.count = 0

    def network(self, **arguments: Any) -> Autoencoder:
        """An autoencoder with its first weights; the same arguments give the same weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return Autoencoder(**arguments)

    def fit(
        self,
        module: RegularizedAutoencoder,
        examples: Tensor,
        steps: int,
        watch: Callable[[Autoencoder, int], None] | None = None,
    ) -> Autoencoder:
        """Train on batches drawn from `examples`; returns the network, ready to use.

        Shape:
            - examples: `[N, C, H, W]`
        """
        if self.progress is not None:
            self.progress(self.count, TRAININGS, type(module).__name__)
        steps = max(2, round(steps * self.effort))
        module.seed = self.seed
        module.warmup_steps = min(module.warmup_steps, steps // 10)
        with quiet():
            trainer = L.Trainer(
                accelerator="cpu",
                devices=1,
                max_steps=steps,
                gradient_clip_val=1.0,
                barebones=True,  # nothing is logged, which takes longer than these steps themselves
                callbacks=[_Watch(watch)] if watch else [],
            )
            with interruptible():
                trainer.fit(module, torch.utils.data.DataLoader(_Batches(examples, self.seed), batch_size=None))
        self.steps += steps
        self.count += 1
        return module.network.to(memory_format=torch.contiguous_format).eval().requires_grad_(False)  # type: ignore[call-overload, no-any-return]


class _Batches(IterableDataset[Tensor]):
    def __init__(self, examples: Tensor, seed: int) -> None:
        self.examples, self.seed = examples, seed

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            chosen = torch.randint(len(self.examples), (min(BATCH, len(self.examples)),), generator=generator)
            yield self.examples[chosen]


class _Watch(L.Callback):
    def __init__(self, watch: Callable[[Autoencoder, int], None]) -> None:
        self.watch = watch

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        with torch.no_grad():
            self.watch(module.network, trainer.global_step)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C as it is elsewhere: Lightning makes an exit of it, as if the work had failed, and has it ignored."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            if threading.current_thread() is threading.main_thread():  # no other may
                signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from ended
        raise


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning has much to say about trainings that are not meant to be quick."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
