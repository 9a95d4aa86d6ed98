"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from denoise.errors import DenoiseError, MediaError, UsageError, chain


def check_place(path: Path) -> None:
    """Raise UsageError where no file can be written: ask before the work, not after."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it.")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is a device or the like; name a regular file.")
    folder = Path(os.path.realpath(path)).parent  # a link is followed
    if not folder.is_dir():
        raise UsageError(f"The folder {folder} does not exist; create it first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"The folder {folder} may not be written to; choose another one.")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """As `appearing`, for a block that does nothing but write the file.

    Raises:
        MediaError: whatever went wrong in the block or on the disk, in one sentence.
    """
    with appearing(path) as file, writing(path):
        yield file


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[IO[bytes]]:
    """A file open for reading and writing that becomes `path` when the block ends well, and vanishes when it does not.

    It lies in the same folder under a hidden name, reaches the disk before it is renamed, and gets the permission bits
    of the file it replaces, and its owner where that is allowed, or those of any newly created file. A link is
    followed, not replaced. Errors of the block pass through as they are.

    Raises:
        MediaError: the file could not be made, flushed or renamed.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with writing(path):
            file = part.open("x+b")
        try:
            yield file
            with writing(path):
                file.flush()
                os.fsync(file.fileno())
        finally:
            with contextlib.suppress(OSError):  # of a failed block, whose own error is on its way
                file.close()
        with writing(path):
            if target.exists():
                _take_after(target, part)
            part.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever goes wrong while `path` is written as a MediaError, but for a lack of memory."""
    try:
        yield
    except (DenoiseError, MemoryError):
        raise
    except Exception as error:
        # PyTorch's own error hides what went wrong, and that the user wanted to stop.
        cause = next((one for one in chain(error) if isinstance(one, OSError | KeyboardInterrupt)), error)
        if isinstance(cause, KeyboardInterrupt):
            raise cause from None
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise MediaError(
            f"{path} could not be written ({reason}) and is as it was. "
            "Make room there, or choose another folder or format for the output."
        ) from error


def _take_after(old: Path, new: Path) -> None:
    """Owner and permission bits; that order, for a new owner may clear some."""
    if hasattr(os, "chown"):
        with contextlib.suppress(OSError):  # only root may give files away
            os.chown(new, old.stat().st_uid, old.stat().st_gid)
    shutil.copymode(old, new)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file whole, atomically; nothing to do where it is the same one."""
    if not (target.exists() and target.samefile(source)):
        with source.open("rb") as content, replacing(target) as file:
            shutil.copyfileobj(content, file)
