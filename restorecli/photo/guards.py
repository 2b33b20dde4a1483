"""What is refused from a file's header, before anything as large as the photo is in memory."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import IO, Any

from PIL import Image, TiffImagePlugin

from restorecli.errors import PhotoError

_BITS, _PHOTOMETRIC, _SAMPLES = 258, 262, 277
_TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT = 322, 323, 339
_CHANNELS = {0: (1, 2), 1: (1, 2), 2: (3, 4), 5: (4,)}

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
            f"{label}: {width} x {height} is {width * height / 1e6:,.0f} MP, over the limit of "
            f"{max_pixels / 1e6:,.6g} MP; raise it with --max-pixels",
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
