"""Noisy speech: ours against noisereduce and RNNoise, scored by one protocol and timed on one thread, in one run.

A real-time factor is seconds of work for a second of sound. They are seconds of the processor, which other work on the
machine hardly changes.

Peers run with their default parameters. RNNoise works at 48 kHz, so what it gets and gives is resampled (which its time
includes), and its delay is taken out. Its package brings a command that is called `denoise` too: never install it
beside ours, but into a folder of its own, and name that as --peers:

    pip install --no-deps --target peers pyrnnoise==0.4.5

DTLN and GTCRN were measured once, in another run, on the project's own 60 validation pairs at 16 kHz. They are quoted
where the noisy row shows that these are the same pairs.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import load_sound, parser, record, report, require_peers, run, write_json
from threadpoolctl import threadpool_limits

from denoise.errors import UsageError
from denoise.evaluation.speech import Quality, Waveform, check_packages, mean_quality, pairs_in, quality
from denoise.options import ATTENUATION_DB

Restore = Callable[[Waveform, int], Waveform]
"""(sound `[C, T]`, its rate in Hz) -> restored sound `[C, T]`"""

QUOTED_FOR = Quality(1.342, 0.815, 0.678, 3.60)
QUOTED = {
    "DTLN (Westhausen and Meyer, Interspeech 2020)": (Quality(1.754, 0.874, 0.769, 12.04), 0.049),
    "GTCRN (Rong et al., ICASSP 2024)": (Quality(1.915, 0.867, 0.758, 11.98), 0.029),
}
"""Means over the pairs, real-time factor"""

_RNNOISE_HZ, _RNNOISE_DELAY = 48_000, 960


@dataclass
class Result:
    """What a method made of the pairs."""

    scores: list[Quality | None] = field(default_factory=list)
    seconds: float = 0.0


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, model="speech")
    options.add_argument("--data", type=Path, required=True, help="pairs, as `denoise evaluate` takes them")
    options.add_argument(
        "--attenuation-db", type=float, default=ATTENUATION_DB, help="ours takes away that much at most"
    )
    options.add_argument("--peers", type=Path, help="folder that pyrnnoise was installed into")
    options.add_argument("--record", action="store_true", help="also put the numbers on the card of the weights")
    chosen = options.parse_args(arguments)
    check_packages()
    require_peers(PEERS)
    restorer = load_sound(chosen.model, chosen.dtype, device="cpu")
    ours = f"ours ({Path(chosen.model).name})"
    methods: dict[str, Restore] = {ours: partial(restorer, attenuation_db=chosen.attenuation_db), **PEERS}
    if chosen.peers is not None:
        methods["RNNoise (Valin, MMSP 2018), pyrnnoise"] = rnnoise(chosen.peers)
    else:
        print("RNNoise is left out; install it as `--help` says and give --peers.")

    torch.set_num_threads(1)
    with threadpool_limits(1):
        results, snrs_db, sound_s = _run(methods, chosen.data)
    kept = [k for k, scores in enumerate(zip(*(r.scores for r in results.values()), strict=True)) if None not in scores]
    if not kept:
        raise UsageError(f"No pair in {chosen.data} can be scored for all methods; use longer ones with speech.")
    print(f"{restorer!r}, at most {chosen.attenuation_db:g} dB, {len(kept)} pairs, {sound_s:.0f} s, one thread")
    print(f"pairs left out, for some method has no scores there: {len(snrs_db) - len(kept)}")
    print(f"noisereduce {version('noisereduce')}")
    means = {name: _mean(result, kept) for name, result in results.items()}
    rows = [_row(name, means[name], r.seconds / sound_s if r.seconds else None) for name, r in results.items()]
    if np.allclose(astuple(means["noisy"]), astuple(QUOTED_FOR), atol=0.006):
        rows += [_row(f"{name}, quoted", *figures) for name, figures in QUOTED.items()]
    report(rows, "Means over all pairs")
    levels = sorted({level for level in snrs_db if level is not None})
    by_level = [
        {"method": name}
        | {f"{level:g} dB": round(_mean(r, [k for k in kept if snrs_db[k] == level]).pesq, 3) for level in levels}
        for name, r in results.items()
    ]
    if levels:
        report(by_level, "PESQ-WB by signal-to-noise ratio")
    if chosen.record:
        before, after = (asdict(means[name]) for name in ("noisy", ours))
        figures = {key: f"{before[key]:.3f} noisy, {after[key]:.3f} restored" for key in before}
        record(chosen.model, f"{'/'.join(chosen.data.resolve().parts[-2:])}, mean of {len(kept)} pairs", figures)
    write_json(chosen.json, model=repr(restorer), data=chosen.data.name, rows=rows, pesq_by_snr=by_level)


def stationary(sound: Waveform, rate_hz: int) -> Waveform:
    """Spectral gating with one threshold a band (Sainburg and Zorea, 2024), the author's package."""
    import noisereduce

    return np.asarray(noisereduce.reduce_noise(y=sound, sr=rate_hz, stationary=True))


def non_stationary(sound: Waveform, rate_hz: int) -> Waveform:
    """Spectral gating with a threshold that moves, which is the default of the same package."""
    import noisereduce

    return np.asarray(noisereduce.reduce_noise(y=sound, sr=rate_hz))


PEERS: dict[str, Restore] = {
    "noisereduce, stationary": stationary,
    "noisereduce, non-stationary": non_stationary,
}


def rnnoise(folder: Path) -> Restore:
    """RNNoise from pyrnnoise's one file that needs none of the packages it depends on."""
    source = folder / "pyrnnoise" / "rnnoise.py"
    if not source.is_file():
        raise UsageError(f"{folder} holds no pyrnnoise; install it as `--help` says.")
    spec = importlib.util.spec_from_file_location("pyrnnoise_rnnoise", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return partial(_rnnoise, module)


def _rnnoise(module: Any, sound: Waveform, rate_hz: int) -> Waveform:
    from librosa import resample

    whole = resample(sound, orig_sr=rate_hz, target_sr=_RNNOISE_HZ, res_type="soxr_hq")
    frame = module.FRAME_SIZE
    rest = _RNNOISE_DELAY + -(whole.shape[1] + _RNNOISE_DELAY) % frame
    samples = np.rint(np.pad(whole, ((0, 0), (0, rest))) * 32767).clip(-32768, 32767).astype(np.int16)
    channels = []
    for channel in samples:
        state = module.create()
        frames = [module.process_mono_frame(state, part)[0] for part in channel.reshape(-1, frame)]
        module.destroy(state)
        channels.append(np.concatenate(frames)[_RNNOISE_DELAY:][: whole.shape[1]])
    restored = np.stack(channels).astype(np.float32) / 32767
    back = resample(restored, orig_sr=_RNNOISE_HZ, target_sr=rate_hz, res_type="soxr_hq")
    length = sound.shape[1]  # which resampling there and back may miss by a sample
    return np.pad(back, ((0, 0), (0, max(0, length - back.shape[1]))))[:, :length]


def _run(methods: dict[str, Restore], folder: Path) -> tuple[dict[str, Result], list[float | None], float]:
    """Every pair through every method, the noisy sound first; the levels in dB, and the seconds of sound."""
    pairs = pairs_in(folder)
    results = {name: Result() for name in ("noisy", *methods)}
    sound_s = 0.0
    for number, pair in enumerate(pairs):
        noisy, clean, rate_hz = pair.read()
        sound_s += noisy.shape[1] / rate_hz
        results["noisy"].scores.append(quality(noisy, clean, rate_hz))
        for name, restore in methods.items():
            if number == 0:
                restore(noisy, rate_hz)  # not counted: a first call takes longer
            began = time.process_time()
            restored = restore(noisy, rate_hz)
            results[name].seconds += time.process_time() - began
            results[name].scores.append(quality(restored, clean, rate_hz))
    return results, [pair.snr_db for pair in pairs], sound_s


def _mean(result: Result, kept: Sequence[int]) -> Quality:
    return mean_quality([score for k in kept if (score := result.scores[k]) is not None])


def _row(name: str, mean: Quality, real_time_factor: float | None) -> dict[str, Any]:
    return {
        "method": name,
        "PESQ-WB": round(mean.pesq, 3),
        "STOI": round(mean.stoi, 3),
        "ESTOI": round(mean.estoi, 3),
        "SI-SDR dB": round(mean.si_sdr_db, 2),
        "real-time factor": real_time_factor,
    }


if __name__ == "__main__":
    run(main)
