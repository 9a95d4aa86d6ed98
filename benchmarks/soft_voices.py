"""How much of a voice is left that is softer than another one in the same recording.

Each pair of a noisy and a clean recording is cut in two, made softer, and the noisy side of the pair that follows, as
loud as it is, is put between. Both halves are scored together, but for what is next to the seams: a voice does not end
from one sample to the next, and what a transform of 32 ms spreads of that is louder than what is soft.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from _common import load_sound, parser, report, run, write_json

from denoise.errors import UsageError
from denoise.evaluation.speech import Quality, Waveform, check_packages, mean_quality, pairs_in, quality
from denoise.sound import SoundRestorer

_SEAM_S = 0.1


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, model="speech")
    options.add_argument("--data", type=Path, required=True, help="pairs, as `denoise evaluate` takes them")
    options.add_argument("--softer-db", type=float, nargs="+", default=[0, 20, 30, 40, 50], help="by how much")
    chosen = options.parse_args(arguments)
    check_packages()
    restorer = load_sound(chosen.model, chosen.dtype, device="cpu")
    torch.set_num_threads(1)
    pairs = [pair.read() for pair in pairs_in(chosen.data)]
    rows = []
    for decibels in (None, *chosen.softer_db):
        scores = [
            _score(restorer, soft, loud, decibels)
            for soft, loud in zip(pairs, pairs[1:] + pairs[:1], strict=True)
            if soft[2] == loud[2] and soft[0].shape[0] == loud[0].shape[0]
        ]
        scored = [score for score in scores if score is not None]
        if not scored:
            raise UsageError(f"No two pairs in {chosen.data} are of one rate and can be scored; use longer ones.")
        mean, title = mean_quality(scored), "alone" if decibels is None else f"{decibels:g} dB softer"
        rows.append({"voice": title, "PESQ-WB": mean.pesq, "ESTOI": mean.estoi, "SI-SDR dB": mean.si_sdr_db})
    print(f"{restorer!r}, {len(scored)} pairs")
    report(rows)
    write_json(chosen.json, model=repr(restorer), data=chosen.data.name, rows=rows)


def _score(
    restorer: SoundRestorer,
    pair: tuple[Waveform, Waveform, int],
    other: tuple[Waveform, Waveform, int],
    softer_db: float | None,
) -> Quality | None:
    """Of a pair whose noisy side is around that of another, or alone; None where it has no scores."""
    noisy, clean, rate_hz = pair
    half, seam = noisy.shape[1] // 2, round(_SEAM_S * rate_hz)
    if softer_db is None:
        restored = restorer(noisy, rate_hz)
    else:
        level = np.float32(10 ** (-softer_db / 20))
        between = [noisy[:, :half] * level, other[0], noisy[:, half:] * level]
        sound = restorer(np.concatenate(between, axis=1), rate_hz) / level
        restored = np.concatenate([sound[:, :half], sound[:, half - noisy.shape[1] :]], axis=1)
    parts = slice(0, half - seam), slice(half + seam, None)
    first, second = (np.concatenate([signal[:, part] for part in parts], axis=1) for signal in (restored, clean))
    return quality(first, second, rate_hz)


if __name__ == "__main__":
    run(main)
