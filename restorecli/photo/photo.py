"""The photo as everything above this room sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Photo:
    """Pixels that stand upright, and what else of the file must come back out with them.

    A restored photo is ``dataclasses.replace(photo, pixels=...)``.
    """

    pixels: np.ndarray
    """(H, W, C), uint8 or uint16 over the full range of the type; C is 1 (grey) or 3 (RGB). The orientation of the file
    is already applied. Values are encoded as in the file: ``icc`` says how, without one they are taken for sRGB."""
    alpha: np.ndarray | None = None
    """(H, W) of the same type, 0 is transparent; colours are not premultiplied by it. None: the photo has none."""
    format: str = "png"
    """What the file was: ``jpeg``, ``png``, ``tiff``, ``webp``, ``avif``, ``bmp`` or ``gif``."""
    icc: bytes | None = None
    """The ICC profile that belongs to ``pixels``."""
    exif: bytes | None = None
    """The EXIF block from its byte order mark on (no ``Exif`` prefix), orientation 1, without a thumbnail."""
    xmp: bytes | None = None
    """The XMP packet."""
    dpi: tuple[float, float] | None = None
    """Dots per inch, horizontal and vertical."""
    jpeg_subsampling: str | None = None
    """``4:4:4``, ``4:2:2`` or ``4:2:0`` for a colour JPEG that is coded so, else None."""
