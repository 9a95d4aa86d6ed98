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
    from denoise.pipeline import Failure, Report, restore
    from denoise.pretrained import models
    from denoise.restorer import Restorer, load

__version__ = "0.1.0"

__all__ = [
    "DenoiseError",
    "Failure",
    "MediaError",
    "ModelError",
    "Report",
    "Restorer",
    "UsageError",
    "load",
    "models",
    "restore",
]

_HOMES = {
    "Failure": "denoise.pipeline",
    "Report": "denoise.pipeline",
    "Restorer": "denoise.restorer",
    "load": "denoise.restorer",
    "models": "denoise.pretrained",
    "restore": "denoise.pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'denoise' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
