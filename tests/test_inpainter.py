from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import denoise
from denoise.errors import UsageError
from denoise.inpainter import Inpainter
from denoise.networks.inpainting import InpaintingUNet
from denoise.windows import Windows
from tests.conftest import awake, card, photo

SMALL = Windows(size=160, context=32, fade=8, multiple_of=32)


@pytest.fixture(scope="module")
def network() -> InpaintingUNet:
    network = InpaintingUNet(widths=(4, 8), depths=(1, 1))
    awake(network)
    for weight in network.parameters():
        weight.mul_(0.5)
    return network


@pytest.fixture(scope="module")
def inpainter(network: InpaintingUNet) -> Inpainter:
    return Inpainter(network, card("tiny holes", hole_px=16), "cpu", "float32")


def as_tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255


def holes(height: int, width: int) -> np.ndarray:
    """Scattered, a line along one side, and a corner."""
    mask = np.random.default_rng(0).random((height, width)) < 0.05
    mask[:, width // 2] = True
    mask[-1, -1] = mask[0, 0] = True
    mask[height // 3, : width // 3] = False
    return mask


def test_a_dark_picture_is_filled_as_a_bright_one(inpainter: Inpainter) -> None:
    picture, mask = as_tensor(photo(70, 90)), holes(70, 90)
    torch.testing.assert_close(inpainter(picture / 64, mask) * 64, inpainter(picture, mask), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(1, 3), (2, 2), (7, 5), (33, 64), (100, 130)])
@pytest.mark.parametrize("bands", [1, 3])
def test_every_size_and_nothing_outside_the_holes(inpainter: Inpainter, size: tuple[int, int], bands: int) -> None:
    picture = torch.rand(bands, *size)
    mask = holes(*size)
    mask[0, -1] = False
    restored = inpainter(picture, mask)
    known = torch.from_numpy(~mask).expand_as(picture)
    assert restored.shape == picture.shape and restored.isfinite().all()
    assert torch.equal(restored[known], picture[known])
    assert not torch.equal(restored, picture)


def test_what_is_in_the_holes_does_not_matter(inpainter: Inpainter) -> None:
    picture, mask = as_tensor(photo(70, 90)), holes(70, 90)
    other = torch.where(torch.from_numpy(mask), 0.9, picture)
    torch.testing.assert_close(inpainter(picture, mask), inpainter(other, mask), atol=1e-5, rtol=0)


def test_a_mask_may_be_read_only(inpainter: Inpainter) -> None:
    picture, mask = as_tensor(photo(40, 50)), holes(40, 50)
    filled = inpainter(picture, mask)
    mask.setflags(write=False)
    assert torch.equal(inpainter(picture, mask), filled)


def test_windows_agree_with_the_whole(network: InpaintingUNet) -> None:
    picture, mask = as_tensor(photo(260, 300)), holes(260, 300)
    mask[60:90, 100:230] = True
    whole = Inpainter(network, None, "cpu", "float32", Windows(size=512, context=64, multiple_of=32))
    parts = Inpainter(network, None, "cpu", "float32", Windows(size=192, context=64, fade=16, multiple_of=32))
    assert (whole(picture, mask) - parts(picture, mask)).abs().max() < 0.5 / 255


def test_a_hole_wider_than_a_window(network: InpaintingUNet) -> None:
    """Its middle sees no known pixel in its window and yet is about as bright as what is around the hole."""
    for weight in network.parameters():
        assert weight.abs().max() > 0
    plain = InpaintingUNet(widths=(4, 8), depths=(1, 1))
    torch.nn.init.zeros_(plain.tail.weight)
    picture = torch.full((3, 400, 400), 0.6)
    mask = np.zeros((400, 400), dtype=bool)
    mask[40:360, 40:360] = True
    restored = Inpainter(plain, None, "cpu", "float32", SMALL)(picture, mask)
    torch.testing.assert_close(restored, picture, atol=1e-4, rtol=0)


@pytest.mark.parametrize("place", [(0, 0), (0, 63), (47, 0), (47, 63), (0, 30), (20, 63), (20, 20)])
def test_a_hole_of_one_pixel(inpainter: Inpainter, place: tuple[int, int]) -> None:
    picture, mask = as_tensor(photo()), np.zeros((48, 64), dtype=bool)
    mask[place] = True
    restored = inpainter(picture, mask)
    changed = (restored != picture).any(0)
    assert changed.nonzero().tolist() == [list(place)]


def test_only_windows_with_holes_are_computed(network: InpaintingUNet, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    refine = network.refine

    def counted(filled: Tensor, condition: Tensor) -> Tensor:
        computed.append(filled.shape[2] * filled.shape[3])
        return refine(filled, condition)

    monkeypatch.setattr(network, "refine", counted)
    mask = np.zeros((640, 960), dtype=bool)
    mask[100, 100:103] = True
    Inpainter(network, None, "cpu", "float32")(torch.rand(3, 640, 960), mask)
    assert sum(computed) <= 192 * 192  # a hole of three pixels and 64 around it, in cells of 32


def test_strength(inpainter: Inpainter) -> None:
    picture, mask = as_tensor(photo()), holes(48, 64)
    none = inpainter(picture, mask, strength=0)
    assert torch.equal(none, picture) and none.data_ptr() != picture.data_ptr()
    full, half = inpainter(picture, mask), inpainter(picture, mask, strength=0.5)
    torch.testing.assert_close(half, (picture + full) / 2, atol=1e-6, rtol=0)


def test_no_hole_returns_a_copy_of_the_input(inpainter: Inpainter) -> None:
    picture = as_tensor(photo())
    none = inpainter(picture, np.zeros((48, 64), dtype=bool))
    assert torch.equal(none, picture) and none.data_ptr() != picture.data_ptr()


def test_batches_with_one_mask_and_with_one_each(inpainter: Inpainter) -> None:
    batch = torch.rand(2, 3, 40, 50)
    masks = np.stack([holes(40, 50), holes(40, 50)[::-1]])
    same = inpainter(batch, masks[0])
    own = inpainter(batch, torch.from_numpy(masks.copy())[:, None])
    assert torch.equal(same[0], own[0])
    torch.testing.assert_close(own[1], inpainter(batch[1], masks[1]))
    assert not torch.equal(same[1], own[1])


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pil_images(inpainter: Inpainter, mode: str) -> None:
    picture = Image.fromarray(photo()).convert(mode)
    mask = holes(48, 64)
    restored = inpainter(picture, Image.fromarray(mask))
    assert restored.mode == mode
    before, after = np.asarray(picture), np.asarray(restored)
    assert np.array_equal(before[~mask], after[~mask])
    assert not np.array_equal(before, after)


def test_arrays_of_16_bits_stay_exact_outside(inpainter: Inpainter) -> None:
    picture = np.random.default_rng(0).integers(0, 65_536, (48, 64, 3)).astype(np.uint16)
    mask = holes(48, 64)
    restored = inpainter(picture, mask)
    assert restored.dtype == np.uint16
    assert np.array_equal(restored[~mask], picture[~mask])


def test_what_does_not_fit(inpainter: Inpainter) -> None:
    picture = as_tensor(photo())
    with pytest.raises(UsageError, match="The mask is 64x47 and the picture is 64x48"):
        inpainter(picture, np.zeros((47, 64), dtype=bool))
    with pytest.raises(UsageError, match="covers all"):
        inpainter(picture, np.ones((48, 64), dtype=bool))
    with pytest.raises(UsageError, match="Strength"):
        inpainter(picture, holes(48, 64), strength=2)
    with pytest.raises(UsageError, match="NaN"):
        inpainter(picture * torch.nan, holes(48, 64))


def test_its_name(inpainter: Inpainter) -> None:
    assert repr(inpainter) == "Inpainter(tiny holes, cpu, float32)"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_outside_of_the_holes_every_bit_stays(tiny_inpainting_weights: Path, dtype: torch.dtype) -> None:
    inpainter = denoise.load(tiny_inpainting_weights, "cpu", "float32")
    picture = torch.rand(2, 3, 24, 20, dtype=torch.float64).to(dtype)
    mask = torch.zeros(24, 20, dtype=torch.bool)
    mask[5:9, 6:10] = True
    filled = inpainter(picture, mask)
    assert filled.dtype == dtype and torch.equal(filled[:, :, ~mask], picture[:, :, ~mask])
    assert not torch.equal(filled[:, :, mask], picture[:, :, mask])
    for array in (picture[0].double().permute(1, 2, 0).numpy(), picture[0, 0].double().numpy()):
        one = inpainter(array, mask.numpy())
        assert one.dtype == np.float64 and np.array_equal(one[~mask.numpy()], array[~mask.numpy()])


def test_a_batch_has_a_mask_each_in_restore_too(tiny_inpainting_weights: Path) -> None:
    picture, masks = torch.rand(2, 3, 24, 20), torch.zeros(2, 1, 24, 20)
    masks[0, :, 4:6, 4:6] = masks[1, :, 10:12, 3:9] = 1
    filled = denoise.restore(picture, mask=masks, dilate_px=1, model=tiny_inpainting_weights, device="cpu")
    changed = (filled != picture).any(1)
    assert changed[0].sum() == 4 * 4 and changed[1].sum() == 4 * 8


def test_what_is_transparent_is_filled_and_opaque_then(tiny_inpainting_weights: Path) -> None:
    inpainter = denoise.load(tiny_inpainting_weights, "cpu", "float32")
    mask = np.zeros((48, 64), dtype=bool)
    mask[10:16, 20:26] = True
    clear = Image.fromarray(photo())
    clear.putalpha(Image.fromarray(np.where(mask, 0, 255).astype(np.uint8)))
    keyed = Image.fromarray(np.where(mask[..., None], 7, photo()).astype(np.uint8))
    keyed.info["transparency"] = (7, 7, 7)
    for picture in (clear, keyed):
        before, after = (np.asarray(one.convert("RGBA")) for one in (picture, inpainter(picture, mask)))
        assert (before[mask, 3] == 0).all() and (after[..., 3] == 255).all()
        assert (after[mask, :3] != before[mask, :3]).any() and np.array_equal(after[~mask], before[~mask])
        assert inpainter(picture, mask, 0.0) == picture
        with pytest.raises(UsageError, match="no colour to mix with"):
            inpainter(picture, mask, 0.5)
        inpainter(picture, np.roll(mask, 8, axis=1), 0.5)


def test_big_endian_samples_come_back_so(tiny_inpainting_weights: Path) -> None:
    mask = np.zeros((48, 64), dtype=bool)
    mask[10:16, 20:26] = True
    for dtype in (">f4", ">u2"):
        picture = (photo() / 255 if dtype == ">f4" else photo()).astype(dtype)
        assert denoise.load(tiny_inpainting_weights, "cpu")(picture, mask).dtype == np.dtype(dtype)
