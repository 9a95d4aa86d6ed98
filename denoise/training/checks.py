"""Numbers among the options, looked at before anything is read."""

from __future__ import annotations

import math

from denoise.errors import UsageError

MOST_SEED = 10**9
"""Seeds beyond it would be mixed into numbers that generators do not take"""


def require_within(option: str, value: float, low: float, high: float = math.inf) -> None:
    """Raise UsageError where an option is not a number within `low`..`high`."""
    if not low <= value <= high:
        allowed = f"of at least {low}" if math.isinf(high) else f"within {low}..{high}"
        raise UsageError(f"--{option} {value} is not allowed: give a number {allowed}.")
