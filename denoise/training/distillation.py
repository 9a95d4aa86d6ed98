"""Learn also from what trained weights make of turned, flipped and shifted views of a picture."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from denoise import pretrained
from denoise.corruptions.base import Corrupted
from denoise.corruptions.draws import as_fraction
from denoise.ensemble import turned, turned_back
from denoise.networks import describe
from denoise.training.batches import VIEWS
from denoise.training.modules import Drawn, Restoration, require_alike

_TASK = ("class", "channels", "condition_channels")
"""What of a network says what it is for; the teacher may be smaller or larger"""


class Distillation(Restoration):
    """A `Restoration` whose targets are drawn towards what a teacher makes of one view of the batch, another each step.

    The mean of a network's answers to many views is better than each of them (`--ensemble`). An answer to a view drawn
    by chance is that mean and some noise, which is far less than what cannot be known adds to the truth as a target:
    the gradients are steadier, and the network learns to answer all views alike. Hinton et al., "Distilling the
    knowledge in a neural network", 2015, with the ensemble of Timofte et al., CVPR 2016, as the teacher.

    Args:
        teacher: name or folder of weights for the same task, best the ones that the training starts from.
        teacher_share: share of the teacher in the target, 0..1; the truth has the rest.
        shifts: whether views are shifted, too. Not where JPEG is to be undone, for the teacher knows its blocks only
            where they begin at multiples of 8.
        arguments: those of `Restoration`.

    Raises UsageError when the teacher is for another task.
    """

    def __init__(self, teacher: str, teacher_share: float = 0.5, shifts: bool = True, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.teacher_share = as_fraction(teacher_share, "teacher_share")
        self.shifts = shifts
        network = pretrained.load(teacher).network.eval().requires_grad_(False)
        mine, theirs = ({key: describe(one).get(key) for key in _TASK} for one in (self.network, network))
        require_alike("network", mine, theirs, f"the teacher {teacher}")
        # In a list, so that neither checkpoints nor the mean of the weights have it.
        self._teacher = [network.to(memory_format=torch.channels_last)]  # type: ignore[call-overload]

    def see(self, batch: Tensor | Drawn, batch_idx: int) -> Corrupted:
        """The batch with targets between the truth and what the teacher makes of a view."""
        seen = super().see(batch, batch_idx)
        (teacher,) = self._teacher
        teacher.to(seen.observed.device)
        cell = math.lcm(self.network.multiple_of, teacher.multiple_of)  # by a whole one nothing new is seen
        reach = cell if self.shifts else 1
        generator = self.generator(torch.device("cpu"), self._number(batch_idx), stream=VIEWS)
        turns, flips, left, top = (int(torch.randint(n, (), generator=generator)) for n in (4, 2, reach, reach))

        def view(x: Tensor) -> Tensor:
            padded = F.pad(x, (left, cell - left, top, cell - top), mode="reflect")
            return turned(padded, turns, bool(flips)).contiguous(memory_format=torch.channels_last)

        with torch.no_grad():
            answer = teacher(view(seen.observed), None if seen.condition is None else view(seen.condition))
        height, width = seen.target.shape[-2:]
        answer = turned_back(answer.float(), turns, bool(flips))[..., top : top + height, left : left + width]
        return replace(seen, target=torch.lerp(seen.target, answer, self.teacher_share))
