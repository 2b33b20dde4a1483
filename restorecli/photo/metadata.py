"""EXIF, ICC and resolution, cleaned on the way in so that whoever writes them need not look inside.

EXIF is edited in place and never written anew: makers' notes hold offsets into the block that nobody else understands,
and they survive only where every byte stays where it was.
"""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from PIL import Image

from restorecli.photo.colour import space_of

_log = logging.getLogger(__name__)

ORIENTATION = 0x0112
SOFTWARE = 0x0131
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
EXIF_IFD = 0x8769
GPS_IFD = 0x8825
INTEROP_IFD = 0xA005
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
_XMP = 700
_OF_SENSORS, _FIRST_OF_DNG = {33421, 33422, 37398, 37399}, 50706
"""Tags of camera RAW that say how to develop it, which has been done then."""
_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH = 0x0201, 0x0202
_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED, _IFD_POINTER = 1, 2, 3, 4, 5, 7, 13
_UNDEFINED_IN_EXIF = {0x8828, 0x9000, 0x9101, 0x927C, 0x9286, 0xA000, 0xA20C, 0xA300, 0xA301, 0xA302, 0xA40B}
_UNDEFINED_IN_GPS = {0x001B, 0x001C}
TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value of each type that a TIFF field can have."""

TIFF_LAYOUT = frozenset(
    {
        *(254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 282, 283, 284),
        *(288, 289, 290, 291, 292, 293, 296, 297, 301, 317, 320, 321, 322, 323, 324, 325, 326, 327, 328, 330, 332),
        *(
            334,
            336,
            338,
            339,
            340,
            341,
            347,
            *range(512, 522),
            529,
            530,
            531,
            532,
            559,
            700,
            33723,
            34377,
            34675,
            37724,
        ),
    }
)
"""Tags of a TIFF that say how its pixels are stored, or that are carried by themselves (resolution, XMP, ICC, IPTC,
Photoshop's resources), or that hold the old picture once more (its layers, further images). They never travel as
EXIF."""


@dataclass(frozen=True)
class _Entry:
    """One field of a directory: where its 12 bytes are, and what they say."""

    at: int
    tag: int
    kind: int
    count: int
    value: int

    @property
    def end(self) -> int:
        """First byte after the field's value, 0 when the value sits in the field."""
        size = TYPE_SIZES.get(self.kind, 1) * self.count
        return self.value + size if size > 4 else 0


class _Block:
    """A classic TIFF structure that can be read and patched, never moved."""

    def __init__(self, exif: bytes) -> None:
        self.data = bytearray(without_prefix(exif))
        if not self.data.startswith((b"II*\0", b"MM\0*")):
            raise ValueError("no byte order mark")
        self.order = "<" if self.data[:2] == b"II" else ">"
        self.first = self._read("L", 4)

    def _read(self, code: str, at: int) -> int:
        try:
            return int(struct.unpack_from(self.order + code, self.data, at)[0])
        except struct.error as error:
            raise ValueError(f"an offset points outside the block: {error}") from error

    def directory(self, at: int) -> tuple[list[_Entry], int]:
        """The fields of the directory at byte ``at``, and where the link to the next one is stored."""
        count = self._read("H", at)
        entries = []
        for index in range(count):
            field = at + 2 + 12 * index
            kind = self._read("H", field + 2)
            value = self._read("H" if kind == _SHORT else "L", field + 8)
            entries.append(_Entry(field, self._read("H", field), kind, self._read("L", field + 4), value))
        return entries, at + 2 + 12 * count

    def store(self, entry: _Entry, value: int) -> None:
        """Replace the value of a field that holds one whole number; other fields are left alone."""
        if entry.count == 1 and entry.kind in (_SHORT, _LONG):
            code = "H" if entry.kind == _SHORT and value < 2**16 else "L"
            if code == "L" and entry.kind == _SHORT:
                struct.pack_into(self.order + "H", self.data, entry.at + 2, _LONG)
            struct.pack_into(self.order + code, self.data, entry.at + 8, value)

    def link(self, at: int) -> int:
        """Where the next directory starts; 0 when there is none, or when the block ends before the link."""
        return self._read("L", at) if at + 4 <= len(self.data) else 0

    def pointed(self, entries: Iterable[_Entry], tag: int) -> list[_Entry]:
        """The fields of the directory that the field ``tag`` points to; none when it is missing or broken."""
        for entry in entries:
            if entry.tag == tag and entry.kind in (_LONG, _IFD_POINTER):
                try:
                    return self.directory(entry.value)[0]
                except ValueError:
                    _log.debug("the directory of EXIF tag 0x%04x is broken", tag)
        return []


def without_prefix(exif: bytes) -> bytes:
    """EXIF bytes from their byte order mark on: JPEG, and some writers of other formats, put ``Exif`` before it."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    return exif


def orientation_of(exif: bytes | None) -> int:
    """The orientation 1 to 8 that an EXIF block states; 1 when it states none or cannot be read."""
    if not exif:
        return 1
    try:
        block = _Block(exif)
        entries, _ = block.directory(block.first)
    except ValueError:
        return 1
    found = [entry.value for entry in entries if entry.tag == ORIENTATION and 1 <= entry.value <= 8]
    return found[0] if found else 1


def upright_exif(exif: bytes | None, width: int, height: int) -> bytes | None:
    """EXIF for a photo whose orientation has been applied and whose size is now ``width`` x ``height``.

    Orientation becomes 1, the stated size the real one, and the thumbnail (it shows the old picture) goes. Everything
    else stays byte for byte. None when there is no EXIF or it cannot be understood.
    """
    if not exif:
        return None
    try:
        block = _Block(exif)
        entries, link = block.directory(block.first)
    except ValueError as error:
        _log.warning("malformed EXIF is left out: %s", error)
        return None
    details = block.pointed(entries, EXIF_IFD)
    for entry in entries:
        if entry.tag == ORIENTATION:
            # Whatever it was declared as: a reader that goes by the value would turn the photo once more.
            block.data.extend(bytes(max(0, entry.at + 12 - len(block.data))))
            struct.pack_into(f"{block.order}HLHH", block.data, entry.at + 2, _SHORT, 1, 1, 0)
    for entry in details:
        if entry.tag in (_PIXEL_WIDTH, _PIXEL_HEIGHT):
            block.store(entry, width if entry.tag == _PIXEL_WIDTH else height)
    _drop_thumbnail(block, entries, details, link)
    return bytes(block.data)


def _drop_thumbnail(block: _Block, entries: list[_Entry], details: list[_Entry], link: int) -> None:
    """Unlink the thumbnail's directory, and cut the thumbnail off where it is the block's tail."""
    second = block.link(link)
    if not second:
        return
    struct.pack_into(block.order + "L", block.data, link, 0)
    try:
        fields = {entry.tag: entry.value for entry in block.directory(second)[0]}
    except ValueError:
        return
    start, length = fields.get(_THUMBNAIL_OFFSET, 0), fields.get(_THUMBNAIL_LENGTH, 0)
    live = [*entries, *details, *block.pointed(entries, GPS_IFD), *block.pointed(details, INTEROP_IFD)]
    used = max([link + 4, *(max(entry.at + 16, entry.end) for entry in live)])
    # What lies behind the thumbnail may be what a maker's note points to, so only a tail is cut.
    if used <= start <= len(block.data) <= start + length + 4:
        del block.data[start:]


def without_orientation(exif: bytes) -> bytes:
    """The same EXIF without its orientation field (it says 1, which is also what a missing one says).

    For encoders that would otherwise write the whole block anew to take the field out.
    """
    block = _Block(exif)
    entries, link = block.directory(block.first)
    for entry in reversed(entries):
        if entry.tag == ORIENTATION:
            block.data[entry.at : link + 4] = block.data[entry.at + 12 : link + 4] + bytes(12)
            link -= 12
            struct.pack_into(block.order + "H", block.data, block.first, (link - block.first - 2) // 12)
    return bytes(block.data)


def with_fields(exif: bytes | None, fields: Mapping[int, str | Fraction | int]) -> bytes:
    """EXIF (None: a new block) whose first directory has these fields: texts, rational numbers, short whole numbers.

    The directory is written anew behind the block, so that everything else stays where it was.
    """
    block = _Block(exif or b"II*\0\x08\0\0\0\0\0\0\0\0\0")
    entries, link = block.directory(block.first)
    written = {entry.tag: bytes(block.data[entry.at : entry.at + 12]) for entry in entries if entry.tag not in fields}
    if len(block.data) % 2:
        block.data += b"\0"
    for tag, value in fields.items():
        if isinstance(value, str):
            kind, body = _ASCII, value.encode() + b"\0"
            count = len(body)
        elif isinstance(value, int):
            kind, body, count = _SHORT, struct.pack(block.order + "H", value), 1
        else:
            kind, body, count = _RATIONAL, struct.pack(block.order + "LL", value.numerator, value.denominator), 1
        if len(body) > 4:
            place = struct.pack(block.order + "L", len(block.data))
            block.data += body + b"\0" * (len(body) % 2)
        else:
            place = body.ljust(4, b"\0")
        written[tag] = struct.pack(block.order + "HHL", tag, kind, count) + place
    struct.pack_into(block.order + "L", block.data, 4, len(block.data))
    block.data += struct.pack(block.order + "H", len(written)) + b"".join(written[tag] for tag in sorted(written))
    block.data += struct.pack(block.order + "L", block.link(link))
    return bytes(block.data)


def has_field(exif: bytes | None, tag: int) -> bool:
    """Whether the first directory of a sound EXIF block has this field."""
    if not exif:
        return False
    block = _Block(exif)
    return any(entry.tag == tag for entry in block.directory(block.first)[0])


class _Text(str):
    """A text of EXIF as Pillow reads it, byte for character, that is also written so: Pillow's own writing knows ASCII
    alone, and makes question marks of the rest."""

    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        return super().encode("latin-1")


def as_read(values: MutableMapping[int, Any]) -> None:
    """Let the texts among the values of a directory that Pillow has read be written as they were."""
    for tag, value in list(values.items()):
        if type(value) is str:
            values[tag] = _Text(value)
        elif isinstance(value, tuple):
            values[tag] = tuple(_Text(each) if type(each) is str else each for each in value)


def directories_of(found: Image.Exif) -> None:
    """Read the directories below the first, and let the texts of all be written as they were."""
    as_read(found)
    for pointer in (EXIF_IFD, GPS_IFD):
        if pointer in found:
            as_read(found.get_ifd(pointer))


def exif_of_tiff(image: Image.Image) -> bytes | None:
    """What an open TIFF says besides its pixels, as an EXIF block; None when that is nothing, or broken."""
    try:
        found = image.getexif()
        found.bigtiff = False
        for tag in TIFF_LAYOUT.intersection(found):
            del found[tag]
        directories_of(found)
        return declared(found.tobytes()) if len(found) else None
    except Exception as error:  # whatever is wrong with the tags, the photo is not lost over it
        _log.warning("malformed EXIF is left out: %s", error)
        return None


def declared(data: bytes) -> bytes:
    """A TIFF structure of Pillow's making, in which what EXIF calls undefined is declared so, and not as bytes."""
    block = _Block(data)
    entries, _ = block.directory(block.first)
    for pointer, tags in ((EXIF_IFD, _UNDEFINED_IN_EXIF), (GPS_IFD, _UNDEFINED_IN_GPS)):
        for entry in block.pointed(entries, pointer):
            if entry.tag in tags and entry.kind == _BYTE:
                struct.pack_into(block.order + "H", block.data, entry.at + 2, _UNDEFINED)
    return bytes(block.data)


def about_raw(data: bytes) -> tuple[bytes | None, bytes | None]:
    """EXIF and XMP of a camera RAW that is built like a TIFF; None where there is none, or nothing to be made of it."""
    if not data.startswith((b"II*\0", b"MM\0*")):
        return None, None
    try:
        found = Image.Exif()
        found.load(b"Exif\0\0" + data)
        xmp = found.get(_XMP)
        for tag in list(found):
            if tag in TIFF_LAYOUT or tag in _OF_SENSORS or tag >= _FIRST_OF_DNG:
                del found[tag]
        directories_of(found)
        return declared(found.tobytes()) if len(found) else None, xmp if isinstance(xmp, bytes) else None
    except Exception as error:  # as above
        _log.debug("nothing to be made of the tags of a camera RAW: %s", error)
        return None, None


def orientation_of_tiff(image: Image.Image) -> int:
    """The orientation 1 to 8 that Pillow turns an open TIFF by when it loads the pixels."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # as above
        return 1
    return found if found in range(1, 9) else 1


def checked_icc(icc: bytes | None, spaces: tuple[str, ...]) -> bytes | None:
    """``icc`` when it is a profile for one of the colour spaces (``RGB``, ``GRAY``, ``CMYK``, ``Lab``), else None."""
    if not icc:
        return None
    try:
        space = space_of(icc)
    except ValueError as error:
        _log.warning("a malformed ICC profile is left out: %s", error)
        return None
    if space not in spaces:
        _log.warning("an ICC profile for %s is left out: the photo is %s", space, " or ".join(spaces))
        return None
    return icc


def checked_dpi(dpi: object, *, swapped: bool) -> tuple[float, float] | None:
    """Horizontal and vertical dots per inch when they are plausible, else None; ``swapped`` after a quarter turn."""
    try:
        across, down = (float(value) for value in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(math.isfinite(value) and 1 < value <= 65_535 for value in (across, down)):
        return None
    return (down, across) if swapped else (across, down)
