"""The picture of before, after and what was taken out."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoise.errors import MediaError, UsageError
from tests.conftest import photo
from tests.test_pipeline import SAVE, restore


def test_compare_shows_before_after_and_difference(noisy_png: Path, tiny_weights: Path, tmp_path: Path) -> None:
    restore(noisy_png, tiny_weights, compare=tmp_path / "compare.png", sigma=30)
    sheet = np.asarray(Image.open(tmp_path / "compare.png"))
    assert sheet.shape == (48 + 28, 3 * 64 + 16, 3)
    assert np.array_equal(sheet[28:, :64], np.asarray(Image.open(noisy_png)))
    restored = np.asarray(Image.open(noisy_png.with_name("noisy photo ü.restored.png")))
    assert np.array_equal(sheet[28:, 72:136], restored)


def test_the_comparison_shows_what_is_transparent_on_white(tiny_weights: Path, tmp_path: Path) -> None:
    picture = Image.fromarray(photo()).convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 32, 48))
    picture.save(tmp_path / "cut out.png")
    restore(tmp_path / "cut out.png", tiny_weights, compare=tmp_path / "compare.png", sigma=30)
    sheet = np.asarray(Image.open(tmp_path / "compare.png"))[28:]
    before, after, removed = (sheet[:, left : left + 64] for left in (0, 72, 144))
    assert (before[:, :32] == 255).all() and (after[:, :32] == 255).all() and (removed[:, :32] == 128).all()
    assert np.array_equal(before[:, 32:], photo()[:, 32:])


def test_the_comparison_replaces_neither_input_nor_output(noisy_png: Path, tiny_weights: Path, tmp_path: Path) -> None:
    before = noisy_png.read_bytes()
    for compare in (noisy_png, tmp_path / "out.png"):
        with pytest.raises(UsageError, match="another name"):
            restore(noisy_png, tiny_weights, out=tmp_path / "out.png", compare=compare)
    assert noisy_png.read_bytes() == before and not (tmp_path / "out.png").exists()


def test_a_comparison_that_exists_is_replaced_only_when_asked(
    noisy_png: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    compare = tmp_path / "mine.png"
    compare.write_text("precious")
    with pytest.raises(UsageError, match=r"mine\.png exists; give the comparison another name, or --overwrite"):
        restore(noisy_png, tiny_weights, compare=compare)
    assert compare.read_text() == "precious"
    restore(noisy_png, tiny_weights, compare=compare, overwrite=True)
    with Image.open(compare) as sheet:
        assert sheet.size == (3 * 64 + 16, 48 + 28)


def test_a_comparison_that_cannot_be_written_is_refused_before_the_work(
    noisy_png: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    for compare, reason in (("c.xyz", "suffix"), ("c", "suffix"), ("no/c.png", "does not exist")):
        with pytest.raises(UsageError, match=reason):
            restore(noisy_png, tiny_weights, out=tmp_path / "out.png", compare=tmp_path / compare)
    assert not (tmp_path / "out.png").exists()


def test_a_comparison_that_fails_loses_neither_result_nor_the_old_one(
    noisy_png: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = tmp_path / "compare.png"
    compare.write_bytes(b"old")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(
        Image.Image,
        "save",
        lambda image, *rest, **options: full() if image.width > 3 * 64 else SAVE(image, *rest, **options),
    )
    with pytest.raises(MediaError, match="No space left"):
        restore(noisy_png, tiny_weights, out=tmp_path / "out.png", compare=compare, overwrite=True)
    assert compare.read_bytes() == b"old" and (tmp_path / "out.png").is_file()


def test_a_comparison_is_upright_and_of_the_colours_one_sees(tiny_weights: Path, tmp_path: Path) -> None:
    lying = Image.fromarray(photo(48, 64))
    exif = Image.Exif()
    exif[274] = 6
    lying.save(tmp_path / "lying.jpg", exif=exif)
    restore(tmp_path / "lying.jpg", tiny_weights, compare=tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as sheet:
        assert sheet.size == (3 * 48 + 16, 64 + 28)
    Image.new("CMYK", (64, 48), (0, 0, 0, 0)).save(tmp_path / "paper.tif")  # no ink: white
    restore(tmp_path / "paper.tif", tiny_weights, sigma=0, strength=0, compare=tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as sheet:
        assert sheet.getpixel((32, 50)) == (255, 255, 255)


def test_a_comparison_is_of_one_input(noisy_png: Path, tiny_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="of one input"):
        restore([noisy_png], tiny_weights, out=tmp_path / "out", compare=tmp_path / "compare.png")
    assert not (tmp_path / "out").exists()
