"""Start a larger network as the smaller one that was trained before."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from denoise.networks import describe


def is_larger(network: nn.Module, trained: nn.Module) -> bool:
    """Whether two networks differ in nothing but that the first is larger in what its class lists as `grows`.

    The first may be of a child class, which has the same layers.
    """
    if not isinstance(network, type(trained)):
        return False
    mine, theirs = (describe(one) | {"class": None} for one in (network, trained))
    grows = getattr(network, "grows", ())
    fixed = dict.fromkeys(grows)
    return mine != theirs and mine | fixed == theirs | fixed and all(_covers(mine[key], theirs[key]) for key in grows)


def grow(network: nn.Module, trained: nn.Module) -> None:
    """Copy the weights of a smaller network, in place: what the network computes is then what the smaller one does.

    New units see the old ones by the weights that the network has already, and the old ones see the new by zeros.
    Blocks that the smaller one lacks are left alone: residual ones begin as the identity. After Chen, Goodfellow and
    Shlens, "Net2Net: accelerating learning via knowledge transfer", ICLR 2016.
    """
    with torch.no_grad():
        for name, module in trained.named_modules():
            larger = network.get_submodule(name)
            outputs = 1 if isinstance(module, _ConvTransposeNd) else 0
            for key, tensor in module.named_parameters(recurse=False):
                _put(larger.get_parameter(key), tensor, outputs if tensor.ndim > 1 else 0)


def _covers(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, list):
        return len(mine) == len(theirs) and all(a >= b for a, b in zip(mine, theirs, strict=True))
    return bool(mine >= theirs)


def _put(larger: Tensor, tensor: Tensor, outputs: int) -> None:
    larger.narrow(outputs, 0, tensor.shape[outputs]).zero_()
    larger[tuple(slice(size) for size in tensor.shape)] = tensor
