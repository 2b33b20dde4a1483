"""Small photos for this room's tests, made here."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)
MAKER_NOTE = b"maker\0" + bytes(range(200))


def smooth(height: int, width: int, channels: int = 3, dtype: Any = np.uint8) -> np.ndarray:
    """(H, W, C) gradients that no two corners share, so that a wrong turn shows, and that JPEG keeps well."""
    y, x = np.mgrid[0:height, 0:width]
    down, across = y / max(1, height - 1), x / max(1, width - 1)
    planes = [0.1 + 0.8 * across, 0.1 + 0.8 * down, 0.1 + 0.4 * across + 0.4 * down]
    return (np.stack(planes[:channels], -1) * np.iinfo(dtype).max).round().astype(dtype)


def noise(height: int, width: int, channels: int = 3, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    """(H, W, C) of every value, which no lossy step survives."""
    high = int(np.iinfo(dtype).max)
    return np.random.default_rng(seed).integers(0, high, (height, width, channels), dtype=dtype, endpoint=True)


def saved(pixels: np.ndarray | Image.Image, format: str, **options: Any) -> bytes:
    """A file of Pillow's making."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels.squeeze())
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def png_file(pixels: np.ndarray, colour: int, *, before: bytes = b"", after: bytes = b"", depth: int = 16) -> bytes:
    """A PNG made by hand: chunks before and after the pixels as asked for."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in pixels)
    header = struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0)
    pixel_data = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + before + pixel_data + after + png_chunk(b"IEND", b"")


def exif_block(
    orientation: int = 1, *, order: str = "<", size: tuple[int, int] = (1, 1), thumbnail: bytes = b""
) -> bytes:
    """EXIF by hand, without prefix: make, orientation, an Exif directory with a maker's note, maybe a thumbnail."""

    def directory(at: int, fields: list[tuple[int, int, int, bytes]], following: int = 0) -> bytes:
        entries, values = b"", b""
        behind = at + 2 + 12 * len(fields) + 4
        for tag, kind, count, value in fields:
            if len(value) > 4:
                entries += struct.pack(order + "HHLL", tag, kind, count, behind + len(values))
                values += value + b"\0" * (len(value) % 2)
            else:
                entries += struct.pack(order + "HHL", tag, kind, count) + value.ljust(4, b"\0")
        return struct.pack(order + "H", len(fields)) + entries + struct.pack(order + "L", following) + values

    def short(value: int) -> bytes:
        return struct.pack(order + "H", value)

    def long(value: int) -> bytes:
        return struct.pack(order + "L", value)

    def first(details_at: int, following: int) -> bytes:
        make = b"A Camera\0"
        fields = [(0x010F, 2, len(make), make), (0x0112, 3, 1, short(orientation)), (0x8769, 4, 1, long(details_at))]
        return directory(8, fields, following)

    details_at = 8 + len(first(0, 0))
    sizes = [(0xA002, 3, 1, short(size[0])), (0xA003, 4, 1, long(size[1]))]
    details = directory(details_at, [(0x927C, 7, len(MAKER_NOTE), MAKER_NOTE), *sizes])
    second_at = details_at + len(details)
    second = b""
    if thumbnail:
        image_at = second_at + 2 + 12 * 2 + 4
        second = directory(second_at, [(0x0201, 4, 1, long(image_at)), (0x0202, 4, 1, long(len(thumbnail)))])
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + long(8) + first(details_at, second_at if thumbnail else 0) + details + second + thumbnail
