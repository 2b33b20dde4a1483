"""Telling a file that lacks its end from one that is broken otherwise."""

from __future__ import annotations

import io
from typing import IO, Literal

from restorecli.errors import PhotoError
from restorecli.photo.formats import HEAD_BYTES, TITLES
from restorecli.photo.metadata import TYPE_SIZES


def failure(file: IO[bytes], format: str, label: str, error: Exception) -> PhotoError:
    """What to tell of a file that starts like a photo of ``format`` and that a decoder gave up on with ``error``."""
    title = TITLES[format]
    reason = " ".join(str(error).split())[:160]
    if isinstance(error, EOFError) or "truncated" in reason.lower() or _ends_early(file, format):
        return PhotoError(f"{label}: the {title} file is cut short; copy it again from where it came", kind="truncated")
    return PhotoError(
        f"{label}: this {title} cannot be read ({reason}); open it in another program and save it anew",
        kind="unreadable",
    )


def _ends_early(file: IO[bytes], format: str) -> bool:
    """Whether a file that could not be read lacks its end."""
    try:
        file.seek(0)
        head = file.read(HEAD_BYTES)
        size = file.seek(0, io.SEEK_END)
        if format == "webp":
            return size < int.from_bytes(head[4:8], "little") + 8
        if format == "bmp":
            return size < int.from_bytes(head[2:6], "little")
        if format in ("avif", "heic"):
            return _last_box_ends(file, size) > size
        if format == "tiff":
            return _directory_ends(file, head) > size
        file.seek(max(0, size - 4096))
        return {"jpeg": b"\xff\xd9", "png": b"IEND", "gif": b";"}.get(format, b"") not in file.read()
    except (OSError, ValueError):
        return False


def _last_box_ends(file: IO[bytes], size: int) -> int:
    """Where the last top-level box of an ISO media file says that it ends."""
    at = 0
    while at < size:
        file.seek(at)
        length = int.from_bytes(file.read(4), "big")
        if length == 1:
            file.seek(at + 8)
            length = int.from_bytes(file.read(8), "big")
        if length < 8:
            return size
        at += length
    return at


def _directory_ends(file: IO[bytes], head: bytes) -> int:
    """Where the first directory of a TIFF, or the furthest value that it points to, ends."""
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    big = b"+" in head[2:4]
    count_bytes, field, word = (8, 20, 8) if big else (2, 12, 4)
    at = int.from_bytes(head[8:16] if big else head[4:8], order)
    file.seek(at)
    count = int.from_bytes(file.read(count_bytes), order)
    fields = file.read(min(count, 4096) * field)
    end = at + count_bytes + count * field
    for place in range(0, len(fields) - field + 1, field):
        kind = int.from_bytes(fields[place + 2 : place + 4], order)
        length = TYPE_SIZES.get(kind, 1) * int.from_bytes(fields[place + 4 : place + 4 + word], order)
        if length > word:
            end = max(end, int.from_bytes(fields[place + 4 + word : place + 4 + 2 * word], order) + length)
    return end
