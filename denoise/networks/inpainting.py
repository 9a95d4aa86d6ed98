"""A U-Net that fills holes: first roughly, from coarse to fine, then by what it has learned."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from denoise.networks.unet import UNet

CELL = 32
"""Side, in pixels, of the coarsest cells that a window makes by itself"""
_LEVELS = 5
_STEPS = (16, 8, 4)
"""Steps towards the smoothest filling, at pixels, cells of two and cells of four pixels"""
_MOMENTUM = 0.7


class InpaintingUNet(UNet):
    """The U-Net for pictures, told where holes are in place of how strong the noise is.

    What is in the holes of `observed` is not looked at: they are filled by push and pull (Gortler et al., "The
    lumigraph", SIGGRAPH 1996), smoothed into a surface of little bending (Damelin & Hoang, "On surface completion and
    image inpainting by biharmonic functions", IJMMS 2018), and the layers make that better. The layers and the names
    of their weights are those of `UNet`, so that a training can start from a denoiser.

    Shape:
        - observed: `[B, C, H, W]`, 0..1, sides a multiple of `multiple_of`
        - condition: `[B, 1, H, W]`, 1 in a hole and 0 elsewhere
        - Output: `[B, C, H, W]`; only what it has in the holes is meant to be used
    """

    def forward(self, observed: Tensor, condition: Tensor) -> Tensor:
        """Fill the holes of pictures that are seen whole."""
        return self.refine(fill(observed, condition, fill_coarse(*pull(observed, condition))), condition)

    def refine(self, filled: Tensor, condition: Tensor) -> Tensor:
        """Better holes from roughly filled ones."""
        return super().forward(filled, condition)


def pull(observed: Tensor, holes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the known pixels of each cell of 32 pixels, and how much is known about it, 0..1.

    Shape:
        - Input: `[B, C, H, W]`, `[B, 1, H, W]`
        - Output: `[B, C, h, w]`, `[B, 1, h, w]`, cells at the far borders may be cut off
    """
    colour, known = _start(observed, holes)
    for _ in range(_LEVELS):
        colour, known = _halve(colour, known)
    return colour, known


def fill_coarse(colour: Tensor, known: Tensor) -> Tensor:
    """Cells of which nothing is known get what is around them; of none is known, 0.

    Shape: `[B, C, h, w]`, `[B, 1, h, w] -> [B, C, h, w]`
    """
    if max(colour.shape[-2:]) == 1:
        return colour
    beyond = fill_coarse(*_halve(colour, known))
    return _push(colour, known, beyond)


def fill(observed: Tensor, holes: Tensor, coarse: Tensor) -> Tensor:
    """Known pixels as they are, holes smoothly from what is around them.

    Shape:
        - observed, holes: `[B, C, H, W]`, `[B, 1, H, W]`
        - coarse: `[B, C, h, w]`, the cells of 32 pixels without holes, see `fill_coarse`
        - Output: `[B, C, H, W]`
    """
    levels = [_start(observed, holes)]
    for _ in range(_LEVELS - 1):
        levels.append(_halve(*levels[-1]))
    for level, (colour, known) in reversed(list(enumerate(levels))):
        coarse = _push(colour, known, coarse)
        if level < len(_STEPS):
            coarse = _bend_less(coarse, 1 - known, _STEPS[level])
    return coarse


def _start(observed: Tensor, holes: Tensor) -> tuple[Tensor, Tensor]:
    known = 1 - holes.float()
    return observed.float() * known, known


def _halve(colour: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of what is known in blocks of two by two; half known is as good as known."""
    total = F.avg_pool2d(known, 2, ceil_mode=True)
    mean = F.avg_pool2d(colour * known, 2, ceil_mode=True) / total.clamp_min(1e-6)
    return mean, (2 * total).clamp_max(1)


def _push(colour: Tensor, known: Tensor, coarse: Tensor) -> Tensor:
    """What is known, and the coarser level where nothing is."""
    size = colour.shape[-2:]
    finer = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)[..., : size[0], : size[1]]
    return torch.lerp(finer, colour, known)


def _bend_less(surface: Tensor, holes: Tensor, steps: int) -> Tensor:
    """Steps of steepest descent with momentum on the squared Laplacian, in the holes alone."""
    pace = holes / 32  # a larger one would not converge: the bilaplacian's eigenvalues reach 64
    velocity = torch.zeros_like(surface)
    for _ in range(steps):
        velocity.mul_(_MOMENTUM).sub_(_laplacian(_laplacian(surface)))
        surface = torch.addcmul(surface, pace, velocity)
    return surface


def _laplacian(surface: Tensor) -> Tensor:
    padded = F.pad(surface, (1, 1, 1, 1), mode="replicate")
    rows, columns = padded[..., 1:-1], padded[..., 1:-1, :]
    around = (rows[..., 2:, :] + rows[..., :-2, :]).add_(columns[..., 2:]).add_(columns[..., :-2])
    return around.sub_(surface, alpha=4)
