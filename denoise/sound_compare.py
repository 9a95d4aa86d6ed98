"""Before, after and what was taken out, as waveforms and spectrograms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from denoise.errors import UsageError
from denoise.media.atomic import check_place, replacing

_LIMIT_S = 60


class SoundComparison:
    """Keeps the first minute of the first channel while a recording is restored."""

    def __init__(self, rate_hz: int, path: Path) -> None:
        """Raise UsageError where no such picture can be written: before the work, not after."""
        from matplotlib.figure import Figure

        kinds = Figure().canvas.get_supported_filetypes()
        if path.suffix.lower().removeprefix(".") not in kinds:
            raise UsageError(
                f"The comparison {path} is no kind of picture that can be drawn; name it .png, .pdf or .svg."
            )
        check_place(path)
        self.rate_hz, self.path = rate_hz, path
        self.before: list[Tensor] = []
        self.after: list[Tensor] = []
        self.room = _LIMIT_S * rate_hz

    def add(self, observed: Tensor, restored: Tensor) -> None:
        """Take the next block. Shape: `[C, T]` twice."""
        self.before.append(observed[0, : self.room].clone())
        self.after.append(restored[0, : self.room].clone())
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
            librosa.display.waveshow(sound, sr=self.rate_hz, ax=axes[0, column], axis="time")
            axes[0, column].set(title=title, ylim=(-1.05 * loudest, 1.05 * loudest), xlabel=None)
            spectrum = np.abs(librosa.stft(np.pad(sound, (0, max(0, size - len(sound)))), n_fft=size)) * (2 / size)
            levels = 20 * np.log10(np.maximum(spectrum, 1e-6))
            image = librosa.display.specshow(
                levels,
                sr=self.rate_hz,
                hop_length=size // 4,
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
