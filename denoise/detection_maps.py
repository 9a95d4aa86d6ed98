"""What an autoencoder finds strange about a file: how badly it restores it, how far its code is from known ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from denoise.devices import choose_device
from denoise.errors import MediaError, UsageError
from denoise.media.atomic import replacing
from denoise.media.audio import open_audio
from denoise.media.image import open_image
from denoise.networks.autoencoder import Autoencoder
from denoise.networks.logmel import RANGE_DB, log_mel
from denoise.networks.stft import HOP_S, hop_length
from denoise.pretrained import load
from denoise.sound import LOUDEST
from denoise.windows import Windows, spans

Score = Literal["error", "code", "both"]
NEIGHBOURS = 3
BANK = 4096
"""Most code vectors that are remembered"""
_WINDOW, _BLOCK = 512, 2048
_RATE_HZ, _BANDS = 16_000, 64
_FRAMES = 3750  # a minute
_AUDIBLE = 1e-3  # of the loudest sample: what is left below that after mixing and resampling is rounding
_SPARE = 5  # neighbours beyond those that count, for the order of the nearest is not exact
_TITLES = {
    "error": ("what the autoencoder cannot restore", "error in dB"),
    "code": ("where the code is unlike normal ones", "distance"),
    "both": ("what the autoencoder cannot restore, where the code is unlike normal ones", "error in dB x distance"),
}


class Maps(NamedTuple):
    """How strange a file is, and where.

    Shape:
        - errors: `[H, W]`, squared error of each pixel, mean over its bands
        - cell_errors: `[h, w]`, its mean over the pixels that a code vector stands for
        - distances: `[h, w]`, of each code vector from the nearest known ones, see `code_distance`
    """

    errors: Tensor
    cell_errors: Tensor
    distances: Tensor


class Examiner:
    """Reads files as the signals an autoencoder was trained on, and sends them through it.

    Args:
        model: weights of an `Autoencoder`, for pictures or for sound.
        rate_hz, bands: sound: rate and mel bands of the spectrograms it was trained on, where its card does not tell;
            None is then 16 kHz and 64.
        device: `auto`, `cpu`, `cuda` or `mps`.
    """

    def __init__(self, model: Any, rate_hz: int | None = None, bands: int | None = None, device: str = "auto") -> None:
        weights = load(model)
        if not isinstance(weights.network, Autoencoder):
            raise UsageError(
                f"The network of {weights.card.name} is a {type(weights.network).__name__}, which has no code; "
                "give weights of an Autoencoder, see recipes/autoencoders."
            )
        if weights.network.channels not in ((1,) if weights.card.medium == "sound" else (1, 3)):
            raise UsageError(
                f"{weights.card.name} takes {weights.network.channels} bands; sound has one, pictures one or three."
            )
        self.card = weights.card
        self.rate_hz = self._told("rate_hz", rate_hz, _RATE_HZ)
        self.bands = self._told("bands", bands, _BANDS)
        self.device = choose_device(device)
        self.network = weights.network.to(self.device)
        unit = self.network.multiple_of
        context = -(-self.network.receptive_field // unit) * unit  # whole units, so that codes are cut at whole cells
        self.windows = Windows(max(_WINDOW, 2 * context + unit), context, multiple_of=unit)
        self.bank: Tensor | None = None

    def _told(self, what: str, asked: int | None, usual: int) -> int:
        known: int = getattr(self.card, what)
        if asked is not None and self.card.medium != "sound":
            raise UsageError(f"{self.card.name} is for pictures and {what} is of sound; leave it out.")
        if known and asked not in (None, known):
            raise UsageError(f"{self.card.name} saw spectrograms with {what}={known}, not {asked}; leave it out.")
        return known or asked or usual

    def read(self, path: Path) -> Tensor:
        """A file as `[C, H, W]`, 0..1: the first frame of a picture as a viewer shows it, or a log-mel spectrogram.

        Recordings are mixed down and made as loud as in training (a peak of half of full scale), whatever their level.

        Raises:
            UsageError, MediaError: it cannot be read, or is not what the network takes.
        """
        return self._spectrogram(path) if self.card.medium == "sound" else self._picture(path)

    def _picture(self, path: Path) -> Tensor:
        with open_image(path) as picture:
            signal = torch.from_numpy(picture.seen())
        return signal.mean(0, keepdim=True) if self.network.channels == 1 else signal

    def _spectrogram(self, path: Path) -> Tensor:
        import librosa

        with open_audio(path) as recording:
            own_hz, length = recording.rate_hz, recording.length
            loudest, parts = 0.0, []
            for start in range(0, length, 60 * own_hz):
                block = recording.read(start, min(start + 60 * own_hz, length))
                loudest = max(loudest, peak := float(np.abs(block).max()))
                if not peak <= LOUDEST:  # NaN as well
                    raise MediaError(f"{path} is not finite, or absurdly loud; there is nothing to judge.")
                parts.append(block.mean(0))
        if self.rate_hz > 1.1 * own_hz:
            raise MediaError(f"{path} has a rate of {own_hz} Hz; {self.card.name} needs at least {self.rate_hz} Hz.")
        sound = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        if not sound.any():
            raise MediaError(f"{path} is empty or silent; there is nothing to judge.")
        if own_hz != self.rate_hz:
            sound = librosa.resample(sound, orig_sr=own_hz, target_sr=self.rate_hz, res_type="soxr_hq")
        signal = torch.from_numpy(sound)[None]
        if signal.abs().max() < _AUDIBLE * loudest:
            raise MediaError(f"{path} leaves nothing at {self.rate_hz} Hz, as one channel; there is nothing to judge.")
        signal = signal * (0.5 / signal.abs().max().clamp_min(1e-9))
        hop = hop_length(self.rate_hz)
        frames = -(-signal.shape[1] // hop) + 1
        pieces = []
        for first in range(0, frames, _FRAMES):
            last = min(first + _FRAMES, frames)
            # A frame reaches one hop to either side. What is cut before it makes one more, which is dropped.
            lead = min(first, 1)
            piece = log_mel(signal[:, max(0, first - lead) * hop : last * hop], self.rate_hz, self.bands)
            pieces.append(piece[0, ..., lead : lead + last - first])
        return torch.cat(pieces, dim=-1)

    @torch.inference_mode()
    def _windows(self, signal: Tensor) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice], Tensor, Tensor]]:
        """Where pixels and cells of each window go; its errors `[h, w]` and its codes `[K, h', w']`.

        Windows see all of their context, so the result is that of the whole signal.
        """
        steps = self.network.stride
        rows, columns = (spans(length, self.windows) for length in signal.shape[-2:])
        for row in rows:
            for column in columns:
                part = signal[None, :, row.start : row.stop, column.start : column.stop].to(self.device)
                code = self.network.encode(part)
                error = (self.network.decode(code, part.shape[-2:]) - part).square().mean((0, 1))
                pixels, cells, inner, inner_cells = [], [], [], []
                for span, step in zip((row, column), steps, strict=True):
                    kept = slice(span.keep_start - span.start, span.keep_stop - span.start)
                    pixels.append(slice(span.keep_start, span.keep_stop))
                    cells.append(slice(span.keep_start // step, -(-span.keep_stop // step)))
                    inner.append(kept)
                    inner_cells.append(slice(kept.start // step, -(-kept.stop // step)))
                yield (
                    (pixels[0], pixels[1]),
                    (cells[0], cells[1]),
                    error[inner[0], inner[1]].cpu(),
                    code[0, :, inner_cells[0], inner_cells[1]].float(),
                )

    def codes(self, signal: Tensor) -> Tensor:
        """All code vectors of a signal. Shape: `[C, H, W] -> [N, K]`."""
        extended, stride = self._extended(signal), self.network.stride
        codes: Tensor | None = None
        for _, (rows, columns), _, code in self._windows(extended):
            if codes is None:
                codes = code.new_empty(len(code), *_cells(extended, stride), device="cpu")
            codes[:, rows, columns] = code.cpu()
        assert codes is not None
        return _inside(codes, signal, self._margin(signal), stride).flatten(1).T

    def maps(self, signal: Tensor) -> Maps:
        """How strange a signal is, and where; `bank` has to hold code vectors `[M, K]`. Shape: `[C, H, W]`."""
        assert self.bank is not None
        bank = self.bank.to(self.device)
        extended, stride = self._extended(signal), self.network.stride
        errors = signal.new_empty(extended.shape[-2:])
        distances = signal.new_empty(_cells(extended, stride))
        for pixels, cells, error, code in self._windows(extended):
            errors[pixels] = error
            distances[cells] = code_distance(code.flatten(1).T, bank).view(code.shape[1:]).cpu()
        margin = self._margin(signal)
        errors = _inside(errors, signal, margin, (1, 1))
        return Maps(errors, _cell_means(errors, stride), _inside(distances, signal, margin, stride))

    def _extended(self, signal: Tensor) -> Tensor:
        """A signal with a margin on all sides that goes on as its borders are."""
        return F.pad(signal, (self._margin(signal),) * 4, mode="replicate")

    def _margin(self, signal: Tensor) -> int:
        """How wide, in pixels, whole cells.

        By the zeros that layers add at borders the codes there are unlike all others, and small defects go unseen among
        them. What is one patch, and a spectrogram with all its bands, had these borders in training too.
        """
        larger = any(side > step for side, step in zip(signal.shape[-2:], self.network.stride, strict=True))
        return self.windows.context if larger and self.card.medium == "image" else 0

    def heat(self, maps: Maps, score: Score) -> Tensor:
        """What a score is made of, for every pixel: the root of the error, the code distance, or one times the other.

        Shape: `-> [H, W]`
        """
        if score == "error":
            return maps.errors.sqrt()
        (height, width), (down, across) = maps.errors.shape, self.network.stride
        distances = maps.distances.repeat_interleave(down, 0)[:height].repeat_interleave(across, 1)[:, :width]
        return distances if score == "code" else combined(maps.errors, distances)


def _cells(signal: Tensor, stride: tuple[int, int]) -> tuple[int, int]:
    """How many rows and columns of cells a signal has."""
    height, width = (-(-side // step) for side, step in zip(signal.shape[-2:], stride, strict=True))
    return height, width


def _inside(values: Tensor, signal: Tensor, margin: int, stride: tuple[int, int]) -> Tensor:
    """Of the values of an extended signal, one for each cell, those of the signal."""
    rows, columns = (
        slice(margin // step, margin // step + n) for n, step in zip(_cells(signal, stride), stride, strict=True)
    )
    return values[..., rows, columns]


def combined(errors: Tensor, distances: Tensor) -> Tensor:
    """The score `both`, of any shape: what is restored with ease may have a code that no normal one has."""
    return errors.sqrt() * distances


def code_distance(codes: Tensor, bank: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """Mean distance of code vectors, scaled to length 1, from the nearest in a bank of such: 0..2.

    The nearest neighbours of features as in Roth et al., "Towards total recall in industrial anomaly detection"
    (PatchCore), CVPR 2022; scaled because the length of a code says how much ink or sound there is, not of what kind.

    Shape:
        - codes: `[N, K]`; bank: `[M, K]`
        - Output: `[N]`
    """
    known = F.normalize(bank)
    count = min(neighbours, len(known))
    nearest = []
    for part in torch.split(F.normalize(codes), _BLOCK):
        # All distances by a matrix product, which is fast and off by up to 5e-4; those of the nearest once more.
        places = torch.cdist(part, known).topk(min(count + _SPARE, len(known)), largest=False).indices
        distances = (part[:, None] - known[places]).norm(dim=-1)
        nearest.append(distances.topk(count, largest=False).values.mean(1))
    return torch.cat(nearest)


def _cell_means(errors: Tensor, cell: tuple[int, int]) -> Tensor:
    """Means over cells; those at the far ends may be smaller. Shape: `[H, W] -> [h, w]`."""
    return F.avg_pool2d(errors[None, None], cell, ceil_mode=True, count_include_pad=False)[0, 0]


def write_picture_map(path: Path, heat: Tensor, brightest: float) -> None:
    """How strange each pixel is in false colours (magma), as large as the picture; raises MediaError.

    Args:
        path: PNG file.
        heat: `[H, W]`, see `Examiner.heat`.
        brightest: value that the last colour stands for.
    """
    from matplotlib import colormaps
    from PIL import Image

    share = (heat / max(brightest, 1e-6)).clamp(0, 1).numpy()
    pixels = colormaps["magma"]((share * 255).round().astype(np.uint8), bytes=True)[..., :3]
    with replacing(path) as file:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")


def write_sound_map(
    path: Path, signal: Tensor, heat: Tensor, brightest: float, rate_hz: int, score: Score = "error"
) -> None:
    """The log-mel spectrogram above what is strange in it, over time and frequency; raises MediaError.

    Args:
        path: PNG file.
        signal: `[1, bands, N]`, 0..1 for -80..0 dB.
        heat: `[bands, N]`, see `Examiner.heat`.
        brightest: value that the last colour stands for.
        rate_hz: of the sound that the spectrogram is of.
        score: what the heat is of.
    """
    import librosa
    from matplotlib.figure import Figure

    bands, frames = heat.shape
    scale = 1.0 if score == "code" else RANGE_DB
    edges_hz = librosa.mel_frequencies(n_mels=bands + 2, fmin=0, fmax=rate_hz / 2)
    figure = Figure(figsize=(10, 6), layout="constrained")
    panels = [
        ((signal[0] * RANGE_DB - RANGE_DB).numpy(), "log-mel spectrogram", "level in dB", -RANGE_DB, 0.0),
        ((heat * scale).numpy(), *_TITLES[score], 0.0, scale * brightest),
    ]
    for axes, (values, title, unit, low, high) in zip(figure.subplots(2, 1, sharex=True), panels, strict=True):
        extent = (0.0, frames * HOP_S, -0.5, bands - 0.5)
        image = axes.imshow(
            values, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=low, vmax=max(high, low + 1e-6)
        )
        ticks = np.linspace(0, bands - 1, 6).round().astype(int)
        axes.set(title=title, ylabel="Hz", yticks=ticks, yticklabels=[f"{edges_hz[k + 1]:.0f}" for k in ticks])
        figure.colorbar(image, ax=axes, label=unit)
    axes.set_xlabel("seconds")
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=80)
