"""index() and search(): pictures found by the code of an autoencoder.

The vectors lie in FAISS (Johnson, Douze and Jegou, "Billion-scale similarity search with GPUs", IEEE Transactions on
Big Data 2021), by the distance of all of them, which finds what is nearest and not only what is likely to be. Of the
embedded stores it is the one that needs nothing but NumPy. What belongs to which file stands in `index.json` beside it.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from denoise.errors import DenoiseError, MediaError, UsageError, naming
from denoise.media.atomic import replacing
from denoise.media.folders import files_below
from denoise.media.image import is_image
from denoise.retrieval_codes import MOST_PATCHES, Box, Coder
from denoise.retrieval_sheet import check_sheet, write_sheet

PathLike = str | os.PathLike[str]
Progress = Callable[[int, int, str], None]

_BOOK, _VERSION = "index.json", 2
_KINDS = ("whole", "patches")
_NEAREST = 64  # patches that each patch of a query is compared by


@dataclass(frozen=True)
class Hit:
    """A picture that was found."""

    path: str
    distance: float
    """Euclidean, between the codes; of patches from 0 (each of the query has its like) to 1 (none has)"""
    box: Box | None = None
    """The patch that is nearest to one of the query: left, top, right and bottom, in pixels of the picture
    as a viewer shows it; None for whole pictures"""


@dataclass
class IndexReport:
    """What was done to an index."""

    index: str
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    """Files that could not be read, and why; they are not in the index"""
    pictures: int = 0
    patches: int = 0
    seconds: float = 0.0


def index(
    folder: PathLike, out: PathLike, model: PathLike | None = None, progress: Progress | None = None
) -> IndexReport:
    """Make an index of the pictures below a folder, or bring one up to date.

    Files whose size and time of change are as they were are not encoded again; files that are gone are taken out. Until
    all is done the index stays as it was.

    Args:
        folder: of pictures; folders inside it are searched too.
        out: folder of the index.
        model: name or folder of weights of an autoencoder; an index that exists has its own.
        progress: told how far the work is.

    Raises:
        UsageError: no such folder, no picture in it that can be read, no model, an index of another folder or with
            other weights, or FAISS is missing.
        ModelError: the weights cannot be read.
        MediaError: the index cannot be read or written.
    """
    began = time.perf_counter()
    folder, store = Path(folder), Path(out)
    _faiss()
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; give one with pictures in it.")
    book = _Book.read(store) if (store / _BOOK).is_file() else None
    if book is None and model is None:
        raise UsageError(f"There is no index in {store} yet; give the weights to make it with as --model.")
    if book is not None and Path(book.folder) != folder.resolve():
        raise UsageError(f"The index {store} is of {book.folder}; give another folder for an index of {folder}.")
    coder = Coder(book.model if book is not None and model is None else model or "")
    found = dict(_pictures(folder, store))
    if not found and book is None:
        raise UsageError(f"There is no picture in {folder}; give a folder with some.")
    if book is None:
        book = _Book(os.fspath(folder.resolve()), coder.model, coder.digest)
    book.check(coder, store)

    report = IndexReport(os.fspath(store))
    report.removed = sorted(set(book.files) - set(found))
    for name in report.removed:
        book.remove(name)
    for done, (name, stamp) in enumerate(found.items()):
        if progress is not None:
            progress(done, len(found), name)
        known = book.files.get(name)
        if known is not None and known["stamp"] == stamp:
            report.unchanged += 1
            continue
        if known is not None:
            book.remove(name)
        try:
            picture = coder.read(folder / name)
        except DenoiseError as error:
            report.failures[name] = str(error)
            continue
        patches = coder.patches(picture)
        book.add(name, stamp, {"whole": coder.whole(picture), "patches": patches.vectors}, patches.boxes)
        (report.added if known is None else report.changed).append(name)
    if not book.vectors:
        reason = naming(*next(iter(report.failures.items())))
        raise UsageError(f"None of the pictures in {folder} can be read. {reason}")
    if report.added or report.changed or report.removed or report.failures:
        book.model = coder.model  # the same weights, wherever they lie now
        book.write(store)
    report.pictures, report.patches = len(book.files), sum(len(file["boxes"]) for file in book.files.values())
    report.seconds = round(time.perf_counter() - began, 3)
    return report


def search(
    query: Any,
    index: PathLike,
    k: int = 10,
    patches: bool = False,
    model: PathLike | None = None,
    sheet: PathLike | None = None,
    overwrite: bool = False,
) -> list[Hit]:
    """The pictures of an index whose codes are nearest to that of a picture, the nearest first.

    Args:
        query: a file, or a picture as tensor, array or PIL image.
        index: folder of the index.
        k: hits to return; all of them where there are fewer.
        patches: compare parts instead of whole pictures, which finds the picture that a crop was taken from.
        model: where the weights of the index lie now, if that has changed.
        sheet: file for a picture of query and hits.
        overwrite: replace a sheet that exists.

    Raises:
        UsageError: no index there, one with other weights, `k` below 1, a sheet that exists, or FAISS is missing.
        ModelError: the weights of the index cannot be read.
        MediaError: a file cannot be read or written.
    """
    _faiss()
    store = Path(index)
    if k < 1:
        raise UsageError(f"k={k} is not allowed: give a number of at least 1.")
    if sheet is not None:
        check_sheet(Path(sheet), overwrite)
    book = _Book.read(store)
    coder = Coder(model or book.model)
    book.check(coder, store)
    picture = coder.read(query)
    if patches:
        hits = book.nearest_patches(coder.patches(picture, fine=8, coarsest=3, most=4 * MOST_PATCHES).vectors, k)
    else:
        hits = book.nearest(coder.whole(picture), k)
    if sheet is not None:
        write_sheet(query, [(hit.path, f"{hit.distance:.3g}", hit.box) for hit in hits], Path(sheet))
    return hits


class _Book:
    """The files of an index, and their vectors by number.

    Written as two files of vectors under a new name and then `index.json`, which names them: whoever reads in between,
    or after a crash, sees the old state whole.
    """

    def __init__(self, folder: str, model: str, digest: str) -> None:
        self.folder, self.model, self.digest = folder, model, digest
        self.files: dict[str, dict[str, Any]] = {}
        self.generation = 0
        self.next = 0
        self.vectors: dict[str, Any] = {}

    @classmethod
    def read(cls, store: Path) -> _Book:
        if not (store / _BOOK).is_file():
            raise UsageError(f"There is no index in {store}; make one with denoise index.")
        try:
            content = json.loads((store / _BOOK).read_text("utf-8"))
            if content["version"] != _VERSION:
                raise UsageError(
                    f"{store} was written by another version of this program; remove it and make it again."
                )
            book = cls(content["folder"], content["model"], content["sha256"])
            book.files, book.generation, book.next = content["files"], content["generation"], content["next"]
            for kind in _KINDS:
                data = np.fromfile(store / book.name(kind), dtype=np.uint8)
                book.vectors[kind] = _faiss().deserialize_index(data)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise MediaError(f"The index {store} cannot be read ({error}); remove it and make it again.") from error
        return book

    def name(self, kind: str) -> str:
        return f"{kind}-{self.generation}.faiss"

    def check(self, coder: Coder, store: Path) -> None:
        if coder.digest != self.digest:
            raise UsageError(
                f"The index {store} was made with other weights than {coder.model}, so their codes cannot be compared; "
                "give the weights it was made with, or make a new index in another folder."
            )

    def add(self, name: str, stamp: list[int], vectors: dict[str, Tensor], boxes: list[Box]) -> None:
        """One number for the whole picture and one for each patch, in a row."""
        self.files[name] = {"stamp": stamp, "first": self.next, "boxes": boxes}
        for kind, start in (("whole", self.next), ("patches", self.next + 1)):
            part = vectors[kind].numpy()
            if kind not in self.vectors:
                self.vectors[kind] = _faiss().IndexIDMap2(_faiss().IndexFlatL2(part.shape[1]))
            self.vectors[kind].add_with_ids(part, np.arange(start, start + len(part), dtype=np.int64))
        self.next += 1 + len(boxes)

    def remove(self, name: str) -> None:
        file = self.files.pop(name)
        first = file["first"]
        for kind, start, stop in (("whole", first, first + 1), ("patches", first + 1, first + 1 + len(file["boxes"]))):
            self.vectors[kind].remove_ids(np.arange(start, stop, dtype=np.int64))

    def write(self, store: Path) -> None:
        old = [store / self.name(kind) for kind in _KINDS]
        self.generation += 1
        try:
            store.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MediaError(f"{store} cannot be made: {error.strerror}; choose another folder.") from error
        for kind in _KINDS:
            with replacing(store / self.name(kind)) as file:
                file.write(_faiss().serialize_index(self.vectors[kind]).tobytes())
        content = {"version": _VERSION, "folder": self.folder, "model": self.model, "sha256": self.digest}
        content |= {"generation": self.generation, "next": self.next, "files": self.files}
        with replacing(store / _BOOK) as file:
            file.write((json.dumps(content) + "\n").encode())
        for path in old:
            with suppress(OSError):
                path.unlink()

    def nearest(self, vector: Tensor, k: int) -> list[Hit]:
        owners = {file["first"]: name for name, file in self.files.items()}
        squared, numbers = self.vectors["whole"].search(vector.numpy(), min(k, max(1, len(owners))))
        pairs = zip(squared[0], numbers[0], strict=True)
        return [Hit(self._path(owners[n]), _root(distance)) for distance, n in pairs if n >= 0]

    def nearest_patches(self, vectors: Tensor, k: int) -> list[Hit]:
        """Files by the mean of (1 - d / e)^2 over the patches of the query: d the distance of the file's nearest
        patch, e that of the last of those found in all files; a file with none of these gets nothing.

        The square makes a few patches that lie alike count for more than many that happen to be similar; the quotient
        keeps plain patches, which are near to everything, from counting at all.
        """
        owners = {
            file["first"] + 1 + n: (name, n) for name, file in self.files.items() for n in range(len(file["boxes"]))
        }
        if not owners:
            return []
        squared, numbers = self.vectors["patches"].search(vectors.numpy(), min(_NEAREST, len(owners)))
        score: dict[str, float] = {}
        best: dict[str, tuple[float, int]] = {}
        for row, found in zip(squared, numbers, strict=True):
            last = _root(row[-1]) or 1.0  # as good as anything where all are identical
            seen = set()
            for value, number in zip(row, found, strict=True):
                name, n = owners[number]
                if name in seen:
                    continue
                seen.add(name)
                near = max(0.0, 1 - _root(value) / last) ** 2
                score[name] = score.get(name, 0.0) + near / len(vectors)
                if name not in best or near > best[name][0]:
                    best[name] = (near, n)
        order = sorted(score, key=lambda name: (-score[name], name))[:k]
        return [
            Hit(self._path(name), 1 - math.sqrt(score[name]), tuple(self.files[name]["boxes"][best[name][1]]))
            for name in order
        ]

    def _path(self, name: str) -> str:
        return os.fspath(Path(self.folder) / name)


def _pictures(folder: Path, store: Path) -> Iterator[tuple[str, list[int]]]:
    """Names below the folder, in order, each with its size and time of change; not what belongs to the index."""
    for path in files_below(folder, is_image, store):
        facts = path.stat()
        yield path.relative_to(folder).as_posix(), [facts.st_size, facts.st_mtime_ns]


def _root(squared: float) -> float:
    return math.sqrt(max(0.0, float(squared)))


def _faiss() -> Any:
    try:
        return import_module("faiss")
    except ImportError as error:
        raise UsageError("Searching needs FAISS; install it with pip install 'denoise-toolkit[search]'.") from error
