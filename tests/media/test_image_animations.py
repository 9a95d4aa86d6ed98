"""Animations: what a format does with several frames."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoise.errors import MediaError, UsageError
from denoise.media.image import open_image
from tests.media.test_image_formats import RNG, all_frames, difference, photo, save


def durations(path: Path) -> list[float]:
    with Image.open(path) as image:
        found = []
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            found.append(image.info.get("duration", 0))
        return found


def animation(path: Path, mode: str, **options) -> list[Image.Image]:
    frames = [photo(mode, shift=3 * number) for number in range(3)]
    if mode == "RGBA":
        for number, frame in enumerate(frames):
            frame.paste((0, 0, 0, 0), (4 * number, 0, 4 * number + 8, 24))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[40, 120, 200], loop=3, **options)
    return frames


@pytest.mark.parametrize("after", [".gif", ".png", ".webp"])
def test_an_animation_that_plays_once_does_so_everywhere(tmp_path, after):
    frames = [photo("P", shift=3 * number) for number in range(3)]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=40)
    save(tmp_path / "in.gif", tmp_path / f"once{after}")
    save(tmp_path / f"once{after}", tmp_path / f"again{after}")
    for name in ("once", "again"):
        with Image.open(tmp_path / f"{name}{after}") as image:
            assert image.info.get("loop") == (None if after == ".gif" else 1)


@pytest.mark.parametrize("after", [".gif", ".png", ".webp"])
def test_an_animation_that_plays_as_often_as_a_gif_can(tmp_path, after):
    frames = [photo("P", shift=3 * number) for number in range(3)]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=40, loop=65_535)
    save(tmp_path / "in.gif", tmp_path / f"out{after}")
    with Image.open(tmp_path / f"out{after}") as image:
        assert image.info["loop"] == 65_535


@pytest.mark.parametrize("before", [".gif", ".png", ".webp", ".avif"])
@pytest.mark.parametrize("after", [".gif", ".png", ".webp", ".avif"])
def test_an_animation_keeps_its_frames_durations_and_loop(tmp_path, before, after):
    if after == ".gif" and before != ".gif":
        pytest.skip("true colour does not go into a GIF")
    source, target = tmp_path / f"in{before}", tmp_path / f"out{after}"
    animation(source, "RGB", **({"lossless": True} if before == ".webp" else {}))
    with open_image(source) as picture:
        assert picture.n_frames == 3
        assert picture.describe().endswith("32x24, 3 frames")
        with pytest.raises(UsageError, match="an animation"):
            picture.check_output(tmp_path / "out.jpg")
    save(source, target)
    assert durations(target) == durations(source) == [40, 120, 200]
    if ".avif" not in (before, after):  # it does not tell
        with Image.open(target) as image:
            plays = {".gif": 4}.get(before, 3)  # GIF counts repetitions
            assert image.info["loop"] == (plays - 1 if after == ".gif" else plays)
    lossy = after == ".avif" or (after == ".webp" and before != ".webp")
    assert difference(source, target) <= (6 if lossy else 0)  # sharp edges, coarse chroma


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_a_transparent_animation_shows_the_same(tmp_path, suffix):
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    lossless = {"lossless": True} if suffix == ".webp" else {}
    animation(source, "RGBA", disposal=2, **lossless)
    save(source, target)
    for seen, shown in zip(all_frames(source), all_frames(target), strict=True):
        np.testing.assert_array_equal(shown[..., 3], seen[..., 3])
        visible = seen[..., 3] > 0
        assert visible.any() and not visible.all()
        np.testing.assert_array_equal(shown[visible], seen[visible])


@pytest.mark.parametrize("lossless", [True, False])
def test_an_opaque_animated_webp_stays_opaque(tmp_path, lossless):
    frames = [Image.fromarray(RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)) for _ in range(3)]
    frames[0].save(tmp_path / "in.webp", save_all=True, append_images=frames[1:], lossless=lossless, quality=95)
    still = np.tile(np.linspace(0, 1, 32, dtype=np.float32), (3, 24, 1))
    with open_image(tmp_path / "in.webp") as picture:
        assert picture.mode == "RGB"
        for number, frame in enumerate(picture.frames):  # as restored: alike but for two corners
            rows = still.copy()
            rows[:, :8, :8] = rows[:, -8:, -8:] = number / 2
            frame.write(0, 24, rows)
        picture.save(tmp_path / "out.webp")
    with Image.open(tmp_path / "out.webp") as image:
        assert (image.mode, image.n_frames) == ("RGB", 3)


def test_a_gif_of_one_palette_keeps_its_indices(tmp_path):
    colours = RNG.integers(0, 256, 48, dtype=np.uint8).tobytes()
    frames = []
    for _ in range(3):
        frame = Image.fromarray(RNG.integers(0, 16, (10, 12), dtype=np.uint8)).convert("P")
        frame.putpalette(colours)
        frames.append(frame)
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], palette=colours, optimize=False)
    with open_image(tmp_path / "in.gif") as picture:
        assert [frame.mode for frame in picture.frames] == ["P", "P", "P"]
    save(tmp_path / "in.gif", tmp_path / "out.gif")
    assert difference(tmp_path / "in.gif", tmp_path / "out.gif") == 0


def test_the_still_picture_of_an_animated_png_stays_out_of_the_animation(tmp_path):
    still = photo(shift=20)
    frames = [photo(), photo(shift=5)]
    still.save(tmp_path / "in.png", save_all=True, append_images=frames, default_image=True, duration=[50, 70])
    save(tmp_path / "in.png", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.default_image
        assert image.n_frames == 3
    assert difference(tmp_path / "in.png", tmp_path / "out.png") == 0
    assert durations(tmp_path / "out.png")[1:] == [50, 70]


def test_frames_are_decoded_as_they_are_asked_for(tmp_path):
    animation(tmp_path / "in.png", "RGB")
    data = (tmp_path / "in.png").read_bytes()
    (tmp_path / "in.png").write_bytes(data[: data.rindex(b"fdAT") + 20])
    with open_image(tmp_path / "in.png") as picture:
        next(iter(picture.frames))
        with pytest.raises(MediaError, match=r"in\.png is damaged"):
            list(picture.frames)
