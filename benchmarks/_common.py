"""What the benchmark scripts share: options, a large photo, made-up sound, timing, tables."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from denoise import pretrained
from denoise.errors import DenoiseError, UsageError, as_sentence
from denoise.loading import load
from denoise.networks.spectral import SpectralUNet
from denoise.networks.unet import UNet
from denoise.sound import SoundRestorer

UNTRAINED = "untrained"
PACKAGES = {"BM3D": "bm3d", "OpenCV": "cv2", "noisereduce": "noisereduce", "scikit-image": "skimage"}
"""What is imported for a peer, by what its name begins with"""


def to_bytes(picture: Tensor) -> NDArray[np.uint8]:
    """A picture of 8 bits, `[C, H, W]` and 0..1, as others take it. Shape: `[H, W, C]`."""
    return np.ascontiguousarray((picture * 255).round().byte().permute(1, 2, 0).numpy())


def run(main: Callable[[], None]) -> None:
    """Run a script; as with the `denoise` command, every error of ours becomes one sentence and an exit code."""
    name = Path(sys.argv[0]).name
    try:
        main()
    except (DenoiseError, OSError) as error:
        print(f"{name}: {as_sentence(error)}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))


def require_peers(names: Collection[str]) -> None:
    """Raise UsageError, before any work, when peers of these names are not installed; other names do no harm."""
    asked = {package for start, package in PACKAGES.items() if any(name.startswith(start) for name in names)}
    if missing := sorted(package for package in asked if find_spec(package) is None):
        raise UsageError(
            f"Peers are not installed ({', '.join(missing)}); run: pip install -c constraints.txt -e '.[bench]'."
        )


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """The text of a script as it is written, and the defaults of its options."""


def parser(description: str | None, model: str | None = "photo") -> argparse.ArgumentParser:
    """Options that every script has; without a model where it measures none."""
    options = argparse.ArgumentParser(description=description, formatter_class=_HelpFormatter)
    if model is not None:
        options.add_argument("--model", default=model, help="name or folder of weights")
    options.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    options.add_argument("--json", type=Path, help="also write the numbers to this file")
    return options


def report(rows: Sequence[dict[str, Any]], title: str = "") -> None:
    """Print rows that share their keys as a Markdown table."""
    heads = list(rows[0])
    if title:
        print(f"\n**{title}**\n")
    print("| " + " | ".join(heads) + " |")
    print("|" + " --- |" * len(heads))
    for row in rows:
        print("| " + " | ".join(_text(row[head]) for head in heads) + " |", flush=True)


def write_json(path: Path | None, **tables: Any) -> None:
    """Write tables and the machine they were measured on, if a file was asked for."""
    if path is not None:
        path.write_text(json.dumps({"machine": machine(), **tables}, indent=2) + "\n")


def record(model: str, name: str, figures: dict[str, Any]) -> None:
    """Put figures on the card of a weights folder: metrics.json and README.md."""
    weights = pretrained.load(model)
    card = replace(weights.card, metrics={**weights.card.metrics, name: figures})
    print(f"Recorded in {pretrained.save(pretrained.find(model), replace(weights, card=card), overwrite=True)}")


def which_of(every: int) -> str:
    """Which pictures of a folder were taken, for the card."""
    return "all pictures" if every == 1 else f"every {every}th picture"


def machine() -> dict[str, Any]:
    """What speed depends on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def best_seconds(work: Callable[[], Any], repeats: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """The shortest of several runs, after one that does not count."""
    work()
    return min(seconds(work, clock) for _ in range(repeats))


def seconds(work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """The time one run takes."""
    began = clock()
    work()
    return clock() - began


def large_photo(megapixels: float, picture: Path | None = None, noise: float = 8.0) -> Image.Image:
    """A 4:3 photo of any size: a picture (by default scikit-learn's china.jpg) with noise on it, tiled by mirroring."""
    if picture is None:
        from sklearn.datasets import load_sample_image

        tile = np.asarray(load_sample_image("china.jpg"))
    else:
        tile = np.asarray(Image.open(picture).convert("RGB"))
    drawn = np.random.default_rng(0).standard_normal(tile.shape, np.float32)
    tile = np.rint(tile + noise * drawn).clip(0, 255).astype(np.uint8)
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(megapixels * 1e6 / height)
    more = [(0, max(0, wanted - had)) for wanted, had in zip((height, width), tile.shape, strict=False)]
    return Image.fromarray(np.pad(tile, [*more, (0, 0)], mode="symmetric")[:height, :width])


def write_large_photo(path: Path, megapixels: float, picture: Path | None = None) -> None:
    """Save `large_photo` as a JPEG of quality 92."""
    large_photo(megapixels, picture).save(path, quality=92)


def load_for(task: str, model: str, dtype: str = "auto", ensemble: int = 1, device: str = "auto") -> Any:
    """Weights for a task (image, holes or sound); raises UsageError when they are for another one."""
    if (theirs := pretrained.read_card(model).task) != task:
        raise UsageError(f"The weights {model!r} are for {theirs}, this benchmark is of {task}; name others.")
    return load(model, device, dtype, ensemble)


def load_sound(model: str, dtype: str = "auto", device: str = "auto") -> SoundRestorer:
    """Weights for sound; `untrained` ones are drawn, which cost as much time and memory as others."""
    if model != UNTRAINED:
        return cast(SoundRestorer, load_for("sound", model, dtype, device=device))
    network, generator = SpectralUNet(), torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(
            parameter, std=0.1 if parameter.ndim == 1 else parameter[0].numel() ** -0.5, generator=generator
        )
    return SoundRestorer(network, None, device, dtype)


def made_up_sound(seconds: float, rate_hz: int, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    """Harmonics of 120 Hz in three syllables a second, in noise 10 dB below them. Shape: `[C, T]`."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    voice = np.zeros_like(t)
    for k in range(1, 30):
        voice += np.sin(2 * np.pi * 120 * k * t + k * k) / k
    voice *= 0.1 * np.sin(np.pi * 3 * t) ** 2
    drawn = np.random.default_rng(seed).standard_normal((channels, len(t)), np.float32)
    return np.asarray(voice + drawn * 10 ** (-10 / 20) * voice.std(), np.float32)


def matrix_gflops(device: torch.device, dtype: torch.dtype, repeats: int, side: int = 4096) -> float:
    """What a large matrix product reaches: the ceiling for convolutions."""
    matrix = torch.ones(side, side, device=device, dtype=dtype)

    def multiply() -> None:
        torch.matmul(matrix, matrix)
        finish(device)

    return 2 * side**3 / 1e9 / best_seconds(multiply, repeats)


def finish(device: torch.device) -> None:
    """Wait for a GPU, which works on while the clock is read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_new_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a script in a process of its own, so that its peak memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def peak_bytes() -> int:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@torch.inference_mode()
def macs_per_pixel(network: nn.Module, device: torch.device, side: int = 64) -> float:
    """Multiplications of one pass over all convolutions, by what goes in and comes out of each."""
    macs = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        # Each weight of a convolution is used once per place of the output; of a transposed one, of the input.
        places = (output if isinstance(layer, nn.Conv2d) else inputs[0])[0, 0].numel()
        macs += layer.weight.numel() * places

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    picture = torch.zeros(1, 3, side, side, device=device)
    network(*(picture, picture[:, :1])[: 2 if isinstance(network, UNet) else 1])
    for hook in hooks:
        hook.remove()
    return macs / side**2


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
