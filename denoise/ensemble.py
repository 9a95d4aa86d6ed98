"""Geometric self-ensemble: a network sees a picture turned and flipped, and its answers are averaged."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from denoise.devices import run
from denoise.errors import UsageError

# Quarter turns and whether to flip; the first n of them are the ensemble of n.
_VIEWS = ((0, False), (2, False), (1, False), (3, False), (0, True), (2, True), (1, True), (3, True))


def check_ensemble(ensemble: int) -> int:
    """The number of views itself; raises UsageError unless it is 1, 2, 4 or 8."""
    if not isinstance(ensemble, Integral) or ensemble not in (1, 2, 4, 8):
        raise UsageError(f"An ensemble of {ensemble} is not possible; give 1, 2, 4 or 8.")
    return int(ensemble)


def run_ensemble(network: Any, dtype: torch.dtype, ensemble: int, *inputs: Tensor) -> Tensor:
    """Mean of what a network makes of so many views of its inputs, each turned back; see `devices.run`.

    What the network does by chance to one view differs from view to view, and the mean has less of it, at so many times
    the cost. Source: Timofte et al., "Seven ways to improve example-based single image super resolution", CVPR 2016.

    Shape:
        - inputs, Output: `[B, C, H, W]`, H and W multiples of what the network needs
    """
    total: Tensor = run(network, dtype, *inputs)
    for turns, flipped in _VIEWS[1:ensemble]:
        result = run(network, dtype, *(turned(x, turns, flipped) for x in inputs))
        total = total + turned_back(result, turns, flipped)
    return total / ensemble if ensemble > 1 else total


def turned(x: Tensor, turns: int, flipped: bool) -> Tensor:
    """A view: so many quarter turns counter-clockwise, then mirrored or not."""
    view = torch.rot90(x, turns, (2, 3))
    return view.flip(3) if flipped else view


def turned_back(x: Tensor, turns: int, flipped: bool) -> Tensor:
    """What was `turned` as it was before."""
    return torch.rot90(x.flip(3) if flipped else x, -turns, (2, 3))
