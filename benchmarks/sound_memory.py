"""Peak memory of restoring a short and a long recording, each in a process of its own: it should not grow with length.

The recordings are made-up noise, 48 kHz, stereo, 16 bit. Two hours take many minutes; `--minutes 20` tells as much.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import in_new_process, load_sound, parser, peak_bytes, report, run, write_json

RATE_HZ = 48_000
MOST_MB = 150


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, model="speech")
    options.add_argument("--minutes", type=float, default=120.0, help="length of the long recording")
    options.add_argument("--short", type=float, default=2.0, help="length of the short one, in minutes")
    chosen = options.parse_args(arguments)

    rows: list[dict[str, Any]] = []
    for minutes in (chosen.short, chosen.minutes):
        with tempfile.TemporaryDirectory() as folder:
            recording = Path(folder, "recording.wav")
            # Not in this process: a child's peak counts from what its parent held when it started.
            in_new_process(write_noise, recording, minutes)
            peak, seconds = in_new_process(restore, recording, chosen.model, chosen.dtype)
        rows.append({"minutes": minutes, "peak MB": peak / 1e6, "s": seconds})
    report(rows)
    growth = rows[1]["peak MB"] - rows[0]["peak MB"]
    print(f"\ngrowth: {growth:.1f} MB (target: at most {MOST_MB})")
    write_json(chosen.json, model=chosen.model, rows=rows, growth_mb=growth)


def write_noise(path: Path, minutes: float) -> None:
    """Write stereo noise, a second at a time."""
    import numpy as np
    import soundfile

    generator = np.random.default_rng(0)
    rest = round(minutes * 60 * RATE_HZ)
    with soundfile.SoundFile(path, "w", RATE_HZ, 2, "PCM_16") as file:
        while rest > 0:
            file.write(0.05 * generator.standard_normal((min(rest, RATE_HZ), 2), np.float32))
            rest -= RATE_HZ


def restore(recording: Path, model: str, dtype: str) -> tuple[int, float]:
    """Restore a file; the peak of this process in bytes, and the seconds it took."""
    from denoise.sound_files import restore_sound_file

    done = restore_sound_file(load_sound(model, dtype), recording, recording.with_name("restored.wav"))
    return peak_bytes(), done.seconds


if __name__ == "__main__":
    run(main)
