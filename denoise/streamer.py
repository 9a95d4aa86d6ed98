"""Restore sound while it comes in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from denoise.devices import from_cpu
from denoise.errors import UsageError
from denoise.networks.stft import hop_length
from denoise.options import ATTENUATION_DB, check_attenuation, check_strength, is_number
from denoise.sound import AS_IT_IS, Heard, SoundRestorer, as_tensor, check_rate, many_channels
from denoise.windows import pad


class Streamer:
    """Feed samples as they come, get back those that are final: the same ones that restoring the whole would give.

    A sample is final once the network has seen all that it can hear of it, `latency_s` later. Shorter blocks wait less
    and cost more, because each is restored together with what the network hears around it.

    Args:
        restorer: what restores, see `denoise.load`.
        rate_hz: samples per second.
        block_s: how much new sound is gathered before the network runs.
        strength: see `SoundRestorer`.
        attenuation_db: see `SoundRestorer`.
        heard: how the sound reaches the network, see `denoise.sound.listen`. What is soft is raised in any case (see
            `denoise.leveller`); one that stays below -36 dB of full scale does better with a gain that brings all of
            it to about -18 dB, for a stream does not know what will come.

    Raises:
        UsageError: `restorer` is not for sound, or an option is out of range.

    Example::

        streamer = Streamer(denoise.load("speech"), rate_hz=48_000)
        while (block := device.read()) is not None:
            player.write(streamer.feed(block))
        player.write(streamer.flush())
    """

    def __init__(
        self,
        restorer: SoundRestorer,
        rate_hz: int,
        block_s: float = 0.5,
        strength: float = 1.0,
        attenuation_db: float = ATTENUATION_DB,
        heard: Heard = AS_IT_IS,
    ) -> None:
        if not isinstance(restorer, SoundRestorer):
            raise UsageError(
                f"A {type(restorer).__name__} restores no sound; give what denoise.load('speech') returns."
            )
        check_rate(rate_hz)
        check_strength(strength)
        check_attenuation(attenuation_db)
        if not (is_number(block_s) and 0 < block_s <= 60):
            raise UsageError(f"A block of {block_s} s is out of range; give up to 60 seconds.")
        self.restorer = restorer
        self.rate_hz, self.strength, self.attenuation_db = rate_hz, strength, attenuation_db
        self.heard = _checked(heard)
        hop = hop_length(rate_hz)
        self.block = max(1, round(block_s * rate_hz / hop)) * hop
        self.context = restorer.context(rate_hz)
        self.held: Tensor | None = None  # samples from the context of the first that is not done
        self.done = 0  # samples of `held` that have been given back
        self.like: Any = None

    @property
    def latency_s(self) -> float:
        """How long after its arrival a sample comes back at the latest."""
        return (self.block + self.context) / self.rate_hz

    @from_cpu
    def feed(self, samples: Any) -> Any:
        """Take samples `[T]` or `[C, T]` (torch or NumPy, float), of any number; return those that became final.

        Raises:
            UsageError: the samples are of another kind or number of channels than before or than `heard` is of, not
                finite, or absurdly loud.
        """
        block = self._accept(samples)
        self.held = torch.cat([block[:, :0] if self.held is None else self.held, block], dim=1)
        return self._given_back(list(self._ready()))

    @from_cpu
    def flush(self) -> Any:
        """Return all that is still held, and start anew.

        Raises:
            UsageError: nothing was fed.
        """
        if self.held is None:
            raise UsageError("Nothing was fed to the streamer, so there is nothing to give back.")
        pieces = list(self._ready())
        rest = self.held.shape[1] - self.done
        if rest > 0:
            whole = pad(self.held, hop_length(self.rate_hz))  # as the last window of a sweep
            pieces.append(self._restore(whole)[:, self.done : self.held.shape[1]])
        given = self._given_back(pieces)
        self.held, self.done, self.like = None, 0, None
        return given

    def _ready(self) -> Iterator[Tensor]:
        while self.held is not None and self.held.shape[1] >= self.done + self.block + self.context:
            stop = self.done + self.block
            yield self._restore(self.held[:, : stop + self.context])[:, self.done : stop]
            drop = max(0, stop - self.context)
            self.held = self.held[:, drop:]
            self.done = stop - drop

    def _restore(self, window: Tensor) -> Tensor:
        if self.strength == 0:
            return window
        how = (self.rate_hz, self.strength, self.attenuation_db, self.heard)
        return self.restorer.restore_window(window, *how).cpu()

    def _accept(self, samples: Any) -> Tensor:
        signal = as_tensor(samples)
        if signal.ndim == 2 and len(signal) > 16 and 0 < signal.shape[1] <= 2:
            raise many_channels(samples)
        if self.like is not None and (type(samples), signal.shape[:-1]) != (type(self.like), self.like.shape[:-1]):
            raise UsageError("These samples are of another kind or number of channels than those before; flush first.")
        channels = 1 if signal.ndim == 1 else len(signal)
        if any(torch.as_tensor(part).numel() not in (1, channels) for part in self.heard):
            raise UsageError(f"These are {channels} channels, and how they are heard is told of another number.")
        self.like = samples
        signal = signal if self.strength == 0 else signal.float()
        return signal if signal.ndim == 2 else signal[None]

    def _given_back(self, pieces: list[Tensor]) -> Any:
        assert self.held is not None
        out = torch.cat(pieces, dim=1) if pieces else self.held.new_empty(self.held.shape[0], 0)
        out = out if self.like.ndim == 2 else out[0]
        if isinstance(self.like, np.ndarray):
            return out.numpy().astype(self.like.dtype, copy=False)
        return out.to(self.like.device, self.like.dtype)


def _checked(heard: Heard) -> Heard:
    """Gain and offset as the network's numbers; raises UsageError for what is none, or could not be undone."""
    if not isinstance(heard, Heard):
        raise UsageError(f"How sound is heard is no {type(heard).__name__}; give a denoise.sound.Heard(gain=...).")
    try:
        gain, offset = (torch.as_tensor(part, dtype=torch.float32, device="cpu") for part in heard)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{heard} holds something else than numbers: {error}.") from None
    shaped = all(part.ndim == 0 or (part.ndim == 2 and part.shape[1] == 1) for part in (gain, offset))
    if not (shaped and (gain > 0).all() and gain.isfinite().all() and offset.isfinite().all()):
        raise UsageError(f"{heard} is not possible; give finite numbers or [C, 1], and a gain above 0.")
    return Heard(gain, offset)
