"""The scores of a set: same draws for the same names, whatever stands beside them."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from denoise.corruptions.base import Identity
from denoise.errors import MediaError, UsageError
from denoise.evaluation.benchmark import Scores, corrupted, evaluate, pictures_below
from denoise.evaluation.metrics import psnr_db, ssim
from denoise.loading import load
from denoise.networks.autoencoder import Autoencoder
from denoise.restorer import Restorer
from tests.conftest import awake


class Unchanged(nn.Module):
    multiple_of = 1

    def forward(self, observed: Tensor, condition: Tensor) -> Tensor:
        return observed + 0 * condition


class Says20(nn.Module):
    """A noise-level estimator that answers the same to every picture."""

    multiple_of = 4

    def forward(self, observed: Tensor) -> tuple[Tensor, Tensor]:
        level = observed[:, :1, ::4, ::4] * 0
        return level + 20 / 255, level


@pytest.fixture
def unchanged() -> Restorer:
    return Restorer(Unchanged(), Says20(), device="cpu", dtype="float32")


def test_scores_are_means_over_the_pictures(unchanged: Restorer, pictures: Path) -> None:
    scores = evaluate(unchanged, pictures, "gaussian:sigma=25", 25.0)
    pairs = [(seen.observed[0], clean) for _, clean, seen in corrupted(pictures_below(pictures), "gaussian:sigma=25")]
    assert [clean.shape[0] for _, clean in pairs] == [3, 1]
    assert scores.pictures == 2
    assert scores.psnr_db == scores.noisy_psnr_db == pytest.approx(sum(psnr_db(*pair) for pair in pairs) / 2)
    assert scores.ssim == scores.noisy_ssim == pytest.approx(sum(ssim(*pair) for pair in pairs) / 2)
    assert (scores.sigma, scores.sigma_error) == (25.0, pytest.approx(0, abs=1e-6))


def test_noise_is_not_clipped_and_has_the_level_asked_for(pictures: Path) -> None:
    for _, clean, seen in corrupted(pictures_below(pictures), "gaussian:sigma=100"):
        assert (seen.observed[0] - clean).std() * 255 == pytest.approx(100, rel=0.05)
        assert seen.observed.min() < 0
        assert seen.observed.max() > 1


def test_the_estimate_and_its_error(unchanged: Restorer, pictures: Path) -> None:
    scores = evaluate(unchanged, pictures, "gaussian:sigma=25", "auto")
    assert scores.sigma == pytest.approx(20, abs=1e-4)
    assert scores.sigma_error == pytest.approx(0.2, abs=1e-5)


def test_a_draw_depends_on_the_file_name_alone(pictures: Path, tmp_path: Path) -> None:
    def draws(paths: list[Path]) -> dict[str, Tensor]:
        return {path.name: seen.observed[0] for path, _, seen in corrupted(paths, "gaussian:sigma=25")}

    shutil.copytree(pictures, tmp_path / "copy")
    (tmp_path / "copy" / "colour.png").rename(tmp_path / "copy" / "renamed.png")
    torch.manual_seed(5)
    first = draws(pictures_below(pictures))
    torch.manual_seed(6)
    reverse = draws(pictures_below(pictures)[::-1])
    copied = draws(pictures_below(tmp_path / "copy"))
    assert torch.equal(first["colour.png"], reverse["colour.png"])
    assert torch.equal(first["gray.png"], reverse["gray.png"])
    assert torch.equal(first["gray.png"], copied["gray.png"])
    assert not torch.equal(first["colour.png"], copied["renamed.png"])


def test_names_need_not_be_text(unchanged: Restorer, pictures: Path, tmp_path: Path) -> None:
    shutil.copy(pictures / "colour.png", tmp_path / os.fsdecode(b"caf\xe9.png"))
    assert evaluate(unchanged, tmp_path, "gaussian:sigma=25", 25.0).pictures == 1


def test_without_damage_there_is_no_error_to_speak_of(unchanged: Restorer, pictures: Path) -> None:
    scores = evaluate(unchanged, pictures, Identity(), "auto")
    assert scores.psnr_db == math.inf
    assert scores.ssim == pytest.approx(1)
    assert scores.sigma_error is None
    assert "inf  1.0000" in str(scores)
    assert "noise level used: 20.0 of 255; " in str(scores)


def test_progress_and_trained_networks(tiny_weights: Path, pictures: Path) -> None:
    told: list[tuple[int, int, str]] = []
    restorer = load(tiny_weights, device="cpu", dtype="float32")
    evaluate(restorer, pictures, "camera:iso=3200,quality=90", "auto", lambda *step: told.append(step))
    assert told == [(1, 2, "colour.png"), (2, 2, "gray.png")]


def test_scores_print_and_become_json() -> None:
    scores = Scores(3, "gaussian:sigma=25", 20.6, 31.25, 0.41, 0.8876, 24.6, 0.016, 1.5)
    assert str(scores).splitlines() == [
        "3 pictures, gaussian:sigma=25",
        "         PSNR dB   SSIM",
        "noisy      20.60  0.4100",
        "restored   31.25  0.8876",
        "noise level used: 24.6 of 255, 1.6% off; 1.50 megapixels/s",
    ]
    assert json.loads(json.dumps(dataclasses.asdict(scores)))["psnr_db"] == 31.25


def test_corruptions_of_sound_are_refused(unchanged: Restorer, tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(UsageError, match="is for sound"):
        evaluate(unchanged, tmp_path, "gaussian:sigma=5+noise:snr_db=5")


def test_folders_without_pictures_are_refused(unchanged: Restorer, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match="no picture below"):
            evaluate(unchanged, folder, "gaussian:sigma=25")


def test_unknown_corruptions_are_refused(unchanged: Restorer, pictures: Path) -> None:
    with pytest.raises(UsageError, match="Unknown corruption 'fog'"):
        evaluate(unchanged, pictures, "fog")


def test_pictures_that_cannot_be_scored_are_left_out_and_named(
    unchanged: Restorer, pictures: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    alone = evaluate(unchanged, folder, "gaussian:sigma=25")
    (folder / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (10, 40)).save(folder / "narrow.png")
    told: list[tuple[int, int, str]] = []
    scores = evaluate(unchanged, folder, "gaussian:sigma=25", progress=lambda *step: told.append(step))
    assert (scores.pictures, scores.psnr_db) == (2, alone.psnr_db)
    assert told[-1][:2] == (3, 4)  # nothing is told of the last, narrow.png
    broken, narrow = scores.failures.items()
    assert Path(broken[0]).name == "broken.png" and "broken.png" in broken[1]
    assert Path(narrow[0]).name == "narrow.png" and "too small for SSIM" in narrow[1]


def test_a_folder_of_nothing_but_broken_pictures_is_refused(unchanged: Restorer, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(MediaError, match=r"No file could be scored\. .*a\.png"):
        evaluate(unchanged, tmp_path, "gaussian:sigma=25")


@pytest.mark.parametrize("corruption", ["camera:iso=800", "jpeg:quality=80"])
def test_pictures_that_a_corruption_is_not_for_are_left_out_and_named(
    unchanged: Restorer, pictures: Path, tmp_path: Path, corruption: str
) -> None:
    shutil.copy(pictures / "colour.png", tmp_path)
    Image.new("CMYK", (64, 48), (50, 20, 0, 0)).save(tmp_path / "ink.tif")
    scores = evaluate(unchanged, tmp_path, corruption, 25.0)
    assert scores.pictures == 1
    assert [Path(name).name for name in scores.failures] == ["ink.tif"]


def test_a_network_that_is_told_no_level_has_none(pictures: Path) -> None:
    restorer = Restorer(awake(Autoencoder(3, widths=(8,), code=12)), device="cpu", dtype="float32")
    scores = evaluate(restorer, pictures, "gaussian:sigma=25")
    assert (scores.sigma, scores.sigma_error) == (None, None)
    assert "noise level" not in str(scores)
    with pytest.raises(UsageError, match="without a noise level; leave sigma out"):
        evaluate(restorer, pictures, "gaussian:sigma=25", 25.0)
