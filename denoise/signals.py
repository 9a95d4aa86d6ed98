"""SIGTERM and a terminal that closes end the command as Ctrl-C does: what is half written is taken away."""

from __future__ import annotations

import signal
import sys
import threading

ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a command beside Ctrl-C; not every system has both"""

STOPPED = {128 + signum for signum in (signal.SIGINT, *ENDING)}
"""Exit codes of a command that was stopped, as shells count them"""


def end_cleanly() -> None:
    """Unwind the stack after such a signal, unless it is ignored or somebody else's to handle."""
    if threading.current_thread() is not threading.main_thread():  # no other may
        return
    for signum in ENDING:
        if signal.getsignal(signum) == signal.SIG_DFL:
            signal.signal(signum, lambda number, _: sys.exit(128 + number))
