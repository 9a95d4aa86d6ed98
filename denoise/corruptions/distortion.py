"""Sound that was overloaded, lost on the way, or stored too small."""

from __future__ import annotations

import io
import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from denoise.corruptions.base import Corrupted, Params
from denoise.corruptions.draws import Range, as_fraction, as_range, uniform
from denoise.corruptions.sound import SoundCorruption, from_db, whole
from denoise.errors import UsageError

PACKET_S = 0.02
BLOCK = 65_536  # libsndfile's Vorbis encoder takes all it is given onto the stack
FORMATS = {"mp3": ("MP3", "MPEG_LAYER_III"), "vorbis": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS")}
CODEC_RATES_HZ = (8000, 12_000, 16_000, 24_000, 48_000)


class Clip(SoundCorruption):
    """Overload: everything beyond a level is cut off, or with the probability `soft` bent by tanh.

    The peak of the signal lies `over_db` above that level.

    Shape:
        - Input: `[B, C, T]`
    """

    def __init__(self, over_db: Range = (0.0, 20.0), soft: float = 0.25) -> None:
        super().__init__()
        self.over_db = as_range(over_db, "over_db", high=100)
        self.soft = as_fraction(soft, "soft")

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """How far over, and whether it is soft."""
        soft = uniform((0.0, 1.0), clean, generator) < self.soft
        return {"over_db": uniform(self.over_db, clean, generator), "soft": soft}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """Clip."""
        level = clean.abs().amax((1, 2), keepdim=True).clamp(min=1e-9) * from_db(-params["over_db"])
        observed = torch.where(params["soft"], level * torch.tanh(clean / level), clean.clamp(-level, level))
        return Corrupted(observed, None, clean)


class Dropouts(SoundCorruption):
    """Packets of 20 ms lost in bursts and filled with zeros: a Markov chain of two states.

    `rate_per_s` is the number of bursts per second and `length_ms` how long one is on average (Gilbert 1960, Bell
    System Technical Journal, "Capacity of a burst-noise channel"). Bursts so long and so frequent that they would
    touch are as frequent as can be.

    Shape:
        - Input: `[B, C, T]`
    """

    def __init__(self, rate_per_s: Range = (0.2, 3.0), length_ms: Range = (20.0, 100.0)) -> None:
        super().__init__()
        self.rate_per_s = as_range(rate_per_s, "rate_per_s", high=50)
        self.length_ms = as_range(length_ms, "length_ms", low=1000 * PACKET_S, high=10_000)

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """Where the sound is lost, `[B, 1, T]`, boolean."""
        packet, length = self.samples(PACKET_S), clean.shape[-1]
        burst_s = uniform(self.length_ms, clean, generator)[:, 0] / 1000
        pause_s = (1 / uniform(self.rate_per_s, clean, generator)[:, 0].clamp(min=1e-9) - burst_s).clamp(min=PACKET_S)
        fails, recovers = PACKET_S / pause_s, PACKET_S / burst_s
        packets = length // packet + 2
        lots = torch.rand(len(clean), packets, generator=generator, device=generator.device).to(clean.device)
        states = [lots[:, :1] < burst_s / (burst_s + pause_s)]
        for lot in lots[:, 1:].T[..., None]:
            states.append(torch.where(states[-1], lot >= recovers, lot < fails))
        start = whole((0, packet - 1), len(clean), generator).to(clean.device)[:, None]
        places = (torch.arange(length, device=clean.device) + start) // packet
        return {"lost": torch.cat(states, 1).gather(1, places)[:, None]}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """Silence what is lost."""
        return Corrupted(clean.masked_fill(params["lost"], 0), None, clean)


class MuLaw(SoundCorruption):
    """Clipped to -1..1 and stored with so many bits by the mu law of telephony (ITU-T G.711 has 8).

    Shape:
        - Input: `[B, C, T]`, -1..1
    """

    def __init__(self, bits: int = 8) -> None:
        super().__init__()
        if not 2 <= bits <= 16:
            raise UsageError(f"bits={bits} is not allowed: give a whole number within 2..16.")
        self.bits = bits

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:  # noqa: ARG002
        """Nothing is random."""
        return {}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]  # noqa: ARG002
        """Encode and decode."""
        mu = 2**self.bits - 1
        bent = torch.sign(clean) * torch.log1p(mu * clean.abs().clamp(max=1)) / math.log1p(mu)
        kept = torch.floor((bent + 1) / 2 * mu + 0.5) / mu * 2 - 1
        return Corrupted(torch.sign(kept) * torch.expm1(kept.abs() * math.log1p(mu)) / mu, None, clean)


class Codec(SoundCorruption):
    """Through a lossy encoder and back, in time with the original; each channel on its own.

    `quality` runs from 0, the smallest, to 1. In kbit/s for speech at 16 kHz these are about 30..60 for mp3, 40..80
    for vorbis and 6..260 for opus, where half is 70. Values are clipped to -1..1.

    Shape:
        - Input: `[B, C, T]`, -1..1
    """

    def __init__(self, kind: Literal["any", "mp3", "vorbis", "opus"] = "any", quality: Range = (0.0, 0.7)) -> None:
        super().__init__()
        if kind != "any" and kind not in FORMATS:
            raise UsageError(f"kind={kind} is not allowed: give any, {', '.join(FORMATS)}.")
        self.kind = kind
        self.quality = as_range(quality, "quality", high=1)

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The encoder, by its place in the list, and the quality."""
        kinds = list(FORMATS)
        bounds = (0, len(kinds) - 1) if self.kind == "any" else (kinds.index(self.kind),) * 2
        return {"kind": whole(bounds, len(clean), generator), "quality": uniform(self.quality, clean, generator)}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """Encode and decode each channel of each example."""
        observed = np.zeros(clean.shape, np.float32)
        kinds, qualities = params["kind"].tolist(), params["quality"].flatten().tolist()
        for example, sound in enumerate(clean.clamp(-1, 1).cpu().numpy()):
            for channel, samples in enumerate(sound):
                decoded = _coded(samples, list(FORMATS)[kinds[example]], qualities[example], self.rate_hz)
                observed[example, channel, : len(decoded)] = decoded[: len(samples)]
        return Corrupted(torch.from_numpy(observed).to(clean.device), None, clean)


def _coded(samples: NDArray[np.float32], kind: str, quality: float, rate_hz: int) -> NDArray[np.float32]:
    """Encoded and decoded; libsndfile takes out the delay. A rate that Opus lacks passes for 48 kHz."""
    import soundfile

    container, codec = FORMATS[kind]
    rate_hz = rate_hz if rate_hz in CODEC_RATES_HZ else CODEC_RATES_HZ[-1]
    level = 0.99 * (1 - (quality**2 if kind == "opus" else quality))  # LAME refuses 1
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate_hz, 1, codec, format=container, compression_level=level) as encoder:
        for start in range(0, len(samples), BLOCK):
            encoder.write(samples[start : start + BLOCK])
    file.seek(0)
    decoded: NDArray[np.float32] = soundfile.read(file, dtype="float32")[0]
    return decoded
