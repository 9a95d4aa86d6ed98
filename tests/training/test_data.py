import multiprocessing
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from denoise.corruptions.base import Compose
from denoise.corruptions.image import AsJpeg, Gaussian, Gray, Jpeg
from denoise.corruptions.masks import Strokes
from denoise.errors import UsageError
from denoise.networks import UNet
from denoise.training.arrays import Arrays
from denoise.training.data import PictureCrops, scan, to_rgb
from denoise.training.excerpts import SoundExcerpts
from denoise.training.logmel import LogMelPatches
from denoise.training.modules import Drawn, Restoration


def _module(root: Path, step: int = 0, rank: int = 0, accumulate: int = 1, **settings: Any) -> PictureCrops:
    data = PictureCrops(root, **{"crop_px": 16, "batch_size": 3, "validation_px": 32, **settings})
    data.trainer = SimpleNamespace(global_step=step, global_rank=rank, accumulate_grad_batches=accumulate)
    data.setup("fit")
    return data


def _batches(data: PictureCrops, count: int) -> list[torch.Tensor]:
    batches = iter(data.train_dataloader())
    return [next(batches) for _ in range(count)]


def test_batches_are_crops_of_the_pictures(folder: Path) -> None:
    (batch,) = _batches(_module(folder / "pictures"), 1)
    assert batch.shape == (3, 3, 16, 16)
    assert batch.dtype == torch.float32
    assert 0 <= batch.min() < batch.max() <= 1
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_a_step_has_the_same_crops_whenever_it_runs(folder: Path) -> None:
    root = folder / "pictures"
    whole = _batches(_module(root), 4)
    assert torch.equal(_batches(_module(root, step=2), 2)[1], whole[3])
    assert torch.equal(_batches(_module(root, step=1, accumulate=2), 2)[1], whole[3])
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(_batches(_module(root, rank=1), 1)[0], whole[0])
    assert not torch.equal(_batches(_module(root, seed=1), 1)[0], whole[0])


def test_workers_leave_to_the_accelerator_what_it_can_do(folder: Path) -> None:
    alone, helped = (_module(folder / "pictures", step=3, accumulate=2, workers=count) for count in (0, 2))
    helped.trainer.lightning_module = Restoration(UNet(widths=(4, 4), depths=(1, 1)), Gray(Jpeg()))
    for clean, same in zip(_batches(alone, 5), _batches(helped, 5), strict=True):
        assert torch.equal(same, clean)


def test_workers_leave_signals_to_the_one_that_trains(folder: Path) -> None:
    helped = _module(folder / "pictures", workers=1)
    helped.trainer.lightning_module = Restoration(UNet(widths=(4, 4), depths=(1, 1)), Gray(Jpeg()))
    batches = iter(helped.train_dataloader())
    next(batches)
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid or 0, signal.SIGINT)
    for _ in range(8):
        next(batches)
    os.kill(worker.pid or 0, signal.SIGTERM)
    worker.join(10)
    assert worker.exitcode == 0


def test_workers_need_processes_that_share_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(UsageError, match=r"leave out --data\.workers"):
        _module(folder / "pictures", workers=1).train_dataloader()


@pytest.mark.parametrize("step", [0, 3])
def test_workers_draw_as_the_one_that_trains_would(folder: Path, step: int) -> None:
    alone, helped = (_module(folder / "pictures", step=step, accumulate=2, workers=count) for count in (0, 2))
    module = Restoration(UNet(widths=(4, 4), depths=(1, 1)), AsJpeg(Compose([Gaussian(), Strokes()])))
    module._trainer = SimpleNamespace(global_rank=0, barebones=False)
    helped.trainer.lightning_module = module
    for number, (clean, drawn) in enumerate(zip(_batches(alone, 5), _batches(helped, 5), strict=True), 2 * step):
        assert isinstance(drawn, Drawn)
        assert all(
            map(torch.equal, *(vars(module.see(batch, 0)).values() for batch in (drawn, module.draw(clean, number))))
        )


def test_all_eight_orientations_come(folder: Path) -> None:
    root = folder / "one"
    root.mkdir()
    ramp = np.zeros((16, 16, 3), np.uint8)
    ramp[:8, :, 0], ramp[:, :4, 1] = 200, 100
    Image.fromarray(ramp).save(root / "a.png")
    (batch,) = _batches(_module(root, batch_size=200), 1)
    assert len({crop.numpy().tobytes() for crop in batch.contiguous()}) == 8


@pytest.fixture
def striped(tmp_path: Path) -> Path:
    """A folder with a picture of upright stripes, 8 pixels a period."""
    root = tmp_path / "striped"
    root.mkdir()
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, 4::8] = stripes[:, 5::8] = stripes[:, 6::8] = stripes[:, 7::8] = 255
    Image.fromarray(stripes).save(root / "a.png")
    return root


def _edges(batch: torch.Tensor) -> list[int]:
    """How many edges of stripes each crop has, along either axis."""
    return [int((crop[0].diff(dim=axis).abs() > 0.3).any(1 - axis).sum()) for crop in batch for axis in (0, 1)]


def test_crops_are_taken_from_pictures_scaled_down(striped: Path) -> None:
    (batch,) = _batches(_module(striped, batch_size=60, smallest_scale=0.5), 1)
    assert batch.shape == (60, 3, 16, 16)
    edges = _edges(batch)
    assert set(edges) >= {0, 3, 4, 5, 6}  # of 16 pixels at full size 3 or 4 are edges, at half size 7 or 8
    assert sum(3 <= number <= 4 for number in edges) >= 20


def test_a_crop_of_a_small_picture_is_scaled_as_far_as_it_goes(folder: Path) -> None:
    (batch,) = _batches(_module(folder / "pictures", crop_px=48, batch_size=20, smallest_scale=0.1), 1)
    assert batch.shape == (20, 3, 48, 48)


def test_with_a_largest_scale_no_crop_is_as_it_was(striped: Path) -> None:
    (batch,) = _batches(_module(striped, crop_px=32, batch_size=40, smallest_scale=0.5, largest_scale=0.6), 1)
    edges = _edges(batch)
    assert min(edge for edge in edges if edge) >= 11  # at full size 7 or 8, at 0.6 of it 13 or so, at half 15 or 16


@pytest.mark.parametrize("scale", [0.3, 1.5, float("nan")])
def test_largest_scales_that_are_none(folder: Path, scale: float) -> None:
    with pytest.raises(UsageError, match=r"--data\.largest_scale"):
        PictureCrops(folder, smallest_scale=0.5, largest_scale=scale)


@pytest.mark.parametrize("scale", [0.0, -1.0, 1.5, float("nan")])
def test_scales_that_are_none(folder: Path, scale: float) -> None:
    with pytest.raises(UsageError, match=r"--data\.smallest_scale"):
        PictureCrops(folder, smallest_scale=scale)


def test_validation_is_held_back_by_name_and_of_sizes_that_networks_take(folder: Path) -> None:
    data = _module(folder / "pictures", validation_share=0.5, validation_px=64)
    assert len(data.pictures) + len(data.validation) == 4
    held = len(data.validation)
    Image.new("RGB", (40, 40)).save(folder / "pictures" / "z.png")
    assert len(_module(folder / "pictures", validation_share=0.5).validation) in (held, held + 1)
    assert [tuple(batch.shape) for batch in data.val_dataloader()] == [(1, 3, 48, 48)] * held


def test_a_tiff_on_its_side_is_learned_as_it_looks(tmp_path: Path) -> None:
    pixels = np.add.outer(3 * np.arange(48), np.arange(64)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.tif", tiffinfo={274: 6})
    data = _module(tmp_path, crop_px=32)
    assert np.array_equal(data.pictures[0][..., 0], np.rot90(pixels, -1))


def test_one_picture_serves_both(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for name in "bcd":
        (folder / "pictures" / f"{name}.png").unlink()
    data = _module(folder / "pictures")
    assert len(data.pictures) == len(data.validation) == 1
    assert "the same 1 for validation" in caplog.text


def test_where_none_held_back_is_whole_the_next_is(folder: Path) -> None:
    root = folder / "pictures"
    whole = _module(root)
    (held,) = (path for path in root.iterdir() if np.array_equal(_middle(path), whole.validation[0]))
    held.write_bytes(held.read_bytes()[:300])
    with pytest.warns(UserWarning, match="left out"):
        data = _module(root)
    assert (len(data.pictures), len(data.validation)) == (2, 1)
    assert not any(np.array_equal(picture[9:41, 14:46], data.validation[0]) for picture in data.pictures)


def _middle(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture.crop((14, 9, 46, 41)))


@pytest.mark.parametrize(
    ("kinds", "option", "value", "allowed"),
    [
        ([PictureCrops, SoundExcerpts, LogMelPatches], "validation_share", 4, "within 0..1"),
        ([PictureCrops, SoundExcerpts, LogMelPatches], "validation_share", float("nan"), "within 0..1"),
        ([PictureCrops, SoundExcerpts, LogMelPatches, Arrays], "batch_size", 0, "of at least 1"),
        ([PictureCrops, SoundExcerpts, LogMelPatches, Arrays], "seed", -1, "within 0..1000000000"),
        ([PictureCrops, SoundExcerpts], "workers", -1, "of at least 0"),
        ([PictureCrops], "cache_gb", -1.0, "of at least 0"),
        ([SoundExcerpts], "excerpt_s", 0.0, "of at least 0.01"),
        ([SoundExcerpts], "full_band_share", 1.5, "within 0..1"),
        ([SoundExcerpts, LogMelPatches], "validation_batches", 0, "of at least 1"),
        ([LogMelPatches], "frames", 0, "of at least 1"),
        ([LogMelPatches], "bands", 0, "of at least 1"),
        ([LogMelPatches], "rate_hz", 50, "of at least 4000"),
    ],
)
def test_numbers_that_are_none(folder: Path, kinds: list[Any], option: str, value: float, allowed: str) -> None:
    sentence = f"--data.{option} {value} is not allowed: give a number {allowed}."
    for kind in kinds:
        with pytest.raises(UsageError, match=re.escape(sentence)):
            kind(folder, **{option: value})


def test_scan_goes_down_and_skips_what_is_hidden_or_no_picture(folder: Path) -> None:
    root = folder / "pictures"
    names = (
        "deep/er/E.PNG",
        "deep/f.gif",
        ".thumbnails/x.png",
        "deep/.y.png",
        "deep/folder.png/z.jpg",
        "g.jfif",
        "h.apng",
    )
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 30)).save(root / name)
    (root / "notes.txt").write_text("no picture")
    sizes, refused = scan(root, 16)
    assert sorted(path.relative_to(root).as_posix() for path in sizes) == [
        *(f"{name}.png" for name in "abcd"),
        "deep/er/E.PNG",
        "deep/f.gif",
        "deep/folder.png/z.jpg",
        "g.jfif",
        "h.apng",
    ]
    assert sizes[root / "deep/er/E.PNG"] == (20, 30)
    assert not refused


def test_names_need_not_be_text(folder: Path) -> None:
    (folder / "pictures" / "a.png").rename(folder / "pictures" / os.fsdecode(b"caf\xe9.png"))
    data = _module(folder / "pictures")
    assert len(data.pictures) + len(data.validation) == 4


def test_sheets_of_trainings_are_not_learned_from(folder: Path) -> None:
    for name in ("runs/photo/version_0/pictures/step0000300.png", "scan/pictures/step0000001.png"):
        (folder / name).parent.mkdir(parents=True)
        Image.new("RGB", (20, 30)).save(folder / name)
    (folder / "runs/photo/version_0/config.yaml").touch()
    sizes, _ = scan(folder, 16)
    assert sorted(path.name for path in sizes) == ["a.png", "b.png", "c.png", "d.png", "step0000001.png"]


def test_unusable_files_are_named_in_one_warning(folder: Path) -> None:
    root = folder / "pictures"
    (root / "broken.jpg").write_bytes(b"no picture")
    Image.new("RGB", (15, 99)).save(root / "small.png")
    whole = (root / "a.png").read_bytes()
    (root / "truncated.png").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match="3 files") as caught:
        data = _module(root)
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "broken.jpg (cannot be read)" in text
    assert "small.png (15 x 99 pixels)" in text
    assert "truncated.png (cannot be decoded)" in text
    assert len(data.pictures) + len(data.validation) == 4


def test_a_folder_that_may_not_be_read_is_named(folder: Path, lock: Callable[[Path], None]) -> None:
    locked = folder / "pictures" / "locked"
    locked.mkdir()
    lock(locked)
    sizes, refused = scan(folder / "pictures", 16)
    assert len(sizes) == 4 and refused == {locked: "cannot be read"}


def test_what_restore_reads_is_learned_from(tmp_path: Path) -> None:
    """A picture of more pixels than Pillow takes unasked, and one whose compressed metadata unfolds to a megabyte."""
    Image.new("1", (15_000, 13_000)).save(tmp_path / "pano.png")
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "x" * (2**20 + 2000), zip=True)
    Image.new("RGB", (20, 20)).save(tmp_path / "xmp.png", pnginfo=text)
    sizes, refused = scan(tmp_path, 16)
    assert sorted(sizes.values()) == [(20, 20), (15_000, 13_000)] and not refused


@pytest.mark.parametrize(
    "error", [OSError, ValueError, SyntaxError, RuntimeError, MemoryError, Image.DecompressionBombWarning]
)
def test_whatever_a_decoder_raises_is_one_file_less(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def opened(*_: Any, **__: Any) -> None:
        raise error("damaged")

    monkeypatch.setattr(Image, "open", opened)
    sizes, refused = scan(folder / "pictures", 16)
    assert not sizes and set(refused.values()) == {"cannot be read"}


def test_a_broken_file_held_back_does_not_stop_a_training(folder: Path) -> None:
    root = folder / "pictures"
    for path in sorted(root.iterdir())[1:]:
        path.write_bytes(path.read_bytes()[:300])
    with pytest.warns(UserWarning, match="left out"):
        data = _module(root)
    assert len(data.pictures) == len(data.validation) == 1


def test_without_a_usable_picture(folder: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        _module(folder / "nowhere")
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match="no usable picture of at least 16 x 16 pixels"):
        _module(folder / "empty")
    with pytest.warns(UserWarning, match="50 pixels"), pytest.raises(UsageError, match="no usable picture"):
        _module(folder / "pictures", crop_px=64)
    with pytest.raises(UsageError, match="multiple of 16"):
        PictureCrops(folder, crop_px=40)


def test_beyond_the_cache_a_part_of_each_picture_is_kept(folder: Path) -> None:
    root = folder / "pictures"
    whole = sum(picture.nbytes for picture in _module(root).pictures)
    data = _module(root, cache_gb=0.5 * whole / 1e9)
    assert len(data.pictures) == 3
    assert sum(picture.nbytes for picture in data.pictures) == pytest.approx(0.5 * whole, rel=0.1)
    assert all(min(picture.shape[:2]) >= 16 for picture in _module(root, cache_gb=1e-9).pictures)


def test_pictures_of_other_kinds_become_rgb() -> None:
    deep = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))
    assert np.array(to_rgb(deep)).tolist() == [[[0] * 3, [100] * 3, [255] * 3]]
    glass = Image.new("RGBA", (1, 1), (10, 20, 30, 0))
    assert to_rgb(glass).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (1, 1))
    palette.putpalette([9, 8, 7])
    assert to_rgb(palette).getpixel((0, 0)) == (9, 8, 7)
    assert to_rgb(Image.new("L", (1, 1), 5)).getpixel((0, 0)) == (5, 5, 5)
    assert to_rgb(Image.new("1", (1, 1), 1)).getpixel((0, 0)) == (255, 255, 255)
    with pytest.raises(ValueError, match="no white"):
        to_rgb(Image.new("F", (1, 1)))
