"""What each sound format can hold, and how sound is encoded in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from denoise.errors import UsageError

FORMATS = {
    ".wav": "WAV",
    ".wave": "WAV",
    ".rf64": "RF64",
    ".w64": "W64",
    ".flac": "FLAC",
    ".ogg": "OGG",
    ".oga": "OGG",
    ".opus": "OGG",
    ".mp3": "MP3",
    ".aif": "AIFF",
    ".aiff": "AIFF",
    ".aifc": "AIFF",
}
READ_ONLY = {".m4a", ".m4b", ".mp4", ".mov", ".webm", ".mkv", ".mka", ".aac", ".wma"}  # through PyAV

RIFF = {"WAV", "WAVEX", "RF64"}
LOSSY = {"MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III", "VORBIS", "OPUS"}
BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "ULAW": 16, "ALAW": 16}
_PCM = {"PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
_HOLDS = {
    "WAV": _PCM | {"PCM_U8"},
    "AIFF": _PCM | {"PCM_U8", "PCM_S8"},
    "FLAC": {"PCM_S8", "PCM_16", "PCM_24"},
}

# Of lossy files whose source names no bit rate: LAME's V0, Vorbis q8, Opus at 96 kbit/s a channel.
_NEW = {"MPEG_LAYER_III": 0.0, "VORBIS": 0.2, "OPUS": 0.64}
_OPUS_FLOOR_BPS = 32_000  # a channel: below, the codec models speech and moves noise by some samples

_MP3_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320)
_MP3_RATES = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000}
_OPUS_RATES = {8000, 12000, 16000, 24000, 48000}
_MOST_CHANNELS = {"FLAC": 8, "OGG": 8, "MP3": 2}
_HIGHEST_RATE = {"FLAC": 655_350, "OGG": 192_000}
LARGEST_32_BIT = 2**32 - 2**26  # bytes of samples, with room for headers and pictures

# Where channel i of Vorbis and Opus stands in the order of WAV, FLAC and AIFF; libsndfile leaves either as it is.
_VORBIS_TO_WAV = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 4, 5, 3),
    7: (0, 2, 1, 5, 6, 4, 3),
    8: (0, 2, 1, 6, 7, 4, 5, 3),
}


@dataclass(frozen=True)
class Source:
    """What a recording is, as far as it decides which formats can hold it, and how.

    `samples` is the PCM subtype that holds what the decoder gives without loss; for lossy codecs that is FLOAT.
    """

    format: str
    subtype: str
    samples: str
    rate_hz: int
    channels: int
    length: int
    bitrate_bps: float = 0.0
    varies: bool = False
    """Whether the bit rate does"""


@dataclass(frozen=True)
class Encoding:
    """Words of libsndfile: `format` and `subtype` as `soundfile` names them, `options` for `SoundFile`.

    `order` is the source's channel to write at each place.
    """

    format: str
    subtype: str
    order: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


def format_of(path: Path) -> str:
    """The format a suffix stands for; RF64 is one of its own only where the suffix says so."""
    suffix = path.suffix.lower()
    if suffix in READ_ONLY:
        raise UsageError(f"{path.name} cannot be the output: {suffix} is read but not written; choose .flac or .wav.")
    try:
        return FORMATS[suffix]
    except KeyError:
        known = ", ".join(FORMATS)
        raise UsageError(
            f"{path.name} has the suffix {suffix or 'of no format'}; sound ends in {known}; name it so."
        ) from None


def encoding_for(source: Source, path: Path) -> Encoding:
    """How to write a recording under `path`.

    The subtype stays where the container has it. Otherwise it is the smallest that loses nothing: 8 bits of the other
    signedness, PCM_16 for ADPCM and the like (their blocks would change the length), FLOAT for what was lossy. FLAC
    ends at 24 bits, so PCM_32, FLOAT and DOUBLE become PCM_24 there: what is below -138 dB of full scale is lost.

    Raises:
        UsageError: the format of `path` cannot hold the recording.
    """
    target = format_of(path)
    subtype = _subtype(source, target, path.suffix.lower())
    if obstacle := _obstacle(source, target, subtype):
        raise UsageError(f"{path.name} cannot be the output: {obstacle}.")
    if target == "WAV":
        target = source.format if source.format in RIFF else "WAV"
        if source.length * source.channels * sample_bytes(subtype) > LARGEST_32_BIT:
            target = "RF64"
    return Encoding(target, subtype, _order(source, target), _options(source, subtype))


def sample_bytes(subtype: str) -> int:
    """Bytes of a sample in PCM containers."""
    return 1 if subtype in {"ULAW", "ALAW"} else {"FLOAT": 4, "DOUBLE": 8}.get(subtype) or BITS[subtype] // 8


def _subtype(source: Source, target: str, suffix: str) -> str:
    if target == "MP3":
        return "MPEG_LAYER_III"
    if target == "OGG":
        return "OPUS" if suffix == ".opus" or (source.format, source.subtype) == ("OGG", "OPUS") else "VORBIS"
    held = _HOLDS["WAV" if target in {"RF64", "W64"} else target]
    for subtype in (source.subtype, source.samples):
        if subtype in held:
            return subtype
    if source.samples in {"PCM_S8", "PCM_U8"}:
        return "PCM_U8" if target != "FLAC" else "PCM_S8"
    return "PCM_24"


def _obstacle(source: Source, target: str, subtype: str) -> str:
    lossless = ".flac or .wav" if source.channels <= 8 else ".wav"
    name = "Opus" if subtype == "OPUS" else "Vorbis" if subtype == "VORBIS" else target
    if source.channels > _MOST_CHANNELS.get(target, 1024):
        return f"{name} holds up to {_MOST_CHANNELS[target]} channels, not {source.channels}; choose {lossless}"
    rates = {"MPEG_LAYER_III": _MP3_RATES, "OPUS": _OPUS_RATES}.get(subtype)
    if rates and source.rate_hz not in rates:
        return f"{name} has no rate of {source.rate_hz} Hz; choose {lossless}"
    if source.rate_hz > _HIGHEST_RATE.get(target, 2**31):
        return f"{name} holds rates up to {_HIGHEST_RATE[target]} Hz, not {source.rate_hz}; choose .wav"
    if target == "FLAC" and source.rate_hz > 65_535 and source.rate_hz % 10:
        return f"FLAC has no rate of {source.rate_hz} Hz; choose .wav"
    if source.length == 0 and (target == "FLAC" or subtype in {"MPEG_LAYER_III", "OPUS"}):
        return f"{name} cannot hold a recording of no samples; choose .wav"
    if target == "AIFF" and source.length * source.channels * sample_bytes(subtype) > LARGEST_32_BIT:
        return f"AIFF ends at 4 GiB and this recording is longer; choose {lossless}"
    return ""


def _order(source: Source, target: str) -> tuple[int, ...]:
    place = _VORBIS_TO_WAV.get(source.channels)
    vorbis = source.format == "OGG"
    if place is None or vorbis == (target == "OGG"):
        return tuple(range(source.channels))
    return tuple(place.index(i) for i in range(source.channels)) if vorbis else place


def _options(source: Source, subtype: str) -> dict[str, Any]:
    """The bit rate a file came with, for the codec it came with; never less, but for what the encoder cannot reach."""
    if subtype not in _NEW:
        return {}
    rate, channels, bitrate = source.rate_hz, source.channels, source.bitrate_bps
    same = source.subtype == subtype and bitrate > 0
    if subtype == "MPEG_LAYER_III":
        if not same:
            return {"compression_level": _NEW[subtype], "bitrate_mode": "VARIABLE"}
        # The header that says where sound begins and ends takes up to 192 bytes of the first frame.
        bitrate = max(bitrate, 192 * 8 * rate / (1152 if rate >= 32_000 else 576))
        bitrate = min((kbps * 1000.0 for kbps in _MP3_KBPS if kbps * 1000 >= bitrate - 500), default=320_000.0)
        low, top = (32_000, 320_000) if rate >= 32_000 else (8_000, 160_000) if rate >= 16_000 else (8_000, 64_000)
        level = min(max((top - bitrate) / (top - low), 0.0), 0.99)
        return {"compression_level": level, "bitrate_mode": "AVERAGE" if source.varies else "CONSTANT"}
    if subtype == source.subtype == "VORBIS" and not bitrate:  # above 48 kHz no header tells it
        return {"compression_level": 0.0}
    if subtype == "VORBIS":
        return {"compression_level": _vorbis_level(rate, channels, bitrate) if same else _NEW[subtype]}
    share = max(bitrate / channels, _OPUS_FLOOR_BPS)  # libsndfile: 6 to 256 kbit/s a channel, linear in the level
    return {"compression_level": min(max(1 - (share - 6_000) / 250_000, 0.0), 1.0) if same else _NEW[subtype]}


@cache
def mp3_gain(rate_hz: int, channels: int, compression_level: float, bitrate_mode: str) -> float:
    """What LAME scales sound by: 0.95 to 1, depending on the bit rate; measured, as nothing tells it."""
    import soundfile

    tone = np.sin(np.arange(rate_hz // 2) * (2 * np.pi * 440 / rate_hz)) / 4
    probe = BytesIO()
    options: dict[str, Any] = {"compression_level": compression_level, "bitrate_mode": bitrate_mode}
    with soundfile.SoundFile(probe, "w", rate_hz, channels, "MPEG_LAYER_III", format="MP3", **options) as file:
        file.write(np.repeat(tone[:, None], channels, axis=1))
    probe.seek(0)
    heard = soundfile.read(probe, always_2d=True)[0][:, 0]
    n = len(tone)
    middle = slice(n // 4, n // 2)
    return round(float(np.dot(tone[middle], heard[middle]) / np.dot(tone[middle], tone[middle])), 2)


@cache
def _vorbis_level(rate_hz: int, channels: int, bitrate_bps: float) -> float:
    """The strongest compression whose nominal bit rate, which an empty file tells, is no less than the one asked."""
    import soundfile
    from mutagen.oggvorbis import OggVorbis

    for step in range(10, 0, -1):
        probe = BytesIO()
        soundfile.SoundFile(probe, "w", rate_hz, channels, "VORBIS", format="OGG", compression_level=step / 10).close()
        probe.seek(0)
        if OggVorbis(probe).info.bitrate >= bitrate_bps:
            return step / 10
    return 0.0
