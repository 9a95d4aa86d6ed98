"""Scores of speech: closed forms, pairs on disk, what cannot be scored; and the scripts in benchmarks/ for sound."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from denoise.errors import MediaError, UsageError
from denoise.evaluation.speech import Group, Quality, SpeechScores, evaluate_pairs, pairs_in, quality, si_sdr_db
from denoise.sound import SoundRestorer

RATE_HZ = 16_000


class Factor(nn.Module):
    """All of a spectrum by one factor."""

    receptive_field = 0

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, observed: Tensor, condition: Tensor | None) -> Tensor:  # noqa: ARG002
        return observed * self.factor


def unchanged(factor: float = 1.0) -> SoundRestorer:
    return SoundRestorer(Factor(factor), device="cpu")


def speech(seed: int = 0, rate_hz: int = RATE_HZ, seconds: float = 2.0) -> np.ndarray:
    """Harmonics in syllables, which is speech enough for PESQ and STOI. Shape: `[T]`."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    pitch = 120 + 10 * np.sin(2 * np.pi * (0.7 + 0.1 * seed) * t)
    phase = 2 * np.pi * np.cumsum(pitch) / rate_hz
    voice = sum(np.sin(k * phase + k * seed) / k for k in range(1, 30))
    return (0.1 * voice * np.sin(np.pi * 3 * t) ** 2).astype(np.float32)


def noise(like: np.ndarray, level: float = 0.05) -> np.ndarray:
    return (level * np.random.default_rng(1).standard_normal(like.shape)).astype(np.float32)


def save(path: Path, sound: np.ndarray, rate_hz: int = RATE_HZ) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound.T, rate_hz, subtype="FLOAT")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pairs side by side, two of them at one level, and a file that is none of them."""
    for seed in range(3):
        save(tmp_path / f"clean_{seed}.wav", speech(seed))
        save(tmp_path / f"noisy_{seed}.wav", speech(seed) + noise(speech(seed)))
    save(tmp_path / "other.wav", speech())
    rows = ["id,noisy,snr", "0,noisy_0.wav,5", "1,noisy_1.wav,-5", "2,noisy_2.wav,5"]
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    return tmp_path


@pytest.mark.parametrize("scale", [1e-3, 1.0, -30.0])
@pytest.mark.parametrize("expected_db", [-12.0, 0.0, 25.0])
def test_si_sdr_of_a_known_mixture(scale: float, expected_db: float) -> None:
    """Orthogonal signals without mean: the ratio is that of their energies, whatever the scale."""
    t = np.arange(RATE_HZ) / RATE_HZ
    clean, other = np.sin(2 * np.pi * 200 * t), np.cos(2 * np.pi * 300 * t)
    mixture = scale * (clean + 10 ** (-expected_db / 20) * other)
    assert si_sdr_db(mixture, clean) == pytest.approx(expected_db, abs=1e-4)


def test_si_sdr_ignores_the_mean() -> None:
    clean = speech()
    noisy = clean + noise(clean)
    assert si_sdr_db(noisy + 3, clean - 2) == pytest.approx(si_sdr_db(noisy, clean), abs=1e-3)


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_equal_signals_reach_the_top_of_every_scale(rate_hz: int) -> None:
    clean = speech(rate_hz=rate_hz)[None]
    best = quality(clean, clean, rate_hz)
    assert best is not None
    assert best.pesq == pytest.approx(4.64, abs=0.01)
    assert best.stoi == pytest.approx(1, abs=1e-6)
    assert best.estoi == pytest.approx(1, abs=1e-6)
    assert best.si_sdr_db > 100


def test_more_noise_scores_less() -> None:
    clean = speech()[None]
    little, much = (quality(clean + noise(clean, level), clean, RATE_HZ) for level in (0.01, 0.1))
    assert little is not None
    assert much is not None
    assert all(x > y for x, y in zip(dataclasses.astuple(little), dataclasses.astuple(much), strict=True))
    assert little.si_sdr_db - much.si_sdr_db == pytest.approx(20, abs=0.5)


def test_channels_are_scored_one_by_one() -> None:
    clean = np.stack([speech(0), speech(1)])
    noisy = clean + noise(clean)
    both = quality(noisy, clean, RATE_HZ)
    first, second = (quality(noisy[k : k + 1], clean[k : k + 1], RATE_HZ) for k in range(2))
    assert both is not None
    assert first is not None
    assert second is not None
    assert both.pesq == pytest.approx((first.pesq + second.pesq) / 2)
    assert both.si_sdr_db == pytest.approx((first.si_sdr_db + second.si_sdr_db) / 2)


def test_silence_and_snippets_have_no_scores() -> None:
    clean = speech()[None]
    assert quality(0 * clean, clean, RATE_HZ) is None
    assert quality(clean, 0 * clean, RATE_HZ) is None
    assert quality(clean + 0.1, 0 * clean + 0.1, RATE_HZ) is None
    assert quality(clean[:, :3000], clean[:, :3000], RATE_HZ) is None
    assert quality(clean[:, :4500], clean[:, :4500], RATE_HZ) is None
    assert quality(clean[:, 1000:1400], clean[:, 1000:1400], RATE_HZ) is None
    assert quality(clean[:, :0], clean[:, :0], RATE_HZ) is None


def test_what_leaves_sound_alone_scores_as_the_noisy_side(folder: Path) -> None:
    told: list[tuple[int, int, str]] = []
    scores = evaluate_pairs(unchanged(), folder, progress=lambda *step: told.append(step))
    assert told == [(1, 3, "noisy_0.wav"), (2, 3, "noisy_1.wav"), (3, 3, "noisy_2.wav")]
    assert scores.mean.pairs == 3
    assert [(group.snr_db, group.pairs) for group in scores.groups] == [(-5, 1), (5, 2)]
    for group in (scores.mean, *scores.groups):
        assert dataclasses.astuple(group.restored) == pytest.approx(dataclasses.astuple(group.noisy), abs=1e-3)
    weighted = (scores.groups[0].noisy.stoi + 2 * scores.groups[1].noisy.stoi) / 3
    assert scores.mean.noisy.stoi == pytest.approx(weighted)
    assert scores.sound_s == 6
    assert scores.real_time_factor > 0
    assert scores.left_out == []


def test_attenuation_reaches_the_restorer(folder: Path) -> None:
    """What takes everything away leaves a scaled copy, or silence, which has no scores."""
    scores = evaluate_pairs(unchanged(0.0), folder, attenuation_db=20)
    assert scores.attenuation_db == 20
    assert scores.mean.restored.si_sdr_db == pytest.approx(scores.mean.noisy.si_sdr_db, abs=1e-3)
    with pytest.raises(UsageError, match="silent or too short"):
        evaluate_pairs(unchanged(0.0), folder, attenuation_db=float("inf"))


def test_silent_pairs_are_left_out_and_named(folder: Path) -> None:
    without = evaluate_pairs(unchanged(), folder)
    save(folder / "clean_silent.wav", 0 * speech())
    save(folder / "noisy_silent.wav", noise(speech()))
    scores = evaluate_pairs(unchanged(), folder)
    assert scores.left_out == ["noisy_silent.wav"]
    assert "left out as silent or too short: 1 (noisy_silent.wav)" in str(scores)
    assert scores.mean.pairs == 3
    assert scores.mean.noisy.si_sdr_db == without.mean.noisy.si_sdr_db


def test_pairs_that_cannot_be_read_are_left_out_and_named(folder: Path) -> None:
    for name in ("noisy_0.wav", "clean_1.wav"):
        (folder / name).write_bytes(b"no sound")
    scores = evaluate_pairs(unchanged(), folder)
    assert scores.mean.pairs == 1
    (first, first_reason), (second, second_reason) = scores.failures.items()
    assert Path(first).name == "noisy_0.wav" and "noisy_0.wav" in first_reason
    assert Path(second).name == "noisy_1.wav" and "clean_1.wav" in second_reason
    (folder / "noisy_2.wav").write_bytes(b"no sound")
    with pytest.raises(MediaError, match=r"No file could be scored\. .*noisy_0\.wav"):
        evaluate_pairs(unchanged(), folder)


def test_pairs_in_two_folders(tmp_path: Path) -> None:
    for name in ("b.wav", "deep/a.wav"):
        save(tmp_path / "noisy" / name, speech())
        save(tmp_path / "clean" / name, speech())
    save(tmp_path / "clean" / "alone.wav", speech())
    (tmp_path / "noisy" / "notes.txt").write_text("no sound")
    names = [(pair.noisy.relative_to(tmp_path).as_posix(), pair.clean.name, pair.snr_db) for pair in pairs_in(tmp_path)]
    assert names == [("noisy/b.wav", "b.wav", None), ("noisy/deep/a.wav", "a.wav", None)]


def test_folders_of_pairs_are_known_in_any_case(tmp_path: Path) -> None:
    for kind in ("Noisy", "CLEAN"):
        save(tmp_path / kind / "a.wav", speech(seconds=0.1))
    (tmp_path / "pairs.csv").write_text("noisy,snr\nNoisy/a.wav,5")
    (pair,) = pairs_in(tmp_path)
    assert (pair.noisy.parent.name, pair.clean.parent.name, pair.snr_db) == ("Noisy", "CLEAN", 5)


@pytest.mark.parametrize("prefix", ["", "noisy/", "./"])
def test_names_that_repeat_in_folders_keep_their_own_levels(tmp_path: Path, prefix: str) -> None:
    for name in ("a.wav", "x/a.wav", "y/a.wav", "y/b.wav"):
        save(tmp_path / "noisy" / name, speech(seconds=0.1))
        save(tmp_path / "clean" / name, speech(seconds=0.1))
    rows = ["noisy,snr", f"{prefix}x/a.wav,5", f"{prefix}y/a.wav,-5", "b.wav,15"]
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    levels = {pair.noisy.relative_to(tmp_path / "noisy").as_posix(): pair.snr_db for pair in pairs_in(tmp_path)}
    assert levels == {"a.wav": None, "x/a.wav": 5, "y/a.wav": -5, "y/b.wav": 15}


def test_noisy_sides_alone_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "clean_1.wav").unlink()
    with pytest.raises(UsageError, match=r"noisy_1\.wav has no clean recording beside it"):
        pairs_in(folder)


def test_folders_without_pairs_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "clean_alone.wav", speech())
    for empty in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match="no pairs of recordings in"):
            evaluate_pairs(unchanged(), empty)


@pytest.mark.parametrize(
    ("side", "sound", "rate_hz", "message"),
    [
        ("clean", speech(), 8_000, "16000 Hz and .* has 8000"),
        ("clean", speech()[:-1], RATE_HZ, "32000 samples and .* has 31999"),
        ("clean", np.stack([speech()] * 2), RATE_HZ, "1 channels and .* has 2"),
        ("clean", np.append(speech()[1:], np.float32("nan")), RATE_HZ, r"clean_2\.wav holds NaN or infinity"),
        ("noisy", np.append(speech()[1:], np.float32("inf")), RATE_HZ, r"noisy_2\.wav holds NaN or infinity"),
    ],
)
def test_pairs_with_a_side_that_does_not_fit_are_left_out_and_named(
    folder: Path, side: str, sound: np.ndarray, rate_hz: int, message: str
) -> None:
    save(folder / f"{side}_2.wav", sound, rate_hz)
    scores = evaluate_pairs(unchanged(), folder)
    assert scores.mean.pairs == 2 and not scores.left_out
    ((file, reason),) = scores.failures.items()
    assert file == str(folder / "noisy_2.wav") and re.search(message, reason)


def test_a_rate_that_no_speech_has_is_told_of_its_file(tmp_path: Path) -> None:
    for side in ("noisy", "clean"):
        save(tmp_path / f"{side}_a.wav", speech(rate_hz=3_000), 3_000)
    with pytest.raises(MediaError, match=r"noisy_a\.wav: A rate of 3000 Hz is out of range"):
        evaluate_pairs(unchanged(), tmp_path)


def test_an_attenuation_out_of_range_is_no_fault_of_the_files(folder: Path) -> None:
    with pytest.raises(UsageError, match="Attenuation -1 is out of range"):
        evaluate_pairs(unchanged(), folder, attenuation_db=-1)


def test_tables_without_numbers_are_refused(folder: Path) -> None:
    (folder / "pairs.csv").write_text("noisy,snr\nnoisy_0.wav,loud\n")
    with pytest.raises(UsageError, match=r"snr of .*pairs\.csv holds something else than numbers"):
        pairs_in(folder)
    (folder / "pairs.csv").write_text(f'noisy,snr\n"{"x" * 200_000}",5\n')
    with pytest.raises(UsageError, match=r"pairs\.csv is no table"):
        pairs_in(folder)


@pytest.mark.parametrize("level", ["nan", "inf"])
def test_tables_with_levels_that_are_none_are_refused(folder: Path, level: str) -> None:
    (folder / "pairs.csv").write_text(f"noisy,snr\nnoisy_0.wav,{level}\n")
    with pytest.raises(UsageError, match=rf"snr of .*pairs\.csv says {level} of noisy_0\.wav"):
        pairs_in(folder)


def test_tables_without_levels_make_no_groups(folder: Path) -> None:
    (folder / "pairs.csv").write_text("noisy,kind\nnoisy_0.wav,rain\n")
    assert {pair.snr_db for pair in pairs_in(folder)} == {None}


def test_missing_packages_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pystoi", None)
    with pytest.raises(UsageError, match=r"pip install 'denoise-toolkit\[speech\]'"):
        evaluate_pairs(unchanged(), folder)


def test_scores_print_and_become_json() -> None:
    noisy, restored = Quality(1.342, 0.815, 0.678, 3.6), Quality(2.1, 0.9, 0.8, 12.25)
    groups = [Group(-5.0, 2, noisy, restored)]
    scores = SpeechScores(Group(None, 3, noisy, restored), groups, ["x.wav"], 40.0, 289.4, 0.0153, 2)
    columns = "1.342 -> 2.100   0.815 -> 0.900   0.678 -> 0.800     3.60 ->  12.25"
    assert str(scores).splitlines() == [
        "3 pairs, 289 s of sound; noisy -> restored, at most 40 dB taken away",
        "SNR dB  pairs   PESQ-WB          STOI             ESTOI            SI-SDR dB",
        f"    -5      2   {columns}",
        f"   all      3   {columns}",
        "real-time factor: 0.0153 on 2 threads",
        "left out as silent or too short: 1 (x.wav)",
    ]
    written = json.loads(json.dumps(dataclasses.asdict(scores)))
    assert written["mean"]["restored"]["pesq"] == 2.1
    assert written["groups"][0]["snr_db"] == -5


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module


RNNOISE = """
import numpy as np
FRAME_SIZE = 480
def create():
    return [np.zeros(480, np.int16), np.zeros(480, np.int16)]
def destroy(state):
    state.clear()
def process_mono_frame(state, frame):
    state.append(frame)
    return state.pop(0), 0.0
"""


def test_speech_script(
    script: Callable[[str], ModuleType],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With an RNNoise that does nothing but to be late, as the true one is."""
    source = tmp_path / "peers" / "pyrnnoise" / "rnnoise.py"
    source.parent.mkdir(parents=True)
    source.write_text(RNNOISE)
    save(folder / "clean_silent.wav", 0 * speech())
    save(folder / "noisy_silent.wav", noise(speech()))
    module, numbers = script("speech"), tmp_path / "numbers.json"
    monkeypatch.setattr(module, "PEERS", {"stub": lambda sound, _: sound})
    threads = torch.get_num_threads()
    try:
        options = ("--model", "untrained", "--data", folder, "--peers", source.parents[1], "--json", numbers)
        module.main([str(option) for option in options])
    finally:
        torch.set_num_threads(threads)
    shown = capsys.readouterr().out
    assert "3 pairs, 8 s" in shown
    assert "has no scores there: 1" in shown
    assert "| method | -5 dB | 5 dB |" in shown
    assert "quoted" not in shown
    rows = {row["method"]: row for row in json.loads(numbers.read_text())["rows"]}
    noisy, ours, stub, rnnoise = rows.values()
    assert {**stub, "method": "noisy", "real-time factor": None} == noisy
    assert ours["SI-SDR dB"] != noisy["SI-SDR dB"]
    assert rnnoise["method"].startswith("RNNoise")
    # Resampling there and back takes the uppermost noise away; a delay would leave nothing of the ratio.
    assert rnnoise["SI-SDR dB"] == pytest.approx(noisy["SI-SDR dB"], abs=0.5)
    assert rnnoise["PESQ-WB"] == pytest.approx(noisy["PESQ-WB"], abs=0.1)


def test_rnnoise_must_be_where_it_is_said_to_be(script: Callable[[str], ModuleType], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no pyrnnoise"):
        script("speech").rnnoise(tmp_path)


def test_seams_script(script: Callable[[str], ModuleType], tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.json"
    options = ["--model", "untrained", "--rate-hz", "8000", "--seconds", "5", "--blocks-s", "1", "--json", str(numbers)]
    script("sound_seams").main(options)
    rows = json.loads(numbers.read_text())["rows"]
    assert len(rows) == 4
    assert all(row["met"] for row in rows)


def test_speed_script(script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, numbers = script("speech_speed"), tmp_path / "numbers.json"
    monkeypatch.setattr(module, "_noisereduce", lambda *_: np.linalg.norm(np.ones((600, 600)), 2))
    options = ["--model", "untrained", "--rate-hz", "8000", "--seconds", "0.5", "--repeats", "1"]
    threads = torch.get_num_threads()
    try:
        module.main([*options, "--json", str(numbers)])
    finally:
        torch.set_num_threads(threads)
    rows = json.loads(numbers.read_text())["rows"]
    assert [row["what"] for row in rows][:2] == ["ours, array to array", "ours, file to file"]
    assert all(row["real-time factor"] > 0 for row in rows)


def test_memory_script_restores_what_it_writes(script: Callable[[str], ModuleType], tmp_path: Path) -> None:
    module, recording = script("sound_memory"), tmp_path / "recording.wav"
    module.write_noise(recording, 1.5 / 60)
    assert soundfile.info(recording).frames == 72_000
    peak, seconds = module.restore(recording, "untrained", "float32")
    assert peak > 1e7
    assert seconds > 0
    assert soundfile.info(tmp_path / "restored.wav").frames == 72_000
