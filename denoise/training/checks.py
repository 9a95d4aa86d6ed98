"""What is looked at before anything is read: numbers among the options, and what will become of the networks."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from denoise.errors import UsageError
from denoise.networks import NETWORKS

MOST_SEED = 10**9
"""Seeds beyond it would be mixed into numbers that generators do not take"""

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""With the others the corruptions would be computed in other than float32"""


def require_within(option: str, value: float, low: float, high: float = math.inf) -> None:
    """Raise UsageError where an option is not a number within `low`..`high`."""
    if not low <= value <= high:
        allowed = f"of at least {low}" if math.isinf(high) else f"within {low}..{high}"
        raise UsageError(f"--{option} {value} is not allowed: give a number {allowed}.")


def check_numbers(config: Any) -> None:
    """Raise UsageError for what Lightning itself would take, or fail over in the midst of a training."""
    trainer = config.trainer
    if trainer.precision not in (None, 32, "32", 16, "16", "bf16", *PRECISIONS):
        raise UsageError(
            f"--trainer.precision {trainer.precision} is not allowed: give one of {', '.join(PRECISIONS)}."
        )
    least = {"accumulate_grad_batches": 1, "gradient_clip_val": 0, "log_every_n_steps": 0, "check_val_every_n_epoch": 1}
    for name, low in least.items():
        if (value := trainer[name]) is not None:
            whole = value if value % 1 else int(value)  # the parser makes either kind of what may be both
            require_within(f"trainer.{name}", whole, low)
    if isinstance(every := trainer.val_check_interval, int | float) and every <= 0:
        require_within("trainer.val_check_interval", every, 1)
    if not isinstance(seed := config.seed_everything, bool):
        require_within("seed_everything", seed, 0, 2**32 - 1)


def why_no_weights(network: nn.Module) -> str:
    """Why `denoise export-weights` makes no weights of a network, or nothing where it does."""
    kind = type(network).__name__
    if NETWORKS.get(kind) is not type(network):
        return f"The {kind} is no network of this package and cannot become weights"
    if kind in ("UNet", "InpaintingUNet") and network.channels != 3:
        return f"The {kind} is for {network.channels} bands and would restore no files, which takes three"
    return ""
