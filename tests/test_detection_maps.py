import math

import pytest
import torch

from denoise.detection_maps import _cell_means, code_distance


def test_code_distance() -> None:
    bank = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    same, between, opposite = code_distance(torch.tensor([[5.0, 0.0], [1.0, 1.0], [-1.0, 0.0]]), bank, 1).tolist()
    assert same == pytest.approx(0, abs=1e-6)
    assert between == pytest.approx(2 * math.sin(math.pi / 8), rel=1e-4)
    assert opposite == pytest.approx(2**0.5, rel=1e-4)


def test_small_distances_are_exact() -> None:
    bank = torch.nn.functional.normalize(torch.randn(60, 16, generator=torch.Generator().manual_seed(0)))
    near = bank + 1e-4 * torch.randn(60, 16, generator=torch.Generator().manual_seed(1))
    for count in (1, 3):
        apart = torch.nn.functional.normalize(near.double())[:, None] - bank.double()
        exact = apart.norm(dim=-1).sort(dim=1).values[:, :count].mean(1)
        torch.testing.assert_close(code_distance(near, bank, count).double(), exact, rtol=1e-2, atol=1e-6)
    assert code_distance(bank, bank, 1).max() < 1e-6


def test_means_over_cells() -> None:
    errors = torch.arange(15.0).view(3, 5)
    expected = torch.tensor([[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]])  # of 2 x 2, 2 x 1, 1 x 2 and 1 x 1 pixels
    torch.testing.assert_close(_cell_means(errors, (2, 2)), expected)
