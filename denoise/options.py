"""What a user can ask of a restoration, checked before any work begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypeGuard

from denoise.errors import UsageError

Sigma = float | Literal["auto"]
Clip = Literal["none", "rescale"]

ATTENUATION_DB = 40.0
"""Sound is made quieter by so much at most unless asked otherwise: the rest of a room sounds natural"""

DAMAGE = {"image": "gaussian:sigma=25", "holes": "scratches", "sound": "noise"}
"""What is done to clean files unless asked otherwise, by the task of the weights that undo it"""

_OF_PICTURES = {"sigma": "sigma", "ensemble": "an ensemble"}
_OF_SOUND = {"attenuation_db": "an attenuation", "clip": "clip", "start_s": "a start", "end_s": "an end"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How files are restored; of several ones, what does not concern a medium is ignored.

    Args:
        sigma: pictures: standard deviation of the noise on the 0..255 scale, or `auto` to estimate it.
        strength: 0 returns the input bit for bit, 1 what the network makes of it, between them a mix.
        attenuation_db: sound: it is made quieter by that at most, as a whole; infinity for no such limit.
        clip: sound: `none` clips samples over full scale where the format cannot hold them, `rescale` turns the whole
            file down instead.
        start_s: sound: where the part to restore begins; what comes before stays as it is.
        end_s: sound: where that part ends; None for the end of the recording.
        compare: file for a picture of before, after and what was taken out.
        residual: sound: file for what was taken out.
        mask: pictures: where holes are, as a file (white), as `alpha` (transparent), or as anything that
            `denoise.holes.as_mask` takes.
        mask_color: pictures: the colour of holes, in place of a mask.
        dilate_px: pictures: holes are wider than that by so many pixels to all sides.
    """

    sigma: Sigma = "auto"
    strength: float = 1.0
    attenuation_db: float = ATTENUATION_DB
    clip: Clip = "none"
    start_s: float = 0.0
    end_s: float | None = None
    compare: Path | None = None
    residual: Path | None = None
    mask: Any = None
    mask_color: str | None = None
    dilate_px: int = 0

    @property
    def extras(self) -> dict[str, Path]:
        """What is written beside the output: what it is -> file."""
        named = {"residual": self.residual, "comparison": self.compare}
        return {what: path for what, path in named.items() if path is not None}

    @property
    def fills(self) -> bool:
        """Whether there are holes to fill."""
        return self.mask is not None or self.mask_color is not None

    @property
    def by_alpha(self) -> bool:
        """Whether holes are what is transparent."""
        return isinstance(self.mask, str) and self.mask == "alpha"

    def check_used(self, what: str, is_sound: bool, ensemble: int) -> None:
        """Raise UsageError where something is asked for that this one input has no use for."""
        medium, other = ("sound", "pictures") if is_sound else ("a picture", "sound")
        if is_sound and self.fills:
            raise UsageError(f"{what} is sound and a mask is for pictures; leave it out.")
        for name, noun in (_OF_PICTURES if is_sound else _OF_SOUND).items():
            asked = ensemble > 1 if name == "ensemble" else getattr(self, name) != getattr(Options, name)
            if asked:
                raise UsageError(f"{what} is {medium} and {noun} is for {other}; leave it out.")

    def __post_init__(self) -> None:
        check_sigma(self.sigma)
        check_strength(self.strength)
        check_attenuation(self.attenuation_db)
        if self.clip not in ("none", "rescale"):
            raise UsageError(f"Clip {self.clip!r} is neither 'none' nor 'rescale'.")
        end_s = math.inf if self.end_s is None else self.end_s
        if not (is_number(self.start_s) and is_number(end_s) and 0 <= self.start_s < end_s):
            end = "the end" if self.end_s is None else f"{self.end_s} s"
            raise UsageError(f"From {self.start_s} s to {end} is no part of a sound; start from 0 s on, and end later.")
        if self.mask is not None and self.mask_color is not None:
            raise UsageError("Holes are where a mask says or where a colour says; give one of the two.")
        if not isinstance(self.mask_color, str | None):
            raise UsageError(f"Mask color {self.mask_color!r} is no text; give one such as '#ff00ff' or 'magenta'.")
        if self.mask_color is not None:
            rgb(self.mask_color)
        if self.by_alpha and 0 < self.strength < 1:
            raise UsageError(
                "What is transparent has no colour to mix with; leave out strength, or restore the filled picture."
            )
        if not isinstance(self.dilate_px, Integral) or self.dilate_px < 0 or (self.dilate_px > 0 and not self.fills):
            raise UsageError(f"Dilate {self.dilate_px!r} is not allowed; give whole pixels from 0, beside a mask.")


def rgb(colour: str) -> tuple[int, ...]:
    """Red, green and blue of a colour, 0..255; raises UsageError for what names none."""
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(colour)[:3]
    except ValueError:
        raise UsageError(f"{colour!r} is no colour; give one such as '#ff00ff' or 'magenta'.") from None


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a real number, of Python or NumPy."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_sigma(sigma: Sigma) -> None:
    """Raise UsageError for a noise level out of range."""
    if isinstance(sigma, str) and sigma == "auto":
        return
    if not (is_number(sigma) and 0 <= sigma <= 255):
        raise UsageError(f"Sigma {sigma!r} is out of range; give 'auto' or a number from 0 to 255.")


def check_strength(strength: float) -> None:
    """Raise UsageError for a strength out of range."""
    if not (is_number(strength) and 0 <= strength <= 1):
        raise UsageError(f"Strength {strength!r} is out of range; give a number from 0 (unchanged) to 1.")


def check_seed(seed: int) -> int:
    """The seed as generators take it; raises UsageError for a number that none begins with."""
    if not isinstance(seed, Integral) or not 0 <= seed < 2**63:
        raise UsageError(f"Seed {seed!r} is out of range; give a whole number from 0 to 2^63 - 1.")
    return int(seed)


def check_attenuation(attenuation_db: float) -> None:
    """Raise UsageError for an attenuation out of range."""
    if not (is_number(attenuation_db) and attenuation_db >= 0):
        raise UsageError(f"Attenuation {attenuation_db!r} is out of range; give a number of dB from 0, or inf.")
