from __future__ import annotations

import errno

from denoise.errors import UsageError, as_sentence


def test_errors_of_the_system_are_sentences() -> None:
    assert as_sentence(OSError(errno.ENOSPC, "No space left on device", "a.png")) == "a.png: No space left on device."
    assert as_sentence(OSError("the disk took only part of it")) == "the disk took only part of it."
    assert as_sentence(PermissionError()) == "PermissionError."
    assert as_sentence(UsageError("Sigma is 3.")) == "Sigma is 3."
