"""The photo as everything above this room sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from restorecli.photo.jpeg import Coding, Segments


@dataclass(frozen=True, eq=False)
class Photo:
    """Pixels that stand upright, and what else of the file must come back out with them.

    A restored photo is ``dataclasses.replace(photo, pixels=...)``.
    """

    pixels: np.ndarray
    """(H, W, C), uint8 or uint16 over the full range of the type; C is 1 (grey) or 3 (RGB), encoded as sRGB. The
    orientation of the file is already applied."""
    alpha: np.ndarray | None = None
    """(H, W) of the type of the file's values, 0 is transparent; colours are not premultiplied by it. None: the photo
    has none."""
    format: str = "png"
    """What the file was: ``jpeg``, ``png``, ``tiff``, ``webp``, ``avif``, ``bmp``, ``gif``, ``heic``, ``jxl`` or
    ``raw``."""
    icc: bytes | None = None
    """The ICC profile of the file's values: of ``native`` where there is one, else of ``pixels``."""
    exif: bytes | None = None
    """The EXIF block from its byte order mark on (no ``Exif`` prefix), orientation 1, without a thumbnail."""
    xmp: bytes | None = None
    """The XMP packet."""
    dpi: tuple[float, float] | None = None
    """Dots per inch, horizontal and vertical."""
    native: np.ndarray | None = None
    """(H, W, 1, 3 or 4: CMYK) The values of the file where they are not encoded as sRGB: ``pixels`` are uint16 then,
    made from them, and changes of ``pixels`` are put onto these when the photo is written."""
    iptc: bytes | None = None
    """The IPTC records (IIM)."""
    coding: Coding = field(default_factory=Coding)
    """How the file was coded, if it was a JPEG."""
    photoshop: bytes = b""
    """Photoshop's image resources of a JPEG or TIFF, without IPTC and thumbnails."""
    segments: Segments = field(default_factory=Segments)
    """What else a JPEG carried, for others like it."""
    texts: tuple[tuple[bytes, bytes], ...] = ()
    """Kind and body of the chunks of text that a PNG carried, for others like it."""
    pictures: int = 1
    """How many pictures the file held, of which this is the first: pages, frames of an animation, or what phones put
    behind a JPEG (gain and depth maps, a video, which counts as one). Smaller copies of the first do not count."""
    lossless: bool = False
    """Whether the file was a WebP without loss."""
