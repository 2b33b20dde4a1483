"""Self-ensemble: a window seen in several ways, and the mean of what a network makes of them.

A network is not the same to a photo and to its mirror image. Where it is sure, both come out alike; where it errs, each
errs in its own way, and the mean errs less (Timofte et al., CVPR 2016).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from restorecli.inference.backends.base import Pending, Window

COUNTS = (1, 2, 4)
"""How many views there may be: as it is; mirrored from left to right too; both of these upside down too."""

BUDGET = 1920 * 1080
"""Pixels that all views but the first may have together where nobody says how many there are to be: another Full HD
frame is hardly waited for. One is seen twice, a photo of up to 0.69 megapixels four times, a large one once."""

_FLIPS = ((False, False), (False, True), (True, False), (True, True))
"""Whether rows, and whether columns, are in reverse order; the first ones of as many as are asked for."""


def affordable(most: int, pixels: int) -> int:
    """Views of a photo of so many pixels: ``most``, or fewer where those would take more than :data:`BUDGET`."""
    return max(count for count in COUNTS if count == 1 or (count <= most and (count - 1) * pixels <= BUDGET))


def start_views(begin: Callable[[Window], Pending], window: Window, count: int) -> Pending:
    """Begin to restore ``count`` views of a window, each by ``begin``; what is returned waits for their mean.

    Several are worth windows of 16 bits: their means are rounded once more.
    """
    if count == 1:
        return begin(window)
    views = [(flips, begin(_turned(window, flips))) for flips in _FLIPS[:count]]

    def wait() -> np.ndarray:
        total = np.full(window.pixels.shape, count // 2, np.uint32)
        for flips, pending in views:
            total += _flipped(pending(), flips)
        return (total // count).astype(window.pixels.dtype)

    return wait


def deepened(pixels: np.ndarray) -> np.ndarray:
    """Pixels of 8 bits as those of 16; others as they are."""
    return pixels.astype(np.uint16) * np.uint16(257) if pixels.dtype == np.uint8 else pixels


def shallow(pixels: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Pixels of 16 bits as those of ``kind``, uint8 or uint16; others as they are."""
    if pixels.dtype == kind:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(kind)


def _turned(window: Window, flips: tuple[bool, bool]) -> Window:
    """What a window, its thumbnail and its place are in the photo's mirror image."""
    top, left, bottom, right = window.place
    if flips[0]:
        top, bottom = 1 - bottom, 1 - top
    if flips[1]:
        left, right = 1 - right, 1 - left
    place = np.array([top, left, bottom, right], np.float32)
    pixels, thumbnail = (np.ascontiguousarray(_flipped(one, flips)) for one in (window.pixels, window.thumbnail))
    return Window(pixels, thumbnail, place)


def _flipped(picture: np.ndarray, flips: tuple[bool, bool]) -> np.ndarray:
    return picture[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]
