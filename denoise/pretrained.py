"""Weights on disk: a name or a path becomes networks and a card, and back.

A weights folder holds `model.safetensors` (float16), `config.yaml` (what rebuilds the networks and what inference must
know), `README.md` (the model card) and `metrics.json` (measured). Nothing is ever unpickled or downloaded.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from denoise.errors import ModelError, UsageError
from denoise.media.atomic import replacing, writing
from denoise.networks import build, describe

WEIGHTS, CONFIG, METRICS, README = "model.safetensors", "config.yaml", "metrics.json", "README.md"


@dataclass(frozen=True)
class Card:
    """What is known about a set of weights beside the numbers themselves."""

    name: str
    summary: str
    licence: str
    data: list[str]
    """What it was trained on, with licences"""
    recipe: str
    commit: str
    limits: list[str]
    statistic: str = "curve"
    """How an estimated level conditions the network: `picture` (one level for all of it) or `curve` (by brightness)"""
    medium: str = "image"
    hole_px: int = 0
    """Side of the largest square hole that weights for inpainting fill well; 0 for weights that fill no holes"""
    rate_hz: int = 0
    """Of the recordings whose log-mel spectrograms it was trained on; 0 for anything else"""
    bands: int = 0
    """Mel bands of these"""
    metrics: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.statistic not in ("picture", "curve"):
            raise ModelError(f"Statistic {self.statistic!r} of {self.name} is neither `picture` nor `curve`.")
        if self.medium not in ("image", "sound"):
            raise ModelError(f"Medium {self.medium!r} of {self.name} is neither `image` nor `sound`.")
        if not isinstance(self.hole_px, int) or self.hole_px < 0:
            raise ModelError(f"Hole_px {self.hole_px!r} of {self.name} is no number of pixels from 0.")
        for key in ("rate_hz", "bands"):
            if not isinstance(value := getattr(self, key), int) or value < 0:
                raise ModelError(f"{key.capitalize()} {value!r} of {self.name} is no number from 0.")

    @property
    def task(self) -> str:
        """What it is for: `image` (noise of pictures), `holes` (of pictures) or `sound`."""
        return "holes" if self.hole_px else self.medium


@dataclass(frozen=True)
class Weights:
    """Networks ready to use, in float32 on the CPU, and their card."""

    network: nn.Module
    noise_level: nn.Module | None
    card: Card


def root() -> Path:
    """The folder of shipped weights: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "weights"
    return installed if installed.is_dir() else package.parent / "pretrained"


def names() -> list[str]:
    """Names of the shipped weights."""
    return sorted(path.parent.name for path in root().glob(f"*/{CONFIG}"))


def models() -> list[Card]:
    """Cards of the shipped weights."""
    return [read_card(name) for name in names()]


def find(name_or_path: str | os.PathLike[str]) -> Path:
    """The weights folder that a shipped name, a folder or a weights file means."""
    if not isinstance(name_or_path, str | os.PathLike):
        raise UsageError(f"{name_or_path!r} names no weights; give one of {', '.join(names())}, or a folder.")
    path = Path(name_or_path)
    shipped = [root() / path] if os.fspath(name_or_path) == path.name else []  # `./photo` is one's own
    for folder in (*shipped, path.parent if path.name == WEIGHTS else path):
        if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
            return folder
    raise UsageError(
        f"There are no weights called {str(name_or_path)!r}; shipped are {', '.join(names()) or 'none'}, "
        f"or give a folder that holds {CONFIG} and {WEIGHTS}."
    )


def read_card(name_or_path: str | os.PathLike[str]) -> Card:
    """The card alone, without building a network."""
    folder = find(name_or_path)
    config = _read_config(folder)
    try:
        return Card(**config["card"], metrics=_read_metrics(folder))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / CONFIG} has no valid card: {error}; export the weights again.") from error


def load(name_or_path: str | os.PathLike[str]) -> Weights:
    """Build the networks of a weights folder and fill them; raises ModelError when anything does not fit or verify."""
    folder = find(name_or_path)
    config, card = _read_config(folder), read_card(folder)
    data = _read_bytes(folder / WEIGHTS)
    digest = hashlib.sha256(data).hexdigest()
    if digest != config.get("sha256"):
        raise ModelError(
            f"{folder / WEIGHTS} is not the file that its config was written for (sha256 {digest[:12]}...); "
            "install the package again or export the weights again."
        )
    try:
        tensors = load_tensors(data)
    except SafetensorError as error:
        raise ModelError(f"{folder / WEIGHTS} is not a valid safetensors file: {error}.") from error
    parts = {}
    for part in ("network", "noise_level"):
        prefix = part + "."
        own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        parts[part] = fill(config[part], own, folder / WEIGHTS) if part in config else None
    if parts["network"] is None:
        raise ModelError(f"{folder / CONFIG} describes no network; export the weights again.")
    return Weights(parts["network"], parts["noise_level"], card)


def save(folder: str | os.PathLike[str], weights: Weights, overwrite: bool = False) -> Path:
    """Write a weights folder: float16 safetensors, config, card and metrics; nothing is replaced before all is written.

    Raises:
        UsageError: the folder holds weights, unless `overwrite` is set, or files of those names that are of none.
        ModelError: the weights are not finite.
        MediaError: a file cannot be written.
    """
    folder = Path(folder)
    taken = [name for name in (CONFIG, METRICS, README) if (folder / name).exists()]
    if taken and not (folder / WEIGHTS).is_file():
        raise UsageError(f"{folder} holds a {taken[0]} that is not of weights; give a folder of its own with -o.")
    if (folder / WEIGHTS).exists() and not overwrite:
        raise UsageError(f"{folder} holds weights; give another folder with -o, or --overwrite to replace them.")
    tensors: dict[str, Tensor] = {}
    config: dict[str, Any] = {}
    for part in ("network", "noise_level"):
        module = getattr(weights, part)
        if module is not None:
            config[part] = describe(module)
            tensors |= {f"{part}.{key}": value.half().contiguous() for key, value in module.state_dict().items()}
    if broken := [key for key, value in tensors.items() if not value.isfinite().all()]:
        raise ModelError(f"{broken[0]} is not finite in float16; the training has diverged, use an earlier checkpoint.")
    data = save_tensors(tensors)
    card = asdict(weights.card)
    metrics = card.pop("metrics")
    config |= {"sha256": hashlib.sha256(data).hexdigest(), "card": card}
    contents = {
        WEIGHTS: data,
        CONFIG: yaml.safe_dump(config, sort_keys=False, width=118).encode(),
        METRICS: (json.dumps(metrics, indent=2) + "\n").encode(),
        README: _model_card(weights).encode(),
    }
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:  # at its end they are renamed, the weights and what vouches for them last
        for name, content in contents.items():
            file = files.enter_context(replacing(folder / name))
            file.write(content)
            file.flush()
    return folder


def fill(config: dict[str, Any], tensors: dict[str, Tensor], source: str | os.PathLike[str]) -> nn.Module:
    """Build a network and give it its weights, ready for inference; raises ModelError when they are not its own."""
    with torch.random.fork_rng(devices=[]):  # what a network begins with is drawn in vain
        module = build(config).float()  # whatever the default type is
    needed = {key: list(value.shape) for key, value in module.state_dict().items()}
    given = {key: list(value.shape) for key, value in tensors.items()}
    unlike = [key for key in {**needed, **given} if needed.get(key) != given.get(key)]
    if unlike:
        key = unlike[0]
        raise ModelError(
            f"The weights in {source} are not of the {config['class']} that is described: {key} has shape "
            f"{given.get(key)} and should have {needed.get(key)}; export the weights again."
        )
    module.load_state_dict(tensors)
    return module.eval().requires_grad_(False)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(_read_bytes(folder / CONFIG))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelError(f"{folder / CONFIG} is not valid YAML: {error}.") from error
    if not isinstance(config, dict):
        raise ModelError(f"{folder / CONFIG} holds no config; export the weights again.")
    return config


def _read_metrics(folder: Path) -> dict[str, Any]:
    path = folder / METRICS
    try:
        return dict(json.loads(_read_bytes(path)) if path.is_file() else {})
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path} holds no valid metrics: {error}; export the weights again.") from error


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error


def _in_line(value: Any) -> str:
    return "; ".join(f"{key} {figure}" for key, figure in value.items()) if isinstance(value, dict) else str(value)


def _model_card(weights: Weights) -> str:
    card = weights.card
    parts = [part for part in (weights.network, weights.noise_level) if part is not None]
    sizes = [f"{type(part).__name__} of {sum(p.numel() for p in part.parameters()) / 1e6:.2g} M" for part in parts]
    measured = [f"{key}: {_in_line(value)}" for key, value in card.metrics.items() if value != {}]
    sections = {
        "": [
            f"Licence of the weights: {card.licence}",
            f"Networks: {', '.join(sizes)} weights",
            f"Trained by `denoise train {card.recipe}` at commit {card.commit}",
        ],
        "## Data": card.data,
        "## Measured": measured or ["nothing yet"],
        "## Limits": card.limits,
    }
    lines = [f"# {card.name}", "", card.summary]
    for title, points in sections.items():
        lines += ["", *([title, ""] if title else []), *(f"- {point}" for point in points)]
    return "\n".join([*lines, ""])
