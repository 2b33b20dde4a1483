"""What is refused from a file's header, before anything as large as the photo is in memory."""

from __future__ import annotations

import contextlib
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from typing import IO, Any

from PIL import Image, TiffImagePlugin

from restorecli.errors import PhotoError

_BITS, _PHOTOMETRIC, _SAMPLES = 258, 262, 277
_TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT = 322, 323, 339
_CHANNELS = {0: (1, 2), 1: (1, 2), 2: (3, 4), 5: (4,)}

_MOST_SCANS = 100
_BYTES_PER_PIXEL = 8
"""Of the largest there are, 16 bits in four channels; some files are read as a whole."""
_BYTES_BESIDE = 1 << 28
_JPEG_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]", re.DOTALL)

_lock = threading.Lock()
_users = 0
_limit_before: int | None = None
_silence: Any = None


@contextlib.contextmanager
def quiet_pillow() -> Iterator[None]:
    """Suspend Pillow's own bound on sizes, which is below ours, and its warnings, while any thread is in here.

    Both belong to the whole process, and a program that uses this package may want its own back.
    """
    global _users, _limit_before, _silence
    with _lock:
        if _users == 0:
            _limit_before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            warnings.filterwarnings("ignore", module=r"PIL\.")
            _silence = warnings.filters[0]
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                Image.MAX_IMAGE_PIXELS = _limit_before
                with contextlib.suppress(ValueError):
                    warnings.filters.remove(_silence)  # type: ignore[attr-defined]


def check_size(width: int, height: int, max_pixels: int, label: str) -> None:
    """:class:`PhotoError` of the kind ``too_large`` for more than ``max_pixels`` pixels."""
    if width * height > max_pixels:
        raise PhotoError(
            f"{label}: {width} x {height} is {width * height / 1e6:,.4g} MP, over the limit of "
            f"{max_pixels / 1e6:,.6g} MP; raise it with --max-pixels",
            kind="too_large",
        )


def check_bytes(count: int, max_pixels: int, label: str) -> None:
    """:class:`PhotoError` of the kind ``too_large`` for a file larger than any photo of ``max_pixels`` pixels."""
    if count > _BYTES_PER_PIXEL * max_pixels + _BYTES_BESIDE:
        raise PhotoError(
            f"{label}: the file is larger than any photo of {max_pixels / 1e6:,.6g} MP; raise that with --max-pixels",
            kind="too_large",
        )


def webp_size(file: IO[bytes]) -> tuple[int, int]:
    """Width and height in a WebP's header, (0, 0) when they are not where they should be."""
    head = file.read(30)
    file.seek(0)
    if len(head) < 30:
        return 0, 0
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF


def gif_frames(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    """Right and bottom edge of each picture of a GIF in pixels, from what stands before its pixels."""
    file.seek(0)
    head = file.read(13)
    if len(head) < 13:
        return
    file.seek(_gif_table(head[10]), 1)
    while True:
        kind = file.read(1)
        if kind == b",":
            place = file.read(9)
            if len(place) < 9:
                return
            left, top, width, height = struct.unpack("<4H", place[:8])
            yield left + width, top + height
            file.seek(_gif_table(place[8]) + 1, 1)
        elif kind == b"!":
            file.seek(1, 1)
        else:
            return
        while length := file.read(1)[:1]:
            if length == b"\0":
                break
            file.seek(length[0], 1)


def _gif_table(flags: int) -> int:
    """Bytes of the colour table that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def gif_size(file: IO[bytes]) -> tuple[int, int]:
    """Width and height that Pillow takes memory for when it opens a GIF: the screen, and the first picture on it."""
    file.seek(6)
    head = file.read(4).ljust(4, b"\0")
    first = next(gif_frames(file), (0, 0))
    file.seek(0)
    return max(int.from_bytes(head[:2], "little"), first[0]), max(int.from_bytes(head[2:], "little"), first[1])


def check_scans(file: IO[bytes], label: str) -> None:
    """Refuse a JPEG that goes over its pixels so often that decoding would take minutes (kind ``unreadable``)."""
    file.seek(0)
    scans = _jpeg_scans(file.read())
    file.seek(0)
    if scans > _MOST_SCANS:
        raise PhotoError(
            f"{label}: more than {_MOST_SCANS} passes over its pixels, as no camera or program makes them; "
            "save it anew in another program",
            kind="unreadable",
        )


def _jpeg_scans(data: bytes) -> int:
    """Scans of the first picture in a JPEG file, one more than :data:`_MOST_SCANS` for any larger number."""
    at, scans, components = 2, 0, 0
    while scans <= _MOST_SCANS:
        found = _JPEG_MARKER.search(data, at)
        if found is None or found[0] == b"\xff\xd9":
            break
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        if found[0] in (b"\xff\xc0", b"\xff\xc1") and not components:
            components = data[found.end() + 7] if found.end() + 7 < len(data) else 0
        elif found[0] == b"\xff\xda":
            scans += 1
            # Decoders stop behind the only scan of a plain file, so that there is nothing more to count.
            if components and data[found.end() + 2 : found.end() + 3] == bytes([components]):
                break
        at = found.end() + length
    return scans


def check_tiff(image: TiffImagePlugin.TiffImageFile, max_pixels: int, label: str) -> None:
    """Refuse a TIFF that would be opened as something that it is not (kind ``unreadable`` or ``colour``)."""
    tags = image.tag_v2
    tile = (tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0))
    if all(isinstance(edge, int) for edge in tile):
        check_size(*tile, max_pixels, label)
    bits = set(tags.get(_BITS, (1,)))
    if image.mode == "F" or max(bits) > 16 or set(tags.get(_SAMPLE_FORMAT, (1,))) != {1}:
        raise PhotoError(
            f"{label}: floating-point, signed and 32-bit TIFFs are linear or HDR; convert it to 16 bits a channel",
            kind="colour",
        )
    # Pillow makes 8 bits of many a TIFF of more.
    channels = _CHANNELS.get(tags.get(_PHOTOMETRIC, 1), ())
    if max(bits) > 8 and not (bits == {16} and tags.get(_SAMPLES, 1) in channels):
        raise PhotoError(
            f"{label}: this layout of a 16-bit TIFF is not supported; save it as plain 16-bit RGB, grey or CMYK",
            kind="unreadable",
        )
