"""What lies below a folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from denoise.errors import MediaError, UsageError


def files_below(folder: Path, kind: Callable[[Path], bool], out: Path | None = None) -> list[Path]:
    """Files of a kind below a folder, in order; hidden ones and links to folders are left out.

    Folders that may not be read are among them, so that whoever reads the files says so. What was written to an output
    folder inside, `out`, is no input.
    """
    written = None if out is None else os.path.realpath(out)
    inside = written is not None and Path(os.path.realpath(folder)) in Path(written).parents
    found: list[Path] = []
    refused: list[OSError] = []
    for root, folders, names in os.walk(folder, onerror=refused.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if inside:
            folders[:] = [name for name in folders if os.path.realpath(Path(root, name)) != written]
        paths = (Path(root, name) for name in names if not name.startswith("."))
        found += [path for path in paths if kind(path) and path.is_file()]
    there = (error for error in refused if not isinstance(error, FileNotFoundError | NotADirectoryError))
    return sorted([*found, *(Path(error.filename) for error in there)])


def check_folder(folder: Path) -> None:
    """Raise UsageError where no folder can be made or written to: ask before the work, not after."""
    there = Path(os.path.realpath(folder))
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise UsageError(f"{there} is a file; choose a folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"The folder {there} may not be written to; choose another one.")


def make_folder(folder: Path) -> None:
    """Make a folder where there is none, and those it lies in; raises MediaError when that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"{folder} cannot be made: {error.strerror}; choose another folder.") from error


def folders_in(folder: Path) -> dict[str, Path]:
    """The folders that lie in one, by their names in small letters."""
    return {path.name.lower(): path for path in folder.glob("*/")}
