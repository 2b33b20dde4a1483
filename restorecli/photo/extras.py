"""Formats whose decoders are extras of the package: HEIC, JPEG XL and camera RAW."""

from __future__ import annotations

import importlib
import io
import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from restorecli.errors import PhotoError
from restorecli.photo.formats import EXTRAS, TITLES
from restorecli.photo.guards import check_size
from restorecli.photo.jpeg import Coding
from restorecli.photo.metadata import about_raw

_log = logging.getLogger(__name__)

_MODULES = {"heic": "pillow_heif", "jxl": "pylibjxl", "raw": "rawpy"}
_HEIC_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_TEN_BITS = 1023
_RAW_JPEG_EXIF = b"Exif\0\0"


@dataclass(frozen=True)
class Decoded:
    """What a decoder made of a file; the picture stands upright."""

    values: np.ndarray
    """(H, W, 1 or 3) uint8 or uint16."""
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    primaries: int = 2
    """By its number in ITU-T H.273, where there is no profile; 2 is unspecified. So is ``transfer``."""
    transfer: int = 2
    coding: Coding = field(default_factory=Coding)
    pictures: int = 1


def decoder_of(format: str) -> Any:
    """The module that reads and writes ``format``; :class:`PhotoError` of the kind ``extra`` without it."""
    try:
        return importlib.import_module(_MODULES[format])
    except ImportError as error:
        raise PhotoError(
            f"{TITLES[format]} needs a part that is not installed: pip install 'restorecli[{EXTRAS[format]}]'",
            kind="extra",
        ) from error


def decode_heic(data: bytes, max_pixels: int, label: str) -> Decoded:
    """A HEIC; more than 8 bits a channel become 16. Orientation, which its boxes state, is applied by the decoder."""
    image = decoder_of("heic").open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    width, height = image.size
    check_size(width, height, max_pixels, label)
    info = image.info
    pixels = np.atleast_3d(np.asarray(image))
    if pixels.dtype == np.uint16:
        bits = info.get("bit_depth", 10)
        # The decoder shifts them up, so that white is not white.
        pixels = _scaled(pixels >> (16 - bits), 2**bits - 1, 65_535)
    premultiplied = pixels.shape[2] == 4 and image.premultiplied_alpha
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
    values = np.ascontiguousarray(pixels[..., :3])
    if premultiplied and alpha is not None:
        top = int(np.iinfo(values.dtype).max)
        values = np.minimum(values.astype(np.uint64) * top // np.maximum(alpha, 1)[..., None], top).astype(values.dtype)
    colours = info.get("nclx_profile") or {}
    chroma = {420: "4:2:0", 422: "4:2:2", 444: "4:4:4"}.get(info.get("chroma"))
    return Decoded(
        values,
        alpha,
        icc=info.get("icc_profile") or None,
        exif=info.get("exif"),
        xmp=info.get("xmp"),
        primaries=int(colours.get("color_primaries", 2)),
        transfer=int(colours.get("transfer_characteristics", 2)),
        coding=Coding(subsampling=chroma),
        pictures=len(image),
    )


def encode_heic(
    pixels: np.ndarray,
    alpha: np.ndarray | None,
    *,
    quality: int,
    subsampling: str,
    icc: bytes | None,
    exif: bytes | None,
    xmp: bytes | None,
) -> bytes:
    """A HEIC of (H, W, 1 or 3) pixels: uint8, or uint16 rounded to 10 bits; grey with alpha becomes RGBA."""
    pixels = _with_alpha(pixels, alpha)
    height, width, channels = pixels.shape
    mode = _HEIC_MODES[channels]
    if pixels.dtype == np.uint16:
        mode = "I;16" if channels == 1 else f"{mode};16"
        pixels = _scaled(pixels, 65_535, _TEN_BITS) << 6
    pillow_heif = decoder_of("heic")
    image = pillow_heif.from_bytes(mode=mode, size=(width, height), data=pixels.tobytes())
    file = io.BytesIO()
    image.save(
        file,
        quality=quality,
        subsampling=subsampling,
        exif=exif and _RAW_JPEG_EXIF + exif,
        xmp=xmp,
        **({"icc_profile": icc} if icc else {}),
    )
    return file.getvalue()


def decode_jxl(data: bytes, max_pixels: int, label: str) -> Decoded:
    """A JPEG XL; more than 8 bits a channel become 16. Orientation is applied by the decoder."""
    pylibjxl = decoder_of("jxl")
    head = pylibjxl.probe(data)
    check_size(head["width"], head["height"], max_pixels, label)
    if head["exponent_bits_per_sample"]:
        raise PhotoError("its values are floating-point; convert it to 8 or 16 bits a channel first", kind="colour")
    pixels, info = pylibjxl.decode(data, metadata=True)
    if head["bits_per_sample"] > 8:
        from imagecodecs import jpegxl_decode

        pixels = jpegxl_decode(data)
        top = 2 ** min(head["bits_per_sample"], 16) - 1
        pixels = pixels if top == 65_535 else _scaled(pixels, top, 65_535)
    pixels = np.atleast_3d(pixels)
    colours = 1 if pixels.shape[2] <= 2 else 3
    return Decoded(
        np.ascontiguousarray(pixels[..., :colours]),
        np.ascontiguousarray(pixels[..., colours]) if pixels.shape[2] > colours else None,
        icc=info.get("icc"),
        exif=info.get("exif"),
        xmp=info.get("xmp"),
        pictures=2 if head["have_animation"] else 1,
    )


def _with_alpha(pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """(H, W, 1 or 3), and (H, W) or None -> (H, W, 4): these formats have no grey with alpha; or ``pixels`` as is."""
    if alpha is None:
        return pixels
    return np.dstack([*[pixels[..., index % pixels.shape[2]] for index in range(3)], alpha])


def encode_jxl(
    pixels: np.ndarray,
    alpha: np.ndarray | None,
    *,
    quality: int,
    icc: bytes | None,
    exif: bytes | None,
    xmp: bytes | None,
) -> bytes:
    """A JPEG XL of (H, W, 1 or 3) uint8 pixels; grey with alpha becomes RGBA. Quality 100 is without loss."""
    pixels = _with_alpha(pixels, alpha)
    # How libjxl's own tools read a JPEG-like quality.
    distance = 0.1 + (100 - quality) * 0.09 if quality >= 30 else 53 / 3000 * quality**2 - 23 / 20 * quality + 25
    encoded = decoder_of("jxl").encode(
        pixels, distance=min(distance, 25.0), lossless=quality == 100, exif=exif, xmp=xmp, icc=icc
    )
    return bytes(encoded)


def decode_raw(data: bytes, max_pixels: int, label: str) -> Decoded:
    """A camera RAW, developed to 16-bit sRGB with the camera's white balance; EXIF is its preview's, or its own."""
    rawpy = decoder_of("raw")
    try:
        values, exif = _developed(rawpy, data, max_pixels, label)
    except rawpy.LibRawIOError as error:
        raise PhotoError("the camera RAW is cut short; copy it again from where it came", kind="truncated") from error
    except rawpy.LibRawError as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise PhotoError(
            f"this camera RAW cannot be read ({reason}); develop it in another program first", kind="unreadable"
        ) from error
    own, xmp = about_raw(data)
    return Decoded(values, exif=exif or own, xmp=xmp)


def _developed(rawpy: Any, data: bytes, max_pixels: int, label: str) -> tuple[np.ndarray, bytes | None]:
    """(H, W, 3) uint16 in sRGB, and the EXIF of the preview."""
    with rawpy.imread(io.BytesIO(data)) as raw:
        check_size(raw.sizes.width, raw.sizes.height, max_pixels, label)
        exif = None
        try:
            preview = raw.extract_thumb()
            if preview.format == rawpy.ThumbFormat.JPEG:
                exif = _exif_of_jpeg(preview.data)
        except (rawpy.LibRawError, AttributeError) as error:
            _log.debug("%s: no preview: %s", label, error)
        values = raw.postprocess(use_camera_wb=True, output_bps=16, gamma=(2.4, 12.92))
    return np.ascontiguousarray(values), exif


def _exif_of_jpeg(data: bytes) -> bytes | None:
    from PIL import JpegImagePlugin

    with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as image:
        return image.info.get("exif")


def _scaled(values: np.ndarray, old: int, new: int) -> np.ndarray:
    """uint16 values whose white is ``old`` with ``new`` for white, rounded."""
    return ((values.astype(np.uint32) * new + old // 2) // old).astype(np.uint16)


DECODERS = {"heic": decode_heic, "jxl": decode_jxl, "raw": decode_raw}
