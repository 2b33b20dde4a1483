"""Pixels of an open file as arrays, whatever it keeps them as."""

from __future__ import annotations

import logging
from typing import IO

import numpy as np
from PIL import Image, ImageCms, ImageFile, PngImagePlugin, TiffImagePlugin

from restorecli.photo import deep, png, tiff

_log = logging.getLogger(__name__)

_BAND_PIXELS = 1 << 20
_PNG_DEPTH, _PNG_COLOUR, _PNG_GREY_ALPHA = 24, 25, 4
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR, _EXTRA = 256, 257, 258, 262, 277, 284, 338
_WHITE_IS_ZERO, _CMYK = 0, 5
_NO_ALPHA, _PREMULTIPLIED_ALPHA, _STRAIGHT_ALPHA = 0, 1, 2
_STRIPS, _TILES = (273, 279), (324, 325)
_COMPRESSION, _UNKNOWN_TO_OPENCV = 259, (34925, 50000)
"""LZMA and Zstandard."""


def is_deep(image: ImageFile.ImageFile, file: IO[bytes]) -> bool:
    """Whether an open image has 16 bits a channel."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return bool(max(image.tag_v2.get(_BITS, (1,))) == 16)
    return isinstance(image, PngImagePlugin.PngImageFile) and _png_depth(file) == 16


def _png_depth(file: IO[bytes]) -> int:
    """Bits a channel in a PNG's header."""
    file.seek(_PNG_DEPTH)
    return file.read(1)[0]


def deep_pixels(image: ImageFile.ImageFile, file: IO[bytes]) -> tuple[np.ndarray, np.ndarray | None]:
    """(H, W, C) uint16 and alpha (H, W) of a 16-bit PNG or TIFF, as stored.

    :class:`ValueError` when its pixels are cut short or damaged.
    """
    file.seek(0)
    data = file.read()
    return _deep_tiff(image, data) if isinstance(image, TiffImagePlugin.TiffImageFile) else _deep_png(image, data)


def _deep_png(image: ImageFile.ImageFile, data: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    width, height = image.size
    # OpenCV prints about profiles and turns by EXIF, and knows transparent colours in some modes only.
    stored = deep.decode(png.rearranged(data, png.HEADER, png.PIXELS), height, width)
    if data[_PNG_COLOUR] == _PNG_GREY_ALPHA:
        return np.ascontiguousarray(stored[..., :1]), np.ascontiguousarray(stored[..., 3])
    pixels, alpha = _split(stored)
    key = image.info.get("transparency")
    return pixels, alpha if key is None else _keyed_alpha(pixels, key)


def _deep_tiff(image: TiffImagePlugin.TiffImageFile, data: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    tags = image.tag_v2
    for offsets, sizes in (_STRIPS, _TILES):
        parts = zip(tags.get(offsets, ()), tags.get(sizes, ()), strict=False)
        if any(at + size > len(data) for at, size in parts):
            raise ValueError("its pixel data are truncated")
    plain = tags.get(_PLANAR, 1) == 1 and tags.get(_SAMPLES, 1) in (1, 3, 4) and tags.get(_PHOTOMETRIC) != _CMYK
    if plain and tags.get(_COMPRESSION, 1) not in _UNKNOWN_TO_OPENCV:
        stored = deep.decode(tiff.without_turn(data), tags[_HEIGHT], tags[_WIDTH])
    else:
        stored = deep.decode_by_tifffile(data, tags[_HEIGHT], tags[_WIDTH])
    if tags.get(_PHOTOMETRIC) == _CMYK:
        return stored, None
    pixels, alpha = _split(~stored if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else stored)
    extra = tags.get(_EXTRA, (_STRAIGHT_ALPHA,))[0]
    if alpha is None or extra == _NO_ALPHA:
        return pixels, None
    if extra == _PREMULTIPLIED_ALPHA:
        opacity = np.maximum(alpha, 1).astype(np.uint32)[..., None]
        pixels = np.minimum((pixels * np.uint32(65535) + opacity // 2) // opacity, 65535).astype(np.uint16)
    return pixels, alpha


def shallow_pixels(image: ImageFile.ImageFile, file: IO[bytes]) -> tuple[np.ndarray, np.ndarray | None, bytes | None]:
    """(H, W, C) uint8, alpha and the profile that belongs to them, of a loaded image of 8 bits a channel or fewer.

    C is 4 for CMYK, whose values are amounts of ink.
    """
    icc, mode = image.info.get("icc_profile"), image.mode
    key = image.info.get("transparency")
    if mode in ("1", "L", "RGB"):
        pixels = _array(image if mode != "1" else image.convert("L"))
        if key is None:
            return pixels, None, icc
        if isinstance(image, PngImagePlugin.PngImageFile) and mode != "RGB":
            # The key is in the file's depth, the pixels are stretched to 8 bits.
            key = key * 255 // (2 ** min(_png_depth(file), 8) - 1)
        return pixels, _keyed_alpha(pixels, key), icc
    if mode == "CMYK":
        return _array(image), None, icc
    if mode == "LAB":
        _log.warning("a photo in Lab becomes sRGB")
        return _array(_lab_to_srgb(image)), None, None
    if mode in ("LA", "La"):
        return *_split(_array(image if mode == "LA" else image.convert("LA"))), icc
    wanted = "RGBA" if mode in ("RGBA", "RGBa", "PA") or (mode == "P" and key is not None) else "RGB"
    return *_split(_array(image if mode == wanted else image.convert(wanted))), icc


def _lab_to_srgb(image: Image.Image) -> Image.Image:
    lab, srgb = (ImageCms.ImageCmsProfile(ImageCms.createProfile(name)) for name in ("LAB", "sRGB"))
    done = ImageCms.profileToProfile(
        image,
        lab,
        srgb,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert done is not None  # only in-place transforms return None
    return done


def _array(image: Image.Image) -> np.ndarray:
    """(H, W, C) uint8 of a Pillow image, copied in bands: in one go Pillow holds the pixels twice more."""
    width, height = image.size
    pixels = np.empty((height, width, len(image.getbands())), np.uint8)
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = np.asarray(image.crop((0, top, width, min(top + rows, height))))
        pixels[top : top + rows] = band.reshape(-1, width, pixels.shape[2])
    return pixels


def _split(stored: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(H, W, 1 to 4) -> colours (H, W, 1 or 3) and, of an even number of channels, the last as alpha (H, W)."""
    if stored.shape[2] % 2:
        return stored, None
    return np.ascontiguousarray(stored[..., :-1]), np.ascontiguousarray(stored[..., -1])


def _keyed_alpha(pixels: np.ndarray, key: int | tuple[int, ...]) -> np.ndarray:
    """(H, W) alpha that is 0 where a pixel has the one colour that stands for transparent."""
    transparent = (pixels == np.array(key, pixels.dtype)).all(axis=2)
    return np.where(transparent, 0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, ...) turned and mirrored as EXIF's ``orientation`` 1 to 8 asks for."""
    if orientation in (5, 7):
        array = array.swapaxes(0, 1)
    if orientation in (2, 4):
        array = array[:, ::-1] if orientation == 2 else array[::-1]
    turns = {3: 2, 6: -1, 7: 2, 8: 1}.get(orientation, 0)
    return np.ascontiguousarray(np.rot90(array, turns))
