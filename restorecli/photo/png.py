"""PNG at the level of its chunks: telling a broken file apart, and adding what the pixel encoders do not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_AFTER_HEADER = len(SIGNATURE) + 25
_GREY_ALPHA = 4


HEADER = (b"IHDR", b"PLTE")
TRANSPARENCY = (b"tRNS",)
ABOUT = (b"eXIf", b"iCCP", b"iTXt", b"pHYs", b"tEXt", b"zTXt")
COLOURS = (b"cICP", b"sRGB", b"gAMA", b"cHRM")
WITHOUT_TEXTS = (*COLOURS, b"eXIf", b"iCCP", b"pHYs")
WITHOUT_PROFILE = (*COLOURS, b"eXIf", b"pHYs")
BARE = (b"cICP",)
PIXELS = (b"IDAT",)
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"tIME")
_COLOURS = (b"sRGB", b"gAMA", b"cHRM")
_XMP, _RAW_PROFILE, _RAW_IPTC = b"XML:com.adobe.xmp", b"Raw profile type ", b"Raw profile type iptc"
_EXIF_START, _XMP_START = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_PROFILES = (b"exif", b"app1", b"xmp", b"iptc")
_LARGEST_TEXT = 1 << 24
"""Bytes that all coded profiles of a PNG together are unpacked to at most."""
_LINEAR_GAMMA = 100_000
_GAMMA_OF_SRGB, _PRIMARIES_OF_SRGB = 45_455, (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
_UNSEEN = 500
"""Hundred-thousandths of gamma, or of a chromaticity, that nobody sees."""
_IPTC_LINE = 36


def rearranged(data: bytes, *groups: tuple[bytes, ...]) -> bytes:
    """The same PNG with the chunks of these kinds only, group after group.

    Decoders that would stumble over a broken text are spared it, and those that look for texts in front of the pixels
    only find them. :class:`ValueError` when a chunk that carries pixels is cut short or damaged.
    """
    chunks = list(_chunks(data))
    parts = [chunk(kind, body) for group in groups for kind, body in chunks if kind in group]
    return b"".join([SIGNATURE, *parts, chunk(b"IEND", b"")])


@dataclass(frozen=True)
class Notes:
    """What the smaller chunks of a PNG say."""

    texts: tuple[tuple[bytes, bytes], ...] = ()
    """Kind and body of the chunks of text, of the one with a time (XMP and coded profiles aside), and of those that
    stand for a colour profile."""
    iptc: bytes | None = None
    exif: bytes | None = None
    """From a coded profile, as programs wrote it before PNG had a place for it. So is ``xmp``."""
    xmp: bytes | None = None
    primaries: int = 2
    """By its number in ITU-T H.273, 2 is unspecified. So is ``transfer``."""
    transfer: int = 2


def notes_of(data: bytes) -> Notes:
    """What the sound chunks say, wherever they stand."""
    texts, profiles, primaries, transfer = [], dict[bytes, bytes | None](), 2, 2
    linear = stated = False
    room = _LARGEST_TEXT
    for kind, body in _chunks(data, damaged_pixels=True):
        if kind in _COLOURS:
            texts.append((kind, body))
        if kind in _TEXTS:
            if body.startswith(_RAW_PROFILE):
                name, _, text = body.partition(b"\0")
                name = name.removeprefix(_RAW_PROFILE).lower()
                if kind in (b"tEXt", b"zTXt") and name in _PROFILES and profiles.get(name) is None:
                    text = _unpacked(text, room) if kind == b"zTXt" else text
                    room = max(1, room - len(text))
                    profiles[name] = _raw_profile(text)
            elif not body.startswith(_XMP + b"\0"):
                texts.append((kind, body))
        elif kind == b"cICP" and len(body) == 4:
            primaries, transfer = body[:2]
        linear = linear or (kind == b"gAMA" and int.from_bytes(body, "big") == _LINEAR_GAMMA)
        stated = stated or kind in (b"iCCP", b"sRGB", b"cICP")
    if linear and not stated:
        # Of all that may be said of the values a gamma counts least, in whatever order it stands.
        transfer = 8
    # What a JPEG has in a segment of this name is one or the other, and begins with its name.
    app1 = profiles.get(b"app1") or b""
    exif = profiles.get(b"exif") or (app1 if app1.startswith(_EXIF_START) else None)
    xmp = profiles.get(b"xmp") or (app1.removeprefix(_XMP_START) if app1.startswith(_XMP_START) else None)
    exif = exif and exif.removeprefix(_EXIF_START)
    return Notes(tuple(texts), profiles.get(b"iptc"), exif, xmp, primaries, transfer)


def states_colours(texts: tuple[tuple[bytes, bytes], ...]) -> bool:
    """Whether these chunks say, by gamma and primaries, that the values are no sRGB."""
    found = dict(texts)
    if b"sRGB" in found:
        return False
    gamma = int.from_bytes(found.get(b"gAMA", b""), "big") or _GAMMA_OF_SRGB
    values = found.get(b"cHRM", b"")
    primaries = struct.unpack(">8L", values) if len(values) == 32 else _PRIMARIES_OF_SRGB
    pairs = [(gamma, _GAMMA_OF_SRGB), *zip(primaries, _PRIMARIES_OF_SRGB, strict=True)]
    return any(abs(value - usual) > _UNSEEN for value, usual in pairs)


def _unpacked(text: bytes, room: int) -> bytes:
    """The text of a ``zTXt`` chunk behind its name, ``room`` bytes of it at most; empty when it is not to be had."""
    try:
        return zlib.decompressobj().decompress(text[1:], room)
    except zlib.error:
        return b""


def _raw_profile(text: bytes) -> bytes | None:
    """The bytes that ImageMagick and others keep as digits in a text; None when they are not to be had."""
    try:
        _, _, length, *lines = text.decode("ascii").split("\n")
        return bytes.fromhex("".join(lines))[: int(length)]
    except (ValueError, IndexError):
        return None


def with_metadata(
    data: bytes,
    *,
    icc: bytes | None,
    exif: bytes | None,
    xmp: bytes | None,
    dpi: tuple[float, float] | None,
    iptc: bytes | None = None,
    texts: tuple[tuple[bytes, bytes], ...] = (),
) -> bytes:
    """A finished PNG with all of this put in after its header, where all of it may stand.

    PNG has no place for IPTC, which goes into a text as ImageMagick and exiftool write it.
    """
    added = []
    if icc:
        added.append(chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    if dpi:
        across, down = (round(value / 0.0254) for value in dpi)
        added.append(chunk(b"pHYs", struct.pack(">LLB", across, down, 1)))
    if exif:
        added.append(chunk(b"eXIf", exif))
    if xmp:
        added.append(chunk(b"iTXt", _XMP + b"\0\0\0\0\0" + xmp))
    if iptc:
        digits = iptc.hex()
        lines = [digits[at : at + 2 * _IPTC_LINE] for at in range(0, len(digits), 2 * _IPTC_LINE)]
        text = "\n".join(["", "iptc", f"{len(iptc):8}", *lines, ""])
        added.append(chunk(b"zTXt", _RAW_IPTC + b"\0\0" + zlib.compress(text.encode())))
    # A profile says it better.
    added.extend(chunk(kind, body) for kind, body in texts if not (icc and kind in _COLOURS))
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


def _chunks(data: bytes, *, damaged_pixels: bool = False) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of each sound chunk; unsound ones that carry no pixels are passed over."""
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">L4s", data, at)
        body = data[at + 8 : at + 8 + length]
        checksum = data[at + 8 + length : at + 12 + length]
        critical = kind[:1].isupper()
        if kind == b"IEND":
            return
        if critical and len(checksum) < 4 and not damaged_pixels:
            raise ValueError("the PNG is truncated")
        if checksum == struct.pack(">L", zlib.crc32(body, zlib.crc32(kind))):
            yield kind, body
        elif critical and not damaged_pixels:
            raise ValueError(f"bad checksum in {kind.decode('latin-1')!r}")
        at += 12 + length
