"""Pixels of 16 bits a channel, through OpenCV: Pillow makes 8 bits of colour of that depth without a word."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence

import numpy as np

from restorecli.photo import png, tiff

_SILENT = 0


def decode(data: bytes, height: int, width: int) -> np.ndarray:
    """(H, W, C) uint16 of a PNG or TIFF as stored (C = 1, 3 or 4, orientation not applied).

    :class:`ValueError` when OpenCV does not understand the file, or makes anything but ``height`` x ``width`` of it.
    """
    import cv2

    # OpenCV prints what it finds wrong, and has moved the switch for that between releases.
    logging = getattr(cv2.utils, "logging", cv2)
    level = logging.getLogLevel()
    logging.setLogLevel(_SILENT)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(error.err) from error
    finally:
        logging.setLogLevel(level)
    if pixels is None:
        raise ValueError("its pixel data are damaged")
    if pixels.dtype != np.uint16 or pixels.shape[:2] != (height, width):
        raise ValueError("this layout of 16-bit pixels is not supported")
    if pixels.ndim == 2:
        return pixels[..., None]
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def decode_by_tifffile(data: bytes, height: int, width: int) -> np.ndarray:
    """As :func:`decode`, of any 16-bit TIFF (C = 1 to 4), also of those that OpenCV makes nonsense of."""
    import tifffile

    logger = logging.getLogger("tifffile")
    # What it has to say becomes an error below, or is of no matter.
    logger.disabled = True
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            pixels = page.asarray(maxworkers=1)
            axes = page.axes
    finally:
        logger.disabled = False
    if axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    pixels = np.atleast_3d(pixels)
    if pixels.dtype != np.uint16 or pixels.shape[:2] != (height, width):
        raise ValueError("this layout of 16-bit pixels is not supported")
    return np.ascontiguousarray(pixels)


def encode_png(pixels: np.ndarray, alpha: np.ndarray | None) -> bytes:
    """PNG of (H, W, C) uint16 pixels and (H, W) alpha, without metadata."""
    import cv2

    if pixels.shape[2] == 1 and alpha is not None:
        turns = _in_turns(pixels, alpha)
        return png.as_grey_alpha(_encode(".png", turns, [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]))
    return _encode(".png", _for_opencv(pixels, alpha), [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB])


def encode_tiff(pixels: np.ndarray, alpha: np.ndarray | None) -> bytes:
    """Deflated TIFF of (H, W, 1, 3 or 4: CMYK) uint16 pixels and (H, W) alpha, without metadata."""
    import cv2

    compression = [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_ADOBE_DEFLATE]
    if pixels.shape[2] == 1 and alpha is not None:
        turns = _in_turns(pixels, alpha)
        return tiff.as_grey_alpha(
            _encode(".tiff", turns, [*compression, cv2.IMWRITE_TIFF_PREDICTOR, cv2.IMWRITE_TIFF_PREDICTOR_NONE])
        )
    if pixels.shape[2] == 4:
        return tiff.as_cmyk(_encode(".tiff", _for_opencv(pixels[..., :3], pixels[..., 3]), compression))
    return _encode(".tiff", _for_opencv(pixels, alpha), compression)


def _in_turns(grey: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H, 2 W) of grey and alpha by turns: OpenCV writes no such files, but the bytes of a row are the same."""
    return np.stack([grey[..., 0], alpha], axis=-1).reshape(len(grey), -1)


def _for_opencv(pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Channels in OpenCV's order: (H, W, 1) grey, (H, W, 3) BGR or (H, W, 4) BGRA."""
    if pixels.shape[2] == 1:
        return pixels
    flipped = pixels[..., ::-1]
    return np.ascontiguousarray(flipped) if alpha is None else np.dstack([flipped, alpha])


def _encode(suffix: str, array: np.ndarray, parameters: Sequence[int]) -> bytes:
    import cv2

    done, data = cv2.imencode(suffix, array, parameters)
    if not done:
        raise ValueError(f"OpenCV could not encode {suffix[1:].upper()}")
    return data.tobytes()
