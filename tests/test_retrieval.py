import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from denoise import pretrained, retrieval_book
from denoise.errors import MediaError, UsageError
from denoise.networks.autoencoder import Autoencoder
from denoise.retrieval import index, search
from denoise.retrieval_codes import MOST_PATCHES, Coder
from tests.conftest import awake, card

pytest.importorskip("faiss", reason="pip install 'denoise-toolkit[search]'")


def _weights(folder: Path, seed: int = 0, **arguments: object) -> Path:
    torch.manual_seed(seed)
    arguments = {"channels": 3, "widths": (8,), "code": 12, "side": 16} | arguments
    network = awake(Autoencoder(**arguments))  # type: ignore[arg-type]
    if seed:
        network = Autoencoder(**arguments)  # type: ignore[arg-type]
    return pretrained.save(folder, pretrained.Weights(network, None, card("coder")))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _weights(tmp_path_factory.mktemp("weights") / "coder")


def _picture(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    """Smooth blobs of colour. Shape: `[H, W, 3]`, uint8."""
    coarse = torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)[0]
    return (fine * 255).byte().permute(1, 2, 0).numpy()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for seed in range(6):
        name = f"inner/{seed}.png" if seed % 2 else f"{seed}.png"
        Image.fromarray(_picture(seed)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_an_identical_picture_is_found_first(photos: Path, model: Path, tmp_path: Path) -> None:
    report = index(photos, tmp_path / "index", model)
    assert (report.pictures, len(report.added), report.unchanged) == (6, 6, 0)
    for seed in range(6):
        query = photos / (f"inner/{seed}.png" if seed % 2 else f"{seed}.png")
        hits = search(query, tmp_path / "index", k=3)
        assert Path(hits[0].path) == query and hits[0].distance == pytest.approx(0, abs=1e-3)
        assert [hit.distance for hit in hits] == sorted(hit.distance for hit in hits)
        assert len(hits) == 3 and hits[0].box is None
    in_memory = search(Image.fromarray(_picture(4)), tmp_path / "index", k=1)
    assert Path(in_memory[0].path).name == "4.png"


def test_an_index_follows_its_folder(
    photos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "index"
    index(photos, out, model)
    (photos / "0.png").unlink()
    Image.fromarray(_picture(20)).save(photos / "2.png")
    os.utime(photos / "2.png", ns=(1, 1))
    Image.fromarray(_picture(21)).save(photos / "new.png")
    read: list[str] = []
    original = Coder.read
    monkeypatch.setattr(Coder, "read", lambda self, path: read.append(Path(path).name) or original(self, path))
    report = index(photos, out)
    assert (report.added, report.changed, report.removed, report.unchanged) == (["new.png"], ["2.png"], ["0.png"], 4)
    assert sorted(read) == ["2.png", "new.png"]
    monkeypatch.undo()
    fresh = tmp_path / "fresh"
    index(photos, fresh, model)
    for seed in (1, 20, 21):
        for patches in (False, True):
            found, wanted = (search(_picture(seed), store, k=9, patches=patches) for store in (out, fresh))
            assert [hit.path for hit in found] == [hit.path for hit in wanted]
            assert [hit.distance for hit in found] == pytest.approx([hit.distance for hit in wanted], abs=1e-4)
    assert not any("0.png" in hit.path for hit in search(_picture(0), out, k=9))
    assert len(list(out.iterdir())) == 3  # nothing old is left
    before = (out / "index.json").stat().st_mtime_ns
    assert index(photos, out).unchanged == 6
    assert (out / "index.json").stat().st_mtime_ns == before


def test_more_hits_than_pictures(photos: Path, model: Path, tmp_path: Path) -> None:
    index(photos, tmp_path / "index", model)
    assert len(search(photos / "0.png", tmp_path / "index", k=100)) == 6
    assert 1 <= len(search(photos / "0.png", tmp_path / "index", k=100, patches=True)) <= 6


def test_a_folder_may_become_empty(photos: Path, model: Path, tmp_path: Path) -> None:
    index(photos, tmp_path / "index", model)
    for path in list(photos.rglob("*.png")):
        path.unlink()
    assert len(index(photos, tmp_path / "index").removed) == 6
    assert search(_picture(0), tmp_path / "index") == []
    assert search(_picture(0), tmp_path / "index", patches=True) == []


@pytest.mark.parametrize("corner", [(0, 0), (37, 21), (80, 48)])
def test_patches_find_the_picture_that_a_crop_is_of(
    photos: Path, model: Path, tmp_path: Path, corner: tuple[int, int]
) -> None:
    index(photos, tmp_path / "index", model)
    left, top = corner
    hits = search(_picture(3)[top : top + 48, left : left + 48], tmp_path / "index", k=2, patches=True)
    assert Path(hits[0].path).name == "3.png"
    box = hits[0].box
    assert box is not None and 0 <= box[0] < box[2] <= 128 and 0 <= box[1] < box[3] <= 96
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    assert left - 8 <= middle[0] <= left + 56 and top - 8 <= middle[1] <= top + 56


@pytest.mark.parametrize(
    ("arguments", "length"),
    [({"side": 16}, 12), ({"side": (8, 16)}, 12), ({"side": None}, 12 * 16), ({"side": 16, "channels": 1}, 12)],
)
def test_every_kind_of_code(tmp_path: Path, arguments: dict[str, object], length: int) -> None:
    coder = Coder(_weights(tmp_path / "weights", **arguments))
    for shape in ((1, 1), (5, 70), (16, 16), (61, 47)):
        picture = coder.read(_picture(1, *shape))
        assert coder.whole(picture).shape == (1, length)
        boxes, vectors = coder.patches(picture)
        assert vectors.shape == (len(boxes), length) and vectors.dtype == torch.float32
        assert all(0 <= a < c <= shape[1] and 0 <= b < d <= shape[0] for a, b, c, d in boxes)
    picture = coder.read(_picture(1, *coder.side))
    assert torch.allclose(coder.patches(picture).vectors[:1], coder.whole(picture), atol=1e-6)


def test_large_pictures_have_no_more_patches_than_allowed(model: Path) -> None:
    coder = Coder(model)
    sides = [box[2] - box[0] for box in coder.patches(torch.rand(3, 700, 900)).boxes]
    assert min(sides) > 16 and max(sides.count(side) for side in set(sides)) <= MOST_PATCHES


def test_the_sheet_shows_query_and_hits(photos: Path, model: Path, tmp_path: Path) -> None:
    index(photos, tmp_path / "index", model)
    (photos / "inner/5.png").unlink()  # found, but there no more
    for patches in (False, True):
        search(photos / "0.png", tmp_path / "index", 6, patches, sheet=tmp_path / "sheet.png", overwrite=patches)
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert sheet.width > 1000 and sheet.height > 400
    reasons = {"none/sheet.png": "does not exist", "sheet.xyz": "suffix", "photos/inner/1.png": "exists"}
    for name, reason in reasons.items():
        with pytest.raises(UsageError, match=reason):
            search(photos / "0.png", tmp_path / "index", sheet=tmp_path / name)
    assert np.array_equal(np.asarray(Image.open(photos / "inner" / "1.png")), _picture(1))
    with pytest.raises(UsageError, match="would replace the picture that is looked for"):
        search(photos / "0.png", tmp_path / "index", sheet=photos / "0.png", overwrite=True)


@pytest.mark.parametrize("shape", [(16, 6000, 3), (6000, 16, 3)])
def test_the_sheet_shows_pictures_that_are_hardly_more_than_a_line(
    model: Path, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    (tmp_path / "thin").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8)).save(tmp_path / "thin" / "line.png")
    index(tmp_path / "thin", tmp_path / "index", model)
    sheet = tmp_path / "sheet.png"
    for patches in (False, True):
        assert search(tmp_path / "thin" / "line.png", tmp_path / "index", 1, patches, sheet=sheet, overwrite=True)


def test_unreadable_pictures_are_named_and_the_rest_is_indexed(photos: Path, model: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"no picture")
    report = index(photos, tmp_path / "index", model)
    assert list(report.failures) == ["broken.png"] and report.pictures == 6
    assert search(photos / "0.png", tmp_path / "index", 1)
    (tmp_path / "none").mkdir()
    (photos / "broken.png").rename(tmp_path / "none" / "broken.png")
    with pytest.raises(UsageError, match=r"None of the pictures in .* can be read\. .*broken\.png"):
        index(tmp_path / "none", tmp_path / "no index", model)
    assert not (tmp_path / "no index").exists()


def test_what_cannot_be_done_is_said(photos: Path, model: Path, tmp_path: Path, tiny_weights: Path) -> None:
    out = tmp_path / "index"
    with pytest.raises(UsageError, match="no index"):
        search(photos / "0.png", out)
    with pytest.raises(UsageError, match="no index"):
        index(photos, out)
    with pytest.raises(UsageError, match="not a folder"):
        index(tmp_path / "nowhere", out, model)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no picture"):
        index(tmp_path / "empty", out, model)
    with pytest.raises(UsageError, match="no autoencoder"):
        index(photos, out, tiny_weights)
    assert not out.exists()
    index(photos, out, model)
    other = _weights(tmp_path / "other", seed=1)
    with pytest.raises(UsageError, match="other weights"):
        index(photos, out, other)
    with pytest.raises(UsageError, match="other weights"):
        search(photos / "0.png", out, model=other)
    with pytest.raises(UsageError, match="is of"):
        index(tmp_path / "empty", out, model)
    for number in (0, 2.5, "3"):
        with pytest.raises(UsageError, match=f"k={number} is not allowed"):
            search(photos / "0.png", out, k=number)  # type: ignore[arg-type]
    assert len(search(photos / "0.png", out, k=np.int64(2))) == 2  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        search(tmp_path / "missing.png", out)


def test_a_damaged_index_is_named(photos: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    index(photos, out, model)
    vectors = next(out.glob("whole-*.faiss"))
    content = vectors.read_bytes()
    for damage in (b"", content[:40]):
        vectors.write_bytes(damage)
        with pytest.raises(MediaError, match="cannot be read"):
            search(photos / "0.png", out)
    vectors.unlink()
    with pytest.raises(MediaError, match="remove it and make it again"):
        index(photos, out)
    vectors.write_bytes(content)
    book = json.loads((out / "index.json").read_text())
    (out / "index.json").write_text(json.dumps(book | {"version": 99}))
    with pytest.raises(UsageError, match="another version"):
        search(photos / "0.png", out)
    (out / "index.json").write_text("{")
    with pytest.raises(MediaError, match="cannot be read"):
        index(photos, out)


def _save_lying(path: Path, pixels: np.ndarray) -> None:
    """As a phone does that was held upright: the raster on its side, and EXIF says how to turn it."""
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.rot90(pixels).copy()).save(path, exif=exif)


def test_photos_are_compared_upright(photos: Path, model: Path, tmp_path: Path) -> None:
    upright = _picture(30, 128, 48)
    _save_lying(photos / "phone.png", upright)
    index(photos, tmp_path / "index", model)
    (hit,) = search(upright, tmp_path / "index", 1)
    assert Path(hit.path).name == "phone.png" and hit.distance == pytest.approx(0, abs=1e-3)
    with Image.open(photos / "phone.png") as lying:
        assert search(lying, tmp_path / "index", 1) == [hit]
    (hit,) = search(upright[80:, :], tmp_path / "index", 1, patches=True)
    assert Path(hit.path).name == "phone.png" and hit.box is not None and hit.box[3] > 80
    _save_lying(photos / "half.png", np.repeat(np.uint8([[[255, 0, 0]], [[0, 0, 255]]]), 8, 0).repeat(16, 1))
    search(photos / "half.png", tmp_path / "index", 1, sheet=tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.getpixel((102, 60)) == (255, 0, 0) and sheet.getpixel((102, 140)) == (0, 0, 255)


def test_ink_is_compared_as_it_looks(model: Path, tmp_path: Path) -> None:
    Image.new("CMYK", (32, 32), (51, 0, 0, 0)).save(tmp_path / "ink.tif")
    expected = torch.ones(3, 32, 32)
    expected[0] = 0.8
    torch.testing.assert_close(Coder(model).read(tmp_path / "ink.tif"), expected)


def test_the_sheet_shows_ink_as_it_looks(photos: Path, model: Path, tmp_path: Path) -> None:
    Image.new("CMYK", (96, 96), (0, 0, 0, 0)).save(photos / "paper.tif")
    index(photos, tmp_path / "index", model)
    search(photos / "paper.tif", tmp_path / "index", 1, sheet=tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.getpixel((100, 100)) == (255, 255, 255)


def test_hidden_files_are_no_pictures(photos: Path, model: Path, tmp_path: Path) -> None:
    (photos / "._0.png").write_bytes(b"what macOS leaves behind")
    (photos / ".trash").mkdir()
    (photos / "0.png").rename(photos / ".trash" / "0.png")
    report = index(photos, tmp_path / "index", model)
    assert report.pictures == 5 and not report.failures


def test_the_index_may_lie_above_the_pictures(photos: Path, model: Path) -> None:
    assert index(photos, photos.parent, model).pictures == 6


def test_the_index_may_lie_among_the_pictures(photos: Path, model: Path) -> None:
    index(photos, photos / "index", model)
    search(photos / "0.png", photos / "index", sheet=photos / "index" / "sheet.png")
    assert index(photos, photos / "index").unchanged == 6


def test_a_missing_extra_is_named(photos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(retrieval_book, "import_module", missing)
    for call in (
        lambda: index(photos, tmp_path / "index", model),
        lambda: search(photos / "0.png", tmp_path / "index"),
    ):
        with pytest.raises(UsageError, match=r"denoise-toolkit\[search\]"):
            call()


def test_plain_patches_tell_nothing(model: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for seed in range(8):
        sheet = np.full((160, 160, 3), 255, np.uint8)
        sheet[50:110, 50:110] = _picture(seed, 60, 60)
        Image.fromarray(sheet).save(tmp_path / "photos" / f"{seed}.png")
        if seed == 7:
            crop = sheet[30:110, 20:120]
    index(tmp_path / "photos", tmp_path / "index", model)
    first, second = search(crop, tmp_path / "index", 2, patches=True)
    assert Path(first.path).name == "7.png" and first.distance < 0.8 * second.distance
    plain = search(np.full((60, 60, 3), 255, np.uint8), tmp_path / "index", patches=True)
    assert plain and plain[0].distance == pytest.approx(0, abs=1e-6)  # where all are plain, any will do


def test_what_is_transparent_is_white(model: Path, tmp_path: Path) -> None:
    shown = _picture(1)
    alpha = np.zeros((96, 128), np.uint8)
    alpha[30:60, 40:90] = 255
    shown[alpha == 0] = 255
    hidden = np.where(alpha[..., None] == 0, 0, shown).astype(np.uint8)
    image = Image.fromarray(np.dstack([hidden, alpha]))
    image.save(tmp_path / "cut out.png")
    coder = Coder(model)
    for query in (tmp_path / "cut out.png", image):
        torch.testing.assert_close(coder.read(query), coder.read(shown))


def test_the_callers_default_device_changes_nothing(photos: Path, model: Path, tmp_path: Path) -> None:
    torch.set_default_device("meta")
    try:
        index(photos, tmp_path / "index", model)
        hits = [search(photos / "0.png", tmp_path / "index", 1, patches) for patches in (False, True)]
    finally:
        torch.set_default_device(None)
    assert [hit.path for (hit,) in hits] == [str(photos / "0.png")] * 2


def test_one_picture_at_a_time(photos: Path, model: Path, tmp_path: Path) -> None:
    index(photos, tmp_path / "index", model)
    assert search(torch.rand(1, 3, 32, 32), tmp_path / "index", 1)
    with pytest.raises(UsageError, match="batch of 2 pictures"):
        search(torch.rand(2, 3, 32, 32), tmp_path / "index")


def test_names_with_line_breaks_stand_in_one_line(photos: Path, model: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "0.png", photos / "a\nb.png")
    index(photos, tmp_path / "index", model)
    search(photos / "0.png", tmp_path / "index", 9, sheet=tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").is_file()


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_what_cannot_be_written_is_said_before_the_work(
    photos: Path, model: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delattr(Coder, "read")
    with pytest.raises(UsageError, match="file is a file; choose a folder"):
        index(photos, tmp_path / name, model)


def test_weights_that_moved_are_found_from_then_on(photos: Path, model: Path, tmp_path: Path) -> None:
    out, moved = tmp_path / "index", tmp_path / "moved"
    index(photos, out, shutil.copytree(model, tmp_path / "weights"))
    (tmp_path / "weights").rename(moved)
    assert index(photos, out, moved).unchanged == 6
    assert search(photos / "0.png", out, 1)


def test_a_broken_file_is_no_reason_to_write(photos: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    index(photos, out, model)
    (photos / "0.png").write_bytes(b"no picture")
    assert "0.png" in index(photos, out).failures
    assert not any(hit.path.endswith("0.png") for hit in search(_picture(0), out))
    before = (out / "index.json").stat().st_mtime_ns
    assert "0.png" in index(photos, out).failures
    assert (out / "index.json").stat().st_mtime_ns == before


def test_a_search_reads_what_it_compares(photos: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    index(photos, out, model)
    for kind, patches in (("whole", True), ("patches", False)):
        (file,) = out.glob(f"{kind}-*.faiss")
        file.rename(tmp_path / "away")
        assert search(photos / "0.png", out, 1, patches=patches)
        with pytest.raises(MediaError, match="cannot be read"):
            search(photos / "0.png", out, 1, patches=not patches)
        (tmp_path / "away").rename(file)
