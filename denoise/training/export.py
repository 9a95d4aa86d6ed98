"""A training checkpoint becomes a weights folder."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from denoise import pretrained
from denoise.corruptions.draws import as_fraction
from denoise.errors import ModelError, UsageError
from denoise.networks import describe
from denoise.training.checks import why_no_weights
from denoise.training.logmel import LogMelPatches
from denoise.training.main import commit

REQUIRED = ("summary", "licence", "data", "limits")
OPTIONAL = ("statistic", "medium", "hole_px")

_TASKS = {"UNet": ["image"], "InpaintingUNet": ["holes"], "SpectralUNet": ["sound"], "Autoencoder": ["image", "sound"]}
"""What the card of a network may be for"""

_ESTIMATED = re.compile("^val/level_|_blind_db$")
"""Names of metrics that depend on the estimator of the noise level"""


def export(
    checkpoint: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    card: str | os.PathLike[str] | None = None,
    noise_level: str | os.PathLike[str] | None = None,
    blend: str | os.PathLike[str] | None = None,
    blend_share: float | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the averaged weights of a checkpoint as a weights folder.

    Args:
        checkpoint: file that `denoise train` wrote.
        folder: where to write; its name becomes the name of the weights.
        card: YAML file with `summary`, `licence`, `data`, `limits` and optionally `statistic`, `medium` and
            `hole_px`, see `pretrained.Card`. Weights without a licence are of no use to anyone, so there is no default.
        noise_level: weights whose estimator of the noise level joins the network of the checkpoint, in place of the
            checkpoint's own if it has one.
        blend: weights of the same network, such as those that the training began with: the mean of both is written,
            and that of both estimators of the level where these are alike. It keeps what a short training forgets and
            loses little of what it learned (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
        blend_share: how much of the mean these are, 0..1; by default 0.3.
        overwrite: replace weights that the folder holds.

    Raises:
        UsageError: a file is missing or is not what it should be, the card is for something else than the network,
            `blend` is of another network or not there for its share, `noise_level` estimates none or is of no use to
            the network, or the folder holds weights or files of something else.
        ModelError: the checkpoint is damaged or not of `denoise train`.
        MediaError: the folder cannot be written.
    """
    if blend is None and blend_share is not None:
        raise UsageError("There is nothing to blend: name weights as --blend, or leave out --blend-share.")
    share = 0.3 if blend_share is None else as_fraction(blend_share, "blend_share")
    state = _read_checkpoint(Path(checkpoint))
    ours = state["denoise"]
    spectrograms = state.get(LogMelPatches.__qualname__, {})
    facts = ({"medium": "sound"} if spectrograms else {}) | _read_card(card) | spectrograms
    if spectrograms and facts["medium"] != "sound":
        raise UsageError(
            f"The card {card} is for pictures and {checkpoint} was trained on spectrograms; give it `medium: sound`."
        )
    metrics = {
        "validation": {} if blend is not None else _validation(ours["metrics"], noise_level is not None),
        "steps of the last training": int(state["global_step"]),
        **({} if blend is None else {"blended": f"{share:g} of the earlier weights {Path(blend).name}"}),
    }
    name = Path(folder).resolve().name
    try:
        described = pretrained.Card(
            **facts, name=name, recipe=ours["recipe"], commit=ours.get("commit") or commit(), metrics=metrics
        )
    except ModelError as error:
        raise UsageError(f"The card {card} has a wrong value: {error}") from error
    network, estimator = (_part(part, state, checkpoint) for part in ("network", "noise_level"))
    assert network is not None
    kind = type(network).__name__
    if described.task not in _TASKS[kind]:
        raise UsageError(
            f"The card {card} is for {described.task} and the {kind} of {checkpoint} for {' or '.join(_TASKS[kind])}; "
            "give another --card, or mend its medium and hole_px."
        )
    if noise_level is not None and kind != "UNet":
        raise UsageError(f"The {kind} of {checkpoint} is told no noise level; leave out --noise-level.")
    if reason := why_no_weights(network):
        raise UsageError(f"{reason}; train one with --model.network.channels 3.")
    if noise_level is not None:
        estimator = pretrained.load(noise_level).noise_level
        if estimator is None:
            raise UsageError(f"The weights {noise_level} estimate no noise level; give others as --noise-level.")
    if blend is not None:
        _blend(network, estimator if noise_level is None else None, blend, share)
    return pretrained.save(folder, pretrained.Weights(network, estimator, described), overwrite)


def as_model(folder: Path) -> str:
    """A weights folder, and how `--model` finds it where a shipped name hides it."""
    name = os.fspath(folder)
    hidden = f"; use it as --model ./{name}, for {name} alone means the shipped weights"
    return name + (hidden if name in pretrained.names() else "")


def _validation(metrics: dict[str, Any], is_other_estimator: bool) -> dict[str, float]:
    """What was measured in training, less what holds for the checkpoint's own estimator alone where it gets another."""
    kept = {key: value for key, value in metrics.items() if not (is_other_estimator and _ESTIMATED.search(key))}
    return {key: round(float(value), 3) for key, value in kept.items()}


def _part(part: str, state: dict[str, Any], checkpoint: str | os.PathLike[str]) -> nn.Module | None:
    """A network with the weights of the checkpoint; None where it has no such part."""
    networks = state["denoise"]["networks"]
    if part not in networks:
        return None
    prefix = part + "."
    tensors = {key.removeprefix(prefix): t for key, t in state["state_dict"].items() if key.startswith(prefix)}
    return pretrained.fill(networks[part], tensors, checkpoint)


def _blend(network: nn.Module, estimator: nn.Module | None, name: str | os.PathLike[str], share: float) -> None:
    other = pretrained.load(name)
    if describe(other.network) != describe(network):
        raise UsageError(f"The weights {name} are of another network and cannot be blended with the checkpoint's.")
    pairs = [(network, other.network)]
    if estimator is not None and other.noise_level is not None and describe(other.noise_level) == describe(estimator):
        pairs.append((estimator, other.noise_level))
    for mine, theirs in pairs:
        earlier = theirs.state_dict()
        for key, value in mine.state_dict().items():
            if value.is_floating_point():
                value.lerp_(earlier[key], share)


def _read_checkpoint(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(f"There is no checkpoint {path}; `denoise train` writes them below the recipe's dirpath.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state["denoise"]["networks"]["network"]
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise ModelError(f"{path} is damaged or not a checkpoint of `denoise train`.") from error
    return dict(state)


def _read_card(path: str | os.PathLike[str] | None) -> dict[str, Any]:
    must = f"a YAML file with {', '.join(REQUIRED)} (and {', '.join(OPTIONAL)} if wanted)"
    if path is None:
        raise UsageError(f"Weights need a card; give --card, {must}.")
    try:
        card = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"The card {path} cannot be read ({type(error).__name__}); give {must}.") from error
    if not isinstance(card, dict):
        raise UsageError(f"The card {path} holds no names with values; give {must}.")
    missing = [key for key in REQUIRED if not card.get(key)]
    unknown = [str(key) for key in card if key not in (*REQUIRED, *OPTIONAL)]
    if missing or unknown:
        wrong = f"lacks {', '.join(missing)}" if missing else f"has an unknown {', '.join(unknown)}"
        raise UsageError(f"The card {path} {wrong}; give {must}.")
    for key in ("summary", "licence"):
        if not isinstance(card[key], str):
            raise UsageError(f"The {key} of the card {path} is no text; give {must}.")
    for key in ("data", "limits"):
        if not isinstance(card[key], str | list):
            raise UsageError(f"The {key} of the card {path} are neither a text nor a list of texts; give {must}.")
        card[key] = [card[key]] if isinstance(card[key], str) else [str(line) for line in card[key]]
    return card
