"""Restore noisy, scratched or incomplete photos and recordings.

    >>> import denoise
    >>> sorted(name for name in denoise.__all__ if name.islower())
    ['detect', 'index', 'load', 'models', 'restore', 'search', 'write_tour']

The public names are resolved on first use (PEP 562), so that `import denoise` costs milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from denoise.errors import DenoiseError, MediaError, ModelError, UsageError

if TYPE_CHECKING:
    from denoise.detection import Detection, Finding, detect
    from denoise.inpainter import Inpainter
    from denoise.loading import load
    from denoise.picture_files import Report
    from denoise.pipeline import Failure, Skipped, restore
    from denoise.pretrained import models
    from denoise.restorer import Restorer
    from denoise.retrieval import IndexReport, index, search
    from denoise.retrieval_book import Hit
    from denoise.sound import SoundRestorer
    from denoise.sound_files import SoundReport
    from denoise.streamer import Streamer
    from denoise.tour import Tour, write_tour

__version__ = "0.1.0"

__all__ = [
    "DenoiseError",
    "Detection",
    "Failure",
    "Finding",
    "Hit",
    "IndexReport",
    "Inpainter",
    "MediaError",
    "ModelError",
    "Report",
    "Restorer",
    "Skipped",
    "SoundReport",
    "SoundRestorer",
    "Streamer",
    "Tour",
    "UsageError",
    "detect",
    "index",
    "load",
    "models",
    "restore",
    "search",
    "write_tour",
]

_HOMES = {
    "Detection": "denoise.detection",
    "Failure": "denoise.pipeline",
    "Finding": "denoise.detection",
    "Hit": "denoise.retrieval_book",
    "IndexReport": "denoise.retrieval",
    "Inpainter": "denoise.inpainter",
    "Report": "denoise.picture_files",
    "Restorer": "denoise.restorer",
    "Skipped": "denoise.pipeline",
    "SoundReport": "denoise.sound_files",
    "SoundRestorer": "denoise.sound",
    "Streamer": "denoise.streamer",
    "Tour": "denoise.tour",
    "detect": "denoise.detection",
    "index": "denoise.retrieval",
    "load": "denoise.loading",
    "models": "denoise.pretrained",
    "restore": "denoise.pipeline",
    "search": "denoise.retrieval",
    "write_tour": "denoise.tour",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'denoise' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
