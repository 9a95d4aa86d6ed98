"""Rooms: reverberation of which only the late part is damage."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from denoise.corruptions.base import Corrupted, Params
from denoise.corruptions.draws import Range, as_range, normal, uniform
from denoise.corruptions.recordings import SUFFIXES, as_name, sounds_below
from denoise.corruptions.sound import SoundCorruption, from_db, whole
from denoise.corruptions.spectra import fast_length
from denoise.errors import UsageError

EARLY_S = 0.05
DIRECT_S = 0.0025
LONGEST_S = 2.0


class Reverb(SoundCorruption):
    """The sound of a room: observed gets all of it, the target keeps the direct path and the first 50 ms.

    The early reflections make speech louder and no less clear, so they are not asked to go (Reddy et al. 2021,
    Interspeech, "INTERSPEECH 2021 Deep Noise Suppression Challenge"). Responses come from the sound files in a folder,
    or else are made up: the direct path, and Gaussian noise that falls by 60 dB in `rt60_s` and is `drr_db` weaker
    than the direct path (direct-to-reverberant ratio; Polack 1988). The direct path has an energy of 1 and no delay,
    and the length stays.

    Shape:
        - Input: `[B, C, T]`
    """

    def __init__(self, rt60_s: Range = (0.1, 0.8), drr_db: Range = (-3.0, 15.0), folder: str | None = None) -> None:
        super().__init__()
        self.rt60_s = as_range(rt60_s, "rt60_s", low=0.01, high=5)
        self.drr_db = as_range(drr_db, "drr_db", low=-40, high=100)
        self.folder = folder
        self._read: dict[int, Tensor] = {}

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The responses, `[B, 1, L]`, no longer than the signal."""
        if self.folder is None:
            return {"response": self._made_up(clean, generator)[..., : clean.shape[-1]]}
        if self.rate_hz not in self._read:
            self._read[self.rate_hz] = read_responses(self.folder, self.rate_hz)
        responses = self._read[self.rate_hz]
        rows = whole((0, len(responses) - 1), len(clean), generator).to(responses.device)
        return {"response": responses[rows, None, : clean.shape[-1]].to(clean)}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """The signal in the room."""
        return self.follow(Corrupted(clean, None, clean), params)

    def follow(self, before: Corrupted, params: Params) -> Corrupted:
        """Observed in the room, the target in its early part."""
        response, length = params["response"], before.observed.shape[-1]
        size = fast_length(length + response.shape[-1] - 1)
        late = response.clone()
        late[..., : self.samples(EARLY_S)] = 0
        observed = torch.fft.rfft(before.observed, size)
        target = observed if before.observed is before.target else torch.fft.rfft(before.target, size)
        early_part = torch.fft.rfft(response - late, size)
        whole_room = early_part + torch.fft.rfft(late, size)
        heard, kept = (
            torch.fft.irfft(spectrum * room, size)[..., :length].contiguous()
            for spectrum, room in ((observed, whole_room), (target, early_part))
        )
        return replace(before, observed=heard, target=kept)

    def _made_up(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        rt60_s = uniform(self.rt60_s, clean, generator)
        time_s = torch.arange(self.samples(self.rt60_s[1]), device=clean.device) / self.rate_hz
        tail = normal((len(clean), 1, len(time_s)), clean, generator)
        starts_s = uniform((0.001, 0.01), clean, generator)  # the first reflection
        tail = tail * torch.exp(-math.log(1000) * time_s / rt60_s) * (time_s > starts_s)
        energy = tail.square().sum(-1, keepdim=True).clamp(min=1e-20)
        tail = tail * (energy.rsqrt() * from_db(-uniform(self.drr_db, clean, generator)))
        return tail + F.one_hot(torch.zeros((), dtype=torch.long, device=clean.device), len(time_s))


def read_responses(folder: str, rate_hz: int) -> Tensor:
    """The first channel of every impulse response below a folder, from its direct path on; raises UsageError.

    Each is scaled so that its first 2.5 ms have an energy of 1. Shorter ones are filled with zeros; at most 2 s are
    kept.

    Shape:
        - Output: `[N, L]`
    """
    import librosa
    import soundfile

    responses = []
    for path in sounds_below(folder):
        try:
            samples, its_rate = soundfile.read(as_name(path), dtype="float32", always_2d=True)
            resampled = librosa.resample(samples[:, 0], orig_sr=its_rate, target_sr=rate_hz, res_type="soxr_hq")
        except (soundfile.LibsndfileError, librosa.ParameterError) as error:  # the latter where there is NaN
            reason = str(getattr(error, "error_string", error)).rstrip(".")
            raise UsageError(f"{path} cannot be read as an impulse response: {reason}. Take it out.") from error
        response = torch.from_numpy(resampled.copy())
        if not response.abs().sum() > 0:
            continue
        response = response[int(response.abs().argmax()) :][: round(LONGEST_S * rate_hz)]
        direct = response[: max(1, round(DIRECT_S * rate_hz))].square().sum().sqrt()
        responses.append(response / (direct * response[0].sign()))
    if not responses:
        raise UsageError(
            f"folder={folder} has no impulse responses: give a folder with sound files ({', '.join(sorted(SUFFIXES))})."
        )
    return torch.nn.utils.rnn.pad_sequence(responses, batch_first=True)
