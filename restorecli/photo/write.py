"""From a :class:`Photo` to a file, with everything beside the pixels that the file's format can hold."""

from __future__ import annotations

import io
import logging
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from restorecli.errors import PhotoError, UsageError
from restorecli.photo import deep, jpeg, photoshop, png, tiff
from restorecli.photo.atomic import refuse_existing, write_bytes_atomic
from restorecli.photo.bits import eight_bits
from restorecli.photo.colour import encoding_of, returned, space_of
from restorecli.photo.extras import encode_heic, encode_jxl
from restorecli.photo.formats import (
    ALPHA_FORMATS,
    CMYK_FORMATS,
    DEEP_FORMATS,
    GREY_ICC_FORMATS,
    ICC_FORMATS,
    MAX_SIDE,
    SUCCESSORS,
    SUFFIXES,
    TITLES,
    format_of,
)
from restorecli.photo.guards import quiet_pillow
from restorecli.photo.metadata import (
    RESOLUTION_UNIT,
    X_RESOLUTION,
    Y_RESOLUTION,
    has_field,
    with_fields,
    without_orientation,
)
from restorecli.photo.names import shown
from restorecli.photo.photo import Photo

_log = logging.getLogger(__name__)

_UNROUNDED = DEEP_FORMATS | {"heic"}
_INCH = 2
_HORIZONTAL_DIFFERENCES = {317: 2}


def write_photo(
    photo: Photo,
    path: str | Path,
    *,
    format: str = "same",
    quality: int | str = 95,
    overwrite: bool = False,
    original: os.stat_result | None = None,
    preserve_times: bool = False,
) -> None:
    """Write ``photo`` to ``path``, whole or not at all.

    ``format="same"`` is the format that the suffix of ``path`` names, and the photo's own when it names none. Otherwise
    as :func:`encode_photo` and :func:`write_bytes_atomic`, whose errors it raises. ``original`` is ``os.stat`` of the
    file that the photo was read from: what is written is for nobody's eyes who could not read that one, and with
    ``preserve_times`` it has its times.
    """
    path = Path(path)
    refuse_existing(path, overwrite=overwrite)
    wanted = format_of(path) or photo.format if format == "same" else format
    try:
        data, _ = encode_photo(photo, format=wanted, quality=quality)
    except PhotoError as error:
        raise PhotoError(f"{shown(path)}: {error}", kind=error.kind) from error
    write_bytes_atomic(data, path, overwrite=overwrite, original=original, preserve_times=preserve_times)


def encode_photo(photo: Photo, *, format: str = "same", quality: int | str = 95) -> tuple[bytes, str]:
    """``photo`` as the bytes of a file, and the suffix of such files (``.jpg``).

    ``format`` is ``same``, a format's name or ``jpg``. ``quality`` (1 to 100) is for JPEG, WebP, AVIF, HEIC and JPEG
    XL; ``same`` codes a JPEG with the quantisation that it came with, and everything else with 95. 16 bits are kept in
    PNG and TIFF and rounded elsewhere; EXIF, XMP, ICC, IPTC and resolution are kept where the format holds them. A
    JPEG keeps the chroma subsampling it came with; what came from another format is not subsampled. A WebP without
    loss stays so. Colours that a format cannot hold as they were (CMYK in PNG) become sRGB.

    :class:`UsageError` for an unknown format or quality; :class:`PhotoError` of the kind ``format`` when the format
    cannot hold the photo: transparency (unless it is opaque everywhere), or its size; of the kind ``extra`` when its
    encoder is not installed.
    """
    if quality != "same" and not (isinstance(quality, int) and 1 <= quality <= 100):
        raise UsageError(f"--quality must be same, or from 1 to 100, not {quality}")
    wanted = {"same": SUCCESSORS.get(photo.format, photo.format), "jpg": "jpeg"}.get(format, format)
    if wanted not in SUFFIXES:
        raise UsageError(f"--format must be same, jpg, {', '.join(list(SUFFIXES)[1:])}, not {format!r}")
    longest = max(photo.pixels.shape[:2])
    if longest > MAX_SIDE.get(wanted, longest):
        raise PhotoError(
            f"{TITLES[wanted]} holds no side longer than {MAX_SIDE[wanted]} pixels, this one has {longest}; "
            "choose another format, such as png",
            kind="format",
        )
    if wanted != "png" and photo.icc is None and png.states_colours(photo.texts):
        _log.warning(
            "%s has no place for this PNG's gamma and primaries: its colours will look a little different; "
            "keep them with --format png",
            TITLES[wanted],
        )
    alpha = _alpha_for(photo, wanted)
    pixels, icc = _values_for(photo, wanted)
    if wanted not in _UNROUNDED:
        if pixels.dtype == np.uint16 and wanted == photo.format:
            _log.warning("%s is written with 8 bits a channel; keep 16 with --format tiff", TITLES[wanted])
        pixels, alpha = eight_bits(pixels), None if alpha is None else eight_bits(alpha)
    try:
        with quiet_pillow():
            return _ENCODERS[wanted](replace(photo, icc=icc), pixels, alpha, quality), SUFFIXES[wanted]
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:160] or "not enough memory"
        raise PhotoError(
            f"cannot be coded as {TITLES[wanted]} ({reason}); choose another format, such as png", kind="format"
        ) from error


def _values_for(photo: Photo, format: str) -> tuple[np.ndarray, bytes | None]:
    """Values to write and the profile that says what they mean: the photo's own, or where they do not fit in, sRGB."""
    if photo.icc is not None and space_of(photo.icc) == "GRAY":
        fits = format in GREY_ICC_FORMATS
    else:
        fits = format in ICC_FORMATS
    if photo.native is None:
        return photo.pixels, photo.icc if fits else None
    if photo.native.shape[2] == 4:
        fits = format in CMYK_FORMATS
    if fits:
        encoding = encoding_of(photo.icc, photo.native.shape[2])
        assert encoding is not None  # else there would be no native values
        return returned(photo.native, photo.pixels, encoding), photo.icc
    return photo.pixels if photo.native.dtype == np.uint16 else eight_bits(photo.pixels), None


def _alpha_for(photo: Photo, format: str) -> np.ndarray | None:
    """The alpha channel to write; none when it says nothing and the format has no room for it."""
    alpha = photo.alpha
    if alpha is None or format in ALPHA_FORMATS:
        return alpha
    opaque = np.iinfo(alpha.dtype).max
    if (alpha == opaque).all():
        return None
    if format == "gif" and ((alpha == opaque) | (alpha == 0)).all():
        return alpha
    raise PhotoError(
        f"{TITLES[format]} cannot hold its transparency; choose another format, such as png", kind="format"
    )


def _image(pixels: np.ndarray, alpha: np.ndarray | None) -> Image.Image:
    """uint8 pixels and alpha as a Pillow image of mode L, LA, RGB, RGBA or CMYK."""
    if pixels.shape[2] == 4:
        return Image.frombytes("CMYK", pixels.shape[1::-1], pixels.tobytes())
    if alpha is not None:
        return Image.fromarray(np.dstack([pixels, alpha]))
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **{name: value for name, value in options.items() if value is not None})
    return file.getvalue()


def _jpeg(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, quality: int | str) -> bytes:
    own = photo.format == "jpeg" and len(photo.coding.tables) == pixels.shape[2]
    data = jpeg.encode(pixels, coding=_coding(photo), quality=None if quality == "same" and own else _number(quality))
    return jpeg.with_metadata(
        data,
        icc=photo.icc,
        exif=photo.exif if b"JFIF" in data[:32] else _with_resolution(photo),
        xmp=photo.xmp,
        dpi=photo.dpi,
        photoshop=photoshop.joined(photo.photoshop, photo.iptc),
        segments=photo.segments,
    )


def _coding(photo: Photo) -> jpeg.Coding:
    return photo.coding if photo.format == "jpeg" else jpeg.Coding()


def _number(quality: int | str) -> int:
    return 95 if isinstance(quality, str) else quality


def _with_resolution(photo: Photo) -> bytes | None:
    """EXIF that states the resolution, for formats that have no other place for it."""
    if photo.dpi is None or has_field(photo.exif, X_RESOLUTION):
        return photo.exif
    across, down = (Fraction(value).limit_denominator(10_000) for value in photo.dpi)
    return with_fields(photo.exif, {X_RESOLUTION: across, Y_RESOLUTION: down, RESOLUTION_UNIT: _INCH})


def _png(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, quality: int | str) -> bytes:
    data = deep.encode_png(pixels, alpha) if pixels.dtype == np.uint16 else _saved(_image(pixels, alpha), "PNG")
    return png.with_metadata(
        data, icc=photo.icc, exif=photo.exif, xmp=photo.xmp, dpi=photo.dpi, iptc=photo.iptc, texts=photo.texts
    )


def _tiff(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, quality: int | str) -> bytes:
    if pixels.dtype == np.uint16:
        data = deep.encode_tiff(pixels, alpha)
    else:
        image = _image(pixels, alpha)
        data = _saved(image, "TIFF", compression="tiff_adobe_deflate", tiffinfo=_HORIZONTAL_DIFFERENCES)
    return tiff.with_metadata(
        data,
        icc=photo.icc,
        exif=photo.exif,
        xmp=photo.xmp,
        dpi=photo.dpi,
        iptc=photo.iptc,
        resources=photo.photoshop,
    )


def _webp(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, quality: int | str) -> bytes:
    # exact: the colour under transparent pixels is part of the photo.
    return _saved(
        _image(pixels, alpha),
        "WEBP",
        lossless=photo.lossless and photo.format == "webp",
        quality=_number(quality),
        exact=True,
        icc_profile=photo.icc,
        exif=_with_resolution(photo),
        xmp=photo.xmp,
    )


def _avif(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, quality: int | str) -> bytes:
    # Quality is for the colours: alpha is coded without loss, in the only encoder that can be told so.
    exact_alpha: dict[str, Any] = {} if alpha is None else {"codec": "aom", "advanced": {"alpha:cq-level": "0"}}
    exif = _with_resolution(photo)
    return _saved(
        _image(pixels, alpha),
        "AVIF",
        quality=_number(quality),
        subsampling="4:0:0" if pixels.shape[2] == 1 and alpha is None else "4:4:4",
        icc_profile=photo.icc,
        exif=exif and without_orientation(exif),
        xmp=photo.xmp,
        **exact_alpha,
    )


def _heic(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, quality: int | str) -> bytes:
    return encode_heic(
        pixels,
        alpha,
        quality=_number(quality),
        subsampling=(photo.coding.subsampling if photo.format == "heic" else None) or "4:4:4",
        icc=photo.icc,
        exif=_with_resolution(photo),
        xmp=photo.xmp,
    )


def _jxl(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, quality: int | str) -> bytes:
    return encode_jxl(
        pixels, alpha, quality=_number(quality), icc=photo.icc, exif=_with_resolution(photo), xmp=photo.xmp
    )


def _bmp(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, quality: int | str) -> bytes:
    return _saved(_image(pixels, alpha), "BMP", dpi=photo.dpi)


def _gif(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, quality: int | str) -> bytes:
    image = _image(pixels, None)
    if alpha is None:
        return _saved(image if image.mode == "L" else image.quantize(256), "GIF")
    indexed = image.convert("RGB").quantize(255)
    shown_pixels = np.asarray(indexed).copy()
    shown_pixels[alpha == 0] = 255
    result = Image.fromarray(shown_pixels).convert("P")
    palette = (indexed.getpalette() or [])[: 255 * 3]
    result.putpalette(palette + [0] * (768 - len(palette)))
    return _saved(result, "GIF", transparency=255)


_ENCODERS = {
    "jpeg": _jpeg,
    "png": _png,
    "tiff": _tiff,
    "webp": _webp,
    "avif": _avif,
    "bmp": _bmp,
    "gif": _gif,
    "heic": _heic,
    "jxl": _jxl,
}
