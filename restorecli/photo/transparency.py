"""What lies under transparent pixels: anything, so it must not shine into what can be seen."""

from __future__ import annotations

import numpy as np


def filled(pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """(H, W, C) pixels, where fully transparent those of the nearest pixel that is not, if there is one."""
    if alpha is None:
        return pixels
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return pixels
    import cv2

    _, nearest = cv2.distanceTransformWithLabels(
        hidden.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((nearest.max() + 1, pixels.shape[2]), pixels.dtype)
    colours[nearest[~hidden]] = pixels[~hidden]
    result = pixels.copy()
    result[hidden] = colours[nearest[hidden]]
    return result


def kept(pixels: np.ndarray, original: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """``pixels`` with those of ``original`` wherever nothing is to be seen."""
    if alpha is not None and (hidden := alpha == 0).any():
        pixels[hidden] = original[hidden]
    return pixels
