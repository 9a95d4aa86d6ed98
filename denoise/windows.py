"""Overlapped windows: a network made for patches restores a signal of any size and any number of dimensions.

Along each axis two neighbours overlap by `2 * context + fade` samples, rounded up to whole units of `multiple_of`:

    window k     ───────────────────────────────┤context│
    result of k  ──────────────────────╲        ┆
    result of k+1                       ╲──────────────────────
    window k+1                  │context├──────────────────────
                                        fade

Near an inner border a window cannot see far enough, so `context` samples of its result are dropped. Over the next
`fade` samples one result turns linearly into the other: both saw the same samples, so their errors are correlated and
the weights must sum to one in amplitude. With `context` at least the radius of the network's receptive field, the
windowed result equals that of the whole signal in one piece.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from denoise.errors import DenoiseError, ModelError, UsageError

Network = Callable[[Tensor, tuple[slice, ...]], Tensor]
"""`(window [1, C, *W], its position in the padded signal) -> [1, C_out, *W]`, on any device and of any float dtype."""

Read = Callable[[int, int], Tensor]
"""`(start, stop) -> [C, stop - start, *rest]` float32: these rows of the signal."""


SLAB = 2**20
"""About how many samples a channel are read at once: what the reader needs beside them stays small"""


@dataclass(frozen=True)
class Windows:
    """How a signal is cut along every axis, in samples."""

    size: int
    """Longest side of a window"""
    context: int = 0
    """Samples next to an inner window border whose result is dropped"""
    fade: int = 0
    """Samples over which the results of two neighbours cross-fade"""
    multiple_of: int = 1
    """Windows start and end at multiples of it, so that a strided network sees the phase of the whole signal"""

    def __post_init__(self) -> None:
        if min(self.context, self.fade) < 0 or self.multiple_of < 1:
            raise UsageError(f"{self}: context and fade must be at least 0 and multiple_of at least 1.")
        if self.size < self.smallest:
            raise UsageError(f"A window size of {self.size} is too small; choose {self.smallest} or more ({self}).")

    @property
    def overlap(self) -> int:
        """Samples that two neighbours share."""
        return _round_up(2 * self.context + self.fade, self.multiple_of)

    @property
    def smallest(self) -> int:
        """The least `size` with which windows still advance."""
        return self.overlap + self.multiple_of


@dataclass(frozen=True)
class Span:
    """A window along one axis: the network reads `start:stop`; of its result `keep_start:keep_stop` is used."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int


def spans(length: int, windows: Windows, start: int = 0) -> list[Span]:
    """Cut `start:length` into near-equal windows that end where the signal, padded to a multiple, ends.

    The kept parts cover `length`; each shares its first `fade` samples with the last ones of its predecessor. With a
    `start` above 0, a multiple of `multiple_of`, an earlier window is understood to come before.

    >>> [(span.start, span.stop) for span in spans(20, Windows(size=12, context=2, fade=2, multiple_of=2))]
    [(0, 10), (4, 14), (8, 20)]
    """
    unit, overlap = windows.multiple_of, windows.overlap
    # n windows cover n * (size - overlap) + overlap samples. The least such n is taken and the way to go is dealt out
    # evenly in units: sides differ by one unit at most and no overlap is wider than needed.
    way = _round_up(length, unit) - start - overlap
    count = max(1, -(-way // (windows.size // unit * unit - overlap)))
    edges = [start + way // unit * i // count * unit for i in range(count + 1)]
    # Rounding the overlap up leaves some slack; half of it goes to either side of the fade.
    lead = (overlap - windows.fade) // 2
    return [
        Span(
            start=low,
            stop=high + overlap,
            keep_start=low + lead if low > 0 else 0,
            keep_stop=high + lead + windows.fade if high < edges[-1] else length,
        )
        for low, high in pairwise(edges)
    ]


def pad(signal: Tensor, multiple_of: int) -> Tensor:
    """Lengthen the far end of every axis to a multiple, by reflection and, where that runs out, replication.

    Shape:
        - Input: `[C, *S]`
        - Output: `[C, *P]`, each side the next multiple
    """
    for axis in range(1, signal.ndim):
        signal = _pad_axis(signal, axis, multiple_of)
    return signal


def rows_of(signal: Tensor) -> Read:
    """A reader of a signal that is in memory, `[C, *S]`."""
    return lambda start, stop: signal[:, start:stop]


def sweep(network: Network, signal: Tensor, windows: Windows) -> Tensor:
    """Restore a signal that is in memory; see `sweep_rows`.

    Shape:
        - Input: `[C, *S]` float32
        - Output: `[C_out, *S]` float32
    """
    out: Tensor | None = None
    for start, stop, rows in sweep_rows(network, rows_of(signal), signal.shape[1:], windows):
        if out is None:
            out = rows.new_empty(rows.shape[0], *signal.shape[1:])
        out[:, start:stop] = rows
    assert out is not None
    return out


def sweep_rows(
    network: Network, read: Read, shape: Sequence[int], windows: Windows
) -> Iterator[tuple[int, int, Tensor]]:
    """Restore a signal of `shape` along its first axis: yield `(start, stop, rows)` in order, each once it is final.

    `read` is asked for every row once, in order, and before it is yielded: rows may be written over their source.
    Memory holds a few bands of windows, whatever the length. The network gets its own copy of each window: it may work
    in place, or return it to pass it through. A condition travels as further channels of the signal, or is lengthened
    by `pad` and indexed with the position. When an accelerator runs out of memory, windows halve and only the current
    band is done again; a lack of memory on a CPU, which is no `torch.OutOfMemoryError`, passes.

    Shape:
        - Read: `[C, stop - start, *shape[1:]]` float32
        - Yielded: `[C_out, stop - start, *shape[1:]]` float32

    Raises:
        UsageError: the signal is empty.
        ModelError: the network changed the sides of a window.
        DenoiseError: an accelerator has no memory for the smallest window.
    """
    if not shape or min(shape) < 1:
        raise UsageError(f"A signal of shape {tuple(shape)} is empty; every axis needs at least one sample.")
    source = _Source(read, shape, windows.multiple_of)
    bands = iter(spans(shape[0], windows))
    band: Span | None = next(bands)
    fading: Tensor | None = None  # the last rows of the previous band, which turn into the first of this one
    while band is not None:
        cuts = [spans(length, windows) for length in shape[1:]]
        source.fetch(band.stop)  # not below: a row is read once, however often its band is tried
        try:
            rows = _restore(network, source.rows(band), cuts, (slice(band.start, band.stop),))
        except torch.OutOfMemoryError as error:
            windows = _halved(windows, [[band], *cuts], error)
            bands = iter(spans(shape[0], windows, band.start))
            band = next(bands)
            continue
        rows = rows[:, band.keep_start - band.start : band.keep_stop - band.start]
        if not cuts:  # then it may be a buffer of the network's own
            rows = rows.clone()
        if fading is not None:
            first = rows[:, : fading.shape[1]]
            first.copy_(_cross_fade(fading, first, axis=1))
        start, band = band.keep_start, next(bands, None)
        stop = shape[0] if band is None else band.keep_start
        fading = rows[:, stop - start :].clone()  # a compiled network may use the memory of its result again
        if band is not None:
            source.forget(band.start)
        yield start, stop, rows[:, : stop - start]
        del rows  # not held beside the next band


class _Source:
    """The rows that were read and are still needed, padded like the whole signal."""

    def __init__(self, read: Read, shape: Sequence[int], multiple_of: int) -> None:
        self.read = read
        self.length, *self.rest = shape
        self.multiple_of = multiple_of
        self.start = self.stop = 0
        self.held: Tensor | None = None

    def fetch(self, stop: int) -> None:
        """Read on up to `stop`, a multiple."""
        if stop <= self.stop:
            return
        end = min(stop, self.length)
        step = max(1, SLAB // math.prod(self.rest))
        held: Tensor | None = None
        for start in range(self.stop, end, step):
            slab = self.read(start, min(start + step, end))
            for axis in range(2, slab.ndim):
                slab = _pad_axis(slab, axis, self.multiple_of)
            if held is None:
                held = slab.new_empty(slab.shape[0], end - self.start, *slab.shape[2:])
                if self.held is not None:
                    held[:, : self.stop - self.start] = self.held
            held[:, start - self.start : start - self.start + slab.shape[1]] = slab
        assert held is not None
        self.held = _pad_axis(held, 1, self.multiple_of)
        self.stop = stop

    def rows(self, span: Span) -> Tensor:
        """Shape: `[C, span.stop - span.start, *P]`, a view."""
        assert self.held is not None
        return self.held[:, span.start - self.start : span.stop - self.start]

    def forget(self, before: int) -> None:
        """Let go of the rows before `before`, except for one unit: the reflection at the far end may need it."""
        assert self.held is not None
        start = max(before - self.multiple_of, 0)
        # Cloned, because a view would keep the whole band alive, or change with a source that is written over.
        self.held = self.held[:, start - self.start :].clone()
        self.start = start


def _restore(network: Network, block: Tensor, cuts: list[list[Span]], position: tuple[slice, ...]) -> Tensor:
    """Restore a block that is as long as a window along the axes in `position`, and is cut along the axes after them.

    Joining axis by axis makes the weight of a window the product of its weights along the axes.
    """
    if not cuts:
        window = block[None].clone()
        result = network(window, position)
        if result.shape[2:] != window.shape[2:]:
            raise ModelError(
                f"The network turned a window of {tuple(window.shape)} into {tuple(result.shape)}; "
                "it must keep sides that are multiples of its multiple_of."
            )
        return result[0].to(block)
    axis = 1 + len(position)
    out: Tensor | None = None
    done = 0
    for span in cuts[0]:
        part = block.narrow(axis, span.start, span.stop - span.start)
        part = _restore(network, part, cuts[1:], (*position, slice(span.start, span.stop)))
        part = part.narrow(axis, span.keep_start - span.start, span.keep_stop - span.keep_start)
        if out is None:
            out = part.new_empty(*part.shape[:axis], cuts[0][-1].keep_stop, *part.shape[axis + 1 :])
        shared = done - span.keep_start
        before = out.narrow(axis, span.keep_start, shared)
        before.copy_(_cross_fade(before, part.narrow(axis, 0, shared), axis))
        out.narrow(axis, done, span.keep_stop - done).copy_(part.narrow(axis, shared, span.keep_stop - done))
        done = span.keep_stop
    assert out is not None
    return out


def _cross_fade(before: Tensor, after: Tensor, axis: int) -> Tensor:
    count = after.shape[axis]
    weight = (torch.arange(count, dtype=after.dtype, device=after.device) + 0.5) / max(count, 1)
    return torch.lerp(before, after, weight.reshape(-1, *[1] * (after.ndim - axis - 1)))


def _halved(windows: Windows, cuts: list[list[Span]], error: torch.OutOfMemoryError) -> Windows:
    # Halve what was tried, which is less than `windows.size` where the signal is.
    tried = max(span.stop - span.start for axis in cuts for span in axis)
    if tried <= windows.smallest:
        raise DenoiseError(
            f"The device has no memory for a window of {tried} samples a side, and {windows.smallest} is the smallest "
            "that this network allows; free memory or choose another device (--device cpu)."
        ) from error
    return replace(windows, size=max(tried // 2, windows.smallest))


def _pad_axis(signal: Tensor, axis: int, multiple_of: int) -> Tensor:
    length = signal.shape[axis]
    beyond = torch.arange(length, _round_up(length, multiple_of), device=signal.device)
    if len(beyond) == 0:
        return signal
    # Sample length - 1 + k repeats sample length - 1 - k; past the near end the clamp repeats sample 0.
    mirrored = (2 * (length - 1) - beyond).clamp(min=0)
    return torch.cat([signal, signal.index_select(axis, mirrored)], dim=axis)


def _round_up(length: int, unit: int) -> int:
    return -(-length // unit) * unit
