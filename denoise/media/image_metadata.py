"""What a picture carries beside its pixels: taken from one file, given to another of the same or a different format."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

ORIENTATION, XMP, PHOTOSHOP, IPTC, ICC, EXIF, GPS, INTEROP = 274, 700, 34377, 33723, 34675, 34665, 34853, 40965
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
THUMBNAIL, THUMBNAIL_BYTES = 513, 514

# Tags that say how the pixels lie in the file (the writer sets its own), and Photoshop's copy of the old layers.
_LAYOUT = {255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325}
_LAYOUT |= {330, 338, 339, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 37724}
_NOT_EXIF = {
    XMP,
    PHOTOSHOP,
    IPTC,
    ICC,
    X_RESOLUTION,
    Y_RESOLUTION,
    RESOLUTION_UNIT,
}  # other formats have places for these

# Public PNG chunks that stay true when the pixels change; private ones say so themselves in the case of a letter.
_PNG_KEPT = {b"cHRM", b"cICP", b"gAMA", b"sBIT", b"sRGB", b"tIME", b"bKGD", b"sPLT", b"iTXt", b"tEXt", b"zTXt"}

_JPEG_SEGMENT = 65_533  # bytes


@dataclass(frozen=True)
class TiffTag:
    """A value and the TIFF type it was written in (None: the type such a tag usually has)."""

    value: Any
    type: int | None = None


@dataclass(frozen=True)
class Carried:
    """Everything but pixels.

    `exif` begins with `Exif\\0\\0` and has no thumbnail. `chunks` (PNG), `segments` (JPEG) and `tags` (TIFF) are the
    file's own words, which an output of the same format gets as they are; so are `native`, the options for encoding as
    the file was.
    """

    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None
    comment: bytes = b""
    orientation: int = 1
    transparency: Literal["", "mask", "alpha"] = ""  # none, on or off, or anything between
    duration_ms: float = 0
    chunks: Sequence[tuple[bytes, bytes]] = ()
    segments: bytes = b""
    tags: Mapping[int, TiffTag] = field(default_factory=dict)
    native: Mapping[str, Any] = field(default_factory=dict)


def gather(image: Image.Image, path: Path, native: Mapping[str, Any]) -> Carried:
    """What the current frame of an opened file carries."""
    info = image.info
    tags = _tiff_tags(image) if isinstance(image, TiffImageFile) else {}
    chunks = dict(_png_chunks(path, {b"eXIf"})) if image.format == "PNG" and "exif" not in info else {}
    exif = _exif_of_tags(tags) if tags else info.get("exif") or chunks.get(b"eXIf", b"")
    told = parse_exif(exif)
    orientation = told.get(ORIENTATION, 1)
    return Carried(
        exif=without_thumbnail(exif if not exif or exif.startswith(b"Exif\0\0") else b"Exif\0\0" + exif),
        icc=_bytes(info.get("icc_profile") or b""),
        xmp=_bytes(info.get("xmp") or b""),
        dpi=_dpi(info.get("dpi")) if _tells_dpi(image, tags or told) else None,
        comment=_bytes(info.get("comment") or info.get("Comment") or b""),
        orientation=orientation if orientation in range(1, 9) else 1,
        transparency=_transparency(image),
        duration_ms=info.get("duration", 0),
        chunks=tuple(_png_chunks(path, _PNG_KEPT)) if image.format == "PNG" else (),
        segments=_jpeg_segments(image) if isinstance(image, JpegImageFile) else b"",
        tags=tags,
        native=native,
    )


def parse_exif(block: bytes) -> Image.Exif:
    """The tags of an EXIF block; none if it is damaged."""
    exif = Image.Exif()
    try:
        exif.load(block)
    except Exception:  # Pillow raises whatever the damaged bytes led to; so it does everywhere below
        return Image.Exif()
    return exif


def without_thumbnail(exif: bytes) -> bytes:
    """An EXIF block without the small copy of the picture as it was: nothing in it moves, so maker notes stay true."""
    if exif[6:10] not in (b"II*\0", b"MM\0*"):
        return exif
    block, endian = bytearray(exif), "<" if exif[6:8] == b"II" else ">"
    with contextlib.suppress(struct.error):  # damaged ones stay as they are
        link, _ = _exif_directory(block, 6 + struct.unpack_from(endian + "L", block, 10)[0], endian)
        (second,) = struct.unpack_from(endian + "L", block, link)
        if second:
            _, values = _exif_directory(block, 6 + second, endian)
            start, length = 6 + values.get(THUMBNAIL, 0), values.get(THUMBNAIL_BYTES, 0)
            if block[start : start + 2] == b"\xff\xd8" and start + length <= len(block):
                block[start : start + length] = bytes(length)
            struct.pack_into(endian + "L", block, link, 0)
    return bytes(block)


def _exif_directory(block: bytearray, place: int, endian: str) -> tuple[int, dict[int, int]]:
    """Where the place of the next directory stands, and the values of the tags that are one number."""
    (count,) = struct.unpack_from(endian + "H", block, place)
    values = {}
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(endian + "HH", block, entry)
        (values[tag],) = struct.unpack_from(endian + ("H" if kind == 3 else "L"), block, entry + 8)
    return place + 2 + 12 * count, values


def png_options(carried: Carried) -> dict[str, Any]:
    """What to pass to Pillow's PNG writer."""
    info = PngInfo()
    for name, data in carried.chunks:
        info.add(name, data)
    if not carried.chunks:
        if carried.xmp:
            info.add_itxt("XML:com.adobe.xmp", carried.xmp)
        if carried.comment:
            info.add_itxt("Comment", carried.comment.decode("utf-8", "replace"))
    return {"pnginfo": info, "exif": carried.exif, "icc_profile": carried.icc, "dpi": carried.dpi}


def jpeg_options(carried: Carried) -> dict[str, Any]:
    """What to pass to Pillow's JPEG writer; a block too long for a segment stays behind."""
    options: dict[str, Any] = {"dpi": carried.dpi} if carried.dpi else {}
    if carried.segments:
        return {**options, "extra": carried.segments, "comment": b""}
    options["comment"] = carried.comment[:_JPEG_SEGMENT]
    if len(carried.exif) <= _JPEG_SEGMENT:
        options["exif"] = carried.exif
    if len(carried.xmp) <= _JPEG_SEGMENT - 29:
        options["xmp"] = carried.xmp
    return {**options, "icc_profile": carried.icc}


def add_tiff_tags(file: IO[bytes], pages: Sequence[Carried]) -> None:
    """Give the pages of a finished TIFF their tags: each page's directory moves to the end of the file and grows.

    Writers of pixels take few tags, and Pillow's fails over an EXIF directory in a compressed file; so they write
    pixels only and the tags follow here, in the same way for every writer.
    """
    file.seek(0)
    order = file.read(2)
    endian = "<" if order == b"II" else ">"
    pointer = 4
    for carried in pages:
        file.seek(pointer)
        (place,) = struct.unpack(endian + "L", file.read(4))
        file.seek(place)
        (count,) = struct.unpack(endian + "H", file.read(2))
        entries = _entries(file.read(12 * count), endian)
        following = file.read(4)
        end = file.seek(0, 2)
        file.write(b"\0" * (end % 2))  # directories begin at even places
        added = _directory(carried.tags or _tags_of_exif(carried), order).tobytes(end + end % 2)
        (count,) = struct.unpack(endian + "H", added[:2])
        entries |= _entries(added[2 : 2 + 12 * count], endian)
        file.write(added)
        place = file.tell()
        table = b"".join(entries[tag] for tag in sorted(entries))
        file.write(struct.pack(endian + "H", len(entries)) + table + following)
        file.seek(pointer)
        file.write(struct.pack(endian + "L", place))
        pointer = place + 2 + len(table)


def _entries(table: bytes, endian: str) -> dict[int, bytes]:
    return {struct.unpack_from(endian + "H", table, at)[0]: table[at : at + 12] for at in range(0, len(table), 12)}


def _directory(tags: Mapping[int, TiffTag], order: bytes) -> ImageFileDirectory_v2:
    directory = ImageFileDirectory_v2(prefix=order)
    for number, tag in tags.items():
        if tag.type is not None:
            directory.tagtype[number] = tag.type
        directory[number] = tag.value
    return directory


def _writable(number: int, tag: TiffTag) -> bool:
    try:
        _directory({number: tag}, b"II").tobytes()
    except Exception:
        return False
    return True


def _tiff_tags(image: TiffImageFile) -> dict[int, TiffTag]:
    tags = _tags(image.tag_v2, image.tag_v2.tagtype) | _nested(image.getexif())
    if XMP in tags and "xmp" in image.info:  # Pillow turns the raster upright and takes the orientation out of this one
        tags[XMP] = TiffTag(image.info["xmp"], tags[XMP].type)
    return tags


def _tags(directory: Mapping[int, Any], types: Mapping[int, int]) -> dict[int, TiffTag]:
    tags = {}
    for number in set(directory) - _LAYOUT - {EXIF, GPS}:
        with contextlib.suppress(Exception):
            tag = TiffTag(_latin(directory[number]), types.get(number))
            if _writable(number, tag):
                tags[number] = tag
    return tags


def _nested(exif: Image.Exif) -> dict[int, TiffTag]:
    """The directories inside a directory."""
    tags = {}
    for number in {EXIF, GPS} & set(exif):
        with contextlib.suppress(Exception):
            inner = {key: _latin(value) for key, value in exif.get_ifd(number).items()}
            if INTEROP in inner:
                inner[INTEROP] = exif.get_ifd(INTEROP)
            inner = {key: value for key, value in inner.items() if _writable(number, TiffTag({key: value}, 4))}
            tags[number] = TiffTag(inner, 4)
    return tags


def _tags_of_exif(carried: Carried) -> dict[int, TiffTag]:
    exif = parse_exif(carried.exif)
    tags = _tags(exif, {}) | _nested(exif)
    if carried.xmp:
        tags[XMP] = TiffTag(carried.xmp, 1)
    if carried.icc:
        tags[ICC] = TiffTag(carried.icc, 7)
    if carried.dpi:
        x, y = carried.dpi
        tags |= {X_RESOLUTION: TiffTag(x), Y_RESOLUTION: TiffTag(y), RESOLUTION_UNIT: TiffTag(2)}
    return tags


def _exif_of_tags(tags: Mapping[int, TiffTag]) -> bytes:
    exif = Image.Exif()
    for number in tags.keys() - _NOT_EXIF:
        exif[number] = tags[number].value
    try:
        return exif.tobytes() if len(exif) else b""
    except Exception:
        return b""


def _png_chunks(path: Path, wanted: set[bytes]) -> Iterator[tuple[bytes, bytes]]:
    with path.open("rb") as file:
        file.seek(8)
        while len(header := file.read(8)) == 8:
            length, name = struct.unpack(">L4s", header)
            if name in wanted or (name[1:2].islower() and name[3:4].islower()):  # private, safe to copy
                yield name, file.read(length)
                file.seek(4, 1)
            else:
                file.seek(length + 4, 1)


def _jpeg_segments(image: JpegImageFile) -> bytes:
    """Comments and application segments, but for those of the encoder (JFIF, Adobe) and the one with places (MPF)."""
    return b"".join(
        struct.pack(">HH", 0xFFFE if name == "COM" else 0xFFE0 + int(name[3:]), len(data) + 2)
        + (without_thumbnail(data) if data.startswith(b"Exif\0\0") else data)
        for name, data in image.applist
        if name not in ("APP0", "APP14") and not data.startswith(b"MPF\0")
    )


def _transparency(image: Image.Image) -> Literal["", "mask", "alpha"]:
    named = image.info.get("transparency")  # bytes give each colour of a palette its alpha
    if image.mode in {"LA", "RGBA"} or isinstance(named, bytes):
        return "alpha"
    return "" if named is None else "mask"


def _tells_dpi(image: Image.Image, tags: Container[int]) -> bool:
    """Whether a resolution is the file's own: of a TIFF, and of a JPEG with EXIF, Pillow makes up what is missing."""
    if isinstance(image, TiffImageFile | JpegImageFile):
        return X_RESOLUTION in tags or image.info.get("jfif_unit") in (1, 2)
    return True


def _dpi(value: Any) -> tuple[float, float] | None:
    try:
        x, y = (float(one) for one in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 0 < x < 65_535 and 0 < y < 65_535 else None


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _latin(value: Any) -> Any:
    """Text as the bytes it was read from: Pillow decodes TIFF text as latin-1 but writes it as ASCII."""
    return value.encode("latin-1", "replace") if isinstance(value, str) and not value.isascii() else value
