"""Camera noise of unknown level, JPEG included: ours against BM3D and two non-local means.

Ours gets the picture alone, and all get it in 8 bits. Each peer gets the strength that is best for it: candidates are
multiples of the true noise level, the one with the best mean PSNR on --tune pictures, clean pictures in hand, is used
on all. Times are by the same clock in the same process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from _common import load_for, parser, record, report, require_peers, run, to_bytes, which_of, write_json
from numpy.typing import NDArray
from torch import Tensor

from denoise.errors import UsageError
from denoise.evaluation.benchmark import corrupted, pictures_below
from denoise.evaluation.metrics import psnr_db, round_to_8_bits, ssim

CORRUPTIONS = [f"camera:iso={iso},quality=90" for iso in (800, 3200, 12800)]
FACTORS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
"""Strengths that peers choose from, as multiples of the true noise level"""

Picture = NDArray[np.uint8]
"""Shape: `[H, W, 3]`"""
Peer = Callable[[Picture, float], NDArray[Any]]
"""(picture, strength on the 0..255 scale) -> restored picture, 0..255"""


@dataclass(frozen=True)
class Pair:
    """A clean and a noisy picture of 8 bits, `[3, H, W]`, and the true noise level on the 0..255 scale."""

    clean: Tensor
    observed: Tensor
    sigma: float

    @property
    def megapixels(self) -> float:
        """Size."""
        return self.clean.shape[1] * self.clean.shape[2] / 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--data", type=Path, required=True, help="folder of clean pictures")
    options.add_argument("--every", type=int, default=4, help="take every N-th picture")
    options.add_argument("--crop", type=int, default=512, help="take the middle of larger pictures, of this side")
    options.add_argument("--tune", type=int, default=2, help="pictures on which the peers choose their strength")
    options.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="run these alone")
    options.add_argument("--corruptions", nargs="+", default=CORRUPTIONS, help="as `denoise evaluate` takes them")
    options.add_argument("--record", action="store_true", help="also put the numbers on the card of the weights")
    chosen = options.parse_args(arguments)
    require_peers(chosen.peers)
    restorer = load_for("image", chosen.model, dtype=chosen.dtype)
    paths = pictures_below(chosen.data)[:: chosen.every]
    sets = {spec: _pairs(paths, spec, chosen.crop) for spec in chosen.corruptions}
    print(f"{restorer!r}, {len(paths)} pictures of {chosen.data.name}", flush=True)
    peers = {name: PEERS[name] for name in chosen.peers}
    _print_estimate(list(sets.values()), chosen.tune, peers)

    rows: list[dict[str, Any]] = []
    for spec, pairs in sets.items():
        noisy = {**_score("noisy", pairs, lambda observed: observed), "s per megapixel": None}
        restorer(pairs[0].observed)  # not counted: as for the peers, a first call takes longer
        found = [noisy, _score(f"ours ({Path(chosen.model).name})", pairs, restorer)]
        tuned = pairs[:: max(1, len(pairs) // chosen.tune)][: chosen.tune]
        for name, peer in peers.items():
            factor = _best_factor(peer, tuned)
            row = _score(name, pairs, _with_strength(peer, factor * _level(pairs)))
            found.append({**row, "strength": factor})
            if factor in (FACTORS[0], FACTORS[-1]):
                print(f"{name} chose the end of its range of strengths, {factor} times the noise level", flush=True)
        report(found, f"{spec}: true level {_level(pairs):.1f} of 255 on average")
        rows += [{"corruption": spec, **row} for row in found]
    if chosen.record:
        ours = [row for row in rows if row["method"].startswith("ours")]
        figures = {row["corruption"]: f"{row['PSNR dB']:.2f} dB, SSIM {row['SSIM']:.4f}" for row in ours}
        record(chosen.model, f"{chosen.data.name}, {which_of(chosen.every)}, middle {chosen.crop} pixels", figures)
    write_json(chosen.json, model=repr(restorer), data=chosen.data.name, pictures=len(paths), rows=rows)


def bm3d_rgb(picture: Picture, strength: float) -> NDArray[Any]:
    """BM3D (Dabov et al., TIP 2007; Mäkinen et al., TIP 2020), the authors' package."""
    from bm3d import bm3d_rgb

    return np.asarray(bm3d_rgb(picture / 255, strength / 255)) * 255


def opencv_nl_means(picture: Picture, strength: float) -> NDArray[Any]:
    """Non-local means (Buades et al., CVPR 2005) of OpenCV, for colour."""
    import cv2

    swapped = np.ascontiguousarray(picture[..., ::-1])
    return np.asarray(cv2.fastNlMeansDenoisingColored(swapped, None, strength, strength, 7, 21))[..., ::-1]


def skimage_nl_means(picture: Picture, strength: float) -> NDArray[Any]:
    """Non-local means of scikit-image, fast mode."""
    from skimage.restoration import denoise_nl_means

    return np.asarray(denoise_nl_means(picture / 255, 5, 6, strength / 255, fast_mode=True, channel_axis=2)) * 255


PEERS: dict[str, Peer] = {
    "BM3D": bm3d_rgb,
    "OpenCV fastNlMeansDenoisingColored": opencv_nl_means,
    "scikit-image denoise_nl_means": skimage_nl_means,
}


def _pairs(paths: list[Path], spec: str, side: int) -> list[Pair]:
    pairs = []
    for path, clean, seen in corrupted(paths, spec):
        if clean.shape[0] != 3 or seen.condition is None:
            raise UsageError(f"{path.name} under {spec} is no noisy colour picture; give a folder of colour photos.")
        clean, observed, level = (_middle(x, side) for x in (clean, seen.observed[0], seen.condition[0]))
        pairs.append(Pair(clean, round_to_8_bits(observed), 255 * float(level.mean())))
    return pairs


def _middle(picture: Tensor, side: int) -> Tensor:
    top, left = (max(0, length - side) // 2 for length in picture.shape[1:])
    return picture[:, top : top + side, left : left + side].contiguous()


def _level(pairs: list[Pair]) -> float:
    return fmean(pair.sigma for pair in pairs)


def _print_estimate(sets: list[list[Pair]], tune: int, peers: dict[str, Peer]) -> None:
    """Time every peer on one small picture and say how long the whole will take."""
    part = _middle(sets[0][0].observed, 256)
    began = time.perf_counter()
    for peer in peers.values():
        _with_strength(peer, 10.0)(part)
    per_megapixel = (time.perf_counter() - began) / (part.shape[1] * part.shape[2] / 1e6)
    shares = [fmean(pair.megapixels for pair in pairs) * (len(pairs) + tune * len(FACTORS)) for pairs in sets]
    print(f"The peers will take about {per_megapixel * sum(shares) / 60:.1f} min.", flush=True)


def _with_strength(peer: Peer, strength: float) -> Callable[[Tensor], Tensor]:
    def restore(observed: Tensor) -> Tensor:
        restored = np.ascontiguousarray(peer(to_bytes(observed), strength), np.float32) / 255
        return torch.from_numpy(restored).permute(2, 0, 1)

    return restore


def _best_factor(peer: Peer, pairs: list[Pair]) -> float:
    def quality(factor: float) -> float:
        restore = _with_strength(peer, factor * _level(pairs))
        return fmean(psnr_db(restore(pair.observed), pair.clean) for pair in pairs)

    return max(FACTORS, key=quality)


def _score(name: str, pairs: list[Pair], restore: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    spent = 0.0
    scores = []
    for pair in pairs:
        began = time.perf_counter()
        restored = restore(pair.observed)
        spent += time.perf_counter() - began
        scores.append((psnr_db(restored, pair.clean), ssim(restored, pair.clean)))
    return {
        "method": name,
        "PSNR dB": round(fmean(score[0] for score in scores), 2),
        "SSIM": round(fmean(score[1] for score in scores), 4),
        "s per megapixel": spent / sum(pair.megapixels for pair in pairs),
        "strength": None,
    }


if __name__ == "__main__":
    run(main)
