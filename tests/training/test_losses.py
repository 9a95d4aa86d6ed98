import math

import pytest
import torch

from denoise.training.losses import L1, PSNRLoss


def test_values() -> None:
    target = torch.zeros(2, 3, 4, 4)
    restored = torch.full_like(target, 0.1)
    assert L1()(restored, target).item() == pytest.approx(0.1)
    assert PSNRLoss(floor=0)(restored, target).item() == pytest.approx(math.log(0.01))


def test_every_example_counts_alike_in_the_psnr_loss() -> None:
    target = torch.zeros(2, 1, 4, 4)
    restored = torch.stack([torch.full((1, 4, 4), 0.1), torch.full((1, 4, 4), 0.001)])
    assert PSNRLoss(floor=0)(restored, target).item() == pytest.approx((math.log(1e-2) + math.log(1e-6)) / 2, rel=1e-4)
    assert torch.isfinite(PSNRLoss()(target, target))


@pytest.mark.parametrize("loss", [L1(), PSNRLoss()])
def test_weights_choose_where_the_loss_counts(loss: torch.nn.Module) -> None:
    target = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    restored = target + 0.1
    weight = torch.zeros(2, 1, 4, 4)
    weight[..., :2] = 1
    damaged = restored.clone()
    damaged[..., 2:] = 9
    torch.testing.assert_close(loss(damaged, target, weight), loss(restored, target))
    torch.testing.assert_close(loss(restored, target, torch.ones_like(weight)), loss(restored, target, None))
    assert torch.isfinite(loss(restored, target, torch.zeros_like(weight)))
