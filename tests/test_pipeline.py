from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import denoise
from denoise import outputs, pipeline, pretrained
from denoise.errors import DenoiseError, MediaError, UsageError
from denoise.loading import Restorers
from denoise.networks import UNet
from denoise.options import Options
from denoise.picture_files import restore_picture_file
from tests.conftest import card, photo

SAVE = Image.Image.save


def restore(source: Any, model: Path, **options: Any) -> Any:
    return denoise.restore(source, model=model, device="cpu", dtype="float32", **options)


def test_a_file_becomes_a_file_beside_it(noisy_png: Path, tiny_weights: Path) -> None:
    before = noisy_png.read_bytes()
    report = restore(noisy_png, tiny_weights)
    target = noisy_png.with_name("noisy photo ü.restored.png")
    assert report.output == str(target) and report.found == "PNG, RGB, 8 bit, 64x48" and report.model == "tiny"
    assert noisy_png.read_bytes() == before
    with Image.open(target) as restored:
        assert restored.size == (64, 48) and restored.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_file_and_array_go_the_same_way(noisy_png: Path, tiny_weights: Path) -> None:
    restore(str(noisy_png), tiny_weights, sigma=20)
    pixels = np.asarray(Image.open(noisy_png))
    with Image.open(noisy_png.with_name("noisy photo ü.restored.png")) as restored:
        assert np.array_equal(np.asarray(restored), restore(pixels, tiny_weights, sigma=20))


def test_a_file_tells_its_own_rate(noisy_png: Path, tiny_weights: Path) -> None:
    for source in (noisy_png, str(noisy_png), [noisy_png]):
        with pytest.raises(UsageError, match="A file tells its own rate; rate_hz is of a waveform in memory"):
            restore(source, tiny_weights, rate_hz=16_000)


def test_several_weights_may_stand_apart(tiny_weights: Path, tiny_inpainting_weights: Path) -> None:
    assert Restorers(f"{tiny_weights}, {tiny_inpainting_weights}").named.keys() == {"image", "holes"}


def test_with_strength_zero_no_noise_is_looked_for(noisy_png: Path, tmp_path: Path) -> None:
    """These weights cannot."""
    network = UNet(widths=(4, 4), depths=(1, 1))
    weights = pretrained.save(tmp_path / "blind", pretrained.Weights(network, None, card()))
    report = restore(noisy_png, weights, strength=0, out=tmp_path / "same.png")
    assert report.sigma == []
    assert (tmp_path / "same.png").read_bytes() == noisy_png.read_bytes()


def test_strength_zero_keeps_every_pixel(noisy_png: Path, tiny_weights: Path, tmp_path: Path) -> None:
    restore(noisy_png, tiny_weights, strength=0, out=tmp_path / "same.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "same.png")), np.asarray(Image.open(noisy_png)))


def test_strength_zero_is_the_same_file_bit_for_bit(tiny_weights: Path, tmp_path: Path) -> None:
    source = tmp_path / "lossy.jpg"
    Image.fromarray(photo()).save(source, quality=40, comment=b"kept")
    restore(source, tiny_weights, strength=0)
    assert (tmp_path / "lossy.restored.jpg").read_bytes() == source.read_bytes()
    restore(source, tiny_weights, strength=0, out=tmp_path / "same.jpeg")
    assert (tmp_path / "same.jpeg").read_bytes() == source.read_bytes()


def test_rows_written_in_place_are_not_read_again(tiny_weights: Path, tmp_path: Path) -> None:
    """A picture higher than a band of windows: the result is that of the array, which is not overwritten."""
    path = tmp_path / "high.png"
    Image.fromarray(photo(300, 40)).save(path)
    restorer = denoise.load(tiny_weights, device="cpu", dtype="float32")
    restorer.windows = pipeline_windows(restorer, 64)
    report = restore_picture_file(restorer, path, tmp_path / "out.png", Options(sigma=20))
    assert report.sigma == [20.0]
    expected = restorer(np.asarray(Image.open(path)), sigma=20)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), expected)


def pipeline_windows(restorer: denoise.Restorer, size: int) -> Any:
    from denoise.windows import Windows

    return Windows(size=size, context=8, fade=8, multiple_of=restorer.windows.multiple_of)


def test_frames_are_restored_each(tiny_weights: Path, tmp_path: Path) -> None:
    frames = [Image.fromarray(photo(20, 30, seed=k)) for k in range(3)]
    frames[0].save(tmp_path / "stack.tif", save_all=True, append_images=frames[1:])
    report = restore(tmp_path / "stack.tif", tiny_weights)
    assert len(report.sigma) == 3
    with Image.open(report.output) as stack:
        assert stack.n_frames == 3


def test_the_output_is_never_the_input_unasked(noisy_png: Path, tiny_weights: Path) -> None:
    before = noisy_png.read_bytes()
    for out in (noisy_png, noisy_png.parent / "." / noisy_png.name):
        with pytest.raises(UsageError, match="is the input"):
            restore(noisy_png, tiny_weights, out=out)
    assert noisy_png.read_bytes() == before
    restore(noisy_png, tiny_weights, out=noisy_png, overwrite=True, sigma=25)
    assert noisy_png.read_bytes() != before


def test_an_existing_output_is_kept_unless_asked(noisy_png: Path, tiny_weights: Path, tmp_path: Path) -> None:
    (tmp_path / "there.png").write_text("precious")
    with pytest.raises(UsageError, match="--overwrite"):
        restore(noisy_png, tiny_weights, out=tmp_path / "there.png")
    assert (tmp_path / "there.png").read_text() == "precious"


def test_a_full_disk_leaves_nothing_behind(
    noisy_png: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(MediaError, match="No space left"):
        restore(noisy_png, tiny_weights)
    assert list(tmp_path.iterdir()) == [noisy_png]


def test_a_list_goes_on_after_a_failure(noisy_png: Path, tiny_weights: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(noisy_png.read_bytes()[:300])
    first, second = restore([broken, noisy_png], tiny_weights, out=tmp_path / "out")
    assert isinstance(first, denoise.Failure) and first.source == str(broken)
    assert isinstance(second, denoise.Report)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [noisy_png.name]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 40000000000000 bytes."),
        torch.OutOfMemoryError("CUDA out of memory."),
    ],
)
def test_a_list_goes_on_after_a_file_that_takes_too_much_memory(
    noisy_png: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(noisy_png.read_bytes())
    fail_for(large, error, monkeypatch)
    first, second = restore([large, noisy_png], tiny_weights, out=tmp_path / "out", sigma=20)
    sentence = f"{large} takes more memory than there is; restore it on a larger machine."
    assert first == pipeline.Failure(str(large), sentence) and Path(second.output).is_file()
    with pytest.raises(DenoiseError, match="takes more memory than there is"):
        restore(large, tiny_weights)


def test_other_errors_of_the_program_stop_a_list(
    noisy_png: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_for(noisy_png, RuntimeError("a mistake"), monkeypatch)
    with pytest.raises(RuntimeError, match=r"^a mistake$"):
        restore([noisy_png], tiny_weights)


def fail_for(source: Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pipeline.restore_picture_file

    def fail(restorer: Any, path: Path, *rest: Any) -> Any:
        if path == source:
            raise error
        return real(restorer, path, *rest)

    monkeypatch.setattr(pipeline, "restore_picture_file", fail)


def test_folders_keep_their_tree_and_resume(tiny_weights: Path, tmp_path: Path) -> None:
    shoot, clean = tmp_path / "shoot", tmp_path / "clean"
    for name in ("a.png", "day 1/b.jpg", "day 1/.hidden.png", "notes.txt", ".trash/c.png"):
        path = shoot / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text") if path.suffix == ".txt" else Image.fromarray(photo(16, 16)).save(path)
    restorers = Restorers(tiny_weights, device="cpu", dtype="float32")

    def run(**options: Any) -> list[str]:
        jobs = outputs.jobs([shoot], clean)
        results = list(pipeline.restore_many(restorers, jobs, Options(sigma=10), **options))
        assert [Path(result.source).name for result in results] == ["a.png", "b.jpg"]
        return [Path(result.source).name for result in results if not isinstance(result, denoise.Skipped)]

    assert run() == ["a.png", "b.jpg"]
    assert (clean / "day 1" / "b.jpg").is_file()
    assert run() == []
    (clean / "a.png").unlink()
    assert run() == ["a.png"]
    assert run(overwrite=True) == ["a.png", "b.jpg"]


def test_a_folder_is_restored_as_a_list_of_it(tiny_weights: Path, tmp_path: Path) -> None:
    (tmp_path / "shoot").mkdir()
    Image.fromarray(photo(16, 16)).save(tmp_path / "shoot" / "a.png")
    (report,) = restore(tmp_path / "shoot", tiny_weights, out=tmp_path / "clean")
    assert report.output == str(tmp_path / "clean" / "a.png")


def test_folders_that_cannot_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="-o FOLDER"):
        outputs.jobs([tmp_path], None)
    with pytest.raises(UsageError, match="is the input folder"):
        outputs.jobs([tmp_path], tmp_path)
    with pytest.raises(UsageError, match="no picture"):
        outputs.jobs([tmp_path], tmp_path / "out")
    with pytest.raises(UsageError, match=r"same file: a\.png"):
        outputs.jobs([Path("x/a.png"), Path("y/a.png")], tmp_path)


def test_a_batch_replaces_none_of_its_inputs(noisy_png: Path, tiny_weights: Path) -> None:
    second = noisy_png.with_name("noisy photo ü.restored.png")
    Image.fromarray(photo(seed=3)).save(second)
    os.utime(second, (0, 0))  # older, so this is not what a batch before has made of the first
    before = second.read_bytes()
    for files, out in (([noisy_png, second], None), ([noisy_png, second], noisy_png.parent), ([noisy_png], ".")):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(UsageError, match="is one of the inputs"):
            patch.chdir(noisy_png.parent)
            restore(files, tiny_weights, out=out)
    assert second.read_bytes() == before
    (report,) = restore([noisy_png], tiny_weights, out=noisy_png.parent, overwrite=True, sigma=20)
    assert report.output == str(noisy_png)


def test_a_batch_replaces_nothing_that_is_older_unasked(noisy_png: Path, tiny_weights: Path, tmp_path: Path) -> None:
    there = tmp_path / "out" / noisy_png.name
    there.parent.mkdir()
    there.write_text("precious")
    os.utime(there, (0, 0))
    (failure,) = restore([noisy_png], tiny_weights, out=there.parent)
    assert failure == pipeline.Failure(
        str(noisy_png), f"{there} exists and is older than {noisy_png}; --overwrite replaces it."
    )
    assert there.read_text() == "precious"
    (report,) = restore([noisy_png], tiny_weights, out=there.parent, overwrite=True)
    assert report.output == str(there)


def test_a_batch_makes_an_older_default_output_anew(noisy_png: Path, tiny_weights: Path) -> None:
    there = noisy_png.with_name("noisy photo ü.restored.png")
    there.write_text("of an earlier picture")
    os.utime(there, (0, 0))
    (report,) = restore([noisy_png], tiny_weights)
    assert report.output == str(there)


def test_a_batch_named_by_a_pattern_can_be_run_again(noisy_png: Path, tiny_weights: Path) -> None:
    restore([noisy_png], tiny_weights, sigma=20)
    files = sorted(noisy_png.parent.glob("*.png"))
    assert len(files) == 2
    assert [type(result) for result in restore(files, tiny_weights, sigma=20)] == [denoise.Skipped]
    assert [type(result) for result in restore(files, tiny_weights, sigma=20, overwrite=True)] == [denoise.Report]
    assert sorted(noisy_png.parent.glob("*.png")) == files


def test_a_link_in_a_circle_is_one_failure(noisy_png: Path, tiny_weights: Path, tmp_path: Path) -> None:
    circle = tmp_path / "circle.png"
    circle.symlink_to(circle)
    first, second = restore([circle, noisy_png], tiny_weights, out=tmp_path / "out", sigma=20)
    assert isinstance(first, pipeline.Failure) and Path(second.output).is_file()
    with pytest.raises(UsageError, match="is a file"):
        restore([tmp_path / "out"], tiny_weights, out=circle)


def test_the_output_may_be_above_the_input(tiny_weights: Path, tmp_path: Path) -> None:
    (tmp_path / "shoot" / "day").mkdir(parents=True)
    Image.fromarray(photo()).save(tmp_path / "shoot" / "day" / "a.png")
    (report,) = restore([tmp_path / "shoot"], tiny_weights, out=tmp_path)
    assert report.output == str(tmp_path / "day" / "a.png")


def test_a_folder_that_may_not_be_read_is_reported(
    noisy_png: Path, tiny_weights: Path, tmp_path: Path, lock: Callable[[Path], None]
) -> None:
    locked = noisy_png.parent / "locked"
    locked.mkdir()
    lock(locked)
    results = restore([noisy_png.parent], tiny_weights, out=tmp_path / "out")
    failures = [result for result in results if isinstance(result, pipeline.Failure)]
    assert len(results) == 2 and [failure.source for failure in failures] == [str(locked)]
    assert "permission denied" in failures[0].error


def test_a_name_too_long_is_one_failure(noisy_png: Path, tiny_weights: Path, tmp_path: Path) -> None:
    long = noisy_png.with_name("x" * 245 + ".png")
    long.write_bytes(noisy_png.read_bytes())
    first, second = restore([long, noisy_png], tiny_weights)
    assert "too long" in first.error and Path(second.output).is_file()


def test_corrupt_file_is_repeatable(noisy_png: Path, tmp_path: Path) -> None:
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        pipeline.corrupt_file(noisy_png, tmp_path / name, "gaussian:sigma=25", seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in ("a.png", "b.png", "c.png"))
    assert a == b != c


def test_tensors_pass_through_restore(tiny_weights: Path) -> None:
    assert restore(torch.rand(3, 8, 8), tiny_weights, sigma=5).shape == (3, 8, 8)


@pytest.mark.parametrize("shape", [(16_000,), (2, 16_000), (16_000, 2)])
@pytest.mark.parametrize("kind", [torch.from_numpy, np.asarray])
def test_sound_without_its_rate_is_no_picture(shape: tuple[int, ...], kind: Any, tiny_weights: Path) -> None:
    for options in ({}, {"attenuation_db": 12}):
        with pytest.raises(UsageError, match=r"looks like sound, which needs rate_hz"):
            restore(kind(np.zeros(shape)), tiny_weights, **options)


def test_a_strip_is_a_picture(tiny_weights: Path) -> None:
    for strip in (photo(8, 1200)[..., 0], np.zeros((17, 1200), np.float32), np.zeros((8, 1200, 1), np.float32)):
        assert restore(strip, tiny_weights, sigma=5).shape == strip.shape


def test_progress_ends_at_the_last_row(noisy_png: Path, tiny_weights: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    restore(noisy_png, tiny_weights, progress=lambda *step: seen.append(step))
    assert seen[-1] == (48, 48, noisy_png.name)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"out": "x.png"}, "are for files"),
        ({"compare": "x.png"}, "are for files"),
        ({"residual": "x.wav"}, "are for files"),
        ({"rate_hz": 16_000, "start_s": 1.0}, "restored whole"),
        ({"rate_hz": 16_000, "end_s": 1.0}, "restored whole"),
        ({"rate_hz": 16_000, "clip": "rescale"}, "restored whole"),
        ({"rate_hz": 16_000, "mask": np.zeros((4, 4), bool)}, "restored whole"),
        ({"mask": "alpha"}, "give a mask"),
    ],
)
def test_what_is_for_files_is_not_ignored_in_memory(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        denoise.restore(photo(), **options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"attenuation_db": 12}, "is a picture and an attenuation is for sound"),
        ({"clip": "rescale"}, "is a picture and clip is for sound"),
        ({"start_s": 1.0}, "is a picture and a start is for sound"),
        ({"end_s": 1.0}, "is a picture and an end is for sound"),
        ({"mask": np.zeros((48, 64), bool), "sigma": 0}, "holes alone are filled"),
    ],
)
def test_nothing_is_asked_for_in_vain(
    noisy_png: Path, tiny_weights: Path, tiny_inpainting_weights: Path, options: dict[str, Any], reason: str
) -> None:
    """Of one picture; in a list there may be others that have a use for it."""
    weights = tiny_inpainting_weights if "mask" in options else tiny_weights
    for source in (noisy_png, np.asarray(Image.open(noisy_png))):
        with pytest.raises(UsageError, match=reason):
            restore(source, weights, **options)
    assert not outputs.default_output(noisy_png).exists()
    (report,) = restore([noisy_png], weights, **options)
    assert Path(report.output).exists()


def test_what_is_nothing_is_named(tiny_weights: Path) -> None:
    for nothing in (None, 3, b"a.png"):
        with pytest.raises(UsageError, match="is no picture"):
            restore(nothing, tiny_weights, out="clean")


def test_a_list_holds_paths(tiny_weights: Path) -> None:
    with pytest.raises(UsageError, match="Several inputs are paths"):
        restore([photo()], tiny_weights)


ABSURD = ("blur:std_px=3000", "rectangles:side_px=1e19", "text:size_px=30000", "sensor:iso=1..1e308")


@pytest.mark.parametrize(
    ("spec", "seed"),
    [("gaussian", 2**70), ("gaussian", -1), ("strokes:width_px=1e12", 0), *((spec, 0) for spec in ABSURD)],
)
def test_corruptions_out_of_range(noisy_png: Path, tmp_path: Path, spec: str, seed: int) -> None:
    with pytest.raises(UsageError, match=r"out of range|not allowed"):
        pipeline.corrupt_file(noisy_png, tmp_path / "x.png", spec, seed)
