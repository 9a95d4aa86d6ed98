"""The verbs around codes, as a user types them: index, search, detect, tour."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from denoise import pretrained
from denoise.networks.autoencoder import Autoencoder
from tests.conftest import awake, card, photo, run


@pytest.fixture
def coder(tmp_path: Path) -> Path:
    network = awake(Autoencoder(channels=3, widths=(8,), code=12, side=16))
    return pretrained.save(tmp_path / "coder", pretrained.Weights(network, None, card("coder")))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "normal").mkdir(parents=True)
    for seed in range(4):
        Image.fromarray(photo(seed=seed)).save(folder / f"{seed}.png")
    for seed in range(10, 30):
        Image.fromarray(photo(seed=seed)).save(folder / "normal" / f"{seed}.png")
    Image.fromarray(255 - photo(seed=0)[::-1] // 3).save(folder / "odd.png")
    return folder


def test_index_and_search(
    photos: Path, coder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("faiss", reason="pip install 'denoise-toolkit[search]'")
    store, sheet = tmp_path / "index", tmp_path / "hits.png"
    assert run(monkeypatch, "index", photos, "-o", store, "--model", coder) == 0
    assert "25 pictures" in capsys.readouterr().out
    assert run(monkeypatch, "search", photos / "2.png", "--index", store, "-k", 3, "--sheet", sheet, "--json") == 0
    hits = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(hits) == 3 and Path(hits[0]["path"]).name == "2.png"
    assert sheet.is_file()
    (photos / "broken.png").write_bytes(b"no picture")
    assert run(monkeypatch, "index", photos, "-o", store) == 1
    assert "broken.png" in capsys.readouterr().err
    assert run(monkeypatch, "index", photos, "-o", store, "--json") == 1
    assert "broken.png" in json.loads(capsys.readouterr().out)["failures"]


def test_detect(
    photos: Path, coder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("detect", photos, "--model", coder, "-o", tmp_path / "report", "--false-alarm-rate", 0.2)
    assert run(monkeypatch, *arguments) == 0
    assert "odd.png" in capsys.readouterr().out
    assert (tmp_path / "report" / "scores.csv").is_file() and (tmp_path / "report" / "maps" / "odd.png.png").is_file()
    assert run(monkeypatch, *arguments, "--score", "luck") == 2
    for option in (("--rate-hz", 0), ("--bands", 0), ("-o", photos)):
        assert run(monkeypatch, *arguments, *option) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "scores.csv").write_text("team,points")
    assert run(monkeypatch, *arguments, "-o", tmp_path / "mine") == 2
    assert (tmp_path / "mine" / "scores.csv").read_text() == "team,points"
    (photos / "broken.png").write_bytes(b"no picture")
    assert run(monkeypatch, *arguments, "--json") == 1


def test_codes_of_gray_pictures_and_spectrograms_restore_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.wav").write_bytes((photos / "0.png").read_bytes())
    for medium, source in (("image", photos / "0.png"), ("sound", tmp_path / "a.wav")):
        weights = pretrained.Weights(Autoencoder(channels=1, widths=(8,)), None, card("gray", medium=medium))
        model = pretrained.save(tmp_path / "gray", weights, overwrite=True)
        assert run(monkeypatch, "restore", source, "--model", model) == 2
        assert "denoise detect" in capsys.readouterr().err


def test_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "tour", "-o", tmp_path / "tour", "--effort", 0.002) == 0
    assert (tmp_path / "tour" / "index.html").is_file()
    assert run(monkeypatch, "tour", "-o", tmp_path / "tour", "--effort", 0) == 2
