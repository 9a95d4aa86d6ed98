"""What JPEG does to photographs and what of it can be undone: in pictures as files hold them, and cut out of those.

Blocks of JPEG begin anywhere in a picture that was cut. Scored is the same part of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from _common import load_for, parser, record, report, run, which_of, write_json

from denoise.evaluation.benchmark import corrupted, pictures_below
from denoise.evaluation.metrics import psnr_db, ssim

CORRUPTIONS = [
    *(f"jpeg:quality={quality},half_colour=1" for quality in (40, 60, 75, 90)),
    "camera:iso=100,quality=90",
    "camera:iso=800,quality=90",
]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--data", type=Path, required=True, help="folder of clean pictures")
    options.add_argument("--every", type=int, default=1, help="take every N-th picture")
    options.add_argument("--cut", type=int, nargs=2, default=(3, 5), metavar=("ROWS", "COLUMNS"), help="cut off before")
    options.add_argument("--corruptions", nargs="+", default=CORRUPTIONS, help="as `denoise evaluate` takes them")
    options.add_argument("--record", action="store_true", help="also put the numbers on the card of the weights")
    chosen = options.parse_args(arguments)
    restorer = load_for("image", chosen.model, dtype=chosen.dtype)
    paths = pictures_below(chosen.data)[:: chosen.every]
    above, before = chosen.cut
    rows: list[dict[str, Any]] = []
    for spec in chosen.corruptions:
        scores = []
        for _, whole, seen in corrupted(paths, spec):
            held, clean = seen.observed[0], whole[:, above:, before:]
            part = held[:, above:, before:]
            made = (part, restorer(held)[:, above:, before:], restorer(part))
            scores.append([score(one, clean) for one in made for score in (psnr_db, ssim)])
        means = [fmean(column) for column in zip(*scores, strict=True)]
        texts = [f"{psnr:.2f} / {like:.4f}" for psnr, like in zip(means[::2], means[1::2], strict=True)]
        rows.append(dict(zip(("corruption", "damaged", "restored", "cut, restored"), (spec, *texts), strict=True)))
        report(rows[-1:])
    report(rows, f"{restorer!r}, {len(paths)} pictures of {chosen.data.name}: PSNR in dB / SSIM")
    if chosen.record:
        figures = {
            row["corruption"]: f"{row['damaged']} -> {row['restored']}, cut {row['cut, restored']}" for row in rows
        }
        record(chosen.model, f"{chosen.data.name}, {which_of(chosen.every)}, JPEG", figures)
    write_json(chosen.json, model=repr(restorer), data=chosen.data.name, pictures=len(paths), rows=rows)


if __name__ == "__main__":
    run(main)
