from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from denoise import pretrained
from denoise.errors import ModelError, UsageError
from denoise.networks import Autoencoder, InpaintingUNet, NoiseLevel, SpectralUNet, UNet, describe
from denoise.training.export import export
from denoise.training.logmel import LogMelPatches
from tests.conftest import run

CARD = {
    "summary": "Removes nothing.",
    "licence": "CC0-1.0",
    "data": ["Ten pictures, CC0"],
    "limits": "All of them",
    "statistic": "picture",
}


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.card.yaml"
    path.write_text(yaml.safe_dump(CARD))
    return path


def _checkpoint(tmp_path: Path, network: Any = None, **changes: Any) -> Path:
    torch.manual_seed(0)
    network = network or UNet(widths=(4, 4), depths=(1, 1))
    parts = {"network": network, "noise_level": NoiseLevel(width=4, depths=(1, 1))}
    state = {
        "state_dict": {f"{part}.{key}": v for part, module in parts.items() for key, v in module.state_dict().items()},
        "global_step": 7,
        "denoise": {
            "networks": {part: describe(module) for part, module in parts.items()},
            "recipe": "recipes/photo/tiny.yaml",
            "commit": "abc1234",
            "metrics": {
                "val/psnr_sigma25_db": 30.12345,
                "val/psnr_sigma25_blind_db": 30.1,
                "val/level_sigma25_error": 0.0213,
            },
        },
    }
    torch.save(state | changes, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_a_checkpoint_becomes_weights(tmp_path: Path, card: Path) -> None:
    checkpoint = _checkpoint(tmp_path)
    folder = export(checkpoint, tmp_path / "out" / "tiny", card)
    weights = pretrained.load(folder)
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    for part in ("network", "noise_level"):
        for key, value in getattr(weights, part).state_dict().items():
            torch.testing.assert_close(value, state[f"{part}.{key}"], rtol=1e-3, atol=1e-6)
    found = weights.card
    assert (found.name, found.recipe, found.commit) == ("tiny", "recipes/photo/tiny.yaml", "abc1234")
    assert found.metrics["validation"] == {
        "val/psnr_sigma25_db": 30.123,
        "val/psnr_sigma25_blind_db": 30.1,
        "val/level_sigma25_error": 0.021,
    }
    assert found.metrics["steps of the last training"] == 7
    assert found.data == CARD["data"]
    assert found.limits == ["All of them"]
    assert (found.licence, found.statistic) == ("CC0-1.0", "picture")


def test_weights_know_the_spectrograms_they_are_for(tmp_path: Path, card: Path) -> None:
    how = LogMelPatches(rate_hz=8000, bands=40).state_dict()
    checkpoint = _checkpoint(tmp_path, Autoencoder(channels=1, widths=(4,), code=2), LogMelPatches=how)
    found = pretrained.load(export(checkpoint, tmp_path / "out", card)).card
    assert (found.medium, found.rate_hz, found.bands) == ("sound", 8000, 40)
    card.write_text(yaml.safe_dump(CARD | {"medium": "image"}))
    with pytest.raises(
        UsageError, match=r"is for pictures and .* was trained on spectrograms; give it `medium: sound`"
    ):
        export(checkpoint, tmp_path / "other", card)


def test_weights_that_a_shipped_name_hides_are_told_of(
    tmp_path: Path, card: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, told in (("photo", "photo; use it as --model ./photo, for photo alone means the"), ("mine", "mine\n")):
        assert run(monkeypatch, "export-weights", _checkpoint(tmp_path), "-o", folder, "--card", card) == 0
        assert capsys.readouterr().out.startswith(f"Wrote {told}")


def test_the_estimator_may_come_from_other_weights(tmp_path: Path, card: Path) -> None:
    other = NoiseLevel(width=8, depths=(1,))
    facts = pretrained.Card("other", "s", "CC0-1.0", [], "r", "c", [])
    pretrained.save(tmp_path / "other", pretrained.Weights(UNet(widths=(4, 4), depths=(1, 1)), other, facts))
    weights = pretrained.load(export(_checkpoint(tmp_path), tmp_path / "out", card, tmp_path / "other"))
    assert describe(weights.noise_level) == describe(other)
    torch.testing.assert_close(weights.noise_level.head.weight, other.head.weight, rtol=1e-3, atol=1e-4)
    assert weights.card.metrics["validation"] == {"val/psnr_sigma25_db": 30.123}  # the rest was measured with its own


def test_the_mean_of_new_weights_and_those_before(tmp_path: Path, card: Path) -> None:
    new = pretrained.load(export(_checkpoint(tmp_path), tmp_path / "new", card)).network.state_dict()
    torch.manual_seed(9)
    network = UNet(widths=(4, 4), depths=(1, 1))
    pretrained.save(tmp_path / "old", pretrained.Weights(network, None, pretrained.load(tmp_path / "new").card))
    weights = pretrained.load(export(_checkpoint(tmp_path), tmp_path / "out", card, None, tmp_path / "old", 0.25))
    for key, value in weights.network.state_dict().items():
        torch.testing.assert_close(value, 0.75 * new[key] + 0.25 * network.state_dict()[key], rtol=2e-3, atol=1e-4)
    assert weights.card.metrics == {
        "validation": {},
        "steps of the last training": 7,
        "blended": "0.25 of the earlier weights old",
    }
    assert "validation" not in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(UsageError, match="of another network"):
        export(_checkpoint(tmp_path), tmp_path / "bad", card, None, "photo")
    with pytest.raises(UsageError, match="nothing to blend: name weights as --blend, or leave out --blend-share"):
        export(_checkpoint(tmp_path), tmp_path / "bad", card, blend_share=0.3)
    with pytest.raises(UsageError, match="blend_share=2"):
        export(_checkpoint(tmp_path), tmp_path / "bad", card, None, tmp_path / "old", 2)


def test_weights_without_an_estimator_have_none_to_give(tmp_path: Path, card: Path) -> None:
    with pytest.raises(UsageError, match="inpaint estimate no noise level; give others as --noise-level"):
        export(_checkpoint(tmp_path), tmp_path / "out", card, "inpaint")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("network", "facts", "sentence"),
    [
        (UNet(widths=(4, 4), depths=(1, 1)), {"hole_px": 32}, "is for holes and the UNet of .* for image; give"),
        (UNet(widths=(4, 4), depths=(1, 1)), {"medium": "sound"}, "is for sound and the UNet of .* for image"),
        (InpaintingUNet(widths=(4, 4), depths=(1, 1)), {}, "is for image and the InpaintingUNet of .* for holes"),
        (SpectralUNet((4, 8), 32, 8, (1,)), {}, "is for image and the SpectralUNet of .* for sound"),
        (Autoencoder(1, (4,)), {"hole_px": 32}, "is for holes and the Autoencoder of .* for image or sound"),
    ],
)
def test_a_card_is_for_what_its_network_does(tmp_path: Path, network: Any, facts: Any, sentence: str) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(yaml.safe_dump(CARD | facts))
    with pytest.raises(UsageError, match=sentence):
        export(_checkpoint(tmp_path, network), tmp_path / "out", path)
    assert not (tmp_path / "out").exists()


def test_only_what_is_told_a_noise_level_gets_an_estimator(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(yaml.safe_dump(CARD | {"medium": "sound"}))
    with pytest.raises(UsageError, match=r"SpectralUNet of .* is told no noise level; leave out --noise-level"):
        export(_checkpoint(tmp_path, SpectralUNet((4, 8), 32, 8, (1,))), tmp_path / "out", path, "photo")
    assert not (tmp_path / "out").exists()


def test_no_card_no_weights(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give --card, a YAML file with summary, licence, data, limits"):
        export(_checkpoint(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (yaml.safe_dump({**CARD, "licence": ""}), "lacks licence"),
        (yaml.safe_dump({"summary": "x", "licence": "y"}), "lacks data, limits"),
        (yaml.safe_dump({**CARD, "license": "MIT"}), "unknown license"),
        (yaml.safe_dump({**CARD, "summary": 2024}), "summary of .* is no text"),
        (yaml.safe_dump({**CARD, "licence": ["MIT"]}), "licence of .* is no text"),
        (yaml.safe_dump({**CARD, "data": 2024}), "neither a text nor a list"),
        (yaml.safe_dump({**CARD, "limits": True}), "neither a text nor a list"),
        (
            yaml.safe_dump({**CARD, "statistic": "mean"}),
            "card.yaml has a wrong value: Statistic 'mean' of out is neither",
        ),
        (yaml.safe_dump({**CARD, "hole_px": -1}), "card.yaml has a wrong value: Hole_px -1 of out"),
        ("just words", "no names with values"),
        ("a: [", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_bad_cards(tmp_path: Path, text: str | None, reason: str) -> None:
    path = tmp_path / "card.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=reason):
        export(_checkpoint(tmp_path), tmp_path / "out", path)


def test_bad_checkpoints(tmp_path: Path, card: Path) -> None:
    with pytest.raises(UsageError, match="no checkpoint"):
        export(tmp_path / "nothing.ckpt", tmp_path / "out", card)
    with pytest.raises(ModelError, match="not a checkpoint of `denoise train`"):
        export(_checkpoint(tmp_path, denoise={}), tmp_path / "out", card)
    with pytest.raises(ModelError, match="has shape None"):
        export(_checkpoint(tmp_path, state_dict={}), tmp_path / "out", card)
    path = _checkpoint(tmp_path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ModelError, match="damaged"):
        export(path, tmp_path / "out", card)
    assert not (tmp_path / "out").exists()


def test_the_mean_is_of_the_estimators_too(tmp_path: Path, card: Path) -> None:
    network = UNet(widths=(4, 4), depths=(1, 1))
    estimator = NoiseLevel(width=4, depths=(1, 1))
    facts = pretrained.Card("other", "s", "CC0-1.0", [], "r", "c", [])
    pretrained.save(tmp_path / "other", pretrained.Weights(network, estimator, facts))
    export(_checkpoint(tmp_path), tmp_path / "out", card, blend=tmp_path / "other", blend_share=1.0)
    mine, theirs = (pretrained.load(tmp_path / name) for name in ("out", "other"))
    for part in ("network", "noise_level"):
        for key, value in getattr(mine, part).state_dict().items():
            torch.testing.assert_close(value, getattr(theirs, part).state_dict()[key], rtol=1e-3, atol=1e-4)


def test_a_network_for_gray_pictures_restores_no_files(tmp_path: Path, card: Path) -> None:
    checkpoint = _checkpoint(tmp_path, UNet(channels=1, widths=(4, 4), depths=(1, 1)))
    with pytest.raises(UsageError, match=r"--model\.network\.channels 3"):
        export(checkpoint, tmp_path / "out", card)
