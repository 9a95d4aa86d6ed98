"""The errors a caller may want to catch. One tree, one base.

    DenoiseError          exit code 1
    ├── UsageError        exit code 2: the request itself cannot be carried out as asked
    ├── MediaError        a file cannot be read or written
    └── ModelError        weights cannot be read or trusted

Every message is one sentence or two: what came, what is allowed, what to do.
"""

from __future__ import annotations

from collections.abc import Iterator

_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")
"""What PyTorch says, on a CPU by no type of error of its own"""


class DenoiseError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1


class UsageError(DenoiseError):
    """The request cannot be carried out as asked: a missing input, an option out of range, output equal to input."""

    exit_code = 2


class MediaError(DenoiseError):
    """A file cannot be read or written: truncated, not an image, no permission, no space left."""


class ModelError(DenoiseError):
    """Weights or their config cannot be read or trusted."""


def as_sentence(error: DenoiseError | OSError) -> str:
    """What went wrong, for a person; an error of the system names its file where it is about one."""
    if isinstance(error, DenoiseError):
        return str(error)
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror or str(error) or type(error).__name__}."


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it came from or amid whose handling it came, the first one last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def lacks_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether an error, of Python or PyTorch, says that there is too little memory."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in _NO_MEMORY)


def naming(file: str, reason: str) -> str:
    """Why nothing came of a file, with its name; most reasons have it in them."""
    return reason if file in reason else f"{file}: {reason}"
