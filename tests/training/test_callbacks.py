import errno
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from denoise.errors import MediaError, ModelError
from denoise.training.callbacks import PictureGrid, WholeCheckpoints


def _trainer(tmp_path: Path, **settings: object) -> SimpleNamespace:
    defaults = {"is_global_zero": True, "sanity_checking": False, "log_dir": str(tmp_path), "global_step": 12}
    return SimpleNamespace(**{"loggers": [None], **defaults, **settings})


def _outputs(channels: int, width: int) -> dict[str, torch.Tensor]:
    names = ("observed", "restored", "target")
    return {name: torch.full((1, channels, 4, width), value) for name, value in zip(names, (-1, 0.5, 1.0), strict=True)}


@pytest.mark.parametrize("bands", [1, 2, 4])
def test_a_sheet_shows_some_rows_of_three(tmp_path: Path, bands: int) -> None:
    grid, trainer = PictureGrid(rows=2), _trainer(tmp_path)
    for channels, width in ((3, 4), (bands, 6), (3, 8)):
        grid.on_validation_batch_end(trainer, None, _outputs(channels, width), None, 0)
    grid.on_validation_end(trainer, None)
    with Image.open(tmp_path / "pictures" / "step0000012.png") as file:
        sheet = np.array(file)
    assert sheet.shape == (8, 18, 3)
    assert sheet[0, ::4, 0].tolist() == [0, 128, 255, 0, 0]  # the first row ends where its pictures do
    assert sheet[4, ::6, 0].tolist() == [0, 128, 255]
    grid.on_validation_end(_trainer(tmp_path, global_step=13), None)
    assert len(list((tmp_path / "pictures").iterdir())) == 1


def _checkpoints(resumed: Path | None = None) -> WholeCheckpoints:
    return WholeCheckpoints(SimpleNamespace(ckpt_path=resumed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings", [{"sanity_checking": True}, {"is_global_zero": False}, {"log_dir": None}, {"loggers": []}]
)
def test_no_sheet_where_none_is_due(tmp_path: Path, settings: dict[str, object]) -> None:
    grid, trainer = PictureGrid(), _trainer(tmp_path, **settings)
    grid.on_validation_batch_end(trainer, None, _outputs(3, 4), None, 0)
    grid.on_validation_end(trainer, None)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "runs" / "last.ckpt"
    checkpoints = _checkpoints()
    checkpoints.save_checkpoint({"step": torch.tensor(1)}, path)

    def break_off(checkpoint: object, file: object) -> None:
        file.write(b"half of")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", break_off)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save_checkpoint({"step": torch.tensor(2)}, path)
    assert torch.load(path)["step"] == 1
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_what_another_training_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "last.ckpt"
    _checkpoints().save_checkpoint({"step": torch.tensor(1)}, path)

    class Broken(io.BytesIO):
        def write(self, _: Any) -> int:
            raise error

    save = torch.save
    monkeypatch.setattr(torch, "save", lambda checkpoint, _: save(checkpoint, Broken()))
    if isinstance(error, OSError):
        with pytest.raises(MediaError, match=r"could not be written \(No space left on device\) and is as it was"):
            _checkpoints().save_checkpoint({"step": torch.tensor(2)}, path)
    else:
        with pytest.raises(KeyboardInterrupt):
            _checkpoints().save_checkpoint({"step": torch.tensor(2)}, path)
    assert list(tmp_path.iterdir()) == [path]
    assert torch.load(path)["step"] == 1


def test_what_another_training_left_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    for number in (1, 2, 3):
        checkpoints = _checkpoints()
        for _ in range(2):  # its own is replaced
            checkpoints.save_checkpoint({"step": torch.tensor(number)}, path)
    _checkpoints(tmp_path / "runs" / ".." / "last.ckpt").save_checkpoint({"step": torch.tensor(4)}, path)
    _checkpoints(tmp_path / "earlier-1.ckpt").save_checkpoint({"step": torch.tensor(5)}, path)
    for number in (6, 7):
        _checkpoints(path).save_checkpoint({"step": torch.tensor(number)}, tmp_path / "best.ckpt")
    steps = {file.stem: int(torch.load(file)["step"]) for file in tmp_path.iterdir()}
    assert steps == {"earlier-1": 1, "earlier-2": 2, "earlier-3": 4, "last": 5, "best": 7}
    other = tmp_path / "other" / "best.ckpt"
    for resumed in (None, path):
        _checkpoints(resumed).save_checkpoint({"step": torch.tensor(8)}, other)
    assert sorted(file.stem for file in other.parent.iterdir()) == ["best", "earlier-1"]


def test_two_trainings_at_a_time_cost_each_other_nothing(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    first, second = _checkpoints(), _checkpoints()
    for step, training in enumerate((first, first, second, second, first)):
        training.save_checkpoint({"step": torch.tensor(step)}, path)
    steps = {file.stem: int(torch.load(file)["step"]) for file in tmp_path.iterdir()}
    assert steps == {"earlier-1": 1, "earlier-2": 3, "last": 4}


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_damaged_checkpoint_is_refused_in_one_sentence(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.ckpt"
    _checkpoints().save_checkpoint({"weights": torch.rand(100)}, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelError, match="not a whole checkpoint"):
        _checkpoints().load_checkpoint(path)


@pytest.mark.parametrize("content", [{"a": 1}, [1, 2], {"state_dict": {}, "pytorch-lightning_version": "2.0.0"}])
def test_what_is_no_checkpoint_of_ours_is_refused_in_one_sentence(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(ModelError, match="not a whole checkpoint of `denoise train`; go on from another"):
        _checkpoints().load_checkpoint(tmp_path / "x.ckpt")
