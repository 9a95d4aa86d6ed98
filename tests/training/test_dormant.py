"""Hidden units that never fire begin anew, and nothing else changes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from denoise.corruptions.image import Gaussian
from denoise.errors import UsageError
from denoise.networks import UNet
from denoise.networks.blocks import ResidualBlock
from denoise.training.dormant import RecycleDormant, recycle
from denoise.training.modules import Restoration

DORMANT = torch.tensor([True, False] * 8)


def _block() -> ResidualBlock:
    """Where inputs are positive, every other unit is held at zero and the rest fires; all have outputs."""
    torch.manual_seed(0)
    block = ResidualBlock(16)
    torch.nn.init.normal_(block.second.weight, std=0.1)
    with torch.no_grad():
        block.first.weight.abs_()
        block.first.weight[DORMANT] *= -1
    return block


def _fires(block: ResidualBlock, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return (block.first(inputs) > 0).float().mean((0, 2, 3))


def test_recycling_keeps_what_is_computed_and_wakes_the_units() -> None:
    block, inputs = _block(), 3 + torch.rand(4, 16, 24, 24)
    before, weights = block(inputs).detach(), block.first.weight.detach().clone()
    assert bool((_fires(block, inputs)[DORMANT] == 0).all())
    recycle(block, DORMANT, inputs.mean((0, 2, 3)), torch.Generator().manual_seed(1))
    torch.testing.assert_close(block(inputs).detach(), before)
    assert torch.equal(block.first.weight[~DORMANT], weights[~DORMANT])
    inner = _fires(block, inputs)[DORMANT]  # but for the border, where the mean is another
    assert inner.min().item() > 0.2
    assert inner.max().item() < 0.8


def test_recycled_units_learn_at_once() -> None:
    block, inputs = _block(), 3 + torch.rand(4, 16, 8, 8)
    recycle(block, DORMANT, inputs.mean((0, 2, 3)), torch.Generator().manual_seed(1))
    (block(inputs) - inputs.flip(3)).square().mean().backward()
    assert block.second.weight.grad is not None
    assert bool((block.second.weight.grad[:, DORMANT].abs().sum((0, 2, 3)) > 0).all())


class _Module(Restoration):
    done = 0.0

    def progress(self) -> float:
        return self.done


def _watched(callback: RecycleDormant, batches: int, done: float = 0.0, first_step: int = 0) -> ResidualBlock:
    """The block of a network that some batches went through under the eyes of the callback, one a step."""
    network = UNet(widths=(16,), depths=(1,), unshuffle=1)
    network.encoder[0][0] = _block()
    torch.nn.init.constant_(network.head.weight, 0.1)  # so that the block sees nothing negative
    module = _Module(network, Gaussian(5.0))
    module.done = done
    for step in range(first_step, first_step + batches):
        trainer: Any = SimpleNamespace(global_step=step, strategy=SimpleNamespace(reduce=lambda mean, **_: mean))
        callback.on_train_batch_start(trainer, module)
        network(0.3 + 0.4 * torch.rand(2, 3, 16, 16), torch.full((2, 1, 16, 16), 0.1))
        callback.on_train_batch_end(trainer)
    return network.encoder[0][0]


def _changed(block: ResidualBlock) -> Tensor:
    """Which units do not have the weights that they had."""
    before = _block()
    inputs = (block.first.weight != before.first.weight).flatten(1).any(1)
    outputs = (block.second.weight != before.second.weight).transpose(0, 1).flatten(1).any(1)
    assert torch.equal(inputs, outputs)
    return inputs


def test_what_was_dormant_in_all_batches_of_a_look_begins_anew() -> None:
    assert torch.equal(_changed(_watched(RecycleDormant(batches=3), 3)), DORMANT)


def test_nothing_begins_anew_before_a_look_is_over_or_late_or_where_nothing_is_dormant() -> None:
    assert not _changed(_watched(RecycleDormant(batches=3), 2)).any()
    assert not _changed(_watched(RecycleDormant(batches=3, latest=0.5), 9, done=0.6)).any()
    assert not _changed(_watched(RecycleDormant(batches=3, least=0.0), 9)).any()


def test_the_next_look_is_some_steps_after_the_one_before() -> None:
    callback = RecycleDormant(every_n_steps=10, batches=2)
    _watched(callback, 11)  # over with step 1
    resumed = RecycleDormant(every_n_steps=10, batches=2)
    resumed.load_state_dict(callback.state_dict())
    for one in (callback, resumed):
        assert not one._looks
        _watched(one, 1, first_step=10)
        assert not one._looks
        _watched(one, 1, first_step=11)
        assert one._looks


@pytest.mark.parametrize("wrong", [{"every_n_steps": 0}, {"batches": 0}, {"least": 2.0}, {"latest": -0.1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        RecycleDormant(**wrong)
