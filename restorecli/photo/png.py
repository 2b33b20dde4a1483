"""PNG at the level of its chunks: telling a broken file apart, and adding what the pixel encoders do not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_AFTER_HEADER = len(SIGNATURE) + 25
_GREY_ALPHA = 4


HEADER = (b"IHDR", b"PLTE")
TRANSPARENCY = (b"tRNS",)
ABOUT = (b"eXIf", b"iCCP", b"iTXt", b"pHYs", b"tEXt", b"zTXt")
PIXELS = (b"IDAT",)


def rearranged(data: bytes, *groups: tuple[bytes, ...]) -> bytes:
    """The same PNG with the chunks of these kinds only, group after group.

    Decoders that would stumble over a broken text are spared it, and those that look for texts in front of the pixels
    only find them. :class:`ValueError` when a chunk that carries pixels is cut short or damaged.
    """
    chunks = list(_chunks(data))
    parts = [chunk(kind, body) for group in groups for kind, body in chunks if kind in group]
    return b"".join([SIGNATURE, *parts, chunk(b"IEND", b"")])


def with_metadata(
    data: bytes, *, icc: bytes | None, exif: bytes | None, xmp: bytes | None, dpi: tuple[float, float] | None
) -> bytes:
    """A finished PNG with profile, EXIF, XMP and resolution put in after its header, where all of them may stand."""
    added = []
    if icc:
        added.append(chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    if dpi:
        across, down = (round(value / 0.0254) for value in dpi)
        added.append(chunk(b"pHYs", struct.pack(">LLB", across, down, 1)))
    if exif:
        added.append(chunk(b"eXIf", exif))
    if xmp:
        added.append(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    return b"".join([data[:_AFTER_HEADER], *added, data[_AFTER_HEADER:]])


def as_grey_alpha(data: bytes) -> bytes:
    """A grey 16-bit PNG of width 2 W, in which grey and alpha take turns, as a grey + alpha PNG of width W.

    The bytes of a row are the same in both. So are the filtered ones when the rows were coded with the filters None
    and Up only: those alone do not look back by one pixel.
    """
    width, height, depth, _, *rest = struct.unpack_from(">LLBBBBB", data, len(SIGNATURE) + 8)
    header = chunk(b"IHDR", struct.pack(">LLBBBBB", width // 2, height, depth, _GREY_ALPHA, *rest))
    return SIGNATURE + header + data[_AFTER_HEADER:]


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return b"".join([struct.pack(">L", len(body)), kind, body, struct.pack(">L", zlib.crc32(body, zlib.crc32(kind)))])


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of each sound chunk; unsound ones that carry no pixels are passed over."""
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">L4s", data, at)
        body = data[at + 8 : at + 8 + length]
        checksum = data[at + 8 + length : at + 12 + length]
        critical = kind[:1].isupper()
        if kind == b"IEND":
            return
        if critical and len(checksum) < 4:
            raise ValueError("the PNG is truncated")
        if checksum == struct.pack(">L", zlib.crc32(body, zlib.crc32(kind))):
            yield kind, body
        elif critical:
            raise ValueError(f"bad checksum in {kind.decode('latin-1')!r}")
        at += 12 + length
