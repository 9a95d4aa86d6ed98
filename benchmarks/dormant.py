"""How many hidden units of the residual blocks of a network do nothing, on clean pictures that are damaged.

A unit that a ReLU holds at zero everywhere costs what the others cost. `denoise.training.dormant.RecycleDormant` gives
such units a new start.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from _common import parser, report, run, write_json
from torch import Tensor

from denoise.corruptions.spec import parse
from denoise.devices import run as run_network
from denoise.errors import UsageError
from denoise.evaluation.benchmark import corrupted, pictures_below
from denoise.loading import load
from denoise.networks.blocks import ResidualBlock
from denoise.training.dormant import RARELY, Activity


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, model="gaussian")
    options.add_argument("--data", type=Path, required=True, help="folder of clean pictures")
    usual = [f"gaussian:sigma={sigma}" for sigma in (5, 25, 50)]
    options.add_argument("--corruptions", nargs="+", default=usual, help="what is done to each of the pictures")
    chosen = options.parse_args(arguments)
    restorer = load(chosen.model, dtype=chosen.dtype)
    network = restorer.network.train()  # which is when activity is counted
    blocks = {name: Activity(part) for name, part in network.named_modules() if isinstance(part, ResidualBlock)}
    if not blocks:
        raise UsageError(f"{chosen.model} has no residual blocks; give weights of a network that has, as `gaussian`.")
    paths, damages = pictures_below(chosen.data), [parse(damage) for damage in chosen.corruptions]
    with torch.inference_mode():
        for damage in damages:
            for _, _, seen in corrupted(paths, damage):
                assert seen.condition is not None  # no corruption of pictures tells nothing
                bands = seen.observed.expand(-1, network.channels, -1, -1)  # also of gray pictures
                inputs = [_fit(signal, network.multiple_of) for signal in (bands, seen.condition)]
                run_network(network, restorer.dtype, *inputs)
    rows = [_row(name, activity) for name, activity in blocks.items()]
    rows.append({"block": "all", **{key: sum(row[key] for row in rows) for key in rows[0] if key != "block"}})
    print(f"{restorer!r}, {chosen.data.name}, {' '.join(chosen.corruptions)}")
    report(rows)
    write_json(chosen.json, model=str(chosen.model), rows=rows)


def _fit(signal: Tensor, multiple: int) -> Tensor:
    """As much of it as a network takes."""
    height, width = (side - side % multiple for side in signal.shape[2:])
    return signal[..., :height, :width]


def _row(name: str, activity: Activity) -> dict[str, Any]:
    share = activity.fired / activity.batches
    counts = {"units": len(share), "never fire": int((share == 0).sum()), "rarely fire": int((share < RARELY).sum())}
    return {"block": name, **counts}


if __name__ == "__main__":
    run(main)
