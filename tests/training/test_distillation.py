"""Targets that trained weights give for turned, flipped and shifted views."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from denoise import pretrained
from denoise.corruptions.image import Gaussian
from denoise.corruptions.masks import RandomPixels
from denoise.errors import UsageError
from denoise.networks.inpainting import InpaintingUNet
from denoise.networks.unet import UNet
from denoise.training.distillation import Distillation
from denoise.training.modules import Restoration
from tests.conftest import awake, card

SMALL: dict[str, Any] = {"widths": (4, 6), "depths": (1, 1)}


def _saved(folder: Path, network: UNet) -> str:
    return str(pretrained.save(folder, pretrained.Weights(network, None, card())))


class _Outside(Distillation):
    """A module outside of a training."""

    @property
    def global_step(self) -> int:
        return int(self._trainer.global_step)


class _SameNoise(_Outside):
    """The draws of every step are those of the first, but for the view."""

    def generator(self, device: torch.device, number: int, stream: int = 0) -> torch.Generator:
        return super().generator(device, number if stream else 0, stream)


def _module(teacher: str, step: int = 0, kind: type[_Outside] = _Outside, **settings: Any) -> Distillation:
    defaults: dict[str, Any] = {"network": UNet(**SMALL), "corruption": Gaussian(25)}
    module = kind(teacher, **{**defaults, **settings})
    module._trainer = SimpleNamespace(global_step=step, global_rank=0, accumulate_grad_batches=1)
    return module


def _clean() -> Tensor:
    return torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def idle(tmp_path: Path) -> str:
    """Weights that leave every picture as it is."""
    network = awake(UNet(**SMALL))
    torch.nn.init.zeros_(network.tail.weight)
    return _saved(tmp_path / "idle", network)


@pytest.fixture
def busy(tmp_path: Path) -> str:
    """Weights that answer every view in another way."""
    return _saved(tmp_path / "busy", awake(UNet(**SMALL)))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_an_idle_teacher_draws_the_target_towards_what_is_seen_in_every_view(idle: str, share: float) -> None:
    for step in range(12):
        seen = _module(idle, step, teacher_share=share).see(_clean(), 0)
        expected = torch.lerp(_clean(), seen.observed, share)
        torch.testing.assert_close(seen.target, expected)


def test_views_differ_from_step_to_step_and_are_alike_in_a_step(busy: str) -> None:
    module = _module(busy, teacher_share=1)
    first, again = module.see(_clean(), 0), module.see(_clean(), 0)
    torch.testing.assert_close(first.target, again.target, rtol=0, atol=0)
    assert not first.target.requires_grad
    seen = [_module(busy, step, _SameNoise, teacher_share=1).see(_clean(), 0) for step in range(6)]
    answers = [one.target - one.observed for one in seen]
    assert all(not torch.allclose(answers[0], answer, atol=1e-3) for answer in answers[1:])


def test_views_that_are_not_shifted(idle: str) -> None:
    """What a teacher does to the first row of each of its cells comes back there, or in the last row when turned."""

    class Rows(UNet):
        def forward(self, observed: Tensor, condition: Tensor) -> Tensor:
            row, column = (torch.arange(side) % 4 == 0 for side in observed.shape[2:])
            return observed + (row[:, None] | column) + 0 * condition

    found = set()
    for step in range(20):
        module = _module(idle, step, teacher_share=1, shifts=False)
        module._teacher = [Rows(**SMALL)]
        seen = module.see(_clean(), 0)
        marked = (seen.target - seen.observed)[0, 0].round() > 0
        rows, columns = marked.all(1).nonzero()[:, 0] % 4, marked.all(0).nonzero()[:, 0] % 4
        found.add((*rows.unique().tolist(), *columns.unique().tolist()))
    assert found == {(0, 0), (0, 3), (3, 0), (3, 3)}


def test_holes_are_seen_where_they_are(tmp_path: Path) -> None:
    """Known pixels come back as they are from a teacher that only fills; in holes they do not."""
    network = awake(InpaintingUNet(**SMALL))
    torch.nn.init.zeros_(network.tail.weight)
    teacher = _saved(tmp_path / "fills", network)
    for step in range(6):
        module = _module(
            teacher, step, teacher_share=1, network=InpaintingUNet(**SMALL), corruption=RandomPixels(share=0.3)
        )
        seen = module.see(_clean(), 0)
        assert seen.condition is not None
        known = (seen.condition == 0).expand_as(seen.target)
        torch.testing.assert_close(seen.target[known], _clean()[known])
        assert (seen.target[~known] - _clean()[~known]).abs().mean() > 0.05


def test_neither_checkpoints_nor_optimisers_know_the_teacher(busy: str) -> None:
    plain = Restoration(UNet(**SMALL), Gaussian(25))
    module = _module(busy)
    assert module.state_dict().keys() == plain.state_dict().keys()
    assert len(list(module.parameters())) == len(list(plain.parameters()))


def test_a_deeper_network_may_learn_from_a_smaller_one(busy: str) -> None:
    seen = _module(busy, network=UNet(widths=(4, 6), depths=(2, 3))).see(_clean(), 0)
    assert seen.target.shape == _clean().shape


def test_a_network_of_fewer_levels_may_learn_from_one_of_more(busy: str) -> None:
    seen = _module(busy, network=UNet(widths=(4,), depths=(1,))).see(_clean(), 0)
    assert seen.target.shape == _clean().shape


def test_a_teacher_of_another_task_is_refused(tmp_path: Path) -> None:
    teacher = _saved(tmp_path / "other", InpaintingUNet(**SMALL))
    with pytest.raises(UsageError, match="has class InpaintingUNet"):
        _module(teacher)


def test_a_share_beyond_all_is_refused(busy: str) -> None:
    with pytest.raises(UsageError, match="teacher_share"):
        _module(busy, teacher_share=1.5)
