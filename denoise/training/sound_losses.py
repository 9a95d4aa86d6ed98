"""What restored sound is scored by in training. All take `[B, 1, T]` and ignore the level of an example."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from denoise.errors import UsageError
from denoise.networks.stft import analyse, compress, hop_length

_TINY = 1e-8
AUDIBLE = 1e-4
"""What a sample of a target that is no silence reaches"""


class WeightedSum(nn.Module):
    """Several losses at once, each times its weight."""

    def __init__(self, losses: list[nn.Module], weights: list[float]) -> None:
        super().__init__()
        if len(losses) != len(weights):
            raise UsageError(f"WeightedSum got {len(weights)} weights for {len(losses)} losses: give one each.")
        self.losses = nn.ModuleList(losses)
        self.weights = [float(weight) for weight in weights]

    def forward(self, restored: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss, a scalar."""
        parts = [loss(restored, target, weight) for loss in self.losses]
        return torch.stack([share * part for share, part in zip(self.weights, parts, strict=True)]).sum()


class CompressedSpectrum(nn.Module):
    """Squared error of compressed spectra: of magnitudes, and of real and imaginary parts.

    Compression by the power 0.3 lets quiet sounds count, much as they do to the ear (Ephrat et al., "Looking to
    listen", SIGGRAPH 2018; the mix with magnitudes: Braun and Tashev, "A consolidated view of loss functions", 2020).

    Args:
        complex_share: of the complex part; the rest is the magnitudes'.
        compression: the power.
    """

    rate_hz = 48_000

    def __init__(self, complex_share: float = 0.3, compression: float = 0.3) -> None:
        super().__init__()
        self.complex_share, self.compression = complex_share, compression

    def forward(self, restored: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The loss, a scalar."""
        hop = hop_length(self.rate_hz)
        level = target.square().mean((1, 2), keepdim=True).sqrt() + 1e-4
        spectra = [analyse((signal / level).flatten(0, 1), hop) for signal in (restored, target)]
        ours, theirs = (compress(spectrum, self.compression, _TINY) for spectrum in spectra)
        magnitudes = (ours[0] - theirs[0]).square().mean()
        parts = (ours[1] - theirs[1]).square().sum(1).mean()
        return (1 - self.complex_share) * magnitudes + self.complex_share * parts


class MultiResolutionSTFT(nn.Module):
    """Spectral convergence and log-magnitude error over frames of several lengths.

    Yamamoto, Song and Kim, "Parallel WaveGAN", ICASSP 2020.

    Args:
        frames_s: lengths of the frames; each hops by a quarter of itself.
            Excerpts of half of one, or less, raise UsageError.
    """

    rate_hz = 48_000

    def __init__(self, frames_s: Sequence[float] = (0.016, 0.032, 0.064)) -> None:
        super().__init__()
        self.frames_s = tuple(frames_s)

    def forward(self, restored: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The loss, a scalar."""
        level = target.square().mean((1, 2), keepdim=True).sqrt() + 1e-4
        losses = []
        for seconds in self.frames_s:
            ours, theirs = (self._magnitudes(s / level, seconds) for s in (restored, target))
            convergence = (ours - theirs).flatten(1).norm(dim=1) / theirs.flatten(1).norm(dim=1).clamp_min(_TINY)
            losses.append(convergence.mean() + (ours.log() - theirs.log()).abs().mean())
        return torch.stack(losses).mean()

    def _magnitudes(self, signal: Tensor, seconds: float) -> Tensor:
        size = round(seconds * self.rate_hz)
        if signal.shape[-1] <= size // 2:  # its ends are continued by so much of itself
            raise UsageError(
                f"Excerpts of {signal.shape[-1] / self.rate_hz:g} s are too short for a loss with frames of "
                f"{seconds:g} s; train with a --data.excerpt_s above {seconds / 2:g}."
            )
        window = torch.hann_window(size, device=signal.device)
        spectra = torch.stft(signal.flatten(0, 1), size, size // 4, window=window, return_complex=True)
        return (spectra.real.square() + spectra.imag.square() + 1e-5).sqrt()


class SISDR(nn.Module):
    """The negative scale-invariant signal-to-distortion ratio in dB, held at 30 dB; silent targets do not count.

    Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019.
    """

    def forward(self, restored: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The loss, a scalar."""
        return -si_sdr_db(restored, target).clamp_max(30).where(target.abs().amax((1, 2)) > AUDIBLE, 0).mean()


def si_sdr_db(restored: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio of each example: `[B, 1, T], [B, 1, T] -> [B]`."""
    ours, theirs = restored.flatten(1), target.flatten(1)
    ours, theirs = ours - ours.mean(1, keepdim=True), theirs - theirs.mean(1, keepdim=True)
    scale = (ours * theirs).sum(1, keepdim=True) / (theirs.square().sum(1, keepdim=True) + _TINY)
    wanted = scale * theirs
    error = (wanted - ours).square().sum(1) + _TINY
    return 10 * torch.log10(wanted.square().sum(1) / error + _TINY)
