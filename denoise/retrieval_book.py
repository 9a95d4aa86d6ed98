"""What an index holds: vectors in FAISS, and which file each of them is of.

FAISS (Johnson, Douze and Jegou, "Billion-scale similarity search with GPUs", IEEE Transactions on Big Data 2021)
compares all vectors, which finds what is nearest and not only what is likely to be. Of the embedded stores it is the
one that needs nothing but NumPy.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from denoise.errors import MediaError, UsageError
from denoise.media.atomic import replacing
from denoise.media.folders import make_folder
from denoise.retrieval_codes import Box, Coder

BOOK = "index.json"
KINDS = ("whole", "patches")
_VERSION = 3
_NEAREST = 64  # patches that each patch of a query is compared by
_PLAIN = 1e-3  # of the length of a code: what is no farther from all of those is as good as alike


@dataclass(frozen=True)
class Hit:
    """A picture that was found."""

    path: str
    distance: float
    """Euclidean, between the codes; of patches from 0 (each of the query has its like) to 1 (none has)"""
    box: Box | None = None
    """The patch that is nearest to one of the query: left, top, right and bottom, in pixels of the picture
    as a viewer shows it; None for whole pictures"""


class Book:
    """The files of an index, and their vectors by number.

    Written as two files of vectors under a new name and then `index.json`, which names them and tells their sha256:
    whoever reads in between, or after a crash, sees the old state whole.
    """

    def __init__(self, folder: str, model: str, digest: str) -> None:
        self.folder, self.model, self.digest = folder, model, digest
        self.files: dict[str, dict[str, Any]] = {}
        self.generation = 0
        self.next = 0
        self.vectors: dict[str, Any] = {}
        self.changed = False
        """Since it was read"""

    @classmethod
    def read(cls, store: Path, kinds: Sequence[str] = KINDS) -> Book:
        """An index, with these kinds of vectors.

        Raises:
            UsageError: there is none, or one by another version.
            MediaError: it is damaged, or cannot be read.
        """
        if not (store / BOOK).is_file():
            raise UsageError(f"There is no index in {store}; make one with denoise index.")
        try:
            content = json.loads((store / BOOK).read_text("utf-8"))
            if content["version"] != _VERSION:
                raise UsageError(
                    f"{store} was written by another version of this program; remove it and make it again."
                )
            _check_content(content)
            book = cls(content["folder"], content["model"], content["sha256"])
            book.files, book.generation, book.next = content["files"], content["generation"], content["next"]
            for kind in kinds:
                data = np.fromfile(store / book.name(kind), dtype=np.uint8)
                if hashlib.sha256(data.data).hexdigest() != content["vectors"][kind]:
                    raise ValueError(f"{book.name(kind)} is not what was written")
                book.vectors[kind] = faiss().deserialize_index(data)
                book._check_numbers(kind)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise MediaError(f"The index {store} cannot be read ({error}); remove it and make it again.") from error
        return book

    def name(self, kind: str) -> str:
        """Of the file of vectors."""
        return f"{kind}-{self.generation}.faiss"

    def check(self, coder: Coder, store: Path) -> None:
        """Raise UsageError where the codes are those of other weights."""
        if coder.digest != self.digest:
            raise UsageError(
                f"The index {store} was made with other weights than {coder.model}, so their codes cannot be compared; "
                "give the weights it was made with, or make a new index in another folder."
            )

    def add(self, name: str, stamp: list[int], vectors: dict[str, Tensor], boxes: list[Box]) -> None:
        """One number for the whole picture and one for each patch, in a row."""
        self.files[name] = {"stamp": stamp, "first": self.next, "boxes": boxes}
        for kind in KINDS:
            part = vectors[kind].numpy()
            if kind not in self.vectors:
                self.vectors[kind] = faiss().IndexIDMap2(faiss().IndexFlatL2(part.shape[1]))
            self.vectors[kind].add_with_ids(part, _numbers(self.files[name], kind))
        self.next += 1 + len(boxes)
        self.changed = True

    def remove(self, names: Sequence[str]) -> None:
        """Take files out, with their vectors: all at once, for each time all others are moved."""
        files = [self.files.pop(name) for name in names]
        for kind in KINDS if files else ():
            self.vectors[kind].remove_ids(np.concatenate([_numbers(file, kind) for file in files]))
        self.changed |= bool(files)

    def write(self, store: Path) -> None:
        """Put it all into a folder; raises MediaError when that fails."""
        old = [store / self.name(kind) for kind in KINDS]
        self.generation += 1
        make_folder(store)
        digests = {}
        for kind in KINDS:
            data = faiss().serialize_index(self.vectors[kind])
            digests[kind] = hashlib.sha256(data.data).hexdigest()
            with replacing(store / self.name(kind)) as file:
                file.write(data.data)
        content = {"version": _VERSION, "folder": self.folder, "model": self.model, "sha256": self.digest}
        content |= {"vectors": digests, "generation": self.generation, "next": self.next, "files": self.files}
        with replacing(store / BOOK) as file:
            file.write((json.dumps(content) + "\n").encode())
        for path in old:
            with suppress(OSError):
                path.unlink()

    def nearest(self, vector: Tensor, k: int) -> list[Hit]:
        """Files by the distance of their vectors. Shape: `[1, K]`."""
        owners = {file["first"]: name for name, file in self.files.items()}
        squared, numbers = self.vectors["whole"].search(vector.numpy(), min(k, max(1, len(owners))))
        pairs = zip(squared[0], numbers[0], strict=True)
        return [Hit(self._path(owners[n]), _root(distance)) for distance, n in pairs if n >= 0]

    def nearest_patches(self, vectors: Tensor, k: int) -> list[Hit]:
        """Files by the mean of (1 - d / e)^2 over the patches of the query: d the distance of the file's nearest
        patch, e that of the last of those found in all files; a file with none of these gets nothing.

        The square makes a few patches that lie alike count for more than many that happen to be similar; the quotient
        keeps plain patches, which are near to everything, from counting much. A patch with as many like it as are
        looked at tells nothing, for those that are found are any of them, and is left out; unless all are so.

        Shape:
            - vectors: `[N, K]`
        """
        owners = {
            file["first"] + 1 + n: (name, n) for name, file in self.files.items() for n in range(len(file["boxes"]))
        }
        if not owners:
            return []
        squared, numbers = self.vectors["patches"].search(vectors.numpy(), min(_NEAREST, len(owners)))
        lasts = [_root(row[-1]) for row in squared]
        lengths = vectors.norm(dim=1).tolist()
        telling = [n for n, last in enumerate(lasts) if last > _PLAIN * lengths[n]] or range(len(lasts))
        score: dict[str, float] = {}
        best: dict[str, tuple[float, int]] = {}
        for patch in telling:
            last = lasts[patch] or 1.0  # all are identical where the last is
            seen = set()
            for value, number in zip(squared[patch], numbers[patch], strict=True):
                name, n = owners[number]
                if name in seen:
                    continue
                seen.add(name)
                near = max(0.0, 1 - _root(value) / last) ** 2
                score[name] = score.get(name, 0.0) + near / len(telling)
                if name not in best or near > best[name][0]:
                    best[name] = (near, n)
        order = sorted(score, key=lambda name: (-score[name], name))[:k]
        return [
            Hit(self._path(name), 1 - math.sqrt(score[name]), tuple(self.files[name]["boxes"][best[name][1]]))
            for name in order
        ]

    def _check_numbers(self, kind: str) -> None:
        """Raise ValueError where the vectors are not those of the files."""
        wanted = [_numbers(file, kind) for file in self.files.values()]
        there = faiss().vector_to_array(self.vectors[kind].id_map)
        if not np.array_equal(np.sort(there), np.sort(np.concatenate([np.empty(0, np.int64), *wanted]))):
            raise ValueError(f"{self.name(kind)} and {BOOK} do not belong together")

    def _path(self, name: str) -> str:
        return os.fspath(Path(self.folder) / name)


def faiss() -> Any:
    """The module; raises UsageError where it is missing."""
    try:
        return import_module("faiss")
    except ImportError as error:
        raise UsageError("Searching needs FAISS; install it with pip install 'denoise-toolkit[search]'.") from error


def _numbers(file: dict[str, Any], kind: str) -> np.ndarray:
    """Of the vectors of a file."""
    first = file["first"]
    start, stop = (first, first + 1) if kind == "whole" else (first + 1, first + 1 + len(file["boxes"]))
    return np.arange(start, stop, dtype=np.int64)


def _check_content(content: dict[str, Any]) -> None:
    """Raise ValueError where `index.json` is not of an index, KeyError or TypeError where much is missing."""
    texts = (content["folder"], content["model"], content["sha256"], *(content["vectors"][kind] for kind in KINDS))
    whole = [content["generation"], content["next"]]
    files = content["files"]
    fits = isinstance(files, dict) and all(isinstance(file, dict) for file in files.values())
    for file in files.values() if fits else ():
        whole += [file["first"], *file["stamp"], *(side for box in file["boxes"] for side in box)]
        fits = fits and len(file["stamp"]) == 2 and all(len(box) == 4 for box in file["boxes"])
    if not (fits and all(isinstance(text, str) for text in texts) and all(isinstance(one, int) for one in whole)):
        raise ValueError(f"{BOOK} is not as it was written")


def _root(squared: float) -> float:
    return math.sqrt(max(0.0, float(squared)))
