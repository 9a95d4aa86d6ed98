"""A training checkpoint becomes a weights folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from denoise import pretrained
from denoise.errors import ModelError, UsageError
from denoise.models import build


def export(checkpoint: str | os.PathLike[str], folder: str | os.PathLike[str], card: str | os.PathLike[str] | None = None) -> Path:
    """Write the averaged weights of a checkpoint as a weights folder.

    Args:
        checkpoint: file that `denoise train` wrote.
        folder: where to write; its name becomes the name of the weights.
        card: YAML file with `summary`, `licence`, `data`, `limits` and optionally `statistic`; see `recipes/*/*.card.yaml`.

    Raises:
        UsageError: a file is missing or is not what it should be.
    """
    state = _read_checkpoint(Path(checkpoint))
    parts: dict[str, nn.Module | None] = {"network": None, "noise_level": None}
    for part, config in state["denoise"]["networks"].items():
        module = build(config)
        prefix = part + "."
        own = {key.removeprefix(prefix): value for key, value in state["state_dict"].items() if key.startswith(prefix)}
        module.load_state_dict(own)
        parts[part] = module
    network = parts["network"]
    assert network is not None
    facts = {"summary": "", "licence": "not stated", "data": [], "limits": [], **_read_yaml(card)}
    facts |= {"name": Path(folder).name, "recipe": state["denoise"]["recipe"], "commit": _commit()}
    try:
        described = pretrained.Card(**facts, metrics=_metrics(state))
    except TypeError as error:
        raise UsageError(f"{card} does not describe weights: {error}.") from error
    return pretrained.save(folder, pretrained.Weights(network, parts["noise_level"], described))


def _read_checkpoint(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(f"There is no checkpoint {path}; `denoise train` writes them below the recipe's dirpath.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state["denoise"]["networks"]["network"]
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise ModelError(f"{path} is not a checkpoint of `denoise train`: {error}.") from error
    return dict(state)


def _read_yaml(path: str | os.PathLike[str] | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return dict(yaml.safe_load(Path(path).read_text()))
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read as YAML: {error}.") from error


def _metrics(state: dict[str, Any]) -> dict[str, Any]:
    validation = {key: round(float(value), 3) for key, value in state["denoise"]["metrics"].items()}
    return {"validation": validation, "steps": int(state["global_step"])}


def _commit() -> str:
    """The commit of the checkout that trains, or 'unknown' outside one."""
    here = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()
