"""Pixels of 8 bits as those of 16, and back."""

from __future__ import annotations

import numpy as np


def deepened(pixels: np.ndarray) -> np.ndarray:
    """Pixels of 8 bits as those of 16; others as they are."""
    return pixels.astype(np.uint16) * np.uint16(257) if pixels.dtype == np.uint8 else pixels


def shallow(pixels: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Pixels of 16 bits as those of ``kind``, uint8 or uint16; others as they are."""
    if pixels.dtype == kind:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(kind)
