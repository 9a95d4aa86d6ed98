"""What can be asked of an evaluation."""

from __future__ import annotations

from denoise.errors import UsageError
from denoise.options import Options


def check_used(model: str, task: str, options: Options, ensemble: int, corruption: str | None) -> None:
    """Raise UsageError where something is asked for that weights for this task have no use for."""
    options.check_used(f"What {model} restores", task == "sound", ensemble)
    if task == "sound" and corruption is not None:
        raise UsageError("Sound is scored on pairs of recordings, to which nothing is done; leave --corruption out.")
    if task == "holes" and options.sigma != "auto":
        raise UsageError(f"Sigma is of noise and {model} fills holes; leave it out.")
