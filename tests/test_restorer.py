from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import denoise
from denoise.errors import UsageError
from denoise.loading import load
from denoise.networks.noise_level import NoiseLevel
from denoise.networks.unet import UNet
from denoise.noise import Noise
from denoise.restorer import SMALLEST_PX, Restorer
from denoise.windows import Windows
from tests.conftest import photo


@pytest.fixture(scope="module")
def restorer(tiny_weights: Path) -> Restorer:
    return load(tiny_weights, device="cpu", dtype="float32")


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 5), (37, 53), (64, 64)])
@pytest.mark.parametrize("bands", [1, 3])
def test_tensors_keep_shape_and_dtype(restorer: Restorer, size: tuple[int, int], bands: int) -> None:
    picture = torch.rand(bands, *size, dtype=torch.float64)
    restored = restorer(picture)
    assert restored.shape == picture.shape and restored.dtype == picture.dtype
    assert torch.isfinite(restored).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(9, 12), (9, 12, 1), (9, 12, 3)])
def test_arrays_keep_shape_and_dtype(restorer: Restorer, dtype: type, shape: tuple[int, ...]) -> None:
    top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    picture = (np.random.default_rng(0).random(shape) * top).astype(dtype)
    restored = restorer(picture, sigma=10)
    assert restored.shape == shape and restored.dtype == dtype
    assert not np.array_equal(restored, picture)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pil_images_keep_mode_alpha_and_info(restorer: Restorer, mode: str) -> None:
    picture = Image.fromarray(photo(20, 30)).convert(mode)
    picture.info["dpi"] = (72, 72)
    if mode.endswith("A"):
        picture.putalpha(Image.fromarray(photo(20, 30, 1)[..., 0]))
    restored = restorer(picture, sigma=20)
    assert (restored.mode, restored.size, restored.info) == (mode, picture.size, picture.info)
    assert restored.tobytes() != picture.tobytes()
    if mode.endswith("A"):
        assert restored.getchannel("A").tobytes() == picture.getchannel("A").tobytes()


def test_all_kinds_of_one_picture_agree(restorer: Restorer) -> None:
    pixels = photo(24, 32)
    tensor = torch.from_numpy(pixels.transpose(2, 0, 1)).float() / 255
    expected = restorer(tensor, sigma=15)
    as_8_bit = (expected.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(restorer(pixels, sigma=15), as_8_bit)
    assert np.array_equal(np.asarray(restorer(Image.fromarray(pixels), sigma=15)), as_8_bit)


def test_a_batch_is_restored_picture_by_picture(restorer: Restorer) -> None:
    batch = torch.rand(3, 3, 17, 23)
    batch[1] *= 0.2
    restored = restorer(batch)
    for one, alone in zip(restored, batch, strict=True):
        assert torch.equal(one, restorer(alone))


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_what_stays_as_it_is_is_a_copy(restorer: Restorer, strength: float) -> None:
    drawn = np.asarray(Image.fromarray(photo()).convert("1")) * (51 / 255)  # in more digits than float32 has
    for picture in (drawn, torch.from_numpy(drawn)[None], Image.fromarray(np.uint8(drawn * 255))):
        before, result = np.asarray(picture).copy(), restorer(picture, strength=strength)
        assert type(result) is type(picture) and np.array_equal(np.asarray(result), before)
        if isinstance(result, Image.Image):
            result.paste(7, (0, 0, 9, 9))
        else:
            result[:] = 7
        assert np.array_equal(np.asarray(picture), before)


def test_strength_mixes_and_zero_is_the_input(restorer: Restorer) -> None:
    picture = torch.rand(3, 16, 16)
    full, half, none = (restorer(picture, sigma=25, strength=strength) for strength in (1.0, 0.5, 0.0))
    assert torch.equal(none, picture)
    torch.testing.assert_close(half, (picture + full) / 2)


def test_a_network_that_sees_further_gets_more_context() -> None:
    near, far = (Restorer(UNet(depths=depths), device="cpu").windows for depths in ((2, 2, 2), (3, 3, 3)))
    assert (near.context, far.context) == (48, 64)


def test_the_smallest_windows_hold_the_context_of_any_network() -> None:
    deep = Restorer(UNet(widths=(4, 4, 4, 4), depths=(4, 4, 8, 16)), device="cpu")
    assert int(deep.network.receptive_field) > 400  # type: ignore[arg-type]
    replace(deep.windows, size=SMALLEST_PX)


def test_sigma_reaches_the_network(restorer: Restorer) -> None:
    picture = torch.rand(3, 16, 16)
    assert not torch.equal(restorer(picture, sigma=5), restorer(picture, sigma=50))


def test_whole_equals_windows_with_full_context(tiny_weights: Path) -> None:
    restorer = load(tiny_weights, device="cpu", dtype="float32")
    reach = int(restorer.network.receptive_field)  # type: ignore[arg-type]
    restorer.windows = Windows(size=2 * reach + 48, context=reach, fade=8, multiple_of=restorer.windows.multiple_of)
    picture = torch.rand(3, 3 * reach + 50, 4 * reach + 3)
    whole = load(tiny_weights, device="cpu", dtype="float32")
    whole.windows = Windows(size=1024, multiple_of=whole.windows.multiple_of)
    assert max(picture.shape) < 1024
    torch.testing.assert_close(restorer(picture, sigma=25), whole(picture, sigma=25), atol=1e-5, rtol=0)


def test_the_noise_map_is_the_same_whatever_the_window(tiny_weights: Path) -> None:
    restorer = load(tiny_weights, device="cpu", dtype="float32")
    cell = 8
    noise = Noise(10.0, torch.rand(1, 1, 9, 11), cell)
    whole = restorer._condition(noise, torch.empty(1, 3, 72, 88), (slice(0, 72), slice(0, 88)))
    part = restorer._condition(noise, torch.empty(1, 3, 24, 40), (slice(16, 40), slice(32, 72)))
    torch.testing.assert_close(part, whole[:, :, 16:40, 32:72])


def test_a_drawing_stays_as_it_is(restorer: Restorer) -> None:
    """Bit for bit, unless a level is stated."""
    drawing = np.kron(np.random.default_rng(0).integers(0, 256, (9, 11, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    assert np.array_equal(restorer(drawing), drawing)
    assert not np.array_equal(restorer(drawing, sigma=5), drawing)


def test_without_an_estimator_the_level_must_be_given() -> None:
    restorer = Restorer(UNet(widths=(4, 8), depths=(1, 1)), dtype="float32", device="cpu")
    picture = torch.rand(3, 8, 8)
    assert torch.equal(restorer(picture, sigma=10), restorer(picture, sigma=10))
    with pytest.raises(UsageError, match="--sigma 25"):
        restorer(picture)


def test_windows_suit_both_networks() -> None:
    restorer = Restorer(UNet(widths=(4,), depths=(1,)), NoiseLevel(width=4), dtype="float32")
    assert restorer.windows.multiple_of == 8


def test_bfloat16_is_close_to_float32(tiny_weights: Path) -> None:
    picture = torch.rand(3, 40, 40)
    low, high = (load(tiny_weights, device="cpu", dtype=dtype)(picture, sigma=25) for dtype in ("bfloat16", "float32"))
    assert low.dtype == torch.float32
    assert 0 < (low - high).abs().max() < 0.05


@pytest.mark.parametrize(
    "bad",
    [
        torch.rand(2, 8, 8),
        torch.rand(8, 8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        torch.zeros(3, 0, 8),
        torch.full((3, 8, 8), torch.nan),
        torch.full((1, 8, 8), torch.inf),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.int32),
        Image.new("CMYK", (8, 8)),
        Image.new("P", (8, 8)),
        {"a": 1},
        None,
    ],
)
def test_what_is_no_picture_gets_one_sentence(restorer: Restorer, bad: object) -> None:
    with pytest.raises(UsageError):
        restorer(bad)


@pytest.mark.parametrize("bad", [photo(8, 8).astype(np.float32), torch.full((3, 8, 8), -255.0)])
def test_floats_that_nobody_has_divided(restorer: Restorer, bad: object) -> None:
    with pytest.raises(UsageError, match=r"reaches 2\d\d; divide"):
        restorer(bad)


def test_floats_may_leave_the_scale(restorer: Restorer) -> None:
    picture = torch.linspace(-2, 6, 192).reshape(3, 8, 8)
    assert restorer(picture, sigma=5).shape == picture.shape


@pytest.mark.parametrize(
    "options",
    [
        {"sigma": -1},
        {"sigma": 256},
        {"sigma": "high"},
        {"sigma": None},
        {"sigma": True},
        {"sigma": np.ones(2)},
        {"strength": None},
        {"strength": 1.5},
        {"strength": -0.1},
    ],
)
def test_options_out_of_range(restorer: Restorer, options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="out of range"):
        restorer(torch.rand(3, 8, 8), **options)


def test_unknown_device_and_dtype(tiny_weights: Path) -> None:
    with pytest.raises(UsageError, match="--device cpu"):
        load(tiny_weights, device="toaster")
    with pytest.raises(UsageError, match="bfloat16"):
        load(tiny_weights, dtype="int3")


@pytest.mark.parametrize("sigma", [np.float32(20), np.int64(20), np.float64(20)])
def test_numbers_of_numpy_are_numbers(restorer: Restorer, sigma: Any) -> None:
    picture = torch.rand(3, 8, 8)
    assert torch.equal(restorer(picture, sigma=sigma, strength=np.float32(1)), restorer(picture, sigma=20))


def test_big_endian_samples(restorer: Restorer) -> None:
    picture = np.random.default_rng(0).integers(0, 65_536, (9, 8, 3), dtype=np.uint16)
    restored = restorer(picture.astype(">u2"), sigma=20)
    assert restored.dtype == np.dtype(">u2") and np.array_equal(restored, restorer(picture, sigma=20))


def test_an_image_whose_file_is_closed(restorer: Restorer, noisy_png: Path) -> None:
    with Image.open(noisy_png) as image:
        pass
    with pytest.raises(UsageError, match="closed or cut off"):
        restorer(image)


@pytest.mark.parametrize(("mode", "key"), [("RGB", (255, 0, 255)), ("L", 7)])
def test_a_transparent_colour_stays_transparent(restorer: Restorer, mode: str, key: Any) -> None:
    picture = Image.fromarray(photo()).convert(mode)
    picture.paste(key, (4, 4, 14, 14))
    picture.info["transparency"] = key
    restored = restorer(picture, sigma=60)
    clear, before = ((np.asarray(one.convert("RGBA"))[..., 3] == 0) for one in (restored, picture))
    assert np.array_equal(clear, before) and clear.sum() >= 100
    assert not np.array_equal(np.asarray(restored), np.asarray(picture))


def test_settings_of_the_caller_change_nothing(tiny_weights: Path, tiny_sound_weights: Path) -> None:
    picture, waveform = torch.rand(3, 24, 24, dtype=torch.float32), torch.rand(4000, dtype=torch.float32) - 0.5
    before = load(tiny_weights, "cpu", "float32")
    expected = before(picture), before(picture, sigma=20), load(tiny_sound_weights, "cpu")(waveform, 16_000)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(before(picture), expected[0])
        assert torch.equal(before(picture, sigma=20), expected[1])
    torch.set_default_dtype(torch.float64)
    try:
        for restorer in (before, load(tiny_weights, "cpu", "float32")):
            torch.testing.assert_close(restorer(picture), expected[0], rtol=0, atol=1e-5)
            torch.testing.assert_close(restorer(picture, sigma=20), expected[1], rtol=0, atol=1e-5)
        torch.testing.assert_close(load(tiny_sound_weights, "cpu")(waveform, 16_000), expected[2], rtol=0, atol=1e-5)
        rows = before.noise(lambda start, stop: picture[:, start:stop], picture.shape, "auto")
        assert rows.sigma > 0
    finally:
        torch.set_default_dtype(torch.float32)


def test_another_device_by_default_changes_nothing(
    tiny_weights: Path, tiny_sound_weights: Path, noisy_png: Path, tmp_path: Path
) -> None:
    picture, waveform = torch.rand(3, 24, 24), torch.rand(4000) - 0.5

    def all_kinds() -> list[torch.Tensor]:
        restorer = load(tiny_weights, "cpu", "float32")
        report = denoise.restore(noisy_png, out=tmp_path / "a.png", model=tiny_weights, device="cpu", overwrite=True)
        pixels = torch.from_numpy(np.array(Image.open(report.output)))
        return [restorer(picture), load(tiny_sound_weights, "cpu")(waveform, 16_000), pixels]

    expected = all_kinds()
    torch.set_default_device("meta")
    try:
        found = all_kinds()
    finally:
        torch.set_default_device(None)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_loading_draws_no_numbers_of_the_callers(tiny_weights: Path) -> None:
    before = torch.get_rng_state()
    load(tiny_weights, "cpu")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("wrong", [{"ensemble": 2.0}, {"device": None}, {"name": None}])
def test_what_loads_nothing(tiny_weights: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        load(**{"name": tiny_weights, **wrong})
