"""Networks: plain modules that know nothing of files, devices, windows or Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from denoise.errors import ModelError
from denoise.networks.autoencoder import Autoencoder
from denoise.networks.inpainting import InpaintingUNet
from denoise.networks.noise_level import NoiseLevel
from denoise.networks.spectral import SpectralUNet
from denoise.networks.unet import UNet

NETWORKS: dict[str, type[nn.Module]] = {
    "UNet": UNet,
    "InpaintingUNet": InpaintingUNet,
    "NoiseLevel": NoiseLevel,
    "SpectralUNet": SpectralUNet,
    "Autoencoder": Autoencoder,
}
"""What a weights folder may name. Nothing else is ever built from a config."""


def build(config: Mapping[str, Any]) -> nn.Module:
    """Build a network from `{"class": name, **arguments}`; raises ModelError for what it does not know."""
    name = config.get("class") if isinstance(config, Mapping) else config
    if name not in list(NETWORKS):  # a list, for the name may be anything at all
        raise ModelError(f"Network {name!r} is not known; a config may name {', '.join(NETWORKS)}.")
    arguments = {key: value for key, value in config.items() if key != "class"}
    try:
        return NETWORKS[name](**arguments)
    except Exception as error:  # there is no end to what a wrong argument may raise
        raise ModelError(f"{name} cannot be built from {arguments}: {error}.") from error


def describe(network: nn.Module) -> dict[str, Any]:
    """The config that `build` makes the same network from."""
    return {"class": type(network).__name__, **network.config}  # type: ignore[dict-item]
