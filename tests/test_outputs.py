from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import denoise
from denoise import outputs
from denoise.errors import UsageError
from denoise.options import Options
from tests.conftest import photo, run


def restore(source: Any, model: Path, **options: Any) -> Any:
    return denoise.restore(source, model=model, device="cpu", dtype="float32", **options)


def test_several_inputs_may_come_from_any_iterable(noisy_png: Path, tiny_weights: Path) -> None:
    (report,) = restore(noisy_png.parent.glob("*.png"), tiny_weights, sigma=20)
    assert Path(report.output) == outputs.default_output(noisy_png)


def test_what_is_wrong_for_all_is_no_failure_of_each(noisy_png: Path, tiny_weights: Path, tmp_path: Path) -> None:
    for wrong in ({"model": "nope"}, {"model": f"{tiny_weights},photo"}, {"mask": tmp_path / "no.png"}):
        with pytest.raises(UsageError):
            denoise.restore([noisy_png, noisy_png], out=tmp_path / "out", **{"model": tiny_weights, **wrong})
    with pytest.raises(UsageError, match="no colour"):
        Options(mask_color="zzz")


def test_a_name_without_a_suffix_is_a_folder(noisy_png: Path, tiny_weights: Path, tmp_path: Path) -> None:
    first = restore(noisy_png, tiny_weights, sigma=20, out=tmp_path / "new")
    assert Path(first.output) == tmp_path / "new" / noisy_png.name
    again = restore(noisy_png, tiny_weights, sigma=20, out=tmp_path / "new")
    assert again == denoise.Skipped(str(noisy_png), first.output)
    with pytest.raises(UsageError, match="exists; choose another output"):
        restore(noisy_png, tiny_weights, sigma=20, out=first.output)


def test_what_a_batch_made_is_no_input_elsewhere_either(tmp_path: Path) -> None:
    for name in ("a.png", "a.restored.png", "b.restored.png"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    found = [source.name for source, _ in outputs.jobs([tmp_path / "in"], tmp_path / "out")]
    assert found == ["a.png", "b.restored.png"]


def test_a_file_that_is_named_twice_is_restored_once(noisy_png: Path, tmp_path: Path) -> None:
    indirect = noisy_png.parent / "." / ".." / noisy_png.parent.name / noisy_png.name
    assert len(outputs.jobs([noisy_png, indirect, noisy_png], tmp_path / "out")) == 1


def test_the_folder_of_the_input_holds_no_output(noisy_png: Path, tiny_weights: Path) -> None:
    before = noisy_png.read_bytes()
    with pytest.raises(UsageError, match="is the input; give another"):
        restore(noisy_png, tiny_weights, sigma=20, out=noisy_png.parent)
    assert noisy_png.read_bytes() == before


def test_a_date_to_come_does_not_make_every_output_old(noisy_png: Path, tiny_weights: Path, tmp_path: Path) -> None:
    os.utime(noisy_png, (4e9, 4e9))
    restore([noisy_png], tiny_weights, sigma=20, out=tmp_path / "out")
    assert isinstance(restore([noisy_png], tiny_weights, sigma=20, out=tmp_path / "out")[0], denoise.Skipped)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes that have names")
def test_a_device_is_no_output(noisy_png: Path, tiny_weights: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UsageError, match="regular file"):
        restore(noisy_png, tiny_weights, sigma=20, out=tmp_path / "pipe.png", overwrite=True)
    assert (tmp_path / "pipe.png").is_fifo()


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root may give files away")
def test_what_is_replaced_stays_its_owners(noisy_png: Path, tiny_weights: Path) -> None:
    noisy_png.chmod(0o640)
    os.chown(noisy_png, 1234, 1235)
    restore(noisy_png, tiny_weights, sigma=20, out=noisy_png, overwrite=True)
    found = noisy_png.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 1235, 0o640)


def test_weights_for_holes_need_to_know_where(noisy_png: Path) -> None:
    with pytest.raises(UsageError, match="say where they are with --mask"):
        denoise.restore(noisy_png, model="photo,inpaint")


def test_a_masked_array_is_no_picture(tiny_weights: Path) -> None:
    with pytest.raises(UsageError, match="as a mask of holes"):
        restore(np.ma.masked_array(np.zeros((8, 8, 3), np.uint8)), tiny_weights)


def test_originals_in_the_output_folder_are_told(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shoot, sub = tmp_path / "shoot", tmp_path / "shoot" / "sub"
    sub.mkdir(parents=True)
    for path in (shoot / "a.png", sub / "b.png", sub / "c.png"):
        Image.fromarray(photo(16, 16)).save(path)
    command = ("restore", shoot, "--model", tiny_weights, "--sigma", 20, "--device", "cpu", "-o")
    assert run(monkeypatch, *command, sub) == 0
    told = f"The output folder holds 2 files that are no output, {sub / 'b.png'}: restore what lies there apart."
    assert told in capsys.readouterr().err
    (sub / "b.png").unlink()
    assert run(monkeypatch, *command, sub) == 0
    assert f"a file that is no output, {sub / 'c.png'}" in capsys.readouterr().err
    (sub / "c.png").unlink()
    for out in (sub, tmp_path):  # nor is anything told of what lies in a folder that holds the input
        assert run(monkeypatch, *command, out) == 0
        assert not capsys.readouterr().err
