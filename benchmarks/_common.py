"""What the benchmark scripts share: options, a large photo, timing, tables."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


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


def machine() -> dict[str, Any]:
    """What speed depends on."""
    import torch

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


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
