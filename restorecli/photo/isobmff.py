"""What the boxes of an AVIF say of its primary picture that the decoder does not pass on."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Properties:
    """Of the primary picture; numbers as in ITU-T H.273, 2 is unspecified."""

    bits: int = 8
    primaries: int = 2
    transfer: int = 2


def properties_of(data: bytes) -> Properties:
    """The properties of the primary picture; the usual ones where boxes are missing or broken."""
    try:
        return _properties(data)
    except (struct.error, ValueError, IndexError):
        return Properties()


def _properties(data: bytes) -> Properties:
    meta = _only(data, b"meta")[4:]
    primary = _only(meta, b"pitm")
    wanted = int.from_bytes(primary[4:6] if primary[0] == 0 else primary[4:8], "big")
    iprp = _only(meta, b"iprp")
    known = list(_boxes(_only(iprp, b"ipco")))
    bits, primaries, transfer = 8, 2, 2
    for place in _places(_only(iprp, b"ipma"), wanted):
        kind, body = known[place - 1]
        if kind == b"pixi":
            bits = max(body[5 : 5 + body[4]])
        elif kind == b"av1C" and body[2] & 0x40:
            bits = max(bits, 12 if body[2] & 0x20 else 10)
        elif kind == b"colr" and body[:4] == b"nclx":
            primaries, transfer = struct.unpack_from(">HH", body, 4)
    return Properties(bits, primaries, transfer)


def _places(ipma: bytes, wanted: int) -> list[int]:
    """Which properties, counted from 1, an item has."""
    version, long_places = ipma[0], ipma[3] & 1
    (count,) = struct.unpack_from(">L", ipma, 4)
    at = 8
    for _ in range(min(count, len(ipma))):
        size = 4 if version else 2
        item, number = int.from_bytes(ipma[at : at + size], "big"), ipma[at + size]
        at += size + 1
        places = []
        for _ in range(number):
            places.append(struct.unpack_from(">H", ipma, at)[0] & 0x7FFF if long_places else ipma[at] & 0x7F)
            at += 2 if long_places else 1
        if item == wanted:
            return [place for place in places if place]
    return []


def _only(data: bytes, kind: bytes) -> bytes:
    for found, body in _boxes(data):
        if found == kind:
            return body
    raise ValueError(f"no {kind!r}")


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        length, start = int.from_bytes(data[at : at + 4], "big"), 8
        kind = data[at + 4 : at + 8]
        if length == 1:
            length, start = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif length == 0:
            length = len(data) - at
        if length < start:
            return
        yield kind, data[at + start : at + length]
        at += length
