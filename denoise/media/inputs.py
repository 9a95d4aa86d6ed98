"""What every input file must be before anything looks into it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from denoise.errors import MediaError, UsageError


def check_input(path: Path, what: str) -> None:
    """Raise UsageError for what is no file, and MediaError for one that is empty or may not be read.

    Args:
        path: of the input.
        what: it should hold, for the message: `picture` or `sound`.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"There is no file {path}.") from None
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror}.") from error
    if not os.access(path, os.R_OK):
        raise MediaError(f"{path} may not be read: permission denied.")
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{path} is {'a folder' if path.is_dir() else 'not a file'}; name a {what} file.")
    if status.st_size == 0:
        raise MediaError(f"{path} is empty; there is nothing to restore in it.")
