"""What this machine offers, and whether the installed parts fit together."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import import_module, metadata

from denoise import __version__, pretrained
from denoise.errors import DenoiseError

_PARTS = ("torch", "torchaudio", "lightning", "pillow", "librosa", "soundfile", "safetensors")
_FORMATS, _SEARCH, _SPEECH = (f"'denoise-toolkit[{extra}]'" for extra in ("formats", "search", "speech"))
_OPTIONAL = {
    "tifffile": _FORMATS,
    "imagecodecs": _FORMATS,
    "av": _FORMATS,
    "faiss-cpu": _SEARCH,
    "pesq": _SPEECH,
    "pystoi": _SPEECH,
    "tensorboard": "tensorboard",
}
"""What pip is told to install, for every package that some work needs"""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    text: str
    ok: bool = True


def examine() -> list[Finding]:
    """Look at versions, devices, number format, codecs and weights."""
    findings = [Finding("python", f"{platform.python_version()} on {platform.platform(terse=True)}")]
    findings.append(Finding("denoise", __version__))
    findings += [_version(name) for name in _PARTS]
    findings.append(_match())
    findings += [_optional(name, source) for name, source in _OPTIONAL.items()]
    findings += _devices()
    findings += [_codecs(), _sound_codecs()]
    findings += _weights()
    return findings


def _version(name: str) -> Finding:
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "is not installed", ok=False)


def _optional(name: str, source: str) -> Finding:
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, f"is not installed (optional: pip install {source})")


def _match() -> Finding:
    """torchaudio is built against one torch: the same release, and it must load."""
    try:
        torch, audio = metadata.version("torch"), metadata.version("torchaudio")
        import_module("torchaudio")
    except (metadata.PackageNotFoundError, ImportError, OSError, RuntimeError) as error:
        return Finding("torch pair", f"torchaudio does not load: {error}", ok=False)
    same = torch.split(".")[:2] == audio.split(".")[:2]
    return Finding(
        "torch pair", "torch and torchaudio match" if same else f"torch {torch}, torchaudio {audio}", ok=same
    )


def _devices() -> list[Finding]:
    import torch

    from denoise.devices import choose_device, choose_dtype

    device = choose_device()
    dtype, reason = choose_dtype("auto", device)
    names = ["cpu"] + ["mps"] * torch.backends.mps.is_available()
    names += [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return [
        Finding("devices", f"{', '.join(names)}; {os.cpu_count()} processors, {torch.get_num_threads()} threads"),
        Finding("device", f"{device.type} is chosen by --device auto"),
        Finding("number format", f"{str(dtype).removeprefix('torch.')}: {reason}"),
    ]


def _codecs() -> Finding:
    from PIL import features

    codecs = {"jpg": "JPEG", "zlib": "PNG", "webp": "WebP", "libtiff": "TIFF", "avif": "AVIF", "littlecms2": "ICC"}
    have = [title for name, title in codecs.items() if features.check(name)]
    missing = [title for title in codecs.values() if title not in have]
    text = ", ".join(have) + (f"; missing: {', '.join(missing)}" if missing else "")
    return Finding("codecs", text, ok={"JPEG", "PNG"} <= set(have))


def _sound_codecs() -> Finding:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        return Finding("sound codecs", f"soundfile does not load: {error}", ok=False)
    formats = soundfile.available_formats()
    have = [name for name in ("WAV", "FLAC", "OGG", "MP3", "AIFF") if name in formats]
    return Finding(
        "sound codecs", f"{', '.join(have)} (libsndfile {soundfile.__libsndfile_version__})", ok="WAV" in have
    )


def _weights() -> list[Finding]:
    findings = []
    for name in pretrained.names():
        try:
            card = pretrained.load(name).card
            findings.append(Finding("weights", f"{name}: checksum verified, {card.licence}"))
        except DenoiseError as error:
            findings.append(Finding("weights", str(error), ok=False))
    return findings or [Finding("weights", f"none were found in {pretrained.root()}", ok=False)]
