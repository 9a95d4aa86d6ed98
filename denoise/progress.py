"""How far a piece of work is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called now and then with what is done, how much there is in all, and what is being worked on"""
