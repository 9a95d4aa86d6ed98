"""How disturbing the difference between two recordings is to a listener: a loss for sound."""

from __future__ import annotations

import torch
from torch import Tensor, nn

HIGHEST_HZ = 8000
_FRAME_S = 0.032
_BAND_BARK = 0.5
_LOWEST_HZ = 50
_LEVEL_DB = 84  # of the band of telephony at the ear: with it scores follow those of the reference implementation best
_INTERVAL = 20  # frames of which the worst count most


class Disturbance(nn.Module):
    """The disturbance of ITU-T P.862: differences of loudness, and once more those where something was added.

    Spectra are merged into critical bands (Zwicker and Terhardt, "Analytical expressions for critical-band rate",
    JASA 1980), compared with the threshold of hearing (Terhardt, "Calculating virtual pitch", Hearing Research 1979)
    and turned into loudness; differences below a quarter of the loudness are masked. What is much louder than it should
    be counts up to twelvefold in the asymmetric part. Frames are pooled by the sixth power over a third of a second, so
    that a short disturbance is not averaged away. As a loss: Martin-Donas et al., "A deep learning loss function based
    on the perceptual evaluation of the speech quality", IEEE Signal Processing Letters 2018.

    Bands and threshold are in closed form in place of the standard's tables, and recordings are taken to be in step.
    As there, most of a difference of level and of colour is forgiven, so this is a part of a loss, not a loss alone.
    `4.5 - loss` is near the raw score of P.862.2. What lies above 8 kHz does not count.
    """

    rate_hz = 48_000

    def forward(self, restored: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The loss, a scalar; silent targets do not count."""
        heard = target.abs().amax((1, 2)) > 1e-3
        if not heard.any():
            return restored.sum() * 0
        return self.of_each(restored[heard], target[heard]).mean()

    def of_each(self, restored: Tensor, target: Tensor) -> Tensor:
        """The disturbance of each example: `[B, 1, T], [B, 1, T] -> [B]`."""
        hz = torch.arange(round(min(self.rate_hz / 2, HIGHEST_HZ) * _FRAME_S), device=target.device) / _FRAME_S
        bands, centres_hz = critical_bands(hz)
        ours, theirs = (self._at_level(signal, hz) @ bands for signal in (restored, target))
        threshold = 10 ** (hearing_threshold_db(centres_hz) / 10)
        ours, theirs = _compensated(ours, theirs, threshold)
        loud, wanted = loudness(ours, threshold), loudness(theirs, threshold)
        difference = ((loud - wanted).abs() - 0.25 * torch.minimum(loud, wanted)).clamp_min(0)
        added = ((ours + 50) / (theirs + 50)) ** 1.2
        added = added.clamp_max(12) * (added >= 3)
        ease = ((_audible(theirs, threshold) + 1e5) / 1e7) ** 0.04
        symmetric, asymmetric = _over_bands(difference, 2) / ease, _over_bands(difference * added, 1) / ease
        return 0.1 * _over_time(symmetric) + 0.0309 * _over_time(asymmetric)

    def _at_level(self, signal: Tensor, hz: Tensor) -> Tensor:
        """Power spectra of frames of 32 ms, at the level at which the listener hears them: `[B, 1, T] -> [B, N, K]`."""
        size = round(_FRAME_S * self.rate_hz)
        window = torch.hann_window(size, device=signal.device)
        spectra = torch.stft(
            signal.flatten(0, 1).float(), size, size // 2, window=window, pad_mode="constant", return_complex=True
        )
        powers = torch.view_as_real(spectra[:, : len(hz)].mT).square().sum(-1)
        telephony = powers[..., (hz >= 325) & (hz <= 3250)].sum(-1).mean(1)[:, None, None]
        return 10 ** (_LEVEL_DB / 10) * powers / telephony.clamp_min(1e-12) * (hz >= _LOWEST_HZ)


def critical_bands(hz: Tensor) -> tuple[Tensor, Tensor]:
    """Which of bands half a Bark wide each frequency falls into, and the mean frequency of each band.

    Shape:
        - hz: `[K]`, ascending
        - Output: `[K, bands]` of zeros and ones, `[bands]`; bands without any frequency are left out
    """
    bark = 13 * torch.atan(0.00076 * hz) + 3.5 * torch.atan((hz / 7500) ** 2)
    _, band = torch.unique_consecutive((bark / _BAND_BARK).floor(), return_inverse=True)
    members = nn.functional.one_hot(band).to(hz.dtype)
    return members, hz @ members / members.sum(0)


def hearing_threshold_db(hz: Tensor) -> Tensor:
    """The sound pressure level of a tone that is just heard in quiet, in dB. Shape: any."""
    khz = hz.clamp_min(20) / 1000
    return 3.64 * khz**-0.8 - 6.5 * torch.exp(-0.6 * (khz - 3.3).square()) + 1e-3 * khz**4


def loudness(power: Tensor, threshold: Tensor) -> Tensor:
    """Sone per band by Zwicker's law, from 0 at the threshold on. Shape: `[..., bands]`, `[bands] -> [..., bands]`."""
    above = (0.5 + 0.5 * (power / threshold).clamp_min(1)) ** 0.23 - 1
    return 0.1866 * (2 * threshold) ** 0.23 * above


def _compensated(ours: Tensor, theirs: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
    """Without most of what a filter and a slow change of level make different: `[B, N, bands]` each, in and out."""
    speaks = (_audible(theirs, 100 * threshold) >= 1e7)[..., None]
    own, wanted = ((part * (part > 100 * threshold) * speaks).mean(1, keepdim=True) for part in (ours, theirs))
    theirs = theirs * ((own + 1000) / (wanted + 1000)).clamp(0.01, 100)
    gain = (_audible(theirs, threshold) + 5e3) / (_audible(ours, threshold) + 5e3)
    smooth = torch.cat([gain[:, :1], 0.8 * gain[:, 1:] + 0.2 * gain[:, :-1]], dim=1).clamp(3e-4, 5)
    return ours * smooth[..., None], theirs


def _audible(powers: Tensor, threshold: Tensor) -> Tensor:
    """Power of the bands above a threshold: `[B, N, bands] -> [B, N]`."""
    return (powers * (powers > threshold)).sum(-1)


def _over_bands(disturbance: Tensor, power: int) -> Tensor:
    """Norm over the bands, as large as their mean times the width in Bark of all. Shape: `[B, N, bands] -> [B, N]`."""
    width = _BAND_BARK * disturbance.shape[-1]
    mean = disturbance.pow(power).mean(-1)
    return (width * (mean + 1e-16) ** (1 / power)).clamp_max(45)


def _over_time(disturbance: Tensor) -> Tensor:
    """Sixth power within intervals that overlap by half, squares over the intervals. Shape: `[B, N] -> [B]`."""
    size = min(_INTERVAL, disturbance.shape[1])
    intervals = disturbance.unfold(1, size, max(1, size // 2)) + 1e-6
    worst = intervals.pow(6).mean(-1) ** (1 / 6)
    return (worst.square().mean(1)).sqrt()
