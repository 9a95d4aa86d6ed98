"""The shared picture operations against SciPy, Pillow and arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from denoise.corruptions.filters import filter_rows_columns, gaussian_taps, local_level, luma
from denoise.errors import UsageError


def test_local_level_is_the_root_of_the_mean_variance_of_a_block() -> None:
    variance = torch.rand(2, 3, 48, 32, generator=torch.Generator().manual_seed(0))
    level = local_level(variance)
    blocks = variance.unfold(2, 16, 16).unfold(3, 16, 16).mean((1, 4, 5)).sqrt()
    torch.testing.assert_close(level.square()[:, 0, :8, :8].mean((1, 2)).sqrt(), blocks[:, 0, 0])
    torch.testing.assert_close(local_level(torch.full((1, 3, 5, 1), 0.25)), torch.full((1, 1, 5, 1), 0.5))


def test_local_level_holds_one_number_per_block_and_so_hides_the_picture() -> None:
    variance = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    shuffled = variance.unfold(2, 16, 16).unfold(3, 16, 16).flip(4, 5).permute(0, 1, 2, 4, 3, 5).reshape(1, 1, 64, 64)
    assert not torch.equal(variance, shuffled)
    torch.testing.assert_close(local_level(variance), local_level(shuffled))


def test_a_sparse_variance_is_spread_over_the_picture() -> None:
    torch.testing.assert_close(local_level(torch.full((1, 1, 2, 2), 0.25), (5, 7)), torch.full((1, 1, 5, 7), 0.5))


def test_luma_is_pillows() -> None:
    codes = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    expected = torch.from_numpy(np.asarray(Image.fromarray(codes).convert("L")).copy())
    gray = luma(torch.from_numpy(codes).permute(2, 0, 1)[None] / 255) * 255
    assert (gray[0, 0] - expected).abs().max() <= 0.51
    with pytest.raises(UsageError, match="2 bands"):
        luma(torch.rand(1, 2, 3, 3))


def test_filter_is_scipys_with_a_kernel_of_its_own_for_each_example() -> None:
    padded = torch.rand(2, 3, 9 + 8, 11 + 8, generator=torch.Generator().manual_seed(0))
    rows, columns = gaussian_taps(torch.tensor([0.7, 1.3]), 4), gaussian_taps(torch.tensor([1.1, 0.0]), 4)
    result = filter_rows_columns(padded, rows, columns)
    for one in range(2):
        along_h = ndimage.correlate1d(padded[one].numpy(), rows[one].numpy(), axis=1)
        both = ndimage.correlate1d(along_h, columns[one].numpy(), axis=2)
        np.testing.assert_allclose(result[one].numpy(), both[:, 4:-4, 4:-4], atol=1e-6)
