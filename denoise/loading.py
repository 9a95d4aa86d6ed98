"""Weights by name, ready to restore what they are for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from denoise import pretrained
from denoise.devices import choose_device, choose_dtype, from_cpu
from denoise.ensemble import check_ensemble
from denoise.errors import UsageError
from denoise.networks.spectral import SpectralUNet
from denoise.restorer import Restorer

DEFAULTS = {"image": "photo", "holes": "inpaint", "sound": "speech"}
"""The weights for a task unless others are named"""


@from_cpu
def load(name: str | os.PathLike[str] = "photo", device: str = "auto", dtype: str = "auto", ensemble: int = 1) -> Any:
    """Load weights by name, folder or file: a `Restorer` or `Inpainter` for pictures, a `SoundRestorer` for sound.

    An `ensemble` of 2, 4 or 8 views of a picture is averaged: better, and so many times slower. Sound takes no notice.

    Raises:
        UsageError: there are no such weights, they restore no files, or an option is out of range.
        ModelError: the weights cannot be read or trusted.

    >>> load("gaussian", device="cpu", dtype="float32")
    Restorer(gaussian, cpu, float32)
    """
    weights = pretrained.load(name)
    _check_restores(weights, name)
    if weights.card.task == "sound":
        from denoise.sound import SoundRestorer

        return SoundRestorer(weights.network, weights.card, device, dtype)
    if weights.card.task == "holes":
        from denoise.inpainter import Inpainter

        return Inpainter(weights.network, weights.card, device, dtype, ensemble=ensemble)
    return Restorer(weights.network, weights.noise_level, weights.card, device, dtype, ensemble=ensemble)


class Restorers:
    """Loads the weights for a task when its first file comes.

    Args:
        model: weights for every file, or several for different tasks with commas between; None for the defaults.
        device: see `load`.
        dtype: see `load`.
        ensemble: see `load`.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        device: str = "auto",
        dtype: str = "auto",
        ensemble: int = 1,
    ) -> None:
        choose_dtype(dtype, choose_device(device))  # what is wrong for all files is said before the first
        self.device, self.dtype, self.ensemble = device, dtype, check_ensemble(ensemble)
        several = isinstance(model, str) and not Path(model).exists()
        self.names: list[str | os.PathLike[str]] = []
        if model is not None:
            self.names = [name.strip() for name in str(model).split(",")] if several else [model]
        self.loaded: dict[str, Any] = {}
        self.named: dict[str, str | os.PathLike[str]] = {}
        """The weights that were asked for by name, by their task"""
        for name in self.names:
            task = pretrained.read_card(name).task
            if task in self.named:
                raise UsageError(
                    f"The weights {str(self.named[task])!r} and {str(name)!r} are both for {_NAMES[task]}; "
                    "name one of them."
                )
            self.named[task] = name

    def find(self, task: str, source: str | os.PathLike[str] = "this") -> Any:
        """What restores a task; raises UsageError when the weights that were asked for are for other ones."""
        if task not in self.loaded:
            if self.named and task not in self.named and not (task == "holes" and "image" in self.named):
                theirs = _NAMES[next(iter(self.named))]
                raise UsageError(
                    f"The weights {str(self.names[0])!r} are for {theirs}, {Path(source).name} needs some for "
                    f"{_NAMES[task]}; leave --model out, or name others."
                )
            name = self.named.get(task, DEFAULTS[task])
            self.loaded[task] = load(name, self.device, self.dtype, self.ensemble)
        return self.loaded[task]


def _check_restores(weights: pretrained.Weights, name: str | os.PathLike[str]) -> None:
    """Raise UsageError for an autoencoder whose signal is no sound and no colour picture: its code is of use."""
    is_spectral = isinstance(weights.network, SpectralUNet)
    is_colour = getattr(weights.network, "channels", None) == 3
    if not (is_spectral if weights.card.medium == "sound" else is_colour):
        kind = type(weights.network).__name__
        use = (
            "use them with `denoise detect` or, for pictures, `denoise index`"
            if kind == "Autoencoder"
            else "name others"
        )
        raise UsageError(
            f"The weights {str(name)!r} are of a {kind} for gray pictures or spectrograms and restore no files; {use}."
        )


_NAMES = {"image": "pictures", "holes": "holes in pictures (say where with --mask)", "sound": "sound"}
