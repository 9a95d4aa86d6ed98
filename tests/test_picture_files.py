"""Holes of picture files: filled where the mask says, everything else bit for bit as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

import denoise
from denoise.errors import UsageError
from tests.conftest import photo


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """A mask for pictures of 64x48, as a PNG."""
    path = tmp_path / "mask.png"
    Image.fromarray(holes()).save(path)
    return path


def holes() -> np.ndarray:
    mask = np.zeros((48, 64), dtype=bool)
    mask[5:9, 10:50] = mask[40:48, 60:64] = mask[0, 0] = True
    return mask


def restore(source: Path, weights: Path | str | None, **options: Any) -> Any:
    options.setdefault("mask", source.parent / "mask.png")
    return denoise.restore(source, model=weights, device="cpu", dtype="float32", **options)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "I;16"])
def test_pixels_outside_the_mask_are_the_same(
    mode: str, marked: Path, tiny_inpainting_weights: Path, tmp_path: Path
) -> None:
    source = tmp_path / "photo.png"
    if mode == "I;16":
        image = Image.fromarray((photo(bands=1)[..., 0].astype(np.uint16) * 257) ^ 3)
    else:
        image = Image.fromarray(photo()).convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(photo(bands=1, seed=3)[..., 0]))
    image.save(source)
    report = restore(source, tiny_inpainting_weights)
    with Image.open(source) as before, Image.open(report.output) as after:
        assert before.mode == after.mode
        assert np.array_equal(np.asarray(before)[~holes()], np.asarray(after)[~holes()])
        assert not np.array_equal(np.asarray(before.convert("RGB")), np.asarray(after.convert("RGB")))
        if mode.endswith("A"):
            assert before.getchannel("A").tobytes() == after.getchannel("A").tobytes()
    assert report.filled_px == holes().sum()
    assert report.sigma == []
    assert report.model == "tiny holes"


def test_what_the_file_carries_stays(marked: Path, tiny_inpainting_weights: Path, tmp_path: Path) -> None:
    image = Image.fromarray(photo())
    exif = image.getexif()
    exif[271] = "A camera"
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "Holes")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(tmp_path / "photo.png", exif=exif, icc_profile=profile, dpi=(300, 300), pnginfo=text)
    report = restore(tmp_path / "photo.png", tiny_inpainting_weights)
    with Image.open(report.output) as after:
        assert after.getexif()[271] == "A camera"
        assert after.info["icc_profile"] == profile
        assert after.info["Title"] == "Holes"
        assert round(after.info["dpi"][0]) == 300


def test_the_array_call_gives_the_same(noisy_png: Path, marked: Path, tiny_inpainting_weights: Path) -> None:
    report = restore(noisy_png, tiny_inpainting_weights)
    inpainter = denoise.load(tiny_inpainting_weights, device="cpu", dtype="float32")
    assert isinstance(inpainter, denoise.Inpainter)
    pixels = np.asarray(Image.open(noisy_png))
    assert np.array_equal(np.asarray(Image.open(report.output)), inpainter(pixels, holes()))
    again = denoise.restore(pixels, mask=holes(), model=tiny_inpainting_weights, device="cpu", dtype="float32")
    assert np.array_equal(np.asarray(Image.open(report.output)), again)


def test_holes_then_noise(noisy_png: Path, marked: Path, tiny_inpainting_weights: Path, tiny_weights: Path) -> None:
    both = restore(noisy_png, f"{tiny_weights},{tiny_inpainting_weights}", sigma=20)
    assert both.model == "tiny holes, tiny"
    assert both.sigma == [20.0]
    filler, denoiser = (
        denoise.load(weights, device="cpu", dtype="float32") for weights in (tiny_inpainting_weights, tiny_weights)
    )
    filled = filler(np.asarray(Image.open(noisy_png)), holes())
    assert np.array_equal(np.asarray(Image.open(both.output)), denoiser(filled, sigma=20))


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg"])
def test_an_empty_mask_returns_the_same_file(name: str, tiny_inpainting_weights: Path, tmp_path: Path) -> None:
    Image.fromarray(photo()).save(tmp_path / name)
    Image.new("L", (64, 48)).save(tmp_path / "mask.png")
    report = restore(tmp_path / name, tiny_inpainting_weights)
    assert Path(report.output).read_bytes() == (tmp_path / name).read_bytes()
    assert report.filled_px == 0


def test_strength_zero_returns_the_same_file(noisy_png: Path, marked: Path, tiny_inpainting_weights: Path) -> None:
    report = restore(noisy_png, tiny_inpainting_weights, strength=0)
    assert Path(report.output).read_bytes() == noisy_png.read_bytes()


def test_a_mask_that_covers_everything_is_refused(noisy_png: Path, tiny_inpainting_weights: Path) -> None:
    Image.new("L", (64, 48), 255).save(noisy_png.parent / "mask.png")
    with pytest.raises(UsageError, match="covers all of noisy photo"):
        restore(noisy_png, tiny_inpainting_weights)
    with pytest.raises(UsageError, match="covers all of noisy photo"):
        restore(noisy_png, tiny_inpainting_weights, mask=holes(), dilate_px=64)


def test_transparent_pixels_are_filled_and_seen(tiny_inpainting_weights: Path, tmp_path: Path) -> None:
    image = Image.fromarray(photo())
    image.putalpha(Image.fromarray(np.where(holes(), 0, 180).astype(np.uint8)))
    image.save(tmp_path / "photo.png")
    report = restore(tmp_path / "photo.png", tiny_inpainting_weights, mask="alpha")
    before, after = (np.asarray(Image.open(path)) for path in (tmp_path / "photo.png", report.output))
    assert np.array_equal(before[~holes()], after[~holes()])
    assert (after[holes(), 3] == 255).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_what_is_transparent_stays_so_and_is_not_counted(
    mode: str, marked: Path, tiny_inpainting_weights: Path, tmp_path: Path
) -> None:
    """Of the holes one part is transparent: by alpha, by an entry of the palette or by a colour."""
    clear = np.zeros((48, 64), dtype=bool)
    clear[:10, :30] = True
    image = Image.fromarray(photo(bands=1)[..., 0] if mode == "P" else photo()).convert(mode)
    options = {}
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(np.where(clear, 0, 255).astype(np.uint8)))
    else:
        options = {"transparency": 3 if mode == "P" else (1, 2, 3)}
        image.paste(options["transparency"], mask=Image.fromarray(clear))
    image.save(tmp_path / "photo.png", **options)
    report = restore(tmp_path / "photo.png", tiny_inpainting_weights)
    assert report.filled_px == (holes() & ~clear).sum()
    assert report.note.startswith(f"{(holes() & clear).sum()} pixels in holes are transparent and stay so;")
    before, after = (np.asarray(Image.open(path).convert("RGBA")) for path in (tmp_path / "photo.png", report.output))
    assert np.array_equal(after[clear], before[clear])
    restore(tmp_path / "photo.png", tiny_inpainting_weights, mask=holes() & clear)
    assert Path(report.output).read_bytes() == (tmp_path / "photo.png").read_bytes(), "nothing to fill"


def test_a_colour_marks_the_holes(tiny_inpainting_weights: Path, tmp_path: Path) -> None:
    pixels = photo() // 2
    pixels[holes()] = [255, 0, 255]
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    report = restore(tmp_path / "photo.png", tiny_inpainting_weights, mask=None, mask_color="#ff00ff", dilate_px=1)
    after = np.asarray(Image.open(report.output))
    assert (after[holes()] != [255, 0, 255]).any(-1).all()
    assert report.filled_px > holes().sum()


def test_a_hole_too_large_is_named(noisy_png: Path, marked: Path, tiny_inpainting_weights: Path) -> None:
    mask = holes()
    assert "wider" not in restore(noisy_png, tiny_inpainting_weights, mask=mask).note
    mask[20:29, 20:29] = True
    assert "wider than the 8 pixels" in restore(noisy_png, tiny_inpainting_weights, mask=mask, overwrite=True).note


def test_frames_have_the_same_holes(marked: Path, tiny_inpainting_weights: Path, tmp_path: Path) -> None:
    frames = [Image.fromarray(photo(seed=k)) for k in range(3)]
    frames[0].save(tmp_path / "stack.tif", save_all=True, append_images=frames[1:])
    report = restore(tmp_path / "stack.tif", tiny_inpainting_weights)
    assert report.filled_px == 3 * holes().sum()
    with Image.open(report.output) as stack:
        for k, frame in enumerate(frames):
            stack.seek(k)
            assert np.array_equal(np.asarray(stack)[~holes()], np.asarray(frame)[~holes()])


def test_a_comparison(noisy_png: Path, marked: Path, tiny_inpainting_weights: Path, tmp_path: Path) -> None:
    restore(noisy_png, tiny_inpainting_weights, compare=tmp_path / "compare.png")
    with Image.open(tmp_path / "compare.png") as sheet:
        assert sheet.width > 3 * 64


def test_weights_for_holes_need_a_mask(noisy_png: Path, tiny_inpainting_weights: Path) -> None:
    with pytest.raises(UsageError, match="--mask"):
        restore(noisy_png, tiny_inpainting_weights, mask=None)


def test_sound_has_no_mask(tmp_path: Path) -> None:
    (tmp_path / "voice.wav").touch()
    with pytest.raises(UsageError, match="a mask is for pictures"):
        restore(tmp_path / "voice.wav", None, mask="mask.png")


def test_a_colour_in_memory_is_refused(tiny_inpainting_weights: Path) -> None:
    with pytest.raises(UsageError, match="in memory give a mask"):
        denoise.restore(photo(), mask_color="red", model=tiny_inpainting_weights)


def test_a_drawing_is_copied_and_said_to_be_one(tiny_weights: Path, tmp_path: Path) -> None:
    chess = np.kron(np.indices((6, 8)).sum(0) % 2 * 255, np.ones((8, 8))).astype(np.uint8)
    Image.fromarray(chess).save(tmp_path / "chess.png", compress_level=1)
    report = denoise.restore(tmp_path / "chess.png", model=tiny_weights)
    assert report.sigma == [0.0] and "has no noise" in report.note
    assert Path(report.output).read_bytes() == (tmp_path / "chess.png").read_bytes()
    stated = denoise.restore(tmp_path / "chess.png", model=tiny_weights, sigma=20, overwrite=True)
    assert stated.note == "" and Path(stated.output).read_bytes() != (tmp_path / "chess.png").read_bytes()
