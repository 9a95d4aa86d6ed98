"""The scripts in benchmarks/: every one shows its help; those that are quick enough run on tiny pictures."""

from __future__ import annotations

import importlib
import json
import logging
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from denoise import pretrained
from denoise.errors import MediaError, UsageError
from denoise.networks.blocks import ResidualBlock
from tests.end_to_end.test_speech_weights import voice

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("[!_]*.py") if path.stem != "figure")  # that one measures nothing

Load = Callable[[str], ModuleType]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A colour picture alone in its folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.effect_mandelbrot((90, 70), (-2, -1.5, 1, 1.5), 50).convert("RGB").save(folder / "photo.png")
    return folder / "photo.png"


def test_all_scripts_are_here() -> None:
    sound = ["soft_voices", "sound_memory", "sound_seams", "speech", "speech_speed"]
    pictures = ["awgn", "camera", "dormant", "drawings", "hole_area", "inpainting", "jpeg", "memory", "seams", "speed"]
    assert sorted(SCRIPTS) == sorted(["autoencoders", "training", *sound, *pictures])


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(name: str, script: Load, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        script(name).main(["--help"])
    shown = capsys.readouterr().out
    assert ("--model" in shown) == (name != "training")
    assert "--json" in shown


def test_help_keeps_commands_in_lines_of_their_own(script: Load, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        script("speech").main(["--help"])
    shown = capsys.readouterr().out
    assert "    pip install --no-deps --target peers pyrnnoise==0.4.5" in shown.splitlines()
    assert "(default: speech)" in shown


@pytest.mark.parametrize("name", ["figure", *(name for name in SCRIPTS if "memory" not in name)])  # slow: new processes
def test_a_wrong_request_ends_in_one_sentence(
    name: str,
    script: Load,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(script("_common"), "PACKAGES", {})
    data = name in (
        "autoencoders",
        "awgn",
        "camera",
        "dormant",
        "inpainting",
        "jpeg",
        "soft_voices",
        "speech",
        "training",
    )
    model = name not in ("autoencoders", "training")
    options = ["--data", "nothere"] * data + ["--model", "nope"] * model
    monkeypatch.setattr(sys, "argv", [f"benchmarks/{name}.py", *options])
    # The level of the log, which one of them sets, is set back.
    with caplog.at_level(logging.INFO, "lightning.pytorch"), pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    sentence = "There are no weights called 'nope'" if model else "nothere "
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"{name}.py: {sentence}")


def test_a_file_that_is_not_there_ends_in_one_sentence(
    script: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks/memory.py"])
    common = script("_common")
    with pytest.raises(SystemExit, match="1"):
        common.run(lambda: common.write_large_photo(Path("out.jpg"), 1, Path("nothere.png")))
    assert capsys.readouterr().err == "memory.py: nothere.png: No such file or directory.\n"


@pytest.mark.parametrize(
    ("name", "options", "missing"),
    [
        ("camera", ["--data", "x"], "bm3d, cv2, skimage"),
        ("camera", ["--data", "x", "--peers", "BM3D"], "bm3d"),
        ("inpainting", ["--data", "x"], "cv2, skimage"),
        ("speech", ["--data", "x"], "noisereduce"),
        ("speech_speed", [], "noisereduce"),
        ("speed", [], "bm3d"),
    ],
)
def test_peers_that_are_not_installed_are_named_at_once(
    name: str, options: list[str], missing: str, script: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script("_common"), "find_spec", lambda _: None)
    with pytest.raises(UsageError) as raised:
        script(name).main(options)
    command = "pip install -c constraints.txt -e '.[bench]'"
    assert str(raised.value) == f"Peers are not installed ({missing}); run: {command}."


def test_ours_alone_needs_no_peers(script: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script("_common"), "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="weights called 'nope'"):
        script("inpainting").main(["--data", "x", "--methods", "ours", "--model", "nope"])


def test_awgn(
    script: Load, pictures: Path, tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = tmp_path / "awgn.json"
    options = ["--model", tiny_weights, "--dtype", "float32", "--sigmas", 25, "--json", numbers]
    script("awgn").main([str(option) for option in ("--data", pictures, *options)])
    shown = capsys.readouterr().out
    assert "| method | sigma 25 |" in shown
    assert "| ours, level known |" in shown
    assert "quoted" not in shown
    written = json.loads(numbers.read_text())
    assert written["known"][0]["corruption"] == "gaussian:sigma=25"
    assert written["known"][0]["noisy_psnr_db"] == written["estimated"][0]["noisy_psnr_db"]
    assert written["machine"]["threads"] >= 1


def test_awgn_counts_every_picture(script: Load, pictures: Path, tiny_weights: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    (folder / "broken.png").write_bytes(b"no picture")
    with pytest.raises(MediaError, match=r"broken\.png"):
        script("awgn").main(["--data", str(folder), "--model", str(tiny_weights), "--sigmas", "25"])


def test_dormant_counts_the_units_of_every_block(
    script: Load, pictures: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    tiny = pretrained.load(tiny_weights)
    block = next(part for part in tiny.network.modules() if isinstance(part, ResidualBlock))
    torch.nn.init.zeros_(block.first.weight[0])  # answers to nothing
    weights, numbers = tmp_path / "idle", tmp_path / "dormant.json"
    pretrained.save(weights, tiny)
    script("dormant").main(["--data", str(pictures), "--model", str(weights), "--json", str(numbers)])
    *rows, whole = json.loads(numbers.read_text())["rows"]
    assert rows[0]["block"] == "encoder.0.0"
    assert rows[0]["never fire"] >= 1
    assert whole["units"] == sum(row["units"] for row in rows)
    assert rows[0]["never fire"] <= whole["never fire"] <= whole["rarely fire"] <= whole["units"]


def test_drawings(script: Load, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawings, numbers = script("drawings"), tmp_path / "drawings.json"
    monkeypatch.setattr(drawings, "SIDES", (320, 240))
    clean = drawings.pages()
    assert len({tuple(page.flatten().tolist()) for page in clean.values()}) == len(clean) == 18
    monkeypatch.setattr(drawings, "pages", lambda: {name: clean[name] for name in ("12 px on black", "plot")})
    options = ["--model", tiny_weights, "--corruptions", "gaussian:sigma=9", "--json", numbers]
    drawings.main([str(option) for option in options])
    written = json.loads(numbers.read_text())
    assert [row["level"] for row in written["rows"]] == [pytest.approx(9)] * 2
    assert min(row["damaged dB"] for row in written["rows"]) > 29
    assert written["means"][0]["corruption"] == "gaussian:sigma=9"

    drawings.main(["--save", str(tmp_path / "pages")])
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == ["12 px on black.png", "plot.png"]
    saved = np.array(Image.open(tmp_path / "pages/plot.png"))
    np.testing.assert_array_equal(saved / np.float32(255), clean["plot"].permute(1, 2, 0))


def test_seams(
    script: Load, photo: Path, tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = tmp_path / "seams.json"
    options = ["--model", tiny_weights, "--megapixels", 0.06, "--many", 96, "--dtype", "float32", "--json", numbers]
    script("seams").main([str(option) for option in ("--picture", photo, *options)])
    assert "largest difference" in capsys.readouterr().out
    rows = json.loads(numbers.read_text())["rows"]
    assert len(rows) == 3
    assert rows[-1]["context"] > rows[0]["context"]
    assert rows[-1]["largest difference"] < rows[1]["largest difference"] < 0.5
    assert rows[-1]["met"]


def test_camera_gives_a_peer_its_best_strength(
    script: Load, photo: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera, numbers = script("camera"), tmp_path / "camera.json"
    asked: list[float] = []

    def peer(picture: Any, strength: float) -> Any:
        """Perfect at one strength: the third candidate, after a first call that only measures speed."""
        asked.append(strength)
        clean = np.asarray(Image.open(photo))[3:67, 13:77]
        return clean if len(asked) > 3 and strength == asked[3] else clean // 2

    monkeypatch.setattr(camera, "PEERS", {"left out": pytest.fail, "stub": peer})
    options = ["--model", tiny_weights, "--peers", "stub", "--every", 1, "--tune", 1, "--crop", 64, "--json", numbers]
    spec = "camera:iso=3200,quality=90"
    camera.main([str(option) for option in ("--data", photo.parent, *options, "--corruptions", spec)])
    rows = {row["method"]: row for row in json.loads(numbers.read_text())["rows"]}
    assert list(rows) == ["noisy", "ours (tiny)", "stub"]
    assert rows["stub"]["strength"] == camera.FACTORS[2]
    assert rows["stub"]["PSNR dB"] > 60 > rows["noisy"]["PSNR dB"]


def test_camera_gives_noise_beyond_white_as_files_hold_it(script: Load, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), "white").save(tmp_path / "white.png")
    (pair,) = script("camera")._pairs([tmp_path / "white.png"], "gaussian:sigma=60", 512)
    codes = (255 * pair.observed).double()
    assert (codes.max(), codes.mean()) == (255, pytest.approx(255 - 0.399 * 60, abs=2))
    assert (codes - codes.round()).abs().max() < 1e-4


def test_jpeg_scores_the_same_part_of_whole_and_cut(
    script: Load, photo: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    numbers = tmp_path / "jpeg.json"
    options = ["--model", tiny_weights, "--dtype", "float32", "--corruptions", "jpeg:quality=50", "--json", numbers]
    found = []
    for cut in ((0, 0), (8, 16)):
        script("jpeg").main([str(option) for option in ("--data", photo.parent, *options, "--cut", *cut)])
        (row,) = json.loads(numbers.read_text())["rows"]
        found.append({name: tuple(map(float, text.split(" / "))) for name, text in row.items() if "/" in text})
    assert found[0]["restored"] == found[0]["cut, restored"] != found[0]["damaged"]
    assert found[1]["restored"] != found[0]["restored"]
    # But for the borders: what is beyond the cut is mirrored.
    assert found[1]["cut, restored"] == pytest.approx(found[1]["restored"], abs=0.2)


@pytest.mark.parametrize("megapixels", [0.003, 0.05])
def test_large_photo_has_the_size_asked_for(megapixels: float, script: Load, photo: Path) -> None:
    made = script("_common").large_photo(megapixels, photo)
    assert made.width * made.height == pytest.approx(megapixels * 1e6, rel=0.02)
    assert made.width / made.height == pytest.approx(4 / 3, rel=0.03)


def test_memory_restores_a_file(tiny_weights: Path, photo: Path, script: Load) -> None:
    peak, seconds = script("memory").restore(photo, str(tiny_weights), "float32")
    assert peak > 1e6 and seconds > 0
    assert photo.with_name("restored.jpg").is_file()


def test_speed(tiny_weights: Path, script: Load, tmp_path: Path) -> None:
    pytest.importorskip("bm3d", reason="pip install 'denoise-toolkit[bench]'")
    sizes = ("--megapixels", "0.05", "--repeats", "1", "--bm3d-px", "32")
    script("speed").main(
        ["--model", str(tiny_weights), "--dtype", "float32", *sizes, "--json", str(tmp_path / "x.json")]
    )
    assert json.loads((tmp_path / "x.json").read_text())


def test_inpainting(
    script: Load, tiny_inpainting_weights: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2", reason="pip install 'denoise-toolkit[bench]'")
    numbers = tmp_path / "inpainting.json"
    options = ["--model", str(tiny_inpainting_weights), "--dtype", "float32", "--data", str(photo.parent)]
    script("inpainting").main([*options, "--masks", "scratches", "32-px squares, 10 %", "--json", str(numbers)])
    assert "| scikit-image biharmonic |" in capsys.readouterr().out
    rows = json.loads(numbers.read_text())["rows"]
    assert [row["method"] for row in rows[:4]] == [
        "ours",
        "OpenCV Telea",
        "OpenCV Navier-Stokes",
        "scikit-image biharmonic",
    ]
    assert all(row["PSNR dB"] > 10 for row in rows if row["method"] != "ours")


def test_hole_area(script: Load, tiny_inpainting_weights: Path, tmp_path: Path) -> None:
    numbers = tmp_path / "x.json"
    options = ["--model", str(tiny_inpainting_weights), "--dtype", "float32", "--megapixels", "0.05"]
    script("hole_area").main([*options, "--shares", "0.01", "--json", str(numbers)])
    assert [row["pixels"] > 0 for row in json.loads(numbers.read_text())["rows"]] == [False, True, True]


def test_soft_voices_are_scored_where_they_are(script: Load) -> None:
    pytest.importorskip("pesq", reason="pip install 'denoise-toolkit[bench]'")
    soft, loud = voice(16_000, 2.0)[None].numpy(), voice(16_000, 0.5)[None].numpy()
    given: list[Any] = []

    def restorer(samples: Any, rate_hz: int) -> Any:
        given.append(samples)
        return samples

    score = script("soft_voices")._score
    scores = [score(restorer, (soft, soft, 16_000), (loud, loud, 16_000), decibels) for decibels in (None, 40.0)]
    assert min(quality.si_sdr_db for quality in scores) > 60
    np.testing.assert_array_equal(given[1][:, 16_000:24_000], loud)
    np.testing.assert_allclose(np.delete(given[1], np.s_[16_000:24_000], axis=1), soft / 100, rtol=1e-6)


def test_figure(script: Load, tiny_weights: Path, tmp_path: Path) -> None:
    script("figure").main(["--model", str(tiny_weights), "--out", str(tmp_path / "new" / "figure.png")])
    with Image.open(tmp_path / "new" / "figure.png") as figure:
        assert figure.size == (848, 300)
