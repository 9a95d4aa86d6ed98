from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from denoise.corruptions.base import Compose
from denoise.corruptions.image import Gaussian
from denoise.corruptions.masks import RandomPixels
from denoise.errors import UsageError
from denoise.networks.autoencoder import Autoencoder
from denoise.training.arrays import Arrays, GrayCrops, load_arrays, load_digits
from denoise.training.autoencoders import DenoisingAutoencoder
from denoise.training.data import PictureCrops
from denoise.training.modules import Drawn


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Pictures of one shade each: ten of 0..9 for training, five of 10..14 for testing; the label is the shade."""
    path = tmp_path / "shades.npz"
    _write(path)
    return path


def _write(path: Path, **other: np.ndarray) -> None:
    shades = np.arange(15, dtype=np.uint8)
    images = np.broadcast_to(shades[:, None, None], (15, 5, 4))
    whole = {"train_images": images[:10], "test_images": images[10:], "train_labels": shades[:10] % 3}
    np.savez(path, **{**whole, "test_labels": shades[10:] % 3, **other})


def _module(root: Path | None, step: int = 0, rank: int = 0, accumulate: int = 1, **settings: Any) -> Arrays:
    data = Arrays(root, **{"batch_size": 4, **settings})
    data.trainer = SimpleNamespace(global_step=step, global_rank=rank, accumulate_grad_batches=accumulate)
    data.setup("fit")
    return data


def _batches(data: Arrays, count: int) -> list[torch.Tensor]:
    batches = iter(data.train_dataloader())
    return [next(batches) for _ in range(count)]


def test_digits_need_no_file() -> None:
    data = _module(None)
    (batch,) = _batches(data, 1)
    assert batch.shape == (4, 1, 8, 8)
    assert batch.dtype == torch.float32
    split = load_digits()
    assert (len(split.train), len(split.test)) == (1437, 360)
    assert (split.train.min(), split.train.max()) == (0, 1)
    assert sorted(set(split.test_labels.tolist())) == list(range(10))


def test_pictures_come_whole(file: Path) -> None:
    data = _module(file)
    (batch,) = _batches(data, 1)
    assert batch.shape == (4, 1, 5, 4)
    shades = (batch * 255).round()
    assert (shades == shades[..., :1, :1]).all()
    assert len(shades[:, 0, 0, 0].unique()) == 4  # none twice in a batch
    assert shades.max() < 10
    held = list(data.val_dataloader())
    assert [len(batch) for batch in held] == [4, 1]
    assert (torch.cat(held)[:, 0, 0, 0] * 255).round().tolist() == [10, 11, 12, 13, 14]


def test_a_step_has_the_same_pictures_whenever_it_runs(file: Path) -> None:
    whole = _batches(_module(file), 4)
    assert torch.equal(_batches(_module(file, step=2), 2)[1], whole[3])
    assert torch.equal(_batches(_module(file, step=1, accumulate=2), 2)[1], whole[3])
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(_batches(_module(file, rank=1), 1)[0], whole[0])
    assert not torch.equal(_batches(_module(file, seed=1), 1)[0], whole[0])
    assert len(_batches(_module(file, batch_size=30), 1)[0]) == 30


def test_classes_are_kept(file: Path) -> None:
    split = _module(file, classes=[0, 2]).split
    assert set(split.train_labels.tolist()) == set(split.test_labels.tolist()) == {0, 2}
    assert ((split.train[:, 0, 0, 0] * 255).round() % 3 == split.train_labels).all()
    with pytest.raises(UsageError, match=r"No picture is of the classes \[7\]: there are \[0, 1, 2\]"):
        _module(file, classes=[7])


def test_colour_and_floats(file: Path) -> None:
    draw = np.random.default_rng(0)
    train, test = draw.random((3, 5, 4, 3)), draw.integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    np.savez(file, train_images=train, test_images=test)
    split = load_arrays(file)
    np.testing.assert_allclose(split.train[1, 2], train[1, :, :, 2], rtol=1e-6)
    np.testing.assert_allclose(split.test[1, 2], test[1, :, :, 2] / 255, rtol=1e-6)
    assert split.train_labels is None
    with pytest.raises(UsageError, match="There are no labels"):
        _module(file, classes=[0])


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"train_images": np.zeros((3, 5), np.uint8)}, r"train_images has shape \[3, 5\]"),
        ({"test_images": np.zeros((0, 5, 5), np.uint8)}, "test_images has shape"),
        ({"train_images": np.zeros((3, 5, 5), np.int32)}, "train_images holds int32"),
        ({"train_images": np.zeros((3, 5, 4, 3), np.uint8)}, "train_images have 3 bands and test_images 1"),
        ({"train_images": np.full((3, 5, 5), 2.0)}, r"goes beyond 0\.\.1"),
        ({"train_images": np.full((3, 5, 5), np.nan)}, r"goes beyond 0\.\.1"),
        ({"train_labels": np.zeros(3, np.uint8)}, r"train_labels has shape \[3\] for 10 pictures"),
        ({"train_images": np.array([{}])}, "allow_pickle"),
    ],
)
def test_unusable_arrays(file: Path, wrong: dict, reason: str) -> None:
    _write(file, **wrong)
    with pytest.raises(UsageError, match=reason):
        load_arrays(file)


def test_unusable_files(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    for content in (None, b"", b"nothing", b"PK\x03\x04 nothing"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UsageError, match=r"cannot be used .* give as --data.root an .npz file"):
            load_arrays(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(UsageError, match="train_images"):
        load_arrays(path)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(UsageError, match="cannot be used"):
        load_arrays(tmp_path / "one.npy")


def test_damaged_files_are_refused_wherever_the_damage_is(file: Path) -> None:
    draw = np.random.default_rng(0)
    images = np.kron(draw.integers(0, 256, (4, 6, 6), dtype=np.uint8), np.ones((1, 4, 4), np.uint8))
    np.savez_compressed(file, train_images=images, test_images=images)
    whole, refused = file.read_bytes(), 0
    for place in range(40, len(whole), 11):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 85]) + whole[place + 1 :])
        try:
            load_arrays(file)
        except UsageError:
            refused += 1
    assert refused > 30


def _gray(folder: Path, **settings: Any) -> GrayCrops:
    data = GrayCrops(folder / "pictures", crop_px=16, batch_size=2, validation_px=32, **settings)
    data.trainer = SimpleNamespace(global_step=0, global_rank=0, accumulate_grad_batches=1)
    data.setup("fit")
    return data


def test_gray_crops_have_one_band(folder: Path) -> None:
    gray = _gray(folder)
    colour = PictureCrops(folder / "pictures", crop_px=16, batch_size=2, validation_px=32)
    colour.trainer = gray.trainer
    colour.setup("fit")
    for ours, theirs in (
        (next(iter(gray.train_dataloader())), next(iter(colour.train_dataloader()))),
        (next(iter(gray.val_dataloader())), next(iter(colour.val_dataloader()))),
    ):
        torch.testing.assert_close(ours[:, 0], theirs.mean(1))
        assert ours.shape[1] == 1 and theirs.shape[1] == 3


def test_workers_draw_the_holes_of_gray_crops(folder: Path) -> None:
    network = Autoencoder(channels=1, widths=(4,), code=8)
    module = DenoisingAutoencoder(network, Compose([Gaussian(), RandomPixels()]))
    module._trainer = SimpleNamespace(global_rank=0, barebones=False)  # type: ignore[assignment]
    alone, helped = (_gray(folder, workers=count) for count in (0, 1))
    helped.trainer.lightning_module = module
    clean, drawn = (next(iter(data.train_dataloader())) for data in (alone, helped))
    assert isinstance(drawn, Drawn)
    module.check_shape(drawn)
    expected, seen = (module.see(batch, 0) for batch in (module.draw(clean, 0), drawn))
    assert seen.observed.shape == (2, 1, 16, 16)
    assert torch.equal(seen.observed, expected.observed)
