"""A closer look: the photo enlarged by half, restored, and its change brought back to the photo's size.

Thin streaks in a small photo are hardly wider than a pixel, and a network sees them better where they are wider.
"""

from __future__ import annotations

import cv2
import numpy as np

from restorecli.photo.bits import deepened

FACTOR = 1.5
"""How much larger the photo is made."""

PIXELS = FACTOR**2
"""Pixels of the enlarged photo for each of the photo."""

BYTES = 45
"""Memory for each pixel of the photo: it and its result at the larger size, and a channel of either as floats."""


def enlarged(pixels: np.ndarray) -> np.ndarray:
    """The photo (H, W, C), uint8 or uint16, larger and of 16 bits."""
    height, width, channels = pixels.shape
    size = (round(width * FACTOR), round(height * FACTOR))
    large = cv2.resize(deepened(pixels), size, interpolation=cv2.INTER_CUBIC)
    return large.reshape(size[1], size[0], channels)


def join(pixels: np.ndarray, restored: np.ndarray, large: np.ndarray, large_restored: np.ndarray, share: float) -> None:
    """Give the enlarged photo's change a ``share`` in ``restored`` (H, W, C), where it lies.

    All are uint16 but ``pixels``, which may be uint8.
    """
    height, width, channels = pixels.shape
    for channel in range(channels):
        change = large_restored[..., channel].astype(np.float32)
        change -= large[..., channel]
        closer = cv2.resize(change, (width, height), interpolation=cv2.INTER_AREA) + deepened(pixels[..., channel])
        mean = (1 - share) * restored[..., channel] + share * closer
        restored[..., channel] = np.rint(mean).clip(0, 65535)
