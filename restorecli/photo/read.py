"""From a file to a :class:`Photo`; the content decides what it is, never the suffix."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from restorecli.errors import PhotoError
from restorecli.photo import colour, jpeg, metadata, photoshop, png, tiff
from restorecli.photo.damage import failure
from restorecli.photo.extras import DECODERS
from restorecli.photo.formats import HEAD_BYTES, TITLES, sniff
from restorecli.photo.guards import (
    check_bytes,
    check_scans,
    check_size,
    check_tiff,
    gif_frames,
    gif_size,
    quiet_pillow,
    webp_size,
)
from restorecli.photo.isobmff import properties_of
from restorecli.photo.names import shown
from restorecli.photo.opening import opened
from restorecli.photo.photo import Photo
from restorecli.photo.pixels import deep_pixels, is_deep, shallow_pixels, upright
from restorecli.photo.webp import webp_chunks
from restorecli.photo.xmp import checked_xmp, upright_xmp

_log = logging.getLogger(__name__)

# Each opened directly: Image.open tries dozens of formats that nobody asked for, on files that nobody vouches for.
_PLUGINS: dict[str, type[ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "gif": GifImagePlugin.GifImageFile,
}
_SUBFILE_TYPE, _COPY_OR_MASK = 254, 0b101
_MOST_PICTURES = 100


def read_photo(source: str | Path | bytes, *, max_pixels: int = 400_000_000, name: str | None = None) -> Photo:
    """Read one photo.

    ``source`` is a file or its bytes, ``name`` what messages call it. A photo of more than ``max_pixels`` pixels is
    refused from its header, before memory for them is taken. Malformed EXIF, XMP or ICC is left out and logged. Of a
    file of several pictures (an animation, the pages of a TIFF) the first is read, and that is logged too.

    :class:`PhotoError` of the kind ``missing``, ``empty``, ``not_a_photo``, ``truncated``, ``too_large``,
    ``colour`` (linear or HDR values), ``extra`` (its decoder is not installed) or ``unreadable`` when there is nothing
    to return.
    """
    label = shown(name or ("the photo" if isinstance(source, bytes) else source))
    with opened(source, label) as file:
        check_bytes(file.seek(0, io.SEEK_END), max_pixels, label)
        file.seek(0)
        found = _known_format(file, label)
        with quiet_pillow():
            try:
                photo = _decode(file, found, max_pixels, label)
            except PhotoError:
                raise
            except MemoryError as error:
                raise PhotoError(
                    f"{label}: not enough memory to read it; close other programs or make the photo smaller",
                    kind="too_large",
                ) from error
            except Exception as error:  # decoders raise all kinds over damaged files
                raise failure(file, found, label, error) from error
            pictures = _pictures(file, found)
    if pictures > 1:
        # What phones put behind a JPEG is no photo to restore.
        if found != "jpeg":
            count = pictures if pictures <= _MOST_PICTURES else f"more than {_MOST_PICTURES}"
            _log.warning("%s: only the first of %s pictures is restored", label, count)
        photo = replace(photo, pictures=pictures)
    return photo


def _pictures(file: IO[bytes], format: str) -> int:
    """How many pictures a readable file holds, smaller copies and masks of the first not counted; 1 if unknown.

    Counted up to one more than :data:`_MOST_PICTURES`: there may be millions, of a few bytes each.
    """
    if format == "bmp":
        return 1
    # Anew, because looking further changes what an image holds; and what is wrong there is no matter of the first.
    try:
        if format == "gif":
            return sum(1 for _ in itertools.islice(gif_frames(file), _MOST_PICTURES + 1))
        file.seek(0)
        if format == "jpeg":
            return 1 + jpeg.count_behind(file)
        image = _PLUGINS[format](file)
        if not isinstance(image, TiffImagePlugin.TiffImageFile):
            return int(getattr(image, "n_frames", 1))
        pages = 0
        with contextlib.suppress(EOFError):
            for page in range(_MOST_PICTURES + 1):
                image.seek(page)
                pages += not image.tag_v2.get(_SUBFILE_TYPE, 0) & _COPY_OR_MASK
        return pages
    except Exception:
        return 1


def _known_format(file: IO[bytes], label: str) -> str:
    """The format of the file, by its first bytes; the file is left at its start."""
    try:
        head = file.read(HEAD_BYTES)
        file.seek(0)
    except OSError as error:
        raise PhotoError(f"{label}: cannot be read ({error.strerror}); check the disk", kind="unreadable") from error
    if not head:
        raise PhotoError(f"{label}: the file is empty; copy it again from where it came", kind="empty")
    found = sniff(head)
    if found is None:
        raise PhotoError(f"{label}: not a photo; wanted is {', '.join(TITLES.values())}", kind="not_a_photo")
    return found


def _decode(file: IO[bytes], format: str, max_pixels: int, label: str) -> Photo:
    if format in DECODERS:
        return _decode_by_extra(file, format, max_pixels, label)
    if format == "tiff" and tiff.is_raw(file):
        return _decode_by_extra(file, "raw", max_pixels, label)
    # Pillow takes memory for what these hold when it opens them.
    if format == "webp":
        check_size(*webp_size(file), max_pixels, label)
    elif format == "gif":
        check_size(*gif_size(file), max_pixels, label)
    elif format == "jpeg":
        check_scans(file, label)
    try:
        return _decode_whole(file, format, max_pixels, label)
    except (PhotoError, MemoryError):
        raise
    except Exception as error:
        if format not in ("png", "jpeg"):
            raise
        _log.debug("%s: tried again without what may be malformed: %s", label, error)
    return _decode_without_malformed(file, format, max_pixels, label)


def _decode_without_malformed(file: IO[bytes], format: str, max_pixels: int, label: str) -> Photo:
    """A photo whose metadata Pillow stumbled over: with the sound ones if that will do, else with none."""
    file.seek(0)
    data = file.read()
    if format == "jpeg":
        photo = _decode_whole(io.BytesIO(jpeg.bare(data)), format, max_pixels, label)
    else:
        photo = _first_that_will_do(data, max_pixels, label)
    _log.warning("%s: malformed metadata are left out", label)
    return photo


def _first_that_will_do(data: bytes, max_pixels: int, label: str) -> Photo:
    """A PNG with as many of its sound chunks as Pillow takes: texts may be larger than it reads, profiles broken."""
    for about in ((*png.COLOURS, *png.ABOUT), png.WITHOUT_TEXTS, png.WITHOUT_PROFILE):
        try:
            return _decode_png_with(data, about, max_pixels, label)
        except (PhotoError, MemoryError):
            raise
        except Exception as error:
            _log.debug("%s: tried again with fewer chunks: %s", label, error)
    return _decode_png_with(data, png.BARE, max_pixels, label)


def _decode_png_with(data: bytes, about: tuple[bytes, ...], max_pixels: int, label: str) -> Photo:
    sound = png.rearranged(data, png.HEADER, png.TRANSPARENCY, about, png.PIXELS)
    return _decode_whole(io.BytesIO(sound), "png", max_pixels, label)


def _decode_by_extra(file: IO[bytes], format: str, max_pixels: int, label: str) -> Photo:
    file.seek(0)
    with _named(label):
        found = DECODERS[format](file.read(), max_pixels, label)
    if found.pictures > 1:
        _log.warning("%s: only the first of its pictures is restored", label)
    return _photo(
        found.values,
        found.alpha,
        format=format,
        icc=found.icc,
        exif=found.exif,
        xmp=found.xmp,
        # By their decoders, whatever EXIF and XMP say.
        rotated=True,
        primaries=found.primaries,
        transfer=found.transfer,
        coding=found.coding,
        label=label,
    )


def _decode_whole(file: IO[bytes], format: str, max_pixels: int, label: str) -> Photo:
    image = _PLUGINS[format](file)
    check_size(*image.size, max_pixels, label)
    about: dict[str, Any] = {}
    coded: dict[str, bytes | None] = {}
    deep_file = is_deep(image, file)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        check_tiff(image, max_pixels, label)
        # While its directory is still at hand: loading the pixels changes it.
        exif, orientation = metadata.exif_of_tiff(image), metadata.orientation_of_tiff(image)
        about |= tiff.blocks_of(image)
    else:
        if deep_file:
            about |= _about_png(file)
            file.seek(0)
            file = io.BytesIO(png.rearranged(file.read(), png.HEADER, png.TRANSPARENCY, png.ABOUT, png.PIXELS))
            image = PngImagePlugin.PngImageFile(file)
        else:
            # Only then does Pillow know of the EXIF and XMP that a PNG has behind its pixels.
            image.load()
            about |= _ABOUT[format](file) if format in _ABOUT else {}
        # What PNG has chunks for stands there as a rule.
        coded = {name: about.pop(name) for name in ("exif", "xmp") if name in about}
        exif = image.info.get("exif") or coded.get("exif")
        orientation = metadata.orientation_of(exif)
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        about["coding"] = jpeg.coding_of(image)
    if deep_file:
        pixels, alpha = deep_pixels(image, file)
        icc = image.info.get("icc_profile")
    else:
        pixels, alpha, icc = shallow_pixels(image, file)
    # Pillow turns the TIFFs that it loads, and nothing else.
    turn = 1 if format == "tiff" and not deep_file else orientation
    return _photo(
        upright(pixels, turn),
        None if alpha is None else upright(alpha, turn),
        format=format,
        icc=icc,
        exif=exif,
        xmp=image.info.get("xmp") or coded.get("xmp"),
        rotated=orientation != 1,
        dpi=metadata.checked_dpi(image.info.get("dpi"), swapped=orientation >= 5),
        label=label,
        **about,
    )


def _photo(
    values: np.ndarray,
    alpha: np.ndarray | None,
    *,
    icc: bytes | None,
    exif: bytes | None,
    xmp: bytes | str | None,
    rotated: bool,
    label: str,
    primaries: int = 2,
    transfer: int = 2,
    **others: Any,
) -> Photo:
    """The photo of upright values of a file and of what the file says about them; ``rotated``: by what it says.

    :class:`PhotoError` of the kind ``colour`` when the values are linear, or HDR.
    """
    height, width, channels = values.shape
    icc = metadata.checked_icc(icc, {1: ("GRAY", "RGB"), 3: ("RGB",), 4: ("CMYK",)}[channels])
    try:
        with _named(label):
            # What a PNG says of it in four numbers goes before its profile.
            if (icc is None and channels < 4) or others.get("format") == "png":
                colour.check_transfer(transfer)
            if icc is None and channels < 4:
                icc = colour.profile_of(primaries) if channels == 3 else None
            encoding = colour.encoding_of(icc, channels)
    except ValueError as error:
        _log.warning("a malformed ICC profile is left out: %s", error)
        icc, encoding = None, colour.encoding_of(None, channels)
    return Photo(
        pixels=values if encoding is None else colour.seen(values, encoding),
        alpha=alpha,
        native=None if encoding is None else values,
        icc=icc,
        exif=metadata.upright_exif(exif, width, height),
        xmp=upright_xmp(checked_xmp(xmp), rotated=rotated, width=width, height=height),
        **others,
    )


@contextlib.contextmanager
def _named(label: str) -> Iterator[None]:
    """Put the photo's name before what is wrong with it."""
    try:
        yield
    except PhotoError as error:
        if str(error).startswith(label):
            raise
        raise PhotoError(f"{label}: {error}", kind=error.kind) from error


def _about_jpeg(file: IO[bytes]) -> dict[str, Any]:
    file.seek(0)
    segments, resources = jpeg.segments_of(file.read())
    resources, iptc = photoshop.split(resources)
    return {"segments": segments, "photoshop": resources, "iptc": iptc}


def _about_png(file: IO[bytes]) -> dict[str, Any]:
    file.seek(0)
    notes = png.notes_of(file.read())
    return dict(vars(notes))


def _about_webp(file: IO[bytes]) -> dict[str, Any]:
    file.seek(0)
    return {"lossless": b"VP8L" in webp_chunks(file.read())}


def _about_avif(file: IO[bytes]) -> dict[str, Any]:
    file.seek(0)
    found = properties_of(file.read())
    if found.bits > 8:
        _log.warning("an AVIF of %d bits a channel is read with 8", found.bits)
    return {"primaries": found.primaries, "transfer": found.transfer}


_ABOUT = {"jpeg": _about_jpeg, "png": _about_png, "webp": _about_webp, "avif": _about_avif}
