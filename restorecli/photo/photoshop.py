"""Photoshop's image resources: the blocks in which JPEG and TIFF carry IPTC, and much that no other place has."""

from __future__ import annotations

import logging
import struct

_log = logging.getLogger(__name__)

_IPTC, _THUMBNAILS = 0x0404, (0x0409, 0x040C)
_NAMELESS = b"\0\0"


def split(resources: bytes) -> tuple[bytes, bytes | None]:
    """Resources without IPTC and thumbnails (they show the old picture), and the IPTC; what is cut off is left out."""
    kept, iptc, at = [], None, 0
    while resources[at : at + 4] == b"8BIM" and at + 12 <= len(resources):
        (kind,) = struct.unpack_from(">H", resources, at + 4)
        # A name of odd length with its length byte, else one byte more.
        body = at + 6 + (resources[at + 6] + 2 & ~1)
        if body + 4 > len(resources):
            break
        (size,) = struct.unpack_from(">L", resources, body)
        end = body + 4 + size
        if end > len(resources):
            _log.warning("malformed Photoshop resources are left out")
            break
        if kind == _IPTC:
            iptc = resources[body + 4 : end]
        elif kind not in _THUMBNAILS:
            kept.append(resources[at:end].ljust(end - at + size % 2, b"\0"))
        at = end + size % 2
    return b"".join(kept), iptc


def joined(resources: bytes | None, iptc: bytes | None) -> bytes:
    """The other way round."""
    if iptc is None:
        return resources or b""
    own = b"8BIM" + struct.pack(">H", _IPTC) + _NAMELESS + struct.pack(">L", len(iptc)) + iptc
    return own + b"\0" * (len(iptc) % 2) + (resources or b"")
