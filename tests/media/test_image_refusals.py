"""What is no picture that can be restored: each gets one sentence, before the work."""

import errno

import numpy as np
import pytest
from PIL import Image, ImageFile

from denoise.errors import MediaError, UsageError
from denoise.media.image import is_image, open_image
from tests.media.test_image import RNG, sample


@pytest.mark.parametrize("name", ["a.txt", "Thumbs.db", "desktop.ini", ".DS_Store", "png", "a.wav", "a.png.txt"])
def test_other_files_are_no_images(name):
    assert not is_image(name)


def test_missing_files_and_folders_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match="There is no file"):
        open_image(tmp_path / "none.png")
    with pytest.raises(UsageError, match="is a folder"):
        open_image(tmp_path)


def test_of_an_unknown_suffix_the_formats_of_sound_are_named_as_well(tmp_path):
    for name, told in (("a.amr", True), ("a.png", False)):
        (tmp_path / name).write_bytes(b"#!AMR")
        with pytest.raises(MediaError, match="is not a picture") as caught:
            open_image(tmp_path / name)
        assert ("WEBP and, as sound, .wav, " in str(caught.value)) == told


def test_an_empty_file_and_a_text_are_media_errors(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(MediaError, match="is empty"):
        open_image(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("not a picture")
    with pytest.raises(MediaError, match="is not a picture"):
        open_image(tmp_path / "b.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp", ".avif"])
def test_a_cut_off_file_is_a_media_error(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    sample("RGB", 200, 150).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"a\.\w+ is"):
        open_image(path)


def test_a_file_that_may_not_be_read_is_a_media_error(tmp_path, monkeypatch):
    sample("RGB").save(tmp_path / "a.png")

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(MediaError, match="permission denied"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["F", "I"])
def test_samples_without_a_white_point_are_refused(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "a.tif")
    with pytest.raises(UsageError, match="32-bit samples"):
        open_image(tmp_path / "a.tif")


def test_signed_samples_are_refused(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), dtype=np.int16), photometric="minisblack")
    with pytest.raises(UsageError, match="has signed or 32-bit samples"):
        open_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("shape", "dtype", "options"),
    [
        ((4, 4, 2), "u2", {"photometric": "minisblack", "extrasamples": ["unassalpha"]}),
        ((4, 4, 3), "f4", {"photometric": "rgb"}),
        ((4, 4, 3), "u1", {"photometric": "rgb", "compression": "jpegxl"}),
    ],
)
def test_a_tiff_of_a_kind_that_is_not_read_says_what_to_do(tmp_path, shape, dtype, options):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, dtype), metadata=None, **options)
    with pytest.raises(MediaError, match=r"samples or a compression not read here; .* RGB of 16 bits"):
        open_image(tmp_path / "a.tif")


def test_lab_is_refused(tmp_path):
    Image.new("LAB", (4, 4)).save(tmp_path / "a.tif")
    with pytest.raises(UsageError, match="holds LAB"):
        open_image(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".png", ".gif", ".tif", ".webp", ".jpg"])
def test_too_many_pixels_are_refused_from_the_header(tmp_path, suffix, monkeypatch):
    sample("L", 40, 30).save(tmp_path / f"a{suffix}")
    with open_image(tmp_path / f"a{suffix}", max_pixels=1200):
        pass

    def decoded(self):
        raise AssertionError("the picture was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    for limit in (1199, 500):
        with pytest.raises(UsageError, match=rf"more than the {limit:,} pixels .*; cut it into parts\.$"):
            open_image(tmp_path / f"a{suffix}", max_pixels=limit)


def test_all_frames_count_against_the_limit(tmp_path):
    pages = [sample("L", 20, 20) for _ in range(3)]
    for suffix in (".tif", ".png"):
        pages[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=pages[1:])
        with pytest.raises(UsageError, match="all frames together"):
            open_image(tmp_path / f"a{suffix}", max_pixels=1199)


@pytest.mark.parametrize(("photometric", "samples"), [("rgb", 4), ("rgb", 5), ("minisblack", 2), ("separated", 5)])
def test_channels_that_would_be_lost_are_named(tmp_path, photometric, samples):
    tifffile = pytest.importorskip("tifffile")
    planes = RNG.integers(0, 256, (9, 9, samples), dtype=np.uint8)
    extra = samples - {"rgb": 3, "minisblack": 1, "separated": 4}[photometric]
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric=photometric, extrasamples=["unspecified"] * extra)
    with pytest.raises(UsageError, match=f"{samples} channels, of which only"):
        open_image(tmp_path / "a.tif")
