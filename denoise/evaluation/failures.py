"""Files of a set that cannot be scored."""

from __future__ import annotations

from collections.abc import Sequence

from denoise.errors import MediaError, naming


def require_scores(scores: Sequence[object], failures: dict[str, str]) -> None:
    """Raise MediaError, with the first reason, when no file could be scored."""
    if not scores:
        raise MediaError(f"No file could be scored. {naming(*next(iter(failures.items())))}")
