"""TIFF at the level of its directory: what the pixel encoders do not write is merged in here."""

from __future__ import annotations

import io
import logging
import struct
from typing import IO, Any, Literal

from PIL import Image, TiffImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from restorecli.photo import photoshop
from restorecli.photo.metadata import EXIF_IFD, GPS_IFD, INTEROP_IFD, ORIENTATION, TIFF_LAYOUT, declared, directories_of

_log = logging.getLogger(__name__)

_SAMPLES, _STRIP_OFFSETS, _STRIP_BYTES, _EXTRA_SAMPLES = 277, 273, 279, 338
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _INCH = 282, 283, 296, 2
_XMP, _ICC, _IPTC, _PHOTOSHOP = 700, 34675, 33723, 34377
_SUBFILE_TYPE, _DNG_VERSION, _REDUCED = 254, 50706, 1
_PHOTOMETRIC, _CMYK, _OF_SENSORS = 262, 5, (32803, 34892)
_WIDTH, _BITS, _PREDICTOR = 256, 258, 317
_BYTE, _SHORT, _LONG, _UNDEFINED = 1, 3, 4, 7
_UNASSOCIATED_ALPHA = 2

for _order in (b"II", b"MM"):
    for _extra in (0, 1, 2):
        # Pillow does not open grey with alpha of 16 bits, which others decode, and so would not tell of its tags.
        TiffImagePlugin.OPEN_INFO.setdefault((_order, 1, (1,), 1, (16, 16), (_extra,)), ("LA", "LA"))


def is_raw(file: IO[bytes]) -> bool:
    """Whether a TIFF is a camera RAW: a DNG, or one whose first picture is but a preview, or a sensor's mosaic.

    From its first directory, as Pillow does not open all of them. The file is left at its start.
    """
    file.seek(0)
    head = file.read(16)
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    big = b"+" in head[2:4]
    offset, count, step = (head[8:16], 8, 20) if big else (head[4:8], 2, 12)
    file.seek(int.from_bytes(offset, order))
    number = int.from_bytes(file.read(count), order)
    fields = file.read(step * number) if number < 2**16 else b""
    file.seek(0)
    tags: dict[int, int] = {}
    for at in range(0, len(fields) - step + 1, step):
        tag, kind = (int.from_bytes(fields[place : place + 2], order) for place in (at, at + 2))
        value = at + (12 if big else 8)
        tags[tag] = int.from_bytes(fields[value : value + (2 if kind == _SHORT else 4)], order)
    return _DNG_VERSION in tags or tags.get(_SUBFILE_TYPE) == _REDUCED or tags.get(_PHOTOMETRIC) in _OF_SENSORS


def blocks_of(image: TiffImagePlugin.TiffImageFile) -> dict[str, Any]:
    """IPTC and Photoshop's resources of an open TIFF, as fields of a photo."""
    try:
        resources, iptc = photoshop.split(_bytes(image.tag_v2, _PHOTOSHOP) or b"")
        return {"photoshop": resources, "iptc": _bytes(image.tag_v2, _IPTC) or iptc}
    except Exception as error:  # Pillow raises all kinds over odd tags; the photo is not lost over it
        _log.warning("malformed IPTC is left out: %s", error)
        return {}


def _bytes(tags: ImageFileDirectory_v2, tag: int) -> bytes | None:
    # As they stand in the file: Adobe declares these bytes as whole numbers by mistake, and others repeat it, of which
    # Pillow then gives the first alone.
    value = tags._tagdata.get(tag)
    return value if isinstance(value, bytes) else None


def as_grey_alpha(data: bytes) -> bytes:
    """A grey 16-bit TIFF of width 2 W without predictor, in which grey and alpha take turns, as one of width W.

    The bytes of a row are the same in both.
    """
    directory = _directory(data)
    strips = _strips(directory, data)
    directory[_WIDTH] //= 2
    directory[_SAMPLES], directory[_BITS] = 2, (16, 16)
    return _joined(directory, strips, None)


def as_cmyk(data: bytes) -> bytes:
    """A TIFF of four channels, declared as CMYK."""
    directory = _directory(data)
    strips = _strips(directory, data)
    directory[_PHOTOMETRIC] = _CMYK
    directory.pop(_EXTRA_SAMPLES, None)
    return _joined(directory, strips, None)


def with_metadata(
    data: bytes,
    *,
    icc: bytes | None,
    exif: bytes | None,
    xmp: bytes | None,
    dpi: tuple[float, float] | None,
    iptc: bytes | None = None,
    resources: bytes | None = None,
) -> bytes:
    """A finished little-endian TIFF in strips, written anew with all of this in its directory.

    An alpha channel (the second or fourth sample) is declared as not premultiplied, which not every encoder does.
    """
    directory = _directory(data)
    strips = _strips(directory, data)
    if directory.get(_SAMPLES, 1) in (2, 4) and directory.get(_PHOTOMETRIC) != _CMYK:
        directory[_EXTRA_SAMPLES] = _UNASSOCIATED_ALPHA
    if icc:
        directory.tagtype[_ICC] = _UNDEFINED
        directory[_ICC] = icc
    for tag, kind, block in ((_XMP, _BYTE, xmp), (_IPTC, _UNDEFINED, iptc), (_PHOTOSHOP, _BYTE, resources)):
        if block:
            directory.tagtype[tag] = kind
            directory[tag] = block
    if dpi:
        directory[_X_RESOLUTION], directory[_Y_RESOLUTION] = dpi
        directory[_RESOLUTION_UNIT] = _INCH
    return _joined(directory, strips, exif)


def _strips(directory: ImageFileDirectory_v2, data: bytes) -> list[bytes]:
    return [data[at : at + size] for at, size in zip(directory[_STRIP_OFFSETS], directory[_STRIP_BYTES], strict=True)]


def _joined(directory: ImageFileDirectory_v2, strips: list[bytes], exif: bytes | None) -> bytes:
    # Pillow counts strip offsets from the end of the directory, which it writes first.
    offsets = [0]
    for strip in strips[:-1]:
        offsets.append(offsets[-1] + len(strip))
    directory.tagtype[_STRIP_OFFSETS] = _LONG
    directory[_STRIP_OFFSETS] = tuple(offsets)
    return b"".join([_header(directory, exif), *strips])


def without_turn(data: bytes) -> bytes:
    """The same TIFF with orientation 1: whether OpenCV turns the pixels depends on the file and its version."""
    order = "<" if data[:2] == b"II" else ">"
    big = b"+" in data[2:4]
    at = struct.unpack_from(order + ("Q" if big else "L"), data, 8 if big else 4)[0]
    count = struct.unpack_from(order + ("Q" if big else "H"), data, at)[0]
    start, step = (8, 20) if big else (2, 12)
    for place in range(at + start, min(at + start + count * step, len(data) - step), step):
        if struct.unpack_from(order + "H", data, place)[0] == ORIENTATION:
            one = struct.pack(order + "HHQHL" if big else order + "HHLHH", ORIENTATION, _SHORT, 1, 1, 0)
            return b"".join([data[:place], one.ljust(step, b"\0"), data[place + step :]])
    return data


def _directory(data: bytes) -> ImageFileDirectory_v2:
    """The first directory of a TIFF, its tags loaded."""
    file = io.BytesIO(data)
    directory = ImageFileDirectory_v2(file.read(8))
    file.seek(directory.next)
    directory.load(file)
    loaded = ImageFileDirectory_v2(prefix=b"II")
    for tag in directory:
        loaded.tagtype[tag] = directory.tagtype[tag]
        loaded[tag] = directory[tag]
    return loaded


def _header(directory: ImageFileDirectory_v2, exif: bytes | None) -> bytes:
    """Everything before the strips; without EXIF when Pillow cannot write what it holds."""
    if exif:
        merged = ImageFileDirectory_v2(prefix=b"II")
        try:
            found = Image.Exif()
            found.load(exif)
            directories_of(found)
            for tag in found:
                if tag not in TIFF_LAYOUT:
                    merged[tag] = _below(found, tag) if tag in (EXIF_IFD, GPS_IFD) else found[tag]
            for tag in directory:
                merged.tagtype[tag] = directory.tagtype[tag]
                merged[tag] = directory[tag]
            return declared(_written(merged))
        except Exception as error:  # Pillow raises all kinds over odd tags; the photo is not lost over it
            _log.warning("EXIF that cannot be written to a TIFF is left out: %s", error)
    return _written(directory)


def _below(found: Image.Exif, pointer: int) -> dict[int, Any]:
    """The directory that a field points to, with the one that it points to itself in place of where that was."""
    fields = dict(found.get_ifd(pointer))
    if INTEROP_IFD in fields:
        fields[INTEROP_IFD] = dict(found.get_ifd(INTEROP_IFD))
    return fields


def _written(directory: ImageFileDirectory_v2) -> bytes:
    file = io.BytesIO()
    directory.save(file)
    return file.getvalue()
