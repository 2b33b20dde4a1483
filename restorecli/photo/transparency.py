"""What lies under transparent pixels: anything, so it must not shine into what can be seen."""

from __future__ import annotations

import numpy as np

COPIES = 4
"""Times the memory of the pixels that :func:`filled` takes on its way, its result among it."""
_BAND = 256
"""Rows that are filled at once: what is gathered for them is small beside the photo."""


def hides(alpha: np.ndarray | None) -> bool:
    """Whether some pixels are fully transparent, and others are not."""
    return alpha is not None and not alpha.all() and bool(alpha.any())


def filled(pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """(H, W, C) pixels, where fully transparent those of the nearest pixel that is not, if there is one."""
    if alpha is None or not hides(alpha):
        return pixels
    import cv2

    hidden = alpha == 0
    # The distances themselves are let go of at once.
    nearest = cv2.distanceTransformWithLabels(
        hidden.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    bands = [slice(top, top + _BAND) for top in range(0, len(pixels), _BAND)]
    colours = np.zeros((int(nearest.max()) + 1, pixels.shape[2]), pixels.dtype)
    for band in bands:
        seen = ~hidden[band]
        colours[nearest[band][seen]] = pixels[band][seen]
    result = pixels.copy()
    for band in bands:
        result[band][hidden[band]] = colours[nearest[band][hidden[band]]]
    return result


def kept(pixels: np.ndarray, original: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """``pixels`` with those of ``original`` wherever nothing is to be seen."""
    if alpha is not None and (hidden := alpha == 0).any():
        pixels[hidden] = original[hidden]
    return pixels
