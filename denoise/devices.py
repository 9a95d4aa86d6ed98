"""Where to compute and in which number format."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from denoise.errors import UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


F = TypeVar("F", bound=Callable[..., Any])


def from_cpu(function: F) -> F:
    """The same, with new tensors on the CPU, whatever `torch.set_default_device` says."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with torch.device("cpu"):
            return function(*args, **kwargs)

    return cast(F, wrapped)


def choose_device(device: str = "auto") -> torch.device:
    """The device that a name means; `auto` is CUDA, then Apple's MPS, then the CPU."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UsageError(f"Device {device!r} cannot be used here; try --device auto or --device cpu.") from error
    return chosen


def choose_dtype(dtype: str, device: torch.device) -> tuple[torch.dtype, str]:
    """The number format for convolutions on a device, and the reason for it."""
    if dtype != "auto":
        if dtype not in DTYPES:
            raise UsageError(f"Number format {dtype!r} is not known; choose auto, {', '.join(DTYPES)}.")
        return DTYPES[dtype], "asked for"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "this GPU multiplies bfloat16 natively"
        return torch.float16, "this GPU has no native bfloat16"
    if device.type == "cpu" and cpu_multiplies_bfloat16():
        return torch.bfloat16, "this CPU multiplies bfloat16 natively"
    return torch.float32, f"no native bfloat16 was found on {device.type}"


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """A network for pictures, ready for inference on a device."""
    network = network.eval().requires_grad_(False)
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def run(network: Any, dtype: torch.dtype, *inputs: Tensor) -> Any:
    """Call a network for pictures in a number format. Shape: `[B, C, H, W]` each."""
    with torch.autocast(inputs[0].device.type, dtype, enabled=dtype != torch.float32):  # whatever the caller has set
        return network(*(x.contiguous(memory_format=torch.channels_last) for x in inputs))


def cpu_multiplies_bfloat16() -> bool:
    """Whether the processor has bfloat16 matrix instructions (AVX512-BF16, AMX or Arm's); emulation would be slower."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))
