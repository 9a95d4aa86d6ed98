import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from denoise.errors import MediaError
from denoise.retrieval_book import KINDS, Book

pytest.importorskip("faiss", reason="pip install 'denoise-toolkit[search]'")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """An index of three files with two patches each."""
    book = Book("photos", "weights", "digest")
    for number in range(3):
        vectors = {"whole": torch.rand(1, 4), "patches": torch.rand(2, 4)}
        book.add(f"{number}.png", [1, 2], vectors, [(0, 0, 8, 8), (8, 0, 16, 8)])
    book.write(tmp_path / "index")
    return tmp_path / "index"


def test_a_book_is_read_as_it_was_written(store: Path) -> None:
    book = Book.read(store)
    assert (book.folder, book.model, book.digest, book.changed) == ("photos", "weights", "digest", False)
    (hit,) = book.nearest(torch.from_numpy(book.vectors["whole"].reconstruct(3))[None], 1)
    assert (hit.path, hit.distance) == ("photos/1.png", 0)
    book.remove(["1.png"])
    assert book.changed
    book.write(store)
    assert sorted(Book.read(store).files) == ["0.png", "2.png"]


def test_all_that_is_gone_is_taken_out_at_once(store: Path) -> None:
    """Each time, all that stay are moved: one by one, a large index would take hours."""
    book, calls = Book.read(store), []
    book.vectors = {kind: SimpleNamespace(remove_ids=lambda numbers: calls.append(list(numbers))) for kind in KINDS}
    book.remove(["0.png", "2.png"])
    assert list(book.files) == ["1.png"] and sorted(calls) == [[0, 6], [1, 2, 7, 8]]


@pytest.mark.parametrize("kind", KINDS)
def test_every_damaged_byte_of_vectors_is_noticed(store: Path, kind: str) -> None:
    (file,) = store.glob(f"{kind}-*.faiss")
    content = file.read_bytes()
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 85]) + content[place + 1 :])
        with pytest.raises(MediaError, match="is not what was written"):
            Book.read(store)


@pytest.mark.parametrize(
    "change",
    [
        {"files": []},
        {"files": None},
        {"files": {"a": {}}},
        {"files": {"a": []}},
        {"files": {"a": {"stamp": 1, "first": 0, "boxes": []}}},
        {"files": {"a": {"stamp": [1, 2], "first": "b", "boxes": []}}},
        {"files": {"a": {"stamp": [1, 2], "first": 0, "boxes": [[1, 2, 3]]}}},
        {"files": {"a": {"stamp": [1, 2], "first": 0, "boxes": []}}},  # the vectors are of others
        {"generation": "x"},
        {"next": None},
        {"folder": 3},
        {"model": None},
        {"vectors": {}},
        {"vectors": []},
        [],
        None,
    ],
)
def test_a_table_that_is_none_is_named(store: Path, change: object) -> None:
    content = json.loads((store / "index.json").read_text())
    (store / "index.json").write_text(json.dumps({**content, **change} if isinstance(change, dict) else change))
    with pytest.raises(MediaError, match="remove it and make it again"):
        Book.read(store)


def test_a_patch_with_many_like_it_tells_nothing() -> None:
    book = Book("photos", "weights", "digest")
    plain = 5 + torch.rand(1, 512)
    for number in range(90):
        own = torch.rand(1, 512) * 10
        book.add(f"{number:02}.png", [1, 2], {"whole": own, "patches": torch.cat([plain, own])}, [(0, 0, 8, 8)] * 2)
    query = torch.cat([plain.expand(30, -1), own])
    (hit,) = book.nearest_patches(query, 1)
    assert hit.path == "photos/89.png" and hit.distance < 0.05
