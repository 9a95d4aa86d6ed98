"""Holes in pictures: ours against both of OpenCV's and the biharmonic inpainting of scikit-image, on the same masks.

PSNR is over the pixels in the holes, SSIM over the whole picture, both means over the pictures. Masks are drawn anew,
each by the name of its picture. Every method gets 8-bit pictures and its result is rounded to 8 bits. Times are by the
same clock in the same process, on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from _common import load_for, macs_per_pixel, parser, record, report, require_peers, run, to_bytes, which_of, write_json
from numpy.typing import NDArray
from torch import Tensor

from denoise.corruptions.base import Corruption
from denoise.corruptions.masks import RandomPixels, Rectangles, Scratches, Text
from denoise.evaluation.benchmark import corrupted, pictures_below
from denoise.evaluation.metrics import psnr_db, ssim

MASKS: dict[str, Corruption] = {
    "text": Text(size_px=(12, 28), share=0.1),
    "scratches": Scratches(share=0.03),
    "50 % of the pixels": RandomPixels(0.5),
    "80 % of the pixels": RandomPixels(0.8),
    "16-px squares, 10 %": Rectangles(16, 0.1),
    "32-px squares, 10 %": Rectangles(32, 0.1),
}
RADIUS_PX = 3

Picture = NDArray[np.uint8]
"""Shape: `[H, W]` or `[H, W, 3]`"""
Fill = Callable[[Picture, Picture], NDArray[Any]]
"""(picture, mask of 0 and 255) -> filled picture, 0..255"""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, model="inpaint")
    options.add_argument("--data", type=Path, nargs="+", required=True, help="folders of clean pictures")
    options.add_argument("--every", type=int, default=1, help="take every N-th picture")
    options.add_argument("--masks", nargs="+", choices=list(MASKS), default=list(MASKS), metavar="MASK")
    options.add_argument("--methods", nargs="+", choices=["ours", *PEERS], default=["ours", *PEERS], metavar="METHOD")
    options.add_argument("--record", action="store_true", help="also put the numbers on the card of the weights")
    chosen = options.parse_args(arguments)
    require_peers(chosen.methods)
    torch.set_num_threads(1)
    inpainter = load_for("holes", chosen.model, dtype=chosen.dtype)
    macs = macs_per_pixel(inpainter.network, inpainter.device)
    weights = f"{inpainter!r}, {macs / 1e3:.0f} thousand multiplications a pixel"

    def ours(picture: Picture, mask: Picture) -> NDArray[Any]:
        return np.asarray(inpainter(picture, mask))

    methods = {name: ours if name == "ours" else PEERS[name] for name in chosen.methods}
    rows: list[dict[str, Any]] = []
    for folder in chosen.data:
        paths = pictures_below(folder)[:: chosen.every]
        print(f"{weights}, {len(paths)} pictures of {folder.name}", flush=True)
        for title in chosen.masks:
            found = _scores(methods, paths, MASKS[title])
            report(found, f"{folder.name}, {title}: {found[0]['missing']:.1%} missing")
            rows += [{"set": folder.name, "mask": title, **row} for row in found]
    if chosen.record:
        for folder in chosen.data:
            figures = {
                row["mask"]: f"{row['PSNR dB']:.2f} dB"
                for row in rows
                if row["set"] == folder.name and row["method"] == "ours"
            }
            record(chosen.model, f"PSNR inside the holes, {folder.name}, {which_of(chosen.every)}", figures)
    write_json(chosen.json, model=repr(inpainter), every=chosen.every, rows=rows)


def telea(picture: Picture, mask: Picture) -> NDArray[Any]:
    """Fast marching (Telea, Journal of Graphics Tools 2004), of OpenCV."""
    return _opencv(picture, mask, "INPAINT_TELEA")


def navier_stokes(picture: Picture, mask: Picture) -> NDArray[Any]:
    """Fluid dynamics (Bertalmio et al., CVPR 2001), of OpenCV."""
    return _opencv(picture, mask, "INPAINT_NS")


def _opencv(picture: Picture, mask: Picture, method: str) -> NDArray[Any]:
    import cv2

    cv2.setNumThreads(1)
    return np.asarray(cv2.inpaint(picture, mask, RADIUS_PX, getattr(cv2, method)))


def biharmonic(picture: Picture, mask: Picture) -> NDArray[Any]:
    """Biharmonic equation (Damelin and Hoang, 2018), of scikit-image."""
    from skimage.restoration import inpaint_biharmonic

    filled = inpaint_biharmonic(picture / 255, mask > 0, channel_axis=2 if picture.ndim == 3 else None)
    return np.asarray(filled) * 255


PEERS: dict[str, Fill] = {
    "OpenCV Telea": telea,
    "OpenCV Navier-Stokes": navier_stokes,
    "scikit-image biharmonic": biharmonic,
}


def _scores(methods: dict[str, Fill], paths: list[Path], corruption: Corruption) -> list[dict[str, Any]]:
    """One row for each method: means over the pictures."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in methods}
    missing, pixels = [], 0.0
    for _, clean, seen in corrupted(paths, corruption):
        assert seen.condition is not None
        mask = seen.condition[0]
        missing.append(float(mask.mean()))
        pixels += mask.numel() / 1e6
        picture, holes = _to_array(seen.observed[0]), np.asarray(mask[0].numpy() * 255, np.uint8)
        for name, fill in methods.items():
            began = time.perf_counter()
            filled = fill(picture, holes)
            seconds = time.perf_counter() - began
            restored = torch.where(mask > 0, _to_tensor(filled), clean)
            found[name].append((psnr_db(restored, clean, mask), ssim(restored, clean), seconds))
    return [
        {
            "method": name,
            "missing": fmean(missing),
            "PSNR dB": round(fmean(row[0] for row in scores), 2),
            "SSIM": round(fmean(row[1] for row in scores), 4),
            "s per megapixel": sum(row[2] for row in scores) / pixels,
        }
        for name, scores in found.items()
    ]


def _to_array(picture: Tensor) -> Picture:
    pixels = to_bytes(picture)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def _to_tensor(pixels: NDArray[Any]) -> Tensor:
    bands = pixels if pixels.ndim == 3 else pixels[..., None]
    return torch.from_numpy(np.ascontiguousarray(bands, np.float32) / 255).permute(2, 0, 1)


if __name__ == "__main__":
    run(main)
