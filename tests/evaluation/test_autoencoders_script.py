"""benchmarks/autoencoders.py on scikit-learn's digits; what it measures, not how well a few steps train."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.nn import functional as F

from denoise.networks.autoencoder import Autoencoder
from denoise.training.arrays import Split, load_digits

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("autoencoders")


def test_one_command_prints_it_all(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "load_digits", lambda: Split(*(part[:400] for part in load_digits())))
    threads = torch.get_num_threads()
    numbers = tmp_path / "numbers.json"
    members = ["undercomplete, 32", "denoising, 32 every 4 pixels"]
    try:
        script.main(["--shorten", "0.004", "--json", str(numbers), "--models", *members])
    finally:
        torch.set_num_threads(threads)
    shown = capsys.readouterr().out
    for name in ("PCA-32", "IsolationForest", *members):
        assert f"| {name}" in shown
    found = json.loads(numbers.read_text())
    rows = {row["member"]: row for row in found["rows"]}
    assert rows["PCA-32"]["AUROC error"] > 0.95
    assert rows["PCA-32"]["precision@10"] > 0.8
    assert rows["PCA-32"]["denoised dB"] > 10
    assert rows[members[0]]["AUROC both"] is not None
    assert rows[members[1]]["AUROC both"] is None
    assert [row["member"] for row in found["constraints"]] == members


def test_every_member_can_be_built(script: ModuleType) -> None:
    for side in (8, 28):
        for member in script.FAMILY.values():
            network = member.build(side).network
            picture = torch.rand(2, 1, side, side)
            assert network(picture).shape == picture.shape


def test_warp(script: ModuleType) -> None:
    picture = torch.zeros(3, 1, 28, 28)
    picture[..., 10:18, 10:18] = 1
    generator = torch.Generator().manual_seed(0)
    seen = script.Warp()(picture, generator)
    assert seen.target is picture
    assert seen.observed.shape == picture.shape
    assert seen.observed.sum((1, 2, 3)).tolist() == pytest.approx([64] * 3, rel=0.35)
    assert (seen.observed - picture).abs().amax((1, 2, 3)).min() > 0.1
    same = {"maps": torch.eye(2, 3).expand(3, -1, -1)}
    torch.testing.assert_close(script.Warp().apply(picture, same).observed, picture)


def test_scores(script: ModuleType) -> None:
    labels = torch.arange(40) % 2
    pictures = torch.zeros(40, 1, 8, 8)
    split = Split(pictures, pictures, labels, labels)
    codes = F.one_hot(labels, 2).float()
    assert script.precision_at_ten(codes, codes, split) == 1
    assert script.precision_at_ten(codes, codes.flip(1), split) == 0

    def examine(label: int, usual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert len(usual) == 20
        return (labels != label).float(), torch.ones(40)

    assert script.anomalies(split, examine) == {"AUROC error": 1, "AUROC code": 0.5, "AUROC both": 1}
    assert script.psnr_db(torch.full((3, 4), 0.6), torch.full((3, 4), 0.5)) == pytest.approx(20, abs=1e-3)
    assert script.noisy(torch.zeros(64, 1, 28, 28)).std() == pytest.approx(0.5, rel=0.02)


def test_overlaps(script: ModuleType) -> None:
    labels = torch.arange(60) % 3
    apart = torch.zeros(60, 30)
    for label in range(3):
        apart[labels == label, 10 * label : 10 * label + 3] = 1
    assert script.overlaps(apart, labels) == (0, 1)
    assert script.overlaps(torch.linspace(0, 1, 30).expand(60, -1), labels) == (1, 1)


def test_constraint_figures(script: ModuleType) -> None:
    split = load_digits()
    network = Autoencoder(1, (), code=20, side=8, activation="sigmoid").requires_grad_(False)
    for weight in network.encoder.parameters():
        weight.zero_()
    flat = script.constraint_figures(network, split)
    assert flat["rate"] == flat["lowest"] == flat["highest"] == 0.5
    assert (flat["active"], flat["slope"]) == (1, 0)
    network.encoder[0].weight.fill_(1e-3)
    assert script.constraint_figures(network, split)["slope"] == pytest.approx(20 * 64 * 1e-6 / 16, rel=0.02)
