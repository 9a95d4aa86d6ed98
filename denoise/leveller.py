"""What is soft in a recording is raised for a network that learned from sound of usual levels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_SOFT = 2.0**-5
_SILENT = 1e-12
_SMOOTH = 12  # hops to each side

REACH = _SMOOTH + 3
"""How many hops to each side of a sample its gain may depend on"""


def levelling(sound: Tensor, hop: int) -> Tensor:
    """The gain, 1 or more, by which each sample is raised, so that a voice is heard beside another that is far louder.

    The level is half of what the samples swing over three hops, averaged under a Hann window of 0.4 s. Where that stays
    below -30 dB of full scale, the gain makes up for what is missing. Beside what is loud it hardly rises: the mean of
    levels, not of decibels, goes by the loudest.

    Shape:
        - sound: `[C, T]`
        - Output: the same
    """
    hops = F.pad(sound, (0, -sound.shape[-1] % hop), mode="replicate").reshape(len(sound), -1, hop)
    ends = torch.stack([hops.amax(-1), -hops.amin(-1)])
    swing = F.max_pool1d(ends, 3, stride=1, padding=1).sum(0) / 2
    taps = torch.hann_window(2 * _SMOOTH + 3, periodic=False, dtype=sound.dtype, device=sound.device)[1:-1]
    around = F.pad(swing, (_SMOOTH, _SMOOTH), mode="replicate")
    level = F.conv1d(around[:, None], (taps / taps.sum())[None, None])
    doublings = (_SOFT / level.clamp_min(_SILENT)).clamp_min(1).log2()
    return F.interpolate(doublings, scale_factor=hop, mode="linear")[:, 0, : sound.shape[-1]].exp2()
