"""JPEG at the level of its segments, and the choices of its coding that a photo keeps."""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any

import numpy as np
from PIL import Image, JpegImagePlugin, MpoImagePlugin

from restorecli.photo.xmp import tells_of_video

_log = logging.getLogger(__name__)

_APP0, _APP1, _APP2, _APP13, _COMMENT = 0xE0, 0xE1, 0xE2, 0xED, 0xFE
_START_OF_SCAN, _STANDALONE = 0xDA, {0x01, *range(0xD0, 0xD9)}
_EXIF, _XMP, _MORE_XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_ICC, _PHOTOSHOP, _JFIF, _ADOBE = b"ICC_PROFILE\0", b"Photoshop 3.0\0", b"JFIF\0", b"Adobe"
_LARGEST = 65_533
MOST_EXIF, MOST_XMP = _LARGEST - len(_EXIF), _LARGEST - len(_XMP)
"""Bytes of EXIF and of XMP that one segment holds."""
_PER_INCH = 1
_MP_ENTRIES = 0xB002

_OF_PILLOW = ("4:4:4", "4:2:2", "4:2:0")
_FACTORS = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1"}


@dataclass(frozen=True)
class Coding:
    """How a JPEG was coded."""

    subsampling: str | None = None
    """``4:4:4``, ``4:2:2``, ``4:2:0``, ``4:4:0`` or ``4:1:1`` of a colour JPEG that is coded so, else None."""
    tables: tuple[tuple[int, ...], ...] = ()
    """The quantisation table of each component, 64 steps."""
    progressive: bool = False


@dataclass(frozen=True)
class Segments:
    """What a JPEG carries beside its picture and no other format has a place for."""

    comments: tuple[bytes, ...] = ()
    more_xmp: tuple[bytes, ...] = ()
    """The parts of XMP that did not fit in one segment, as they are."""


def coding_of(image: JpegImagePlugin.JpegImageFile) -> Coding:
    """How an open JPEG is coded."""
    layers = [(across, down, table) for _, across, down, table in image.layer]
    tables = image.quantization
    subsampling = None
    if len(layers) == 3 and image.mode == "RGB" and layers[1][:2] == layers[2][:2]:
        (across, down, _), (less_across, less_down, _) = layers[:2]
        if less_across and less_down and not across % less_across and not down % less_down:
            subsampling = _FACTORS.get((across // less_across, down // less_down))
    return Coding(
        subsampling=subsampling,
        tables=tuple(tuple(tables[table]) for _, _, table in layers if table in tables),
        progressive=bool(image.info.get("progressive")),
    )


def segments_of(data: bytes) -> tuple[Segments, bytes]:
    """What of the segments of a JPEG goes into its successor as it is, and Photoshop's resources, joined."""
    comments, more_xmp, photoshop = [], [], []
    for marker, body in _segments(data):
        if marker == _COMMENT:
            comments.append(body)
        elif marker == _APP1 and body.startswith(_MORE_XMP):
            more_xmp.append(body)
        elif marker == _APP13 and body.startswith(_PHOTOSHOP):
            photoshop.append(body[len(_PHOTOSHOP) :])
    return Segments(tuple(comments), tuple(more_xmp)), b"".join(photoshop)


def count_behind(file: IO[bytes]) -> int:
    """How many pictures lie behind the first of a JPEG: gain maps, depth maps, stereo partners (CIPA DC-007).

    Smaller copies of the first are not counted; a video, as phones append one, counts as one more.
    """
    image = JpegImagePlugin.JpegImageFile(file)
    video = tells_of_video(image.info.get("xmp"))
    if "mp" not in image.info:
        return int(video)
    entries = (MpoImagePlugin.MpoImageFile.adopt(image).mpinfo or {})[_MP_ENTRIES][1:]
    return video + sum(not entry["Attribute"]["MPType"].startswith("Large Thumbnail") for entry in entries)


def bare(data: bytes) -> bytes:
    """The same JPEG without metadata, for decoders that stumble over them."""
    own = list(_segments(data))
    picture = sum(4 + len(body) for _, body in own) + 2
    kept = [item for item in own if not _APP1 <= item[0] <= _APP13 and item[0] != _COMMENT]
    return b"".join([b"\xff\xd8", *(_segment(*item) for item in kept), data[picture:]])


def encode(pixels: np.ndarray, *, coding: Coding, quality: int | None) -> bytes:
    """A JPEG of (H, W, 1, 3 or 4: CMYK) uint8 pixels without metadata; quality None is that of ``coding``'s tables."""
    if pixels.shape[2] == 3 and coding.subsampling not in (None, *_OF_PILLOW):
        return _encode_with_opencv(pixels, coding, quality)
    options: dict[str, Any] = {"quality": quality} if quality is not None else {"qtables": _distinct(coding.tables)}
    image = (
        Image.frombytes("CMYK", pixels.shape[1::-1], pixels.tobytes())
        if pixels.shape[2] == 4
        else Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    )
    file = io.BytesIO()
    image.save(
        file,
        "JPEG",
        subsampling=coding.subsampling or "4:4:4",
        progressive=coding.progressive,
        optimize=False,
        **options,
    )
    return file.getvalue()


def _distinct(tables: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    """Tables for the first components; the last of them is for the others, too."""
    found = list(tables)
    while len(found) > 1 and found[-1] == found[-2]:
        found.pop()
    return [list(table) for table in found]


def _encode_with_opencv(pixels: np.ndarray, coding: Coding, quality: int | None) -> bytes:
    """Pillow writes three kinds of subsampling only; OpenCV all, but it takes no tables."""
    import cv2

    luma = quality_of(coding.tables[0]) if quality is None else quality
    chroma = quality_of(coding.tables[1], colour=True) if quality is None else quality
    factor = {"4:4:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440, "4:1:1": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411}
    options = {
        cv2.IMWRITE_JPEG_QUALITY: luma,
        cv2.IMWRITE_JPEG_LUMA_QUALITY: luma,
        cv2.IMWRITE_JPEG_CHROMA_QUALITY: chroma,
        cv2.IMWRITE_JPEG_PROGRESSIVE: int(coding.progressive),
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR: factor[coding.subsampling or ""],
    }
    done, data = cv2.imencode(".jpg", pixels[..., ::-1], [number for item in options.items() for number in item])
    if not done:
        raise ValueError("OpenCV could not encode JPEG")
    return data.tobytes()


def quality_of(table: tuple[int, ...], *, colour: bool = False) -> int:
    """The quality from 1 to 100 by which libjpeg would make a table that is nearest to this one."""
    wanted = np.array(table)
    distances = {quality: np.abs(_libjpeg_table(quality, colour) - wanted).sum() for quality in range(100, 0, -1)}
    return min(distances, key=lambda quality: distances[quality])


@lru_cache(maxsize=200)
def _libjpeg_table(quality: int, colour: bool) -> np.ndarray:
    file = io.BytesIO()
    Image.new("YCbCr", (8, 8)).save(file, "JPEG", quality=quality)
    file.seek(0)
    with JpegImagePlugin.JpegImageFile(file) as image:
        return np.array(image.quantization[int(colour)])


def with_metadata(
    data: bytes,
    *,
    icc: bytes | None,
    exif: bytes | None,
    xmp: bytes | None,
    dpi: tuple[float, float] | None,
    photoshop: bytes,
    segments: Segments,
) -> bytes:
    """A finished JPEG with its metadata put in; what one segment cannot hold is left out, with a warning."""
    added = []
    exif, xmp = _fitting(_EXIF, exif, "EXIF"), _fitting(_XMP, xmp, "XMP")
    if exif:
        added.append((_APP1, _EXIF + exif))
    if xmp:
        added.append((_APP1, _XMP + xmp))
        added.extend((_APP1, body) for body in segments.more_xmp)
    size = _LARGEST - len(_PHOTOSHOP)
    for at in range(0, len(photoshop), size):
        added.append((_APP13, _PHOTOSHOP + photoshop[at : at + size]))
    if icc:
        size = _LARGEST - len(_ICC) - 2
        parts = [icc[at : at + size] for at in range(0, len(icc), size)]
        if len(parts) > 255:
            _log.warning("an ICC profile of %d bytes is left out: JPEG holds no such", len(icc))
        else:
            added.extend((_APP2, _ICC + bytes([place, len(parts)]) + part) for place, part in enumerate(parts, 1))
    added.extend((_COMMENT, comment) for comment in segments.comments)
    own = list(_segments(data))
    picture = sum(4 + len(body) for _, body in own) + 2
    head = [(_APP0, _density(body, dpi)) for marker, body in own if marker == _APP0]
    tail = [(marker, body) for marker, body in own if marker != _APP0]
    return b"".join([b"\xff\xd8", *(_segment(*item) for item in head + added + tail), data[picture:]])


def _density(jfif: bytes, dpi: tuple[float, float] | None) -> bytes:
    if dpi is None or not jfif.startswith(_JFIF):
        return jfif
    return jfif[:7] + struct.pack(">BHH", _PER_INCH, *(min(max(round(value), 1), 65_535) for value in dpi)) + jfif[12:]


def _fitting(prefix: bytes, block: bytes | None, what: str) -> bytes | None:
    if block and len(prefix) + len(block) > _LARGEST:
        _log.warning("%s of %d bytes is left out: JPEG holds at most %d", what, len(block), _LARGEST - len(prefix))
        return None
    return block


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment before the picture's data; ends where one makes no sense."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _STANDALONE:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _START_OF_SCAN or length < 2 or at + 2 + length > len(data):
            return
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length
