"""Weights by name, ready to restore what they are for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from denoise import pretrained
from denoise.errors import UsageError
from denoise.restorer import Restorer

DEFAULTS = {"image": "photo", "sound": "speech"}
"""The weights for a medium unless others are named"""


def load(name: str | os.PathLike[str] = "photo", device: str = "auto", dtype: str = "auto") -> Any:
    """Load weights by name, folder or file: a `Restorer` for pictures or a `SoundRestorer` for sound.

    >>> load("gaussian", device="cpu", dtype="float32")
    Restorer(gaussian, cpu, float32)
    """
    weights = pretrained.load(name)
    if weights.card.medium == "sound":
        from denoise.sound import SoundRestorer

        return SoundRestorer(weights.network, weights.card, device, dtype)
    return Restorer(weights.network, weights.noise_level, weights.card, device, dtype)


class Restorers:
    """Loads the weights for a medium when its first file comes.

    Args:
        model: weights for every file; None for the default of each medium.
        device: see `load`.
        dtype: see `load`.
    """

    def __init__(self, model: str | os.PathLike[str] | None = None, device: str = "auto", dtype: str = "auto") -> None:
        self.model, self.device, self.dtype = model, device, dtype
        self.loaded: dict[str, Any] = {}

    def find(self, medium: str, source: str | os.PathLike[str] = "this") -> Any:
        """The restorer for a medium; raises UsageError when the weights that were asked for are for another one."""
        if medium not in self.loaded:
            restorer = load(self.model or DEFAULTS[medium], self.device, self.dtype)
            if restorer.card.medium != medium:
                theirs, ours = _NAMES[restorer.card.medium], _NAMES[medium]
                raise UsageError(
                    f"The weights {str(self.model)!r} are for {theirs}, {Path(source).name} needs some for {ours}; "
                    "leave --model out, or name others."
                )
            self.loaded[medium] = restorer
        return self.loaded[medium]


_NAMES = {"image": "pictures", "sound": "sound"}
