"""How noisy is this picture? A small network that answers for every place and for the whole."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_KNOTS = 33
_WIDTH = 0.07
_PRIOR = 0.02
_CELLS = 2**16  # weighed at once by every knot: what that takes stays small
_SUREST = 8.0

# Normal noise around white, clipped there, has a mean of 0.683 of its own deviations below white; the deviation it had
# before is 1.713 times as large. Further below the excess falls exponentially; all that holds within 2 %.
_ROOM_AT_WHITE = 0.683
_HIDDEN_AT_WHITE = 0.713
_HIDDEN_DECAY = 2.6


class NoiseLevel(nn.Module):
    """Estimate the standard deviation of the noise from the picture alone.

    Noise shows where the picture is flat, so beside the level of every cell (`multiple_of` pixels square) the network
    says how sure it is of it, within bounds, so that no single cell outvotes a picture. The level of the whole picture
    is the mean weighted by that confidence; the map is the level itself. Sigma is on the scale of the signal (0..1),
    not 0..255, and as it was before a file clipped it: see `before_clipping`.

    Shape:
        - Input: `[B, C, H, W]`, 0..1, sides a multiple of `multiple_of`
        - Output: levels `[B, 1, H/m, W/m]` and logarithmic weights of the same shape
    """

    def __init__(
        self, channels: int = 3, width: int = 32, unshuffle: int = 2, depths: Sequence[int] = (2, 1, 1)
    ) -> None:
        super().__init__()
        self.config = {"channels": channels, "width": width, "unshuffle": unshuffle, "depths": list(depths)}
        self.channels = channels
        self.unshuffle = unshuffle
        self.multiple_of = unshuffle * 2 ** (len(depths) - 1)
        self.head = nn.Conv2d(channels * unshuffle**2, width, 3, padding=1)
        layers: list[nn.Module] = []
        for level, depth in enumerate(depths):
            if level:
                layers += [nn.ReLU(), nn.Conv2d(width, 2 * width, 2, stride=2)]
                width *= 2
            for _ in range(depth):
                layers += [nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)]
        self.body = nn.Sequential(*layers, nn.ReLU())
        self.tail = nn.Conv2d(width, 2, 1)

    def forward(self, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Levels and logarithmic weights, a cell each."""
        features = self.body(self.head(F.pixel_unshuffle(observed - 0.5, self.unshuffle)))
        level, weight = self.tail(features).float().chunk(2, dim=1)
        seen = F.softplus(level) * 0.1
        return before_clipping(seen, observed.float()), _SUREST * torch.tanh(weight / _SUREST)


def before_clipping(levels: Tensor, observed: Tensor) -> Tensor:
    """Levels as they were before the file cut off what is above white: on white paper that is half of the noise.

    By what clipping at 1 does to the mean and the deviation of a normal distribution (Foi, Signal Processing 2009,
    "Clipped noisy images"); a cell with a value above 1 was not clipped. Black is left alone: there the tone curve of
    cameras bends so sharply that no other level is known than what is seen.

    Shape:
        - levels: `[B, 1, H/m, W/m]`, the deviation that is seen in each cell
        - observed: `[B, C, H, W]`
    """
    cell = observed.shape[-1] // levels.shape[-1]
    room = 1 - F.avg_pool2d(observed.mean(1, keepdim=True), cell)  # from the mean of a cell up to white
    distance = (room / levels.clamp_min(1e-6) - _ROOM_AT_WHITE).clamp_min(0)
    hidden = _HIDDEN_AT_WHITE * torch.exp(-_HIDDEN_DECAY * distance)
    clipped = F.max_pool2d(observed.amax(1, keepdim=True), cell) <= 1
    return levels * (1 + hidden * clipped)


def pool_level(levels: Tensor, weights: Tensor) -> Tensor:
    """One level for the whole: the mean of the levels, weighted by the exponential of the weights.

    Shape:
        - Input: `[B, 1, *S]` twice
        - Output: `[B]`
    """
    share = torch.softmax(weights.flatten(1), dim=1)
    return (levels.flatten(1) * share).sum(1)


def level_curve(levels: Tensor, weights: Tensor, brightness: Tensor) -> Tensor:
    """Levels as one function of brightness for the whole picture, put back in place of the single estimates.

    Sensor noise depends on how bright a place is and on little else (Foi et al., IEEE TIP 2008), and a textured place
    tells less about it than a flat one of the same brightness. The levels, weighted by confidence, are smoothed along
    the brightness axis by a Gaussian; where no place of that brightness is trusted the mean of all takes over.

    Shape:
        - Input: `[B, 1, H, W]` three times: levels, logarithmic weights, brightness 0..1
        - Output: `[B, 1, H, W]`
    """
    share = torch.softmax(weights.flatten(1), dim=1)[:, None]
    level, place = levels.flatten(1)[..., None], brightness.flatten(1)
    knots = torch.linspace(0, 1, _KNOTS, device=levels.device, dtype=torch.float32)[:, None]
    total = _PRIOR * (share @ level)
    trust = torch.full_like(total, _PRIOR)
    for start in range(0, place.shape[1], _CELLS):
        some = slice(start, start + _CELLS)
        near = torch.exp(-0.5 * ((place[:, None, some] - knots) / _WIDTH).square()) * share[..., some]
        total, trust = total + near @ level[:, some], trust + near.sum(2, keepdim=True)
    curve = (total / trust).squeeze(2)
    position = place.clamp(0, 1) * (_KNOTS - 1)
    knot = position.long().clamp(max=_KNOTS - 2)
    return torch.lerp(curve.gather(1, knot), curve.gather(1, knot + 1), position - knot).view_as(levels)
