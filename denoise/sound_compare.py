"""Before, after and what was taken out, as waveforms and spectrograms."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from denoise.errors import UsageError
from denoise.media.atomic import check_place, replacing

_LIMIT_S = 60
_CELLS = 512  # of a spectrogram in each direction, which is drawn about 350 by 300 pixels large


class SoundComparison:
    """Keeps the first minute of what is restored while it is, of the channel that is loudest where sound begins."""

    def __init__(self, rate_hz: int, path: Path, start_s: float = 0.0) -> None:
        """Raise UsageError where no such picture can be written: before the work, not after."""
        from matplotlib.figure import Figure

        kinds = Figure().canvas.get_supported_filetypes()
        if path.suffix.lower().removeprefix(".") not in kinds:
            raise UsageError(
                f"The comparison {path} is no kind of picture that can be drawn; name it .png, .pdf or .svg."
            )
        check_place(path)
        self.rate_hz, self.path, self.start_s = rate_hz, path, start_s
        self.channel: int | None = None
        self.before: list[Tensor] = []
        self.after: list[Tensor] = []
        self.room = _LIMIT_S * rate_hz

    def add(self, observed: Tensor, restored: Tensor) -> None:
        """Take the next block, which may be empty. Shape: `[C, T]` twice."""
        if not observed.shape[1]:
            return
        if self.channel is None and observed.any():
            self.channel = int(observed.square().sum(1).argmax())
        shown = self.channel or 0
        self.before.append(observed[shown, : self.room].clone())
        self.after.append(restored[shown, : self.room].clone())
        self.room = max(0, self.room - observed.shape[1])

    def write(self) -> None:
        """Write the picture; raises MediaError when that fails."""
        import librosa.display
        from matplotlib.figure import Figure

        before, after = (
            torch.cat(parts).numpy() if parts else np.zeros(1, np.float32) for parts in (self.before, self.after)
        )
        figure = Figure(figsize=(15, 7), layout="constrained")
        axes = figure.subplots(2, 3, sharex=True, sharey="row", height_ratios=[1, 2])
        panels = {"before": before, "after": after, "removed": before - after}
        size = max(256, 2 ** round(np.log2(0.04 * self.rate_hz)))
        loudest = max(float(np.abs(before).max()), 1e-4)
        for column, (title, sound) in enumerate(panels.items()):
            librosa.display.waveshow(sound, sr=self.rate_hz, ax=axes[0, column], axis="time", offset=self.start_s)
            axes[0, column].set(title=title, ylim=(-1.05 * loudest, 1.05 * loudest), xlabel=None)
            levels = levels_of(sound, size)
            image = librosa.display.specshow(
                levels.decibels,
                x_coords=self.start_s + levels.frames * (size // 4) / self.rate_hz,
                y_coords=levels.bins * self.rate_hz / size,
                x_axis="time",
                y_axis="linear",
                ax=axes[1, column],
                vmin=-100,
                vmax=-20,
                cmap="magma",
            )
        figure.colorbar(image, ax=axes[1, :], label="dB of full scale", location="right")
        with replacing(self.path) as file:
            figure.savefig(file, dpi=80, format=self.path.suffix.lower().removeprefix("."))


class Levels(NamedTuple):
    """Levels of a sound in cells, and which frame and bin the middle of each is.

    Shape:
        - decibels: `[rows, columns]`; frames: `[columns]`; bins: `[rows]`
    """

    decibels: NDArray[np.float64]
    frames: NDArray[np.float64]
    bins: NDArray[np.float64]


def levels_of(sound: NDArray[np.float32], size: int) -> Levels:
    """The mean power in no more cells than are seen, computed column by column: a spectrogram would be far larger.

    Frames of `size` samples follow each other by a quarter of that.

    Shape:
        - sound: `[T]`
    """
    import librosa

    hop = size // 4
    sound = np.pad(sound, (size // 2, size // 2 + max(0, size - len(sound))))
    frames, bins = _edges(1 + (len(sound) - size) // hop), _edges(1 + size // 2)
    columns = []
    for first, stop in pairwise(frames):
        part = sound[first * hop : (stop - 1) * hop + size]
        power = np.square(np.abs(librosa.stft(part, n_fft=size, center=False)) * (2 / size)).mean(1)
        columns.append(np.add.reduceat(power, bins[:-1]) / np.diff(bins))
    decibels = 10 * np.log10(np.maximum(np.stack(columns, axis=1), 1e-12))
    return Levels(decibels, *((edges[:-1] + edges[1:] - 1) / 2 for edges in (frames, bins)))


def _edges(count: int) -> NDArray[np.int64]:
    """Where cells of so many frames or bins begin, and where the last ends."""
    return np.linspace(0, count, min(count, _CELLS) + 1).round().astype(np.int64)
