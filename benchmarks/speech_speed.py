"""Real-time factor (seconds of work for a second of sound) of restoring speech, and of noisereduce, on one thread.

The sound is made up, mono. Times are the best of several runs in one process, in seconds of the processor, which other
work on the machine hardly changes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch
from _common import best_seconds, load_sound, made_up_sound, parser, report, require_peers, run, write_json
from threadpoolctl import threadpool_limits

from denoise.sound_files import restore_sound_file


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, model="speech")
    options.add_argument("--seconds", type=float, default=60.0, help="length of the sound")
    options.add_argument("--rate-hz", type=int, default=48_000, help="its rate")
    options.add_argument("--repeats", type=int, default=3, help="runs of which the best counts")
    chosen = options.parse_args(arguments)
    require_peers(["noisereduce"])
    torch.set_num_threads(1)
    restorer = load_sound(chosen.model, chosen.dtype, device="cpu")
    sound = made_up_sound(chosen.seconds, chosen.rate_hz)[0]
    print(f"{restorer!r}, {chosen.seconds:g} s at {chosen.rate_hz} Hz, one thread", flush=True)

    def timed(work: Callable[[], Any]) -> float:
        return best_seconds(work, chosen.repeats, time.process_time)

    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "sound.wav"), Path(folder, "restored.wav")
        soundfile.write(source, sound, chosen.rate_hz)
        ours = timed(lambda: restorer(sound, chosen.rate_hz))
        whole = timed(lambda: restore_sound_file(restorer, source, target))
        stationary = timed(lambda: _noisereduce(sound, chosen.rate_hz, True))
        moving = timed(lambda: _noisereduce(sound, chosen.rate_hz, False))

    rows: list[dict[str, Any]] = [
        {"what": what, "real-time factor": spent / chosen.seconds, "times noisereduce": spent / stationary}
        for what, spent in (
            ("ours, array to array", ours),
            ("ours, file to file", whole),
            ("noisereduce, stationary", stationary),
            ("noisereduce, non-stationary", moving),
        )
    ]
    report(rows)
    write_json(chosen.json, model=repr(restorer), rows=rows)


def _noisereduce(sound: Any, rate_hz: int, stationary: bool) -> None:
    import noisereduce

    noisereduce.reduce_noise(y=sound, sr=rate_hz, stationary=stationary)


if __name__ == "__main__":
    run(main)
