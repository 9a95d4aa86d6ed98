"""How far the result in windows is from the result in one piece, on a noisy photo at sigma 25.

Default windows see less context than the network could use; their largest difference should stay below half an 8-bit
step. With the whole receptive field as context the two agree to the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import large_photo, load_for, parser, report, run, write_json
from torch import Tensor

from denoise.corruptions.spec import parse
from denoise.errors import UsageError
from denoise.restorer import Restorer, window_px
from denoise.windows import Windows

SIGMA = 25.0


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, model="gaussian")
    options.add_argument("--picture", type=Path, help="a clean photo (default: scikit-learn's china.jpg)")
    options.add_argument("--megapixels", type=float, default=4.0, help="the photo is tiled by mirroring to this size")
    options.add_argument("--many", type=int, default=256, help="side of smaller windows, to have many seams")
    chosen = options.parse_args(arguments)

    clean = np.array(large_photo(chosen.megapixels, chosen.picture, noise=0.0), np.float32).transpose(2, 0, 1) / 255
    damage = parse(f"gaussian:sigma={SIGMA:g}")
    observed = damage(torch.from_numpy(clean)[None], torch.Generator().manual_seed(0)).observed[0]

    rows = []
    restorers = [load_for("image", chosen.model, dtype=dtype) for dtype in (chosen.dtype, "float32")]
    for restorer in {restorer.dtype: restorer for restorer in restorers}.values():
        default = restorer.windows
        one = replace(default, size=2 * max(observed.shape))
        if window_px(one, observed.shape) < max(observed.shape):
            raise UsageError("Windows of so wide a photo are smaller than it is; give fewer --megapixels.")
        untiled = _restored(restorer, observed, one)
        few = min(default.size, max(observed.shape) // 2)
        trials = [(replace(default, size=few), 0.5), (replace(default, size=chosen.many), 0.5)]
        if restorer.dtype == torch.float32:
            reach = int(restorer.network.receptive_field)
            whole = replace(default, size=max(few, 4 * reach), context=reach)
            trials.append((whole, 255e-5))
        for windows, target in trials:
            difference = (_restored(restorer, observed, windows) - untiled).abs() * 255
            rows.append(_row(restorer, windows, difference, target))
    print(f"{chosen.model}, photo of {observed.shape[2]}x{observed.shape[1]}; differences in 8-bit steps")
    report(rows)
    write_json(chosen.json, model=str(chosen.model), rows=rows)


def _restored(restorer: Restorer, observed: Tensor, windows: Windows) -> Tensor:
    restorer.windows = windows
    result: Tensor = restorer(observed, SIGMA)
    return result


def _row(restorer: Restorer, windows: Windows, difference: Tensor, target: float) -> dict[str, Any]:
    largest = float(difference.max())
    return {
        "number format": str(restorer.dtype).removeprefix("torch."),
        "window": windows.size,
        "context": windows.context,
        "fade": windows.fade,
        "largest difference": largest,
        "mean difference": float(difference.mean()),
        "target": target,
        "met": largest < target,
    }


if __name__ == "__main__":
    run(main)
