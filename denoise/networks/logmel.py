"""Log-mel spectrograms: sound as a picture."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from denoise.networks.stft import analyse, hop_length

RANGE_DB = 80.0
"""What lies between 0 and 1 of a log-mel spectrogram"""


def log_mel(signal: Tensor, rate_hz: int, bands: int = 64) -> Tensor:
    """Level of mel bands (Slaney's scale, up to half the rate) in frames of 32 ms every 16 ms: -80..0 dB is 0..1.

    A sine of amplitude 1 in the middle of a band has a level of about -4 dB; anything beyond the range is clipped.

    Shape:
        - signal: `[B, T]`, -1..1
        - Output: `[B, 1, bands, N]`, the lowest band first, N = ceil(T / hop) + 1
    """
    hop = hop_length(rate_hz)
    power = analyse(signal, hop).square().sum(1)
    mel = power @ _filters(hop + 1, rate_hz, bands).to(power)
    level_db = 10 * mel.clamp_min(10 ** (-RANGE_DB / 10)).log10()
    return (1 + level_db / RANGE_DB).clamp_max(1).mT[:, None]


@lru_cache(maxsize=8)
def _filters(bins: int, rate_hz: int, bands: int) -> Tensor:
    """Triangles with a peak of one. Shape: `[bins, bands]`."""
    from torchaudio.functional import melscale_fbanks  # type: ignore[import-untyped]

    filters = melscale_fbanks(bins, 0.0, rate_hz / 2, bands, rate_hz, mel_scale="slaney")
    return torch.as_tensor(filters)
