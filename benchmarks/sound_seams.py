"""How far sound restored in windows, or block by block as it comes in, is from sound restored in one piece.

Differences are over full scale. All of the context is heard on both sides of a seam, so what remains is rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import load_sound, made_up_sound, parser, report, run, write_json
from torch import Tensor

from denoise.media.audio import open_audio
from denoise.sound import SoundRestorer
from denoise.streamer import Streamer
from denoise.windows import sweep_rows

TARGET = 1e-4


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, model="speech")
    options.add_argument("--recording", type=Path, help="a noisy recording (default: 30 s that are made up)")
    options.add_argument("--rate-hz", type=int, default=48_000, help="rate of made-up sound")
    options.add_argument("--seconds", type=float, default=30.0, help="use so much of the sound")
    options.add_argument("--blocks-s", type=float, nargs="+", default=[0.1, 0.5], help="block lengths of the streamer")
    chosen = options.parse_args(arguments)
    restorer = load_sound(chosen.model, chosen.dtype)
    sound, rate_hz = _sound(chosen.recording, chosen.seconds, chosen.rate_hz)

    default = restorer.windows(rate_hz)
    whole = _in_windows(restorer, sound, rate_hz, 2 * sound.shape[1] + default.smallest)
    sizes, blocks_s = sorted({3 * default.context, 6 * default.context, default.size}), chosen.blocks_s
    windowed = {f"windows of {n / rate_hz:.2f} s": _in_windows(restorer, sound, rate_hz, n) for n in sizes}
    streamed = {f"streamed, blocks of {s:g} s": _streamed(restorer, sound, rate_hz, s) for s in blocks_s}
    rows = [_row(what, restored, whole) for what, restored in {**windowed, **streamed}.items()]
    print(f"{restorer!r}, {sound.shape[0]} x {sound.shape[1] / rate_hz:.1f} s at {rate_hz} Hz")
    print(f"largest change by restoring: {float((whole - sound).abs().max()):.3f} of full scale")
    report(rows)
    write_json(chosen.json, model=repr(restorer), rows=rows)


def _sound(recording: Path | None, seconds: float, rate_hz: int) -> tuple[Tensor, int]:
    """Shape: `[C, T]`, and its rate in Hz."""
    if recording is None:
        return torch.from_numpy(made_up_sound(seconds, rate_hz)), rate_hz
    with open_audio(recording) as file:
        return torch.from_numpy(file.read(0, min(file.length, round(seconds * file.rate_hz)))), file.rate_hz


def _in_windows(restorer: SoundRestorer, sound: Tensor, rate_hz: int, size: int) -> Tensor:
    """As `SoundRestorer.restore_samples`, with windows of a size."""

    def restore(window: Tensor, _: tuple[slice, ...]) -> Tensor:
        return restorer.restore_window(window[0], rate_hz, 1.0, math.inf)[None]

    def read(start: int, stop: int) -> Tensor:
        return sound[:, start:stop]

    windows = replace(restorer.windows(rate_hz), size=size)
    return torch.cat([samples.cpu() for *_, samples in sweep_rows(restore, read, (sound.shape[1],), windows)], dim=1)


def _streamed(restorer: SoundRestorer, sound: Tensor, rate_hz: int, block_s: float) -> Tensor:
    """Fed in pieces of all sizes."""
    streamer = Streamer(restorer, rate_hz, block_s, attenuation_db=math.inf)
    sizes = np.random.default_rng(0).integers(1, rate_hz, 1 + sound.shape[1])
    given, at = [], 0
    for size in sizes:
        if at >= sound.shape[1]:
            break
        given.append(streamer.feed(sound[:, at : at + size]))
        at += size
    return torch.cat([*given, streamer.flush()], dim=1)


def _row(what: str, restored: Tensor, whole: Tensor) -> dict[str, Any]:
    difference = (restored - whole).abs()
    largest = float(difference.max())
    return {
        "what": what,
        "largest difference": largest,
        "mean difference": float(difference.mean()),
        "target": TARGET,
        "met": largest < TARGET,
    }


if __name__ == "__main__":
    run(main)
