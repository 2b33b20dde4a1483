"""Self-ensemble: a window seen in several ways, and the mean of what a network makes of them.

A network is not the same to a photo and to its mirror image. Where it is sure, both come out alike; where it errs, each
errs in its own way, and the mean errs less (Timofte et al., CVPR 2016). One view is the photo as it is, two are its
mirror image too, four both of these upside down too, six the first two enlarged by half too
(:mod:`restorecli.inference.closeup`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from restorecli.inference.backends.base import Pending, Window
from restorecli.inference.closeup import PIXELS
from restorecli.models.descriptor import VIEWS

TURNED = 4
"""Views that are of the photo's own size; further ones are of another."""

BUDGET = 1_900_000
"""Pixels that all views may have together where nobody says how many there are to be: so many are hardly waited for,
and a megapixel takes as long as ever. A photo of 1024x768 is seen twice, one of 640x480 four times, of 480x320 six."""

_FLIPS = ((False, False), (False, True), (True, False), (True, True))
"""Whether rows, and whether columns, are in reverse order; the first ones of as many as are asked for."""


def affordable(most: int, pixels: int) -> int:
    """Views of a photo of so many pixels: ``most``, or fewer where those would have more than :data:`BUDGET`."""
    return max(count for count in VIEWS if count == 1 or (count <= most and _passes(count) * pixels <= BUDGET))


def _passes(count: int) -> float:
    """How often as many pixels as the photo has are computed for so many views."""
    return min(count, TURNED) + PIXELS * max(0, count - TURNED)


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
