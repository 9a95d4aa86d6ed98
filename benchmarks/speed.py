"""Speed of the network, of the whole pipeline, of BM3D and of the command, all in one run.

The photo is a picture tiled by mirroring, with noise, stored as JPEG. Times are the best of several runs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import (
    best_seconds,
    finish,
    large_photo,
    load_for,
    macs_per_pixel,
    matrix_gflops,
    parser,
    report,
    require_peers,
    run,
    write_json,
    write_large_photo,
)
from PIL import Image

from denoise.picture_files import restore_picture_file
from denoise.restorer import Restorer

WINDOW_PX = 512


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--picture", type=Path, help="a photo to tile (default: scikit-learn's china.jpg)")
    options.add_argument("--megapixels", type=float, default=12.0, help="size of the photo that is restored")
    options.add_argument("--repeats", type=int, default=3, help="runs of which the best counts")
    options.add_argument("--bm3d-px", type=int, default=256, help="side of the picture that BM3D gets")
    chosen = options.parse_args(arguments)
    require_peers(["BM3D"])
    restorer = load_for("image", chosen.model, dtype=chosen.dtype)
    print(f"{restorer!r}, {torch.get_num_threads()} threads", flush=True)

    peak = matrix_gflops(restorer.device, restorer.dtype, chosen.repeats)
    bare = WINDOW_PX**2 / 1e6 / best_seconds(lambda: _forward(restorer, WINDOW_PX), chosen.repeats)
    macs = macs_per_pixel(restorer.network, restorer.device)
    network_gflops = 2 * macs * bare / 1e3
    with tempfile.TemporaryDirectory() as folder:
        photo, small, out = (Path(folder, name) for name in ("photo.jpg", "small.jpg", "restored.jpg"))
        write_large_photo(photo, chosen.megapixels, chosen.picture)
        write_large_photo(small, 0.4, chosen.picture)
        whole = chosen.megapixels / best_seconds(lambda: restore_picture_file(restorer, photo, out), chosen.repeats)
        part = large_photo(0.4, chosen.picture).crop((0, 0, chosen.bm3d_px, chosen.bm3d_px))
        bm3d = chosen.bm3d_px**2 / 1e6 / best_seconds(lambda: _bm3d(part), chosen.repeats)
        start = best_seconds(lambda: _command("--help"), 5)
        command = ["restore", small, "-o", out, "--overwrite", "--model", chosen.model, "--dtype", chosen.dtype]
        end_to_end = best_seconds(lambda: _command(*command), chosen.repeats)

    dtype = str(restorer.dtype).removeprefix("torch.")
    rows = [
        _row(f"matrix product, 4096 squared, {dtype}", peak, "GFLOP/s"),
        _row("network alone, thousand multiplications a pixel", macs / 1e3, ""),
        _row("network alone", network_gflops, "GFLOP/s"),
        _row("network alone, share of the matrix product", network_gflops / peak, ""),
        _row(f"network alone, {WINDOW_PX}x{WINDOW_PX}", bare, "megapixels/s"),
        _row(f"file to file, {chosen.megapixels:g} megapixels", whole, "megapixels/s"),
        _row("file to file, share of the network alone", whole / bare, "", ">= 0.70", whole / bare >= 0.70),
        _row(f"BM3D, {chosen.bm3d_px}x{chosen.bm3d_px}", bm3d, "megapixels/s"),
        _row("file to file, times BM3D", whole / bm3d, "", ">= 50", whole / bm3d >= 50),
        _row("`denoise --help`", start, "s", "< 0.3", start < 0.3),
        _row("`denoise restore`, 0.4 megapixels", end_to_end, "s", "< 5", end_to_end < 5),
    ]
    report(rows)
    write_json(chosen.json, model=repr(restorer), rows=rows)


def _row(what: str, value: float, unit: str, target: str | None = None, met: bool | None = None) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "target": target, "met": met}


@torch.inference_mode()
def _forward(restorer: Restorer, side: int) -> None:
    observed = torch.zeros(1, 3, side, side, device=restorer.device).contiguous(memory_format=torch.channels_last)
    with torch.autocast(restorer.device.type, restorer.dtype, enabled=restorer.dtype != torch.float32):
        restorer.network(observed, observed[:, :1])
    finish(restorer.device)


def _bm3d(photo: Image.Image) -> None:
    from bm3d import bm3d_rgb

    bm3d_rgb(np.asarray(photo) / 255, 8 / 255)


def _command(*arguments: str | Path) -> None:
    """The `denoise` command, started as its installed script starts it."""
    command = [sys.executable, "-c", "from denoise.cli import main; main()", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    run(main)
