"""restore(): one file or many in, files out. The data's whole way reads top to bottom here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from denoise.corruptions.sound import hears
from denoise.corruptions.spec import parse
from denoise.devices import from_cpu
from denoise.errors import DenoiseError, UsageError, as_sentence, lacks_memory
from denoise.holes import widened, with_mask_read
from denoise.loading import Restorers
from denoise.media.audio import is_audio
from denoise.options import ATTENUATION_DB, DAMAGE, Clip, Options, Sigma, check_seed
from denoise.outputs import PathLike, check_extras, default_output, goal, is_folder, is_made, jobs, single_target
from denoise.picture_files import Report, corrupt_picture_file, restore_picture_file
from denoise.progress import Progress

if TYPE_CHECKING:
    from denoise.sound_files import SoundReport

_OWN_RATE = "A file tells its own rate; rate_hz is of a waveform in memory."


@dataclass(frozen=True)
class Skipped:
    """A file of a batch whose output is there already, and no older than it is."""

    source: str
    output: str


@dataclass(frozen=True)
class Failure:
    """A file of a batch that could not be restored, and why."""

    source: str
    error: str


@from_cpu
def restore(
    source: Any,
    out: PathLike | None = None,
    model: PathLike | None = None,
    sigma: Sigma = "auto",
    strength: float = 1.0,
    attenuation_db: float = ATTENUATION_DB,
    clip: Clip = "none",
    start_s: float = 0.0,
    end_s: float | None = None,
    rate_hz: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    ensemble: int = 1,
    compare: PathLike | None = None,
    residual: PathLike | None = None,
    mask: Any = None,
    mask_color: str | None = None,
    dilate_px: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Any:
    """Restore a file, several files, or a picture or sound in memory.

    Args:
        source: a path, several paths or a folder, a picture as tensor, array or PIL image (see `Restorer`), or a
            waveform as tensor or array (see `SoundRestorer`) together with its `rate_hz`.
        out: file to write for one path (default `NAME.restored.EXT` beside it), folder to write for several; a name
            without a suffix is a folder's.
        model: name of shipped weights, or a folder of weights; by default `photo` for pictures, `inpaint` for pictures
            with a mask, `speech` for sound. With a mask, naming weights against noise has both done.
        sigma: pictures: standard deviation of the noise on the 0..255 scale, or `auto` to estimate it.
        strength: 0 returns a copy of the input, bit for bit; 1 what the network makes of it, between them a mix.
        attenuation_db, clip, start_s, end_s: sound, see `denoise.options.Options`.
        rate_hz: of a waveform.
        device: `auto`, `cpu`, `cuda`, `mps`.
        dtype: `auto`, `float32`, `bfloat16`, `float16`.
        ensemble: pictures: average over 1, 2, 4 or 8 of their views (flipped and turned).
        compare: file for a picture of before, after and what was taken out.
        residual: sound: file for what was taken out.
        mask, mask_color, dilate_px: holes of pictures, see `denoise.options.Options`.
        overwrite: replace outputs that exist.
        progress: told how far the work is.

    Returns:
        A `Report` or `SoundReport` for a path, or `Skipped` where `out` is a folder that has it already; a list of
        these and of `Failure` for several paths, in order; else what came.

    Raises:
        UsageError, MediaError, ModelError: see `denoise.errors`. Of several, a file that fails becomes a `Failure`.
    """
    before_after, removed = (None if path is None else Path(path) for path in (compare, residual))
    options = Options(
        sigma=sigma,
        strength=strength,
        attenuation_db=attenuation_db,
        clip=clip,
        start_s=start_s,
        end_s=end_s,
        compare=before_after,
        residual=removed,
        mask=mask,
        mask_color=mask_color,
        dilate_px=dilate_px,
    )
    if rate_hz is not None and isinstance(source, str | os.PathLike):
        raise UsageError(_OWN_RATE)
    restorers = Restorers(model, device, dtype, ensemble)
    if isinstance(source, str | os.PathLike) and Path(source).is_dir():
        source = [source]
    if isinstance(source, str | os.PathLike):
        return restore_single(restorers, Path(source), out, options, overwrite, progress)
    in_memory = isinstance(source, torch.Tensor | np.ndarray | Image.Image)
    if isinstance(source, Iterable) and not isinstance(source, str | bytes) and not in_memory:
        source = list(source)
        if options.extras:
            raise UsageError("A comparison and a residual are of one input; give one at a time.")
        if not all(isinstance(path, str | os.PathLike) for path in source):
            raise UsageError("Several inputs are paths; give pictures and sounds in memory one at a time.")
        if rate_hz is not None:
            raise UsageError(_OWN_RATE)
        pairs = jobs([Path(path) for path in source], out, overwrite)
        return list(restore_many(restorers, pairs, with_mask_read(options), overwrite, progress))
    if in_memory and (out is not None or options.extras):
        raise UsageError("What is in memory comes back; out, compare and residual are for files.")
    if rate_hz is not None:
        if options.fills or (options.start_s, options.end_s, options.clip) != (0.0, None, "none"):
            raise UsageError("A waveform is restored whole; masks are for pictures; start_s, end_s and clip for files.")
        _check_used(restorers, "A waveform", True, options)
        return restorers.find("sound")(source, rate_hz, strength, attenuation_db)
    _check_picture(source)
    _check_used(restorers, "What came without a rate_hz", False, options)
    if mask_color is not None:
        raise UsageError("A colour marks holes in files; for a picture in memory give a mask.")
    if mask is not None:
        mask = widened(mask, dilate_px)
        source = restorers.find("holes")(source, mask, strength)
        if "image" not in restorers.named:
            return source
    return restorers.find("image")(source, sigma, strength, mask)


def _check_picture(source: Any) -> None:
    """Raise UsageError for an array that looks like sound, `[T]`, `[C, T]` or `[T, C]`, whose rate nobody has told."""
    if not isinstance(source, torch.Tensor | np.ndarray) or source.ndim not in (1, 2):
        return
    is_float = source.dtype.kind == "f" if isinstance(source, np.ndarray) else source.is_floating_point()
    if source.ndim == 1 or (is_float and min(source.shape) <= 16 and max(source.shape) > 1000):
        raise UsageError(
            f"Shape {list(source.shape)} looks like sound, which needs rate_hz; give it, or a picture with three axes."
        )


def restore_single(
    restorers: Restorers,
    source: Path,
    out: PathLike | None,
    options: Options,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report | SoundReport | Skipped:
    """Restore the one file that was asked for; raises UsageError where a part of what was asked is in vain.

    In a folder it is one file of a batch that may be run again: what is made already is skipped.
    """
    made = goal(source, out)
    in_folder = out is not None and is_folder(Path(out))
    if in_folder and not (overwrite or options.extras) and is_made(source, made):
        return Skipped(str(source), str(made))
    target = single_target(source, out, overwrite)
    check_extras(source, target, options, overwrite)
    _check_used(restorers, str(source), is_audio(source), options)
    return restore_file(restorers, source, target, options, progress)


def restore_file(
    restorers: Restorers,
    source: PathLike,
    target: PathLike,
    options: Options = Options(),
    progress: Progress | None = None,
) -> Report | SoundReport:
    """Restore one file, keeping everything else it carries; its suffix says what it is.

    Raises:
        UsageError, MediaError, ModelError: see `denoise.errors`.
        DenoiseError: there is too little memory.
    """
    source, target = Path(source), Path(target)
    with _memory_for(source, "restore it on a larger machine"):
        return _restore_file(restorers, source, target, options, progress)


def _restore_file(
    restorers: Restorers, source: Path, target: Path, options: Options, progress: Progress | None
) -> Report | SoundReport:
    if is_audio(source):
        from denoise.sound_files import restore_sound_file

        restorer = restorers.find("sound", source)
        return restore_sound_file(restorer, source, target, options, progress)
    if options.residual is not None:
        raise UsageError(f"{source} is a picture and a residual is of sound; --compare shows what was taken out.")
    inpainter = restorers.find("holes", source) if options.fills else None
    restorer = restorers.find("image", source) if inpainter is None or "image" in restorers.named else None
    return restore_picture_file(restorer, source, target, options, progress, inpainter)


@contextmanager
def _memory_for(source: Path, advice: str) -> Iterator[None]:
    """A lack of memory as a DenoiseError; other errors pass."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if lacks_memory(error):
            raise DenoiseError(f"{source} takes more memory than there is; {advice}.") from error
        raise


def restore_many(
    restorers: Restorers,
    jobs: Iterable[tuple[Path, Path]],
    options: Options = Options(),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Iterable[Report | SoundReport | Skipped | Failure]:
    """Restore files one after another; a file that fails is reported and the others go on.

    Outputs that exist and are no older than their source are skipped, so that an interrupted batch can be run again.
    An older one fails unless it is `NAME.restored.EXT`, the name that nobody chose; `overwrite` has all made anew.
    """
    for source, target in jobs:
        try:
            if not overwrite and is_made(source, target):
                yield Skipped(str(source), str(target))
                continue
            if not overwrite and source.exists() and target.is_file() and target != default_output(source):
                raise UsageError(f"{target} exists and is older than {source}; --overwrite replaces it.")
            target.parent.mkdir(parents=True, exist_ok=True)
            yield restore_file(restorers, source, target, options, progress)
        except (DenoiseError, OSError) as error:
            yield Failure(str(source), as_sentence(error))


def _check_used(restorers: Restorers, what: str, is_sound: bool, options: Options) -> None:
    """Raise UsageError where something is asked for that this one input has no use for."""
    options.check_used(what, is_sound, restorers.ensemble)
    if "holes" in restorers.named and not options.fills and len(restorers.named) > 1:
        raise UsageError(f"{restorers.named['holes']} fills holes; say where they are with --mask, or leave it out.")
    if options.fills and options.sigma != "auto" and "image" not in restorers.named:
        raise UsageError(
            "Sigma is of noise and holes alone are filled; leave it out, or name 'photo,inpaint' for both."
        )


def corrupt_file(
    source: PathLike,
    target: PathLike,
    spec: str | None = None,
    seed: int = 0,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """Damage a file on purpose, by a spec such as `gaussian:sigma=25+jpeg:quality=80` or `noise:snr_db=5`.

    By default a picture gets white noise and a recording some of the kinds there are, see `denoise.options.DAMAGE`.

    Args:
        tell: told in a sentence what became of samples over full scale, which integer formats clip.
    """
    if spec is None:
        spec = DAMAGE["sound" if is_audio(source) else "image"]
    corruption = parse(spec)
    generator = torch.Generator().manual_seed(check_seed(seed))
    source, target = Path(source), Path(target)
    with _memory_for(source, "damage it less, or on a larger machine"):
        if is_audio(source):
            from denoise.sound_files import corrupt_sound_file

            return corrupt_sound_file(source, target, corruption, generator, tell)
        if hears(corruption):
            raise UsageError(f"{source} is a picture and {spec} is for sound; choose a corruption for pictures.")
        return corrupt_picture_file(source, target, corruption, generator)
