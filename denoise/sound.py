"""SoundRestorer: a network for spectra, windows in time, device and number format behind one call."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from denoise.arrays import copied
from denoise.devices import choose_device, choose_dtype, from_cpu
from denoise.errors import UsageError
from denoise.leveller import REACH, levelling
from denoise.networks.stft import analyse, hop_length, synthesise
from denoise.options import ATTENUATION_DB, check_attenuation, check_strength
from denoise.pretrained import Card
from denoise.windows import Read, Windows, rows_of, sweep_rows

WINDOW_S = 20.0
LOWEST_HZ, HIGHEST_HZ = 4_000, 768_000
MOST_CHANNELS = 128  # of a waveform in memory
LOUDEST = 2.0**32  # full scale is 1, and 2^31 in floats that nobody has divided; the squares of much more are infinite


_HEARD_S, _HEARD_AT_ONCE = 0.05, 100
_QUIET, _WELL_HEARD, _TOO_LOUD = 2.0**-6, 2.0**-3, 2.0**3


class Heard(NamedTuple):
    """How sound reaches the network: less an offset, times a gain, numbers or `[C, 1]`; the result goes back."""

    gain: float | Tensor = 1.0
    offset: float | Tensor = 0.0


AS_IT_IS = Heard()


class SoundRestorer:
    """Restore sound of any length, rate and number of channels with one set of weights.

    Made by `denoise.load(name)`. Called with a waveform `[T]` or `[C, T]` (torch or NumPy, float, -1..1) and its rate
    it returns the same kind. Channels are restored one by one. Computed in float32 unless asked otherwise: rounding to
    bfloat16 would be heard.
    """

    def __init__(self, network: nn.Module, card: Card | None = None, device: str = "auto", dtype: str = "auto") -> None:
        self.device = choose_device(device)
        self.dtype, _ = choose_dtype("float32" if dtype == "auto" else dtype, self.device)
        self.card = card
        self.network = network.eval().requires_grad_(False).to(self.device)

    def __repr__(self) -> str:
        name = self.card.name if self.card else type(self.network).__name__
        return f"SoundRestorer({name}, {self.device}, {str(self.dtype).removeprefix('torch.')})"

    @from_cpu
    def __call__(
        self, waveform: Any, rate_hz: int, strength: float = 1.0, attenuation_db: float = ATTENUATION_DB
    ) -> Any:
        """Restore a waveform.

        Args:
            waveform: see the class; nothing is clipped or scaled.
            rate_hz: samples per second.
            strength: 0 returns a copy of the input, bit for bit; 1 the restored sound, between them a mix.
            attenuation_db: the sound is made quieter by that at most; infinity for no such limit. It is mixed with the
                input, so a single tone may vanish between the two.

        Raises:
            UsageError: the input or an option is not one of the above; the input holds NaN, infinity or absurd samples.
        """
        check_strength(strength)
        check_attenuation(attenuation_db)
        check_rate(rate_hz)
        signal = as_tensor(waveform).float()
        if signal.ndim == 2 and len(signal) > 16 and 0 < signal.shape[1] < len(signal):
            raise many_channels(waveform)
        if strength == 0 or signal.shape[-1] == 0:
            return copied(waveform)
        channels = signal.reshape(-1, signal.shape[-1])
        restored = torch.empty_like(channels)
        read, length = rows_of(channels), channels.shape[1]
        heard = listen(read, length, rate_hz)

        for start, stop, samples in self.restore_samples(read, length, rate_hz, strength, attenuation_db, heard):
            restored[:, start:stop] = samples
        return _from_tensor(restored.view(signal.shape), waveform)

    def restore_samples(
        self,
        read: Read,
        length: int,
        rate_hz: int,
        strength: float = 1.0,
        attenuation_db: float = ATTENUATION_DB,
        heard: Heard = AS_IT_IS,
    ) -> Iterator[tuple[int, int, Tensor]]:
        """Restore sound that is read block by block; yields `(start, stop, samples)` in order.

        Args:
            heard: how it reaches the network, see `listen`.

        Shape:
            - Read, yielded: `[C, stop - start]` float32
        """

        def restore(window: Tensor, _: tuple[slice, ...]) -> Tensor:
            return self.restore_window(window[0], rate_hz, strength, attenuation_db, heard)[None]

        yield from sweep_rows(restore, read, (length,), self.windows(rate_hz))

    @torch.inference_mode()
    def restore_window(
        self, window: Tensor, rate_hz: int, strength: float, attenuation_db: float, heard: Heard = AS_IT_IS
    ) -> Tensor:
        """Restore a stretch of sound as if there were silence before and after it. Shape: `[C, T]` in and out."""
        hop = hop_length(rate_hz)
        observed = window.to(self.device)
        gain, offset = (torch.as_tensor(part, device=self.device) for part in heard)
        centred = (observed - offset) * gain
        raised = levelling(centred, hop)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            spectra = self.network(analyse(centred * raised, hop), None)
        restored = synthesise(spectra.float(), hop, observed.shape[-1]) / raised / gain + offset
        return observed.lerp(restored, strength * (1 - 10 ** (-attenuation_db / 20)))

    def context(self, rate_hz: int) -> int:
        """How far, in samples, an output sample can see in each direction, in whole hops."""
        frames: int = self.network.receptive_field  # type: ignore[assignment]
        return (frames + 2 + REACH) * hop_length(rate_hz)  # a sample is in two frames, each as long as two hops

    def windows(self, rate_hz: int) -> Windows:
        """How sound at this rate is cut: with all of the context, so that no border can be heard or measured."""
        hop, context = hop_length(rate_hz), self.context(rate_hz)
        size = max(round(WINDOW_S * rate_hz / hop) * hop, 3 * context)
        return Windows(size=size, context=context, multiple_of=hop)


def listen(read: Read, length: int, rate_hz: int) -> Heard:
    """How sound has to reach a network that learned from sound of usual levels; most of it as it is.

    Quiet is a channel of whose twentieths of a second, but for digital silence, all but the loudest twentieth stay
    below -36 dB of full scale. These come to about -18 dB, and no sample beyond 18 dB above full scale, which does not
    hurt where -50 dB would make speech vanish. Gains are powers of two. An offset counts from an eighth of it on.
    """
    step = max(1, round(_HEARD_S * rate_hz))
    swings, sums, peaks = [], [], []
    for start in range(0, length, step * _HEARD_AT_ONCE):
        block = read(start, min(start + step * _HEARD_AT_ONCE, length))
        block = block.where(is_sound(block), 0.0)
        sums.append(block.double().sum(-1, keepdim=True))
        peaks.append(block.abs().amax(-1, keepdim=True))
        steps = F.pad(block, (0, -block.shape[-1] % step), mode="replicate").reshape(len(block), -1, step)
        swings.append((steps.amax(-1) - steps.amin(-1)) / 2)
    swing = torch.cat(swings, dim=-1)
    usual = swing.where(swing > 0, math.nan).nanquantile(0.95, dim=-1, keepdim=True).nan_to_num()
    mean = (torch.cat(sums, dim=-1).sum(-1, keepdim=True) / length).to(swing)
    offset = mean.where((usual > 0) & (mean.abs() > usual / 8), 0.0)
    most = _TOO_LOUD / (torch.cat(peaks, dim=-1).amax(-1, keepdim=True) + offset.abs()).clamp_min(1e-30)
    raised = torch.where((usual > 0) & (usual < _QUIET), (_WELL_HEARD / usual).clamp_min(1), 1.0)
    return Heard(torch.minimum(raised, most).log2().floor().exp2(), offset)


def check_rate(rate_hz: int) -> None:
    """Raise UsageError for a rate at which speech is no speech, or that no sound has."""
    if not isinstance(rate_hz, Real) or not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
        raise UsageError(f"A rate of {rate_hz} Hz is out of range; sound needs {LOWEST_HZ} to {HIGHEST_HZ} Hz.")


def as_tensor(waveform: Any) -> Tensor:
    """A waveform, `[T]` or `[C, T]`, as a tensor of floats; raises UsageError for what is none."""
    if isinstance(waveform, np.ma.MaskedArray):
        raise UsageError("A masked array hides samples; give its data, with silence where they are missing.")
    if not isinstance(waveform, Tensor | np.ndarray):
        raise UsageError(f"Sound is a torch tensor or a NumPy array, not {type(waveform).__name__}.")
    if not (waveform.dtype.kind == "f" if isinstance(waveform, np.ndarray) else waveform.is_floating_point()):
        raise UsageError(f"Samples of {waveform.dtype} have no scale; give floats with full scale at 1.")
    if waveform.ndim not in (1, 2) or (waveform.ndim == 2 and len(waveform) == 0):
        raise UsageError(f"Sound of shape {tuple(waveform.shape)} is neither [T] nor [C, T] with a channel.")
    if waveform.ndim == 2 and len(waveform) > MOST_CHANNELS:
        raise many_channels(waveform)
    if isinstance(waveform, np.ndarray):
        # PyTorch takes no array that is reversed, read-only or of another byte order or over 64 bits.
        dtype = np.float64 if waveform.dtype.itemsize > 8 else waveform.dtype.newbyteorder("=")
        waveform = torch.from_numpy(np.require(waveform, dtype, ["C", "W"]))
    if not is_sound(waveform.float()).all():
        raise UsageError("The sound holds NaN or infinity, or what is absurdly loud; replace those samples first.")
    signal: Tensor = waveform.detach()
    return signal


def many_channels(waveform: Any) -> UsageError:
    """What to say of sound that is probably the other way round."""
    return UsageError(
        f"Sound of shape {tuple(waveform.shape)} is [C, T] with {len(waveform)} channels; where that was [T, C], as "
        "soundfile gives it, turn it over with .T."
    )


def is_sound(samples: Tensor) -> Tensor:
    """Which samples are numbers that sound can have."""
    return samples.abs() <= LOUDEST


def _from_tensor(restored: Tensor, like: Any) -> Any:
    if isinstance(like, np.ndarray):
        return restored.cpu().numpy().astype(like.dtype, copy=False)
    return restored.to(like.device, like.dtype)
