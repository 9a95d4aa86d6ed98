"""Which file a restoration writes: names, folders and trees, and what must not be replaced."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from denoise.errors import UsageError
from denoise.media.audio import is_audio
from denoise.media.audio_formats import READ_ONLY
from denoise.media.folders import check_folder, files_below, make_folder
from denoise.media.image import is_image
from denoise.options import Options

PathLike = str | os.PathLike[str]


def is_made(source: Path, target: Path) -> bool:
    """Whether an output is there, is not the source itself, and is no older than that.

    A source whose date is to come, for a clock was wrong, makes no output old.
    """
    if not (target.is_file() and source.is_file()) or target.samefile(source):
        return False
    changed = source.stat().st_mtime
    return target.stat().st_mtime >= changed or changed > time.time()


def jobs(sources: Sequence[Path], out: PathLike | None, overwrite: bool = False) -> list[tuple[Path, Path]]:
    """Pairs of input and output for files and folders; of a folder the tree is kept and hidden files left out.

    `NAME.restored.EXT` beside its `NAME.EXT`, which a pattern names too, is what a batch before has made, and no input.

    Raises:
        UsageError: there is nothing to restore, two inputs have the same output, or an output is an input
            (its own is allowed with `overwrite`).
    """
    if out is not None and (Path(out).is_file() or ((is_image(out) or is_audio(out)) and not Path(out).exists())):
        raise UsageError(f"Several inputs need a folder to go to, and {out} is a file; give one with -o.")
    pairs: list[tuple[Path, Path]] = []
    for source in sources:
        if source.is_dir():
            pairs += _folder_jobs(source, out)
        else:
            pairs.append((source, default_output(source) if out is None else Path(out) / named(source).name))
    if out is not None:
        made = {os.path.realpath(default_output(source)) for source, _ in pairs}
        pairs = [(source, target) for source, target in pairs if os.path.realpath(source) not in made]
    pairs = list({_real(pair): pair for pair in pairs}.values())  # a file may be named twice
    counts = Counter(os.path.realpath(target) for _, target in pairs)
    if twice := sorted({Path(target).name for target, count in counts.items() if count > 1}):
        raise UsageError(f"Several inputs would be written to the same file: {', '.join(twice)}; restore them apart.")
    return _apart(pairs, beside=out is None, overwrite=overwrite)


def _apart(pairs: list[tuple[Path, Path]], beside: bool, overwrite: bool) -> list[tuple[Path, Path]]:
    """The pairs whose input is no output of another; raises UsageError rather than replace an input unasked."""
    real = [_real(pair) for pair in pairs]
    inputs, made = {place for place, _ in real}, set()
    for (source, target), (place, goal) in zip(pairs, real, strict=True):
        if goal not in inputs or (overwrite and goal == place):
            continue
        if not beside:
            further = ", or --overwrite to replace it" if goal == place else ""
            raise UsageError(f"The output {target} is one of the inputs; choose another folder with -o{further}.")
        if not overwrite and not is_made(source, target):
            raise UsageError(
                f"{target} is one of the inputs, and older than {source} whose output it would be; "
                "leave it out, or --overwrite to replace it."
            )
        made.add(goal)
    return [pair for pair, (place, _) in zip(pairs, real, strict=True) if place not in made]


def _real(pair: tuple[Path, Path]) -> tuple[str, str]:
    source, target = pair
    return os.path.realpath(source), os.path.realpath(target)


def _folder_jobs(folder: Path, out: PathLike | None) -> list[tuple[Path, Path]]:
    if out is None:
        raise UsageError(f"{folder} is a folder; say where the restored tree goes with -o FOLDER.")
    out = Path(out)
    if os.path.realpath(out) == os.path.realpath(folder):
        raise UsageError(f"The output folder {out} is the input folder; choose another with -o.")
    paths = files_below(folder, _is_media, out)
    pairs = [(path, out / named(path.relative_to(folder))) for path in paths]
    if not pairs:
        raise UsageError(f"There is no picture and no sound below {folder}.")
    return pairs


def left_out(sources: Sequence[Path], out: PathLike | None, pairs: Sequence[tuple[Path, Path]]) -> list[Path]:
    """Files that no output is called like in an output folder inside an input folder, which may be originals."""
    if out is None:
        return []
    place = Path(os.path.realpath(out))
    if not any(source.is_dir() and place.is_relative_to(os.path.realpath(source)) for source in sources):
        return []
    made = {os.path.realpath(target) for _, target in pairs}
    return [path for path in files_below(Path(out), _is_media) if os.path.realpath(path) not in made]


def _is_media(path: Path) -> bool:
    return is_image(path) or is_audio(path)


def default_output(source: Path) -> Path:
    """`photo.png` -> `photo.restored.png`; formats that are only read become FLAC."""
    return source.with_name(f"{source.stem}.restored{named(source).suffix}")


def named(source: Path) -> Path:
    """The file with the suffix of a format that is written: what is only read becomes FLAC."""
    return source.with_suffix(".flac") if source.suffix.lower() in READ_ONLY else source


def single_target(source: Path, out: PathLike | None, overwrite: bool) -> Path:
    """The file to write for one input, whose folder is made where a name without a suffix says that it is one.

    `NAME.restored.EXT`, the name that nobody chose, is replaced. Raises UsageError rather than replace a file that was
    named, unasked.
    """
    if not source.exists():
        raise UsageError(f"There is no file {source}; check the name.")
    target = goal(source, out)
    if target.exists() and not overwrite:
        if target.samefile(source):
            raise UsageError(f"The output {target} is the input; give another with -o, or --overwrite to replace it.")
        if out is not None:
            raise UsageError(f"{target} exists; choose another output, or --overwrite to replace it.")
    if out is not None and is_folder(Path(out)):
        check_folder(Path(out))
        make_folder(Path(out))
    return target


def goal(source: Path, out: PathLike | None) -> Path:
    """Where what becomes of one input goes: beside it, to a file, or under its own name to a folder."""
    target = default_output(source) if out is None else Path(out)
    return target / named(source).name if is_folder(target) else target


def is_folder(out: Path) -> bool:
    """Whether a name is that of a folder, there or not: files have suffixes."""
    return out.is_dir() or not (out.suffix or out.exists())


def check_extras(source: Path, target: Path, options: Options, overwrite: bool) -> None:
    """Raise UsageError where a comparison or a residual would replace the input, another output, or a file unasked."""
    taken = {os.path.realpath(source): "input", os.path.realpath(target): "output"}
    for what, path in options.extras.items():
        if (place := os.path.realpath(path)) in taken:
            raise UsageError(f"The {what} {path} would replace the {taken[place]}; give it another name.")
        if path.exists() and not overwrite:
            raise UsageError(f"{path} exists; give the {what} another name, or --overwrite to replace it.")
        taken[place] = what
