"""Corruptions by a line of text, as in `poisson-gaussian:shot=20,read=5+jpeg:quality=60..90`."""

from __future__ import annotations

import inspect
from typing import Any, get_args, get_type_hints

from denoise.corruptions import audio, image, masks
from denoise.corruptions.base import Compose, Corruption
from denoise.errors import UsageError

PICTURES: dict[str, type[Corruption]] = {
    "gaussian": image.Gaussian,
    "correlated-gaussian": image.CorrelatedGaussian,
    "poisson-gaussian": image.PoissonGaussian,
    "speckle": image.Speckle,
    "salt-and-pepper": image.SaltAndPepper,
    "blur": image.Blur,
    "downsample": image.Downsample,
    "quantize": image.Quantize,
    "jpeg": image.Jpeg,
    "demosaic": image.Demosaic,
    "sensor": image.Sensor,
    "camera": image.Camera,
    "random-pixels": masks.RandomPixels,
    "rectangles": masks.Rectangles,
    "strokes": masks.Strokes,
    "scratches": masks.Scratches,
    "text": masks.Text,
    "lost-blocks": masks.LostBlocks,
    "lost-lines": masks.LostLines,
}

SOUNDS: dict[str, type[Corruption]] = {
    "noise": audio.Noise,
    "coloured-noise": audio.ColouredNoise,
    "babble": audio.Babble,
    "hum": audio.Hum,
    "hiss": audio.Hiss,
    "clicks": audio.Clicks,
    "gain": audio.Gain,
    "band-limit": audio.BandLimit,
    "equaliser": audio.Equaliser,
    "reverb": audio.Reverb,
    "clip": audio.Clip,
    "dropouts": audio.Dropouts,
    "mu-law": audio.MuLaw,
    "codec": audio.Codec,
}

NAMES = PICTURES | SOUNDS


def parse(spec: str) -> Corruption:
    """The corruption that a line of text names; raises UsageError that lists what is allowed.

    `name:parameter=value,...`, joined by `+` to follow one after another; a value is a number, a range `low..high`
    where an example draws its own, or a word.

    >>> parse("gaussian:sigma=5..50")
    Gaussian(sigma=(5.0, 50.0))
    """
    parts = [_parse_one(part.strip()) for part in spec.split("+")]
    return parts[0] if len(parts) == 1 else Compose(parts)


def describe() -> list[str]:
    """One line per corruption: how it is written with its defaults, and what it is."""
    return [f"{_usage(name)}  {(inspect.getdoc(kind) or '').splitlines()[0]}" for name, kind in NAMES.items()]


def _parse_one(part: str) -> Corruption:
    name, _, rest = part.partition(":")
    if name not in NAMES:
        raise UsageError(f"Unknown corruption '{name}': give one of {', '.join(NAMES)}.")
    kind = NAMES[name]
    hints = {k: v for k, v in get_type_hints(kind.__init__).items() if k != "return"}
    values: dict[str, Any] = {}
    for setting in rest.split(",") if rest else []:
        key, _, text = setting.strip().partition("=")
        if key not in hints or key in values:
            trouble = "came twice" if key in values else "is unknown"
            raise UsageError(f"Parameter '{key}' of '{name}' {trouble}: what it takes is {_usage(name)}.")
        values[key] = _value(text, hints[key], f"{name}:{key}={text}")
    return kind(**values)


def _value(text: str, hint: Any, where: str) -> Any:
    """A number, range or word as the type hint of the parameter allows."""
    kinds = get_args(hint) or (hint,)
    if text in kinds:
        return text
    if text == "none" and type(None) in kinds:
        return None
    if str in kinds and text:
        return text
    number = int if int in kinds else float
    try:
        low, dots, high = text.partition("..")
        if not dots:
            return number(text)
        if any(get_args(kind) for kind in kinds):
            return number(low), number(high)
    except ValueError:
        pass
    raise UsageError(f"Cannot read '{where}': give {_allowed(kinds)}.")


def _allowed(kinds: tuple[Any, ...]) -> str:
    words = [kind for kind in kinds if isinstance(kind, str)] + (["a path"] if str in kinds else [])
    numbers = ["a whole number"] if int in kinds else ["a number"] if float in kinds else []
    ranges = ["a range low..high"] if any(get_args(kind) for kind in kinds) else []
    return " or ".join(words + numbers + ranges + (["none"] if type(None) in kinds else []))


def _usage(name: str) -> str:
    """How a corruption is written with its defaults."""
    settings = inspect.signature(NAMES[name]).parameters.values()
    written = ",".join(f"{setting.name}={_text(setting.default)}" for setting in settings)
    return f"{name}:{written}" if written else name


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return "..".join(f"{number:g}" for number in value)
    return f"{value:g}" if isinstance(value, float) else str(value).lower()
