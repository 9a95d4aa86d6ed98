"""Writing, plots and screens as JPEG files and with noise: what was drawn is to be kept, noise to be found.

The pages are drawn by Matplotlib, all writing but that of the plots in typefaces that no training saw. Ours gets the
page alone; beside it stands what it makes of it when it is told the level of the noise, which is 0 for a JPEG file.
With --save the pages are files, and `camera.py --data DIR --every 1` measures peers on them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from _common import load_for, parser, record, report, run, to_bytes, write_json
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from denoise.corruptions.spec import parse
from denoise.evaluation.metrics import psnr_db, round_to_8_bits
from denoise.windows import rows_of

CORRUPTIONS = [
    "jpeg:quality=95",
    "jpeg:quality=75",
    "gaussian:sigma=3",
    "gaussian:sigma=15",
    "camera:iso=800,quality=90",
]
WORDS = "Wherever one looks, letters: agWQ5& lie (1,024 of them) on each line; {}. "
SIDES = 640, 480
DPI = 100
COLUMNS = ("page", "level", "estimated", "damaged dB", "restored dB", "level told dB")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--corruptions", nargs="+", default=CORRUPTIONS, help="as `denoise evaluate` takes them")
    options.add_argument("--save", type=Path, metavar="DIR", help="write the clean pages there, and measure nothing")
    options.add_argument("--record", action="store_true", help="also put the numbers on the card of the weights")
    chosen = options.parse_args(arguments)
    drawn = pages()
    if chosen.save is not None:
        _save(drawn, chosen.save)
        return
    restorer = load_for("image", chosen.model, dtype=chosen.dtype)
    rows: list[dict[str, Any]] = []
    means = []
    for spec in chosen.corruptions:
        found = []
        for number, (name, clean) in enumerate(drawn.items()):
            seen = parse(spec)(clean[None], torch.Generator().manual_seed(number))
            observed = round_to_8_bits(seen.observed[0])
            level = 255 * float(seen.condition.mean())
            restored, told = restorer(observed), restorer(observed, sigma=level)
            estimate = restorer.estimate(rows_of(observed), observed.shape).sigma
            scores = (psnr_db(one, clean) for one in (observed, restored, told))
            found.append(dict(zip(COLUMNS, (name, level, estimate, *scores), strict=True)))
        report(found, spec)
        rows += [{"corruption": spec, **row} for row in found]
        change, worst = min((row["restored dB"] - row["damaged dB"], row["page"]) for row in found)
        mean = {column: round(fmean(row[column] for row in found), 2) for column in COLUMNS[3:]}
        means.append({"corruption": spec, **mean, "worst change dB": round(change, 2), "of": worst})
    report(means, f"mean of {len(drawn)} pages")
    if chosen.record:
        figures = {mean["corruption"]: f"{mean['damaged dB']:.2f} -> {mean['restored dB']:.2f} dB" for mean in means}
        record(chosen.model, "drawn pages", figures)
    write_json(chosen.json, model=repr(restorer), means=means, rows=rows)


def pages() -> dict[str, Tensor]:
    """What is drawn: writing of several sizes and colours, and plots. Shape: `[3, 480, 640]` each, 0..1."""
    inks = {"on white": ("#101010", "white"), "on black": ("#d0d0d0", "#101418"), "in colour": ("#c0392b", "#f6e6c8")}
    drawn = {f"{size} px {name}": _writing(size, *ink) for name, ink in inks.items() for size in (9, 12, 16, 28)}
    drawn |= {f"9 px {name}, no gaps": _writing(9, *ink, spacing=1.0) for name, ink in inks.items()}
    return drawn | {"plot": _plot("default"), "dark plot": _plot("dark_background"), "code": _code()}


def _save(drawn: dict[str, Tensor], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in drawn.items():
        Image.fromarray(to_bytes(page)).save(folder / f"{name}.png")


def _writing(size_px: int, ink: str, paper: str, spacing: float = 1.3) -> Tensor:
    """A page that is full of writing."""
    figure = _page(paper)
    for line in range(round(SIDES[1] / size_px / spacing)):
        place = (0.01, 1 - (line + 1) * spacing * size_px / SIDES[1])
        family = ("STIXGeneral", "cmss10", "cmtt10")[line // 6 % 3]
        figure.text(*place, WORDS.format(line) * 3, color=ink, size=size_px * 72 / DPI, family=family)
    return _pixels(figure)


def _code() -> Tensor:
    """A window with lines of many colours, as editors show them."""
    figure = _page("#1e1e2e")
    colours = ("#cdd6f4", "#f38ba8", "#a6e3a1", "#fab387", "#89b4fa")
    for line in range(30):
        for word in range(7):
            place = (0.02 + 0.03 * (line % 4) + 0.13 * word, 0.96 - line / 31)
            text = WORDS.split()[(3 * line + word) % 12]
            figure.text(*place, text, color=colours[(line + word) % 5], size=11 * 72 / DPI, family="cmtt10")
    return _pixels(figure)


def _plot(style: str) -> Tensor:
    """Lines, bars, points and an image with gradients, with writing around."""
    with mpl.style.context(style):
        figure = _page(mpl.rcParams["figure.facecolor"])
        axes = figure.subplots(2, 2)
        x = np.linspace(0, 12, 200)
        for k in range(5):
            axes[0, 0].plot(x, np.sin(x + k) * k, label=f"phase {k}")
        axes[0, 0].legend(fontsize=6)
        axes[0, 1].bar(range(9), np.arange(9) ** 1.5)
        axes[0, 1].grid(True)
        axes[1, 0].scatter(np.sin(17 * x), np.cos(31 * x), s=4)
        axes[1, 1].imshow(np.outer(np.sin(x), np.cos(x / 3)))
        for k, part in enumerate(axes.flat):
            part.set_title(f"What is seen in part {k + 1}", fontsize=8)
            part.tick_params(labelsize=6)
        return _pixels(figure)


def _page(paper: str) -> Figure:
    return Figure((SIDES[0] / DPI, SIDES[1] / DPI), dpi=DPI, facecolor=paper)


def _pixels(figure: Figure) -> Tensor:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    return torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1).float() / 255


if __name__ == "__main__":
    run(main)
