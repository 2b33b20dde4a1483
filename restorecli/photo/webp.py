"""WebP at the level of its chunks."""

from __future__ import annotations


def webp_chunks(data: bytes) -> dict[bytes, bytes]:
    """The first chunk of each kind, as far as the file goes."""
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        found.setdefault(kind, data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return found
