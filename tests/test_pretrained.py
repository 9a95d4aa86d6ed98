import errno
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from denoise import pretrained
from denoise.errors import MediaError, ModelError, UsageError
from denoise.networks import NoiseLevel, UNet
from denoise.pretrained import CONFIG, METRICS, README, WEIGHTS, Card, Weights

CARD = Card(
    name="tiny",
    summary="Removes nothing.",
    licence="CC0-1.0",
    data=["Ten pictures, CC0"],
    recipe="recipes/photo/tiny.yaml",
    commit="abc1234",
    limits=["All of them"],
    metrics={"psnr_db": 30.5},
)


def _weights() -> Weights:
    torch.manual_seed(0)
    network = UNet(widths=(4, 4), depths=(1, 1))
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return Weights(network, NoiseLevel(width=4, depths=(1, 1)), CARD)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return pretrained.save(tmp_path / "tiny", _weights())


def _sign(folder: Path, **changes: object) -> None:
    """Make the config vouch for the weights file as it is."""
    import hashlib

    config = yaml.safe_load((folder / CONFIG).read_text())
    config |= {"sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(), **changes}
    (folder / CONFIG).write_text(yaml.safe_dump(config))


def test_round_trip(folder: Path) -> None:
    before, after = _weights(), pretrained.load(folder)
    assert after.card == CARD
    for mine, theirs in ((before.network, after.network), (before.noise_level, after.noise_level)):
        assert mine is not None
        assert theirs is not None
        assert not theirs.training
        for (name, value), (other, loaded) in zip(mine.state_dict().items(), theirs.state_dict().items(), strict=True):
            assert name == other
            assert loaded.dtype == torch.float32
            assert not loaded.requires_grad
            torch.testing.assert_close(loaded, value, rtol=1e-3, atol=1e-6)


def test_the_folder_is_complete_and_readable(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted([WEIGHTS, CONFIG, METRICS, README])
    assert {tensor.dtype for tensor in load_file(folder / WEIGHTS).values()} == {torch.float16}
    assert json.loads((folder / METRICS).read_text()) == {"psnr_db": 30.5}
    text = (folder / README).read_text()
    for fact in (
        "# tiny",
        "Removes nothing.",
        "CC0-1.0",
        "Ten pictures, CC0",
        "abc1234",
        "psnr_db: 30.5",
        "All of them",
    ):
        assert fact in text


def test_without_a_noise_level(tmp_path: Path) -> None:
    loaded = pretrained.load(pretrained.save(tmp_path / "tiny", replace(_weights(), noise_level=None)))
    assert loaded.noise_level is None


def test_a_folder_or_its_weights_file_names_the_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pretrained.find(folder) == folder
    assert pretrained.find(folder / WEIGHTS) == folder
    monkeypatch.chdir(folder)
    assert pretrained.find(".").resolve() == folder
    with pytest.raises(UsageError, match="no weights called 'nothing'"):
        pretrained.find("nothing")


def test_shipped_weights_are_found_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "root", lambda: folder.parent)
    assert pretrained.names() == ["tiny"]
    assert pretrained.models() == [CARD]
    assert pretrained.find("tiny") == folder
    with pytest.raises(UsageError, match=r"no weights called '\./tiny'"):
        pretrained.find("./tiny")  # a folder of one's own, which is not there
    with pytest.raises(UsageError, match="shipped are tiny"):
        pretrained.find("big")


def test_a_changed_byte_is_noticed(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(ModelError, match="sha256"):
        pretrained.load(folder)


def test_a_truncated_file_is_refused_even_if_vouched_for(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])
    with pytest.raises(ModelError, match="sha256"):
        pretrained.load(folder)
    _sign(folder)
    with pytest.raises(ModelError, match="not a valid safetensors file"):
        pretrained.load(folder)


def test_an_unknown_class_is_refused(folder: Path) -> None:
    _sign(folder, network={"class": "subprocess.run"})
    with pytest.raises(ModelError, match="not known"):
        pretrained.load(folder)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    _sign(folder, network={"class": "UNet", "widths": [8, 4], "depths": [1, 1]})
    with pytest.raises(ModelError, match=r"head.weight has shape \[4, 16, 3, 3\] and should have \[8, 16, 3, 3\]"):
        pretrained.load(folder)


def test_missing_and_unexpected_tensors_are_refused(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    name = "network.head.weight"
    save_file({key: value for key, value in tensors.items() if key != name}, folder / WEIGHTS)
    _sign(folder)
    with pytest.raises(ModelError, match=r"has shape None and should have \[4, 16, 3, 3\]"):
        pretrained.load(folder)
    save_file({**tensors, "network.more": torch.zeros(1)}, folder / WEIGHTS)
    _sign(folder)
    with pytest.raises(ModelError, match=r"more has shape \[1\] and should have None"):
        pretrained.load(folder)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (CONFIG, "a: ["),
        (CONFIG, "- 1"),
        (CONFIG, "card: {name: x}"),
        (CONFIG, "card: 5"),
        (METRICS, "{"),
        (METRICS, "5"),
    ],
)
def test_damaged_text_files_are_refused(folder: Path, file: str, text: str) -> None:
    (folder / file).write_text(text)
    with pytest.raises(ModelError, match=re.escape(str(folder / file))):
        pretrained.load(folder)


def test_a_config_without_network_is_refused(folder: Path) -> None:
    config = yaml.safe_load((folder / CONFIG).read_text())
    del config["network"]
    (folder / CONFIG).write_text(yaml.safe_dump(config))
    with pytest.raises(ModelError, match="no network"):
        pretrained.load(folder)


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    weights = _weights()
    (tmp_path / "file").write_text("")
    with pytest.raises(MediaError, match="could not be written"):
        pretrained.save(tmp_path / "file", weights)
    weights.network.head.weight.data[0] = 1e6
    with pytest.raises(ModelError, match=r"head.weight is not finite in float16"):
        pretrained.save(tmp_path / "diverged", weights)
    assert not (tmp_path / "diverged").exists()


def test_a_card_says_one_of_two_things_about_the_level() -> None:
    with pytest.raises(ModelError, match="neither `picture` nor `curve`"):
        replace(CARD, statistic="mean")


@pytest.mark.parametrize("wrong", [{"medium": "speech"}, {"hole_px": "32"}, {"hole_px": -1}])
def test_a_card_says_what_it_is_for(wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"neither `image` nor `sound`|no number of pixels"):
        replace(CARD, **wrong)


def test_files_of_something_else_are_not_replaced(folder: Path, tmp_path: Path) -> None:
    weights = pretrained.load(folder)
    project = tmp_path / "project"
    project.mkdir()
    (project / "README.md").write_text("precious")
    with pytest.raises(UsageError, match=r"holds a README\.md that is not of weights"):
        pretrained.save(project, weights)
    assert (project / "README.md").read_text() == "precious" and len(list(project.iterdir())) == 1


def test_weights_are_replaced_only_where_asked(folder: Path) -> None:
    weights = replace(pretrained.load(folder), card=replace(CARD, summary="Other."))
    with pytest.raises(UsageError, match=r"holds weights; give another folder with -o, or --overwrite to replace them"):
        pretrained.save(folder, weights)
    assert pretrained.load(folder).card == CARD
    assert pretrained.save(folder, weights, overwrite=True) == folder
    assert pretrained.load(folder).card == weights.card


def test_where_one_file_cannot_be_written_the_weights_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = {path: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MediaError, match="No space left"):
        pretrained.save(folder, replace(_weights(), noise_level=None), overwrite=True)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
