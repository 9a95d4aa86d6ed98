"""A picture of what was looked for and what was found."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from denoise.compare import as_picture
from denoise.errors import DenoiseError, UsageError
from denoise.media.atomic import check_place, replacing
from denoise.media.image_formats import format_of
from denoise.retrieval_codes import as_seen

_SIDE_PX, _TEXT_PX, _GAP_PX, _COLUMNS = 180, 40, 12, 6

Found = tuple[str, str, tuple[int, int, int, int] | None]
"""Path, what to write under it, and the part to frame, in pixels"""


def check_sheet(path: Path, overwrite: bool, query: Any) -> None:
    """Raise UsageError where a sheet cannot be written, or would replace the query, or a file unasked."""
    format_of(path)
    check_place(path)
    if isinstance(query, str | os.PathLike) and os.path.realpath(query) == os.path.realpath(path):
        raise UsageError(f"The sheet {path} would replace the picture that is looked for; give it another name.")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; give the sheet another name, or --overwrite to replace it.")


def write_sheet(query: Any, hits: Sequence[Found], path: Path) -> None:
    """Write the query and the hits as rows of small pictures; raises MediaError when that fails.

    A hit that cannot be read any more is a gray square.
    """
    tiles = [(_thumbnail(query, None), "looked for", "")]
    for number, (file, note, box) in enumerate(hits, 1):
        tiles.append((_thumbnail(file, box), f"{number}. {Path(file).name}", note))
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    wide, high = _SIDE_PX + _GAP_PX, _SIDE_PX + _TEXT_PX + _GAP_PX
    sheet = Image.new("RGB", (columns * wide + _GAP_PX, rows * high + _GAP_PX), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=14)
    for place, (picture, title, note) in enumerate(tiles):
        left, top = _GAP_PX + place % columns * wide, _GAP_PX + place // columns * high
        sheet.paste(picture, (left + (_SIDE_PX - picture.width) // 2, top + (_SIDE_PX - picture.height) // 2))
        if place == 0:
            draw.rectangle((left - 4, top - 4, left + _SIDE_PX + 3, top + _SIDE_PX + 3), outline="#2563eb", width=2)
        draw.text((left, top + _SIDE_PX + 4), _shorten(title, draw, font), fill="black", font=font)
        draw.text((left, top + _SIDE_PX + 20), note, fill="#5b6472", font=font)
    with replacing(path) as whole:
        sheet.save(whole, format_of(path))


def _thumbnail(source: Any, box: tuple[int, int, int, int] | None) -> Image.Image:
    try:
        full = as_picture(as_seen(source).numpy())
    except DenoiseError:
        return Image.new("RGB", (_SIDE_PX, _SIDE_PX), "#e5e7eb")
    method = Image.Resampling.NEAREST if max(full.size) < _SIDE_PX else Image.Resampling.LANCZOS
    share = _SIDE_PX / max(full.size)
    small = full.resize([max(1, round(side * share)) for side in full.size], method)
    if box is not None:
        across, down = small.width / full.width, small.height / full.height
        left, top = box[0] * across, box[1] * down
        frame = (left, top, max(left, box[2] * across - 1), max(top, box[3] * down - 1))
        ImageDraw.Draw(small).rectangle(frame, outline="#ea580c", width=2)
    return small


def _shorten(text: str, draw: ImageDraw.ImageDraw, font: Any) -> str:
    """As much of a text as fits under a picture, in one line."""
    text = " ".join(text.split())
    if draw.textlength(text, font) <= _SIDE_PX:
        return text
    while text and draw.textlength(text + "...", font) > _SIDE_PX:
        text = text[:-1]
    return text + "..."
