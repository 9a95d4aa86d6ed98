"""One recording in, one out: read, restore and write block by block, however long it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from denoise.corruptions.base import Corruption
from denoise.corruptions.sound import at_rate, sees
from denoise.errors import UsageError
from denoise.media.atomic import copy_file
from denoise.media.audio import Recording, open_audio
from denoise.networks.stft import hop_length
from denoise.options import Options
from denoise.progress import Progress
from denoise.sound import AS_IT_IS, Heard, SoundRestorer, check_rate, is_sound, listen
from denoise.sound_compare import SoundComparison

_BLOCK = 2**18
_FADE_S = 0.01


@dataclass(frozen=True)
class SoundReport:
    """What was done to one recording."""

    source: str
    output: str
    found: str
    model: str
    strength: float
    attenuation_db: float
    over_full_scale: str
    """What was done about samples over full scale; empty if there were none"""
    residual_over_full_scale: str
    """The same of what was taken out, where that was written"""
    not_finite: int
    """Samples that were NaN, infinite or absurdly loud and became silence"""
    device: str
    dtype: str
    sound_s: float
    seconds: float


def restore_sound_file(
    restorer: SoundRestorer,
    source: Path,
    target: Path,
    options: Options = Options(),
    progress: Progress | None = None,
) -> SoundReport:
    """Restore one recording; rate, channels, length, coding and tags stay.

    Raises:
        UsageError, MediaError: the input cannot be read or the output not be written; see `denoise.errors`.
    """
    began = time.perf_counter()
    with open_audio(source) as recording, ExitStack() as files:
        check_rate(recording.rate_hz)
        rate_hz, (first, last) = recording.rate_hz, _part(recording, options)
        comparison = SoundComparison(rate_hz, options.compare, first / rate_hz) if options.compare is not None else None
        recording.check_output(target)
        copied = options.strength == 0 and source.suffix.lower() == target.suffix.lower()  # not even encoded again
        writer = None if copied else files.enter_context(recording.writer(target, options.clip))
        residual = files.enter_context(recording.writer(options.residual)) if options.residual else None
        not_finite = 0
        for block in _blocks(restorer, recording, first, last, options, writer is None or writer.holds_all):
            not_finite += block.silenced
            if writer is not None:
                writer.write(block.kept.numpy())
            if residual is not None:
                residual.write((block.observed - block.restored).numpy())
            if comparison is not None:
                inside = slice(max(0, first - block.start), max(0, last - block.start))
                comparison.add(block.observed[:, inside], block.restored[:, inside])
            if progress is not None:
                done = min(max(0, block.stop - first), last - first)
                pace = done / rate_hz / (time.perf_counter() - began)
                progress(done // rate_hz, max(1, (last - first) // rate_hz), f"{source.name}, {pace:.0f} x real time")
    if copied:
        copy_file(source, target)
    seconds = round(time.perf_counter() - began, 3)  # the comparison may take longer
    if comparison is not None:
        comparison.write()
    over_full_scale = "" if writer is None else writer.report.describe()
    if residual is not None and writer is not None and writer.report.gain_db:
        over_full_scale += " What was taken out was not."
    return SoundReport(
        source=str(source),
        output=str(target),
        found=recording.describe(),
        model=restorer.card.name if restorer.card else "own",
        strength=options.strength,
        attenuation_db=options.attenuation_db,
        over_full_scale=over_full_scale,
        residual_over_full_scale="" if residual is None else residual.report.describe(),
        not_finite=0 if copied else not_finite,
        device=str(restorer.device),
        dtype=str(restorer.dtype).removeprefix("torch."),
        sound_s=round((last - first) / rate_hz, 3),
        seconds=seconds,
    )


@dataclass(frozen=True)
class _Block:
    """What becomes of a stretch of a recording. Shape: `[C, T]` each."""

    start: int
    stored: Tensor
    """As it is in the file"""
    observed: Tensor
    """The same where it is a number, else silence"""
    restored: Tensor
    kept: Tensor
    """What goes to the output"""

    @property
    def stop(self) -> int:
        return self.start + self.stored.shape[1]

    @property
    def silenced(self) -> int:
        """How many samples became silence."""
        return 0 if self.observed is self.stored else int((~is_sound(self.stored) & is_sound(self.kept)).sum())


def _blocks(
    restorer: SoundRestorer, recording: Recording, first: int, last: int, options: Options, holds_all: bool
) -> Iterator[_Block]:
    """All of a recording, of which the samples from `first` to `last` are restored; at inner ends they fade in and out.

    Only an output that `holds_all` keeps what is no number outside of that part.
    """
    rate_hz = recording.rate_hz
    low, high = _heard(recording, first, last, restorer.context(rate_hz), hop_length(rate_hz))
    yield from _untouched(recording, 0, low, holds_all)
    tape = _Tape(recording, low)
    heard = AS_IT_IS
    if options.strength > 0 and last > first:
        heard = listen(lambda start, stop: tape.look(first + start, first + stop), last - first, rate_hz)
    for start, stop, restored in _restored(restorer, tape, high - low, rate_hz, options, heard):
        stored, mixed = tape.take(stop), restored.cpu()
        observed, kept = _finite(stored), mixed
        if last - first < recording.length:
            share = _share(low + start, low + stop, first, last, recording)
            mixed = observed.lerp(mixed, share)
            kept = torch.where(share > 0, mixed, stored if holds_all else observed)
        yield _Block(low + start, stored, observed, mixed, kept)
    yield from _untouched(recording, high, recording.length, holds_all)


def _untouched(recording: Recording, start: int, stop: int, holds_all: bool) -> Iterator[_Block]:
    """What is not even heard: it goes over as it is, and nothing is taken out of it."""
    for begin in range(start, stop, _BLOCK):
        stored = torch.from_numpy(recording.read(begin, min(begin + _BLOCK, stop)))
        observed = _finite(stored)
        yield _Block(begin, stored, observed, observed, stored if holds_all else observed)


def _restored(
    restorer: SoundRestorer, tape: _Tape, length: int, rate_hz: int, options: Options, heard: Heard
) -> Iterator[tuple[int, int, Tensor]]:
    if options.strength == 0 or length == 0:
        return tape.sweep(length)
    return restorer.restore_samples(tape.read, length, rate_hz, options.strength, options.attenuation_db, heard)


class _Tape:
    """Gives the network finite samples, and keeps what was read until it is taken."""

    def __init__(self, recording: Recording, first: int) -> None:
        self.recording, self.first = recording, first
        self.held = torch.zeros(recording.channels, 0, dtype=torch.float32)
        self.taken = 0

    def read(self, start: int, stop: int) -> Tensor:
        block = torch.from_numpy(self.recording.read(self.first + start, self.first + stop))
        self.held = torch.cat([self.held, block], dim=1)
        return _finite(block)

    def look(self, start: int, stop: int) -> Tensor:
        """Samples of the whole recording, which stay to be read."""
        return torch.from_numpy(self.recording.read(start, stop))

    def take(self, stop: int) -> Tensor:
        """The samples since the last call, up to `stop`."""
        count = stop - self.taken
        block, self.held, self.taken = self.held[:, :count], self.held[:, count:], stop
        return block

    def sweep(self, length: int) -> Iterator[tuple[int, int, Tensor]]:
        """Everything as it is."""
        for start in range(0, length, _BLOCK):
            stop = min(start + _BLOCK, length)
            yield start, stop, self.read(start, stop)


def _finite(block: Tensor) -> Tensor:
    sound = is_sound(block)
    return block if sound.all() else block.where(sound, 0.0)


def _part(recording: Recording, options: Options) -> tuple[int, int]:
    """First sample of the part to restore, and the one after its last."""
    start = round(options.start_s * recording.rate_hz)
    end_s = recording.length / recording.rate_hz if options.end_s is None else options.end_s
    if start >= recording.length > 0:
        seconds = recording.length / recording.rate_hz
        raise UsageError(f"{recording.path} has {seconds:.2f} s, so no part of it starts at {options.start_s:g} s.")
    stop = round(min(end_s * recording.rate_hz, recording.length))
    return min(start, stop), stop


def _heard(recording: Recording, first: int, last: int, context: int, hop: int) -> tuple[int, int]:
    """What the network hears of a recording to restore a part of it as if it restored the whole."""
    return max(0, first - context) // hop * hop, min(recording.length, last + context)


def _share(start: int, stop: int, first: int, last: int, recording: Recording) -> Tensor:
    """How much the restored sound counts: not outside of the part, and fading in and out at its inner ends."""
    fade = round(_FADE_S * recording.rate_hz) + 1
    position = torch.arange(start, stop)
    into = (position - first + 1) / fade if first > 0 else torch.ones(stop - start)
    out = (last - position) / fade if last < recording.length else torch.ones(stop - start)
    return torch.minimum(into, out).clamp(0, 1).float()


def corrupt_sound_file(
    source: Path,
    target: Path,
    corruption: Corruption,
    generator: torch.Generator,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """Damage a recording on purpose; all of it is held in memory, and nothing is clipped that the format can hold.

    Args:
        tell: told in a sentence what became of samples over full scale, if there are any.
    """
    if sees(corruption):
        raise UsageError(f"{source} is sound and part of that is for pictures; choose corruptions for sound.")
    with open_audio(source) as recording:
        recording.check_output(target)
        if recording.length == 0:
            raise UsageError(f"{source} holds no sound, so there is nothing to damage.")
        clean = torch.from_numpy(recording.read(0, recording.length))[None]
        if not is_sound(clean).all():
            raise UsageError(f"{source} holds NaN or infinity, or what is absurdly loud; replace those samples first.")
        observed = at_rate(corruption, recording.rate_hz)(clean, generator).observed[0]
        with recording.writer(target) as writer:
            writer.write(observed.numpy())
    if tell is not None and writer.report.over:
        tell(writer.report.describe())
    return target
