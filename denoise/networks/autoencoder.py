"""A convolutional autoencoder: an encoder, a code, a decoder, and no way around the code."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from denoise.networks.blocks import ResidualBlock

_ACTIVATIONS = {"none": nn.Identity, "relu": nn.ReLU, "sigmoid": nn.Sigmoid}


class Autoencoder(nn.Module):
    """Say the signal by a code, and the signal again by the code alone.

    Strided convolutions halve the sides level by level; the code layer follows, and transposed layers go the same way
    back. Signals of any side are padded by replication and the result is cropped. Two kinds of code:

    - without `side` a 3x3 convolution: a code vector for every cell of 2 to the number of levels, which overlap;
    - with `side` one vector for a patch of that many pixels, by a convolution as large as the patch. A signal of that
      size has one vector, a larger one has a grid of them, of patches side by side.

    Without levels (`widths=()`) encoder and decoder are that one layer each. With `side` and no activation that is the
    linear autoencoder, whose best decoder spans the leading principal components (Baldi and Hornik, "Neural networks
    and principal component analysis: learning from examples without local minima", Neural Networks 1989).

    Args:
        channels: bands of the signal.
        widths: channels of each level, the finest first.
        code: length of a code vector.
        side: pixels that one code vector stands for, one number or (height, width), multiples of 2 to the levels.
        activation: of the code: `none`, `relu` (not below 0) or `sigmoid` (0..1).
        depth: residual blocks of each level, on the way down and again on the way up.

    Shape:
        - observed: `[B, C, H, W]`
        - Output: the same
    """

    minimum = 1
    takes_level = False
    """A condition tells it nothing"""

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = (32, 64),
        code: int = 16,
        side: int | Sequence[int] | None = None,
        activation: str = "none",
        depth: int = 0,
    ) -> None:
        super().__init__()
        cell = 2 ** len(widths)
        sides = (side, side) if isinstance(side, int) else side
        if activation not in _ACTIVATIONS:
            raise ValueError(f"activation {activation!r} is not known: give one of {', '.join(_ACTIVATIONS)}")
        if min(channels, code, *widths) < 1 or depth < 0:
            raise ValueError(
                f"channels {channels}, widths {list(widths)}, code {code}: give whole numbers of at least 1"
            )
        if sides is not None and (len(sides) != 2 or any(length < cell or length % cell for length in sides)):
            raise ValueError(f"side {side} does not suit {len(widths)} widths: give a multiple of {cell}, or two")
        self.config = {
            "channels": channels,
            "widths": list(widths),
            "code": code,
            "side": list(side) if isinstance(side, Sequence) else side,
            "activation": activation,
            "depth": depth,
        }
        self.channels = channels
        self.activation = activation
        self.stride = (cell, cell) if sides is None else (sides[0], sides[1])
        """Height and width, in pixels, of the part of the signal that a code vector stands for"""
        self.multiple_of = math.lcm(*self.stride)
        patches = [None] if sides is None else [length // cell for length in sides]
        self.receptive_field = max(_receptive_field(len(widths), depth, patch) for patch in patches)

        last = widths[-1] if widths else channels
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for fine, coarse in itertools.pairwise([channels, *widths]):
            down += [nn.Conv2d(fine, coarse, 4, stride=2, padding=1), *_blocks(coarse, depth), nn.ReLU()]
            up = [nn.ReLU(), *_blocks(coarse, depth), nn.ConvTranspose2d(coarse, fine, 4, stride=2, padding=1), *up]
        if sides is None:
            into: nn.Module = nn.Conv2d(last, code, 3, padding=1)
            out: nn.Module = nn.Conv2d(code, last, 3, padding=1)
        else:
            cells = (sides[0] // cell, sides[1] // cell)
            into = _IntoPatches(last, code, cells, stride=cells)
            out = _FromPatches(code, last, cells, stride=cells)
        self.encoder = nn.Sequential(*down, into, _ACTIVATIONS[activation]())
        self.decoder = nn.Sequential(out, *up)

    def encode(self, observed: Tensor) -> Tensor:
        """The code. Shape: `[B, C, H, W] -> [B, K, ceil(H / stride), ceil(W / stride)]`."""
        height, width = (-length % step for length, step in zip(observed.shape[-2:], self.stride, strict=True))
        if height or width:
            observed = F.pad(observed, (0, width, 0, height), mode="replicate")
        return self.encoder(observed)  # type: ignore[no-any-return]

    def decode(self, code: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """The signal of a code, cropped to `size` (height, width). Shape: `[B, K, h, w] -> [B, C, *size]`."""
        signal: Tensor = self.decoder(code)
        return signal if size is None else signal[..., : size[0], : size[1]]

    def forward(self, observed: Tensor, condition: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The signal by way of its code; a condition tells it nothing."""
        return self.decode(self.encode(observed), observed.shape[-2:])


class _IntoPatches(nn.Conv2d):
    """A convolution whose windows lie side by side, as the matrix product that it is: many times faster on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.kernel_size
        batch, channels, height, width = x.shape
        patches = x.reshape(batch, channels, height // rows, rows, width // columns, columns)
        product = F.linear(patches.permute(0, 2, 4, 1, 3, 5).flatten(3), self.weight.flatten(1), self.bias)
        return product.permute(0, 3, 1, 2)


class _FromPatches(nn.ConvTranspose2d):
    """The same the other way round."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: ARG002
        channels, (rows, columns) = self.weight.shape[1], self.kernel_size
        batch, _, height, width = x.shape
        patches = (x.permute(0, 2, 3, 1) @ self.weight.flatten(1)).view(batch, height, width, channels, rows, columns)
        signal = patches.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, height * rows, width * columns)
        return signal if self.bias is None else signal + self.bias[:, None, None]


def _blocks(width: int, depth: int) -> list[nn.Module]:
    return [ResidualBlock(width) for _ in range(depth)]


def _receptive_field(levels: int, depth: int, patch: int | None) -> int:
    """How far, in pixels, an output pixel can see in each direction: the span it sees, followed back layer by layer.

    `patch` is the side, in cells, of the patch of a code vector, or None for a 3x3 code layer.
    """
    reach = 0
    for pixel in range((patch or 1) << levels):
        low = high = pixel
        for _ in range(levels):  # transposed 4x4 layer: pixel p is made of cells (p - 1) // 2 to (p + 1) // 2
            low, high = (low - 1) // 2 - 2 * depth, (high + 1) // 2 + 2 * depth
        if patch is None:
            low, high = low - 2, high + 2
        else:
            low, high = low // patch * patch, high // patch * patch + patch - 1
        for _ in range(levels):  # 4x4 layer: cell c sees 2 c - 1 to 2 c + 2
            low, high = 2 * (low - 2 * depth) - 1, 2 * (high + 2 * depth) + 2
        reach = max(reach, pixel - low, high - pixel)
    return reach
