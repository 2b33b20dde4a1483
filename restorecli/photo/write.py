"""From a :class:`Photo` to a file, with everything beside the pixels that the file's format can hold."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from restorecli.errors import PhotoError, UsageError
from restorecli.photo import deep, png, tiff
from restorecli.photo.atomic import refuse_existing, write_bytes_atomic
from restorecli.photo.formats import ALPHA_FORMATS, DEEP_FORMATS, MAX_SIDE, SUFFIXES, TITLES, format_of
from restorecli.photo.guards import quiet_pillow
from restorecli.photo.metadata import without_orientation
from restorecli.photo.names import shown
from restorecli.photo.photo import Photo

_log = logging.getLogger(__name__)

_JPEG_EXIF_MAX, _JPEG_XMP_MAX, _JPEG_ICC_MAX = 65_533 - 6, 65_533 - 29, 255 * (65_533 - 14)
_HORIZONTAL_DIFFERENCES = {317: 2}


def write_photo(
    photo: Photo, path: str | Path, *, format: str = "same", quality: int = 95, overwrite: bool = False
) -> None:
    """Write ``photo`` to ``path``, whole or not at all.

    ``format="same"`` is the format that the suffix of ``path`` names, and the photo's own when it names none. Otherwise
    as :func:`encode_photo` and :func:`write_bytes_atomic`, whose errors it raises.
    """
    path = Path(path)
    refuse_existing(path, overwrite=overwrite)
    wanted = format_of(path) or photo.format if format == "same" else format
    try:
        data, _ = encode_photo(photo, format=wanted, quality=quality)
    except PhotoError as error:
        raise PhotoError(f"{shown(path)}: {error}", kind=error.kind) from error
    write_bytes_atomic(data, path, overwrite=overwrite)


def encode_photo(photo: Photo, *, format: str = "same", quality: int = 95) -> tuple[bytes, str]:
    """``photo`` as the bytes of a file, and the suffix of such files (``.jpg``).

    ``format`` is ``same``, a format's name or ``jpg``. ``quality`` (1 to 100) is for JPEG, WebP and AVIF. 16 bits are
    kept in PNG and TIFF and rounded to 8 elsewhere; EXIF, XMP, ICC and resolution are kept where the format holds them.
    A JPEG keeps the chroma subsampling it came with; what came from another format is not subsampled.

    :class:`UsageError` for an unknown format or quality; :class:`PhotoError` of the kind ``format`` when the format
    cannot hold the photo: transparency (unless it is opaque everywhere), or its size.
    """
    if not 1 <= quality <= 100:
        raise UsageError(f"--quality must be from 1 to 100, not {quality}")
    wanted = {"same": photo.format, "jpg": "jpeg"}.get(format, format)
    if wanted not in SUFFIXES:
        raise UsageError(f"--format must be same, jpg, {', '.join(list(SUFFIXES)[1:])}, not {format!r}")
    longest = max(photo.pixels.shape[:2])
    if longest > MAX_SIDE.get(wanted, longest):
        raise PhotoError(
            f"{TITLES[wanted]} holds no side longer than {MAX_SIDE[wanted]} pixels, this one has {longest}; "
            "choose another with --format png",
            kind="format",
        )
    pixels, alpha = photo.pixels, _alpha_for(photo, wanted)
    if wanted not in DEEP_FORMATS:
        pixels, alpha = _to_8_bits(pixels), None if alpha is None else _to_8_bits(alpha)
    try:
        with quiet_pillow():
            return _ENCODERS[wanted](photo, pixels, alpha, quality), SUFFIXES[wanted]
    except (OSError, ValueError, MemoryError) as error:
        reason = " ".join(str(error).split())[:160] or "not enough memory"
        raise PhotoError(
            f"cannot be coded as {TITLES[wanted]} ({reason}); choose another with --format png", kind="format"
        ) from error


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
    raise PhotoError(f"{TITLES[format]} cannot hold its transparency; choose --format png", kind="format")


def _to_8_bits(array: np.ndarray) -> np.ndarray:
    """uint16 rounded to the nearest of 256 levels; uint8 as it is."""
    if array.dtype == np.uint8:
        return array
    # 257 levels of 16 bits make one of 8; in bands of rows nothing as large as the photo is made but the result.
    result = np.empty(array.shape, np.uint8)
    for top in range(0, len(array), 256):
        result[top : top + 256] = (array[top : top + 256].astype(np.uint32) + 128) // 257
    return result


def _image(pixels: np.ndarray, alpha: np.ndarray | None) -> Image.Image:
    """uint8 pixels and alpha as a Pillow image of mode L, LA, RGB or RGBA."""
    if alpha is not None:
        return Image.fromarray(np.dstack([pixels, alpha]))
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **{name: value for name, value in options.items() if value is not None})
    return file.getvalue()


def _jpeg(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, quality: int) -> bytes:
    exif = _fitting(photo.exif, _JPEG_EXIF_MAX, "EXIF")
    return _saved(
        _image(pixels, alpha),
        "JPEG",
        quality=quality,
        subsampling=photo.jpeg_subsampling or "4:4:4",
        icc_profile=_fitting(photo.icc, _JPEG_ICC_MAX, "an ICC profile"),
        exif=exif and b"Exif\0\0" + exif,
        xmp=_fitting(photo.xmp, _JPEG_XMP_MAX, "XMP"),
        dpi=photo.dpi,
    )


def _fitting(block: bytes | None, limit: int, what: str) -> bytes | None:
    if block and len(block) > limit:
        _log.warning("%s of %d bytes is left out: JPEG holds at most %d", what, len(block), limit)
        return None
    return block


def _png(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, quality: int) -> bytes:
    data = deep.encode_png(pixels, alpha) if pixels.dtype == np.uint16 else _saved(_image(pixels, alpha), "PNG")
    return png.with_metadata(data, icc=photo.icc, exif=photo.exif, xmp=photo.xmp, dpi=photo.dpi)


def _tiff(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, quality: int) -> bytes:
    if pixels.dtype == np.uint16:
        data = deep.encode_tiff(pixels, alpha)
    else:
        image = _image(pixels, alpha)
        data = _saved(image, "TIFF", compression="tiff_adobe_deflate", tiffinfo=_HORIZONTAL_DIFFERENCES)
    return tiff.with_metadata(data, icc=photo.icc, exif=photo.exif, xmp=photo.xmp, dpi=photo.dpi)


def _webp(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, quality: int) -> bytes:
    # exact: the colour under transparent pixels is part of the photo.
    return _saved(
        _image(pixels, alpha),
        "WEBP",
        quality=quality,
        exact=True,
        icc_profile=photo.icc,
        exif=photo.exif,
        xmp=photo.xmp,
    )


def _avif(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, quality: int) -> bytes:
    # Quality is for the colours: alpha is coded without loss, in the only encoder that can be told so.
    exact_alpha: dict[str, Any] = {} if alpha is None else {"codec": "aom", "advanced": {"alpha:cq-level": "0"}}
    return _saved(
        _image(pixels, alpha),
        "AVIF",
        quality=quality,
        subsampling="4:0:0" if pixels.shape[2] == 1 and alpha is None else "4:4:4",
        icc_profile=photo.icc,
        exif=photo.exif and without_orientation(photo.exif),
        xmp=photo.xmp,
        **exact_alpha,
    )


def _bmp(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, quality: int) -> bytes:
    return _saved(_image(pixels, alpha), "BMP", dpi=photo.dpi)


def _gif(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, quality: int) -> bytes:
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


_ENCODERS = {"jpeg": _jpeg, "png": _png, "tiff": _tiff, "webp": _webp, "avif": _avif, "bmp": _bmp, "gif": _gif}
