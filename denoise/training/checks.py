"""What is looked at before anything is read: numbers among the options, and what will become of the networks."""

from __future__ import annotations

import math

from torch import nn

from denoise.errors import UsageError
from denoise.networks import NETWORKS

MOST_SEED = 10**9
"""Seeds beyond it would be mixed into numbers that generators do not take"""


def require_within(option: str, value: float, low: float, high: float = math.inf) -> None:
    """Raise UsageError where an option is not a number within `low`..`high`."""
    if not low <= value <= high:
        allowed = f"of at least {low}" if math.isinf(high) else f"within {low}..{high}"
        raise UsageError(f"--{option} {value} is not allowed: give a number {allowed}.")


def why_no_weights(network: nn.Module) -> str:
    """Why `denoise export-weights` makes no weights of a network, or nothing where it does."""
    kind = type(network).__name__
    if NETWORKS.get(kind) is not type(network):
        return f"The {kind} is no network of this package and cannot become weights"
    if kind in ("UNet", "InpaintingUNet") and network.channels != 3:
        return f"The {kind} is for {network.channels} bands and would restore no files, which takes three"
    return ""
