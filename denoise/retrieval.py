"""index() and search(): pictures found by the code of an autoencoder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

from denoise.devices import from_cpu
from denoise.errors import DenoiseError, UsageError, naming
from denoise.media.folders import check_folder, files_below
from denoise.media.image import is_image
from denoise.progress import Progress
from denoise.retrieval_book import BOOK, Book, Hit, faiss
from denoise.retrieval_codes import MOST_PATCHES, Coder
from denoise.retrieval_sheet import check_sheet, write_sheet

PathLike = str | os.PathLike[str]


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


@from_cpu
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
            other weights, no place for one, or FAISS is missing.
        ModelError: the weights cannot be read.
        MediaError: the index cannot be read or written.
    """
    began = time.perf_counter()
    folder, store = Path(folder), Path(out)
    faiss()
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; give one with pictures in it.")
    check_folder(store)
    book = Book.read(store) if (store / BOOK).is_file() else None
    if book is None and model is None:
        raise UsageError(f"There is no index in {store} yet; give the weights to make it with as --model.")
    if book is not None and Path(book.folder) != folder.resolve():
        raise UsageError(f"The index {store} is of {book.folder}; give another folder for an index of {folder}.")
    coder = Coder(book.model if book is not None and model is None else model or "")
    found = dict(_pictures(folder, store))
    if not found and book is None:
        raise UsageError(f"There is no picture in {folder}; give a folder with some.")
    if book is None:
        book = Book(os.fspath(folder.resolve()), coder.model, coder.digest)
    book.check(coder, store)

    report = IndexReport(os.fspath(store))
    report.removed = sorted(set(book.files) - set(found))
    changed = {name for name, stamp in found.items() if name in book.files and book.files[name]["stamp"] != stamp}
    book.remove([*report.removed, *changed])
    for done, (name, stamp) in enumerate(found.items()):
        if progress is not None:
            progress(done, len(found), name)
        if name in book.files:
            report.unchanged += 1
            continue
        try:
            picture = coder.read(folder / name)
        except DenoiseError as error:
            report.failures[name] = str(error)
            continue
        patches = coder.patches(picture)
        book.add(name, stamp, {"whole": coder.whole(picture), "patches": patches.vectors}, patches.boxes)
        (report.changed if name in changed else report.added).append(name)
    if not book.vectors:
        reason = naming(*next(iter(report.failures.items())))
        raise UsageError(f"None of the pictures in {folder} can be read. {reason}")
    if book.changed or book.model != coder.model:
        book.model = coder.model  # the same weights, wherever they lie now
        book.write(store)
    report.pictures, report.patches = len(book.files), sum(len(file["boxes"]) for file in book.files.values())
    report.seconds = round(time.perf_counter() - began, 3)
    return report


@from_cpu
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
        UsageError: no index there, one with other weights, several pictures as a query, `k` below 1, a sheet that
            exists, or FAISS is missing.
        ModelError: the weights of the index cannot be read.
        MediaError: a file cannot be read or written.
    """
    faiss()
    store = Path(index)
    if not isinstance(k, Integral) or k < 1:
        raise UsageError(f"k={k} is not allowed: give a whole number of at least 1.")
    if sheet is not None:
        check_sheet(Path(sheet), overwrite, query)
    book = Book.read(store, ["patches" if patches else "whole"])
    coder = Coder(model or book.model)
    book.check(coder, store)
    picture = coder.read(query)
    if patches:
        hits = book.nearest_patches(coder.patches(picture, fine=8, coarsest=3, most=4 * MOST_PATCHES).vectors, int(k))
    else:
        hits = book.nearest(coder.whole(picture), int(k))
    if sheet is not None:
        write_sheet(query, [(hit.path, f"{hit.distance:.3g}", hit.box) for hit in hits], Path(sheet))
    return hits


def _pictures(folder: Path, store: Path) -> Iterator[tuple[str, list[int]]]:
    """Names below the folder, in order, each with its size and time of change; not what belongs to the index."""
    for path in files_below(folder, is_image, store):
        facts = path.stat()
        yield path.relative_to(folder).as_posix(), [facts.st_size, facts.st_mtime_ns]
