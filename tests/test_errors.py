from __future__ import annotations

import errno
from pathlib import Path

import pytest

from denoise.errors import UsageError, as_sentence, lacks_memory
from tests.conftest import run


def test_errors_of_the_system_are_sentences() -> None:
    assert as_sentence(OSError(errno.ENOSPC, "No space left on device", "a.png")) == "a.png: No space left on device."
    assert as_sentence(OSError("the disk took only part of it")) == "the disk took only part of it."
    assert as_sentence(PermissionError()) == "PermissionError."
    assert as_sentence(UsageError("Sigma is 3.")) == "Sigma is 3."


def test_a_lack_of_memory_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In verbs that do not go on after a file, and of PyTorch, whose error is of no type of its own."""

    def hungry(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000000 bytes.")

    monkeypatch.setattr("denoise.retrieval.index", hungry)
    assert run(monkeypatch, "index", tmp_path, "-o", tmp_path / "index") == 1
    assert "denoise: This takes more memory than there is" in capsys.readouterr().err
    assert lacks_memory(MemoryError())
    assert not lacks_memory(RuntimeError("shapes differ"))
