"""Peak memory of restoring a small and a large photo, each in a process of its own, and its growth per pixel."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import in_new_process, load_for, parser, peak_bytes, report, run, write_json, write_large_photo


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--picture", type=Path, help="a photo to tile (default: scikit-learn's china.jpg)")
    options.add_argument("--megapixels", type=float, nargs=2, default=[12.0, 100.0], help="sizes of the two photos")
    chosen = options.parse_args(arguments)

    rows: list[dict[str, Any]] = []
    for megapixels in chosen.megapixels:
        with tempfile.TemporaryDirectory() as folder:
            photo = Path(folder, "photo.jpg")
            # Not in this process: a child's peak counts from what its parent held when it started.
            in_new_process(write_large_photo, photo, megapixels, chosen.picture)
            peak, seconds = in_new_process(restore, photo, chosen.model, chosen.dtype)
        rows.append({"megapixels": megapixels, "peak MB": peak / 1e6, "s": seconds})
    report(rows)
    small, large = rows
    growth = (large["peak MB"] - small["peak MB"]) / (large["megapixels"] - small["megapixels"])
    print(f"\ngrowth: {growth:.2f} bytes per pixel (target: at most 8)")
    write_json(chosen.json, model=chosen.model, rows=rows, growth_bytes_per_pixel=growth)


def restore(photo: Path, model: str, dtype: str) -> tuple[int, float]:
    """Restore a file; the peak of this process in bytes, and the seconds it took."""
    from denoise.picture_files import restore_picture_file

    done = restore_picture_file(load_for("image", model, dtype=dtype), photo, photo.with_name("restored.jpg"))
    return peak_bytes(), done.seconds


if __name__ == "__main__":
    run(main)
