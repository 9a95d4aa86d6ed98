"""Restore noisy, scratched or incomplete photos and recordings.

    >>> import denoise
    >>> sorted(name for name in denoise.__all__ if name.islower())
    ['load', 'models', 'restore']

The public names are resolved on first use (PEP 562), so that `import denoise` costs milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from denoise.errors import DenoiseError, MediaError, ModelError, UsageError

if TYPE_CHECKING:
    from denoise.loading import load
    from denoise.pipeline import Failure, Report, restore
    from denoise.pretrained import models
    from denoise.restorer import Restorer
    from denoise.sound import SoundRestorer
    from denoise.sound_files import SoundReport
    from denoise.streamer import Streamer

__version__ = "0.1.0"

__all__ = [
    "DenoiseError",
    "Failure",
    "MediaError",
    "ModelError",
    "Report",
    "Restorer",
    "SoundReport",
    "SoundRestorer",
    "Streamer",
    "UsageError",
    "load",
    "models",
    "restore",
]

_HOMES = {
    "Failure": "denoise.pipeline",
    "Report": "denoise.pipeline",
    "Restorer": "denoise.restorer",
    "SoundReport": "denoise.sound_files",
    "SoundRestorer": "denoise.sound",
    "Streamer": "denoise.streamer",
    "load": "denoise.loading",
    "models": "denoise.pretrained",
    "restore": "denoise.pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'denoise' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
