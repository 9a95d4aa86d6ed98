"""What the command prints: reports, JSON lines and a bar."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from denoise.errors import naming

if TYPE_CHECKING:
    from denoise.detection import Detection
    from denoise.picture_files import Report
    from denoise.pipeline import Failure, Skipped
    from denoise.retrieval import IndexReport
    from denoise.sound_files import SoundReport


def print_result(result: Report | SoundReport | Skipped | Failure, as_json: bool) -> None:
    """What was found in a file and done to it, or why nothing was."""
    from denoise.picture_files import Report
    from denoise.pipeline import Failure, Skipped

    if as_json:
        typer.echo(as_line(result))
    elif isinstance(result, Skipped):
        pass  # they are counted in the end
    elif isinstance(result, Failure):
        print_failure(result.source, result.error)
    elif isinstance(result, Report):
        found = [result.found]
        if result.sigma:
            level = ", ".join(f"{sigma:g}" for sigma in result.sigma[:4]) + (", ..." if len(result.sigma) > 4 else "")
            found.append(f"noise level {level} of 255")
        if result.filled_px is not None:
            found.append(f"holes of {result.filled_px:,} pixels")
        typer.echo(f"{result.source}: {'; '.join(found)}")
        if result.note:
            typer.echo(result.note)
        typer.echo(
            f"-> {result.output} ({result.model}, {result.device}, {result.dtype}; "
            f"{result.megapixels:g} megapixels in {result.seconds:.1f} s)"
        )
    else:
        typer.echo(f"{result.source}: {result.found}")
        if result.not_finite:
            typer.echo(f"{result.not_finite:,} samples were no numbers, or absurdly loud, and became silence.")
        if result.over_full_scale:
            typer.echo(result.over_full_scale)
        if result.residual_over_full_scale:
            typer.echo(f"Of what was taken out {result.residual_over_full_scale}")
        typer.echo(
            f"-> {result.output} ({result.model}, {result.device}, {result.dtype}; "
            f"{result.sound_s:.1f} s of sound in {result.seconds:.1f} s)"
        )


def print_rest(results: Sequence[object], left_out: Sequence[Path], as_json: bool) -> None:
    """What of a batch was not restored: it is there already, or lies where outputs do."""
    from denoise.pipeline import Skipped

    skipped = sum(isinstance(result, Skipped) for result in results)
    if skipped and not as_json:
        typer.echo(
            f"{skipped} of {len(results)} outputs are there and no older than their files; --overwrite makes them anew."
        )
    if left_out:
        many = f"{len(left_out)} files that are" if len(left_out) > 1 else "a file that is"
        typer.echo(f"The output folder holds {many} no output, {left_out[0]}: restore what lies there apart.", err=True)


def print_findings(found: Detection) -> None:
    """What is unusual, and what could not be judged."""
    for finding in found.anomalies:
        typer.echo(f"{finding.file}: {finding.value:.4g}, above {found.threshold:.4g}")
    for failure in found.failures:
        print_failure(failure.source, failure.error)
    typer.echo(f"{len(found.anomalies)} of {len(found.findings)} are unusual; all scores: {found.scores}")


def print_index(report: IndexReport) -> None:
    """What an index holds now, and what could not be read."""
    for name, reason in report.failures.items():
        print_failure(name, reason)
    typer.echo(
        f"{report.index}: {report.pictures} pictures, {report.patches} patches; {len(report.added)} new, "
        f"{len(report.changed)} changed, {len(report.removed)} gone, {report.unchanged} as they were"
    )


def print_failure(file: str, reason: str) -> None:
    """Why nothing came of a file, on the error stream."""
    typer.echo(naming(file, reason), err=True)


def as_line(record: Any) -> str:
    """A dataclass as strict JSON, which knows neither infinity nor NaN."""
    return json.dumps(_finite(asdict(record)), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def progress_bar() -> Any:
    """A bar for work of over a second, where there is a terminal to show it on."""
    return _Bar() if sys.stderr is not None and sys.stderr.isatty() else nullcontext()


class _Bar:
    def __enter__(self) -> Any:
        import time

        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self.task = self.bar.add_task("")
        self.began = time.monotonic()
        self.shown = False

        def report(done: int, total: int, name: str) -> None:
            if not self.shown and time.monotonic() - self.began > 1:
                self.bar.start()
                self.shown = True
            self.bar.update(self.task, completed=done, total=total, description=name)

        return report

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
