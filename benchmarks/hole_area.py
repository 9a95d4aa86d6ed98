"""What filling scratches in a large photo takes, file to file, by how much of it is scratched."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from _common import best_seconds, large_photo, load_for, parser, report, run, write_json
from torch import Tensor

from denoise.corruptions.masks import Scratches
from denoise.media.image import open_image
from denoise.options import Options
from denoise.picture_files import restore_picture_file


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, model="inpaint")
    options.add_argument("--picture", type=Path, help="a photo to tile (default: scikit-learn's china.jpg)")
    options.add_argument("--megapixels", type=float, default=24.0)
    options.add_argument("--shares", type=float, nargs="+", default=[1e-5, 1e-4, 1e-3, 1e-2], help="of the area")
    options.add_argument("--repeats", type=int, default=1)
    chosen = options.parse_args(arguments)
    inpainter = load_for("holes", chosen.model, dtype=chosen.dtype)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        photo, out = Path(folder, "photo.png"), Path(folder, "restored.png")
        image = large_photo(chosen.megapixels, chosen.picture)
        image.save(photo, compress_level=1)

        def copy() -> None:
            with open_image(photo) as picture:
                list(picture.frames)
                picture.save(out)

        rows.append({"holes": "none: opened and saved", "pixels": 0, "s": best_seconds(copy, chosen.repeats)})

        def row(what: str, mask: Tensor) -> dict[str, Any]:
            def fill() -> None:
                restore_picture_file(None, photo, out, Options(mask=mask), inpainter=inpainter)

            return {"holes": what, "pixels": int(mask.sum()), "s": best_seconds(fill, chosen.repeats)}

        masks = {f"scratches, {share:g} of the area": _scratches(*image.size[::-1], share) for share in chosen.shares}
        everywhere = masks["a pixel in every 64 by 64"] = torch.zeros(*image.size[::-1])
        everywhere[::64, ::64] = 1
        rows += [row(what, mask) for what, mask in masks.items()]
    report(rows, f"{chosen.megapixels:g} megapixels, PNG")
    write_json(chosen.json, model=repr(inpainter), megapixels=chosen.megapixels, rows=rows)


def _scratches(height: int, width: int, share: float) -> Tensor:
    seen = Scratches(share=share).draw(torch.zeros(1, 1, height, width), torch.Generator().manual_seed(0))
    mask: Tensor = seen["mask"][0, 0]
    return mask


if __name__ == "__main__":
    run(main)
