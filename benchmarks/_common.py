"""What the benchmark scripts share: options, a large photo, timing, tables."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from denoise import pretrained
from denoise.networks.unet import UNet


def parser(description: str | None, model: str = "photo") -> argparse.ArgumentParser:
    """Options that every script has."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
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
    print(f"Recorded in {pretrained.save(pretrained.find(model), replace(weights, card=card))}")


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


def best_seconds(work: Callable[[], Any], repeats: int) -> float:
    """The shortest of several runs, after one that does not count."""
    work()
    return min(seconds(work) for _ in range(repeats))


def seconds(work: Callable[[], Any]) -> float:
    """The time one run takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


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
