"""Draw the README's pictures: a made-up scene with camera noise or holes, and what the weights make of that."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from _common import run, to_bytes
from PIL import Image, ImageDraw, ImageFont

import denoise
from denoise.corruptions.spec import parse

NOISE = "camera:iso=6400,quality=92"
HOLES = "scratches:share=0.03+text:size_px=14..22,share=0.04"
WIDTH, HEIGHT, SCALE = 420, 300, 3


def scene(seed: int) -> np.ndarray:
    """Shaded discs of many sizes one over another ("dead leaves", Lee et al., IJCV 2001) and some lines of text.

    Shape: `[H, W, 3]`, uint8
    """
    generator = np.random.default_rng(seed)
    image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), (90, 110, 130))
    draw = ImageDraw.Draw(image)
    for _ in range(2500):
        radius = int(min(160, 10 / generator.random() ** 0.6)) * SCALE // 2
        x, y = generator.integers(0, WIDTH * SCALE), generator.integers(0, HEIGHT * SCALE)
        colour = generator.uniform(20, 235) * np.array([1, *generator.uniform(0.6, 1.25, 2)])
        for step in range(8):  # from the rim inwards, a little lighter each time
            inner = radius * (8 - step) / 8
            shade = tuple(int(value) for value in (colour * (0.8 + 0.05 * step)).clip(0, 255))
            centre = (x - radius * step / 24, y - radius * step / 24)
            box = (centre[0] - inner, centre[1] - inner, centre[0] + inner, centre[1] + inner)
            draw.ellipse(box, fill=shade)
    draw.rectangle((20 * SCALE, 190 * SCALE, 290 * SCALE, 280 * SCALE), fill=(236, 230, 214))
    for line, (text, size) in enumerate([("denoise restore photo.png", 19), ("Small letters must stay letters.", 13)]):
        font = ImageFont.load_default(size=size * SCALE)
        draw.text((32 * SCALE, (202 + 36 * line) * SCALE), text, fill=(40, 36, 48), font=font)
    return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/before-after.png"))
    parser.add_argument("--model", default="photo")
    parser.add_argument("--seed", type=int, default=3)
    chosen = parser.parse_args(arguments)
    clean = torch.from_numpy(scene(chosen.seed).transpose(2, 0, 1).astype(np.float32)) / 255
    restorer = denoise.load(chosen.model)
    fills = isinstance(restorer, denoise.Inpainter)
    seen = parse(HOLES if fills else NOISE)(clean[None], torch.Generator().manual_seed(chosen.seed))
    damaged = seen.observed[0]
    restored = restorer(damaged, seen.condition[0]) if fills else restorer(damaged)
    gap = torch.ones(3, HEIGHT, 8)
    sheet = torch.cat([damaged, gap, restored], dim=2).clamp(0, 1)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(to_bytes(sheet)).save(chosen.out, optimize=True)
    print(f"Wrote {chosen.out}")


if __name__ == "__main__":
    run(main)
