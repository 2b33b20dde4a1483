"""Values of 8 bits as those of 16, and back."""

from __future__ import annotations

import numpy as np


def deepened(values: np.ndarray) -> np.ndarray:
    """uint8 over its full range -> uint16 over its own; uint16 as it is."""
    return values.astype(np.uint16) * np.uint16(257) if values.dtype == np.uint8 else values


def eight_bits(values: np.ndarray) -> np.ndarray:
    """uint16 rounded to the nearest of 256 levels; uint8 as it is. The shape stays."""
    if values.dtype == np.uint8:
        return values
    # 257 levels of 16 bits make one of 8; in bands of rows nothing as large as the photo is made but the result.
    result = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), 256):
        result[top : top + 256] = (values[top : top + 256].astype(np.uint32) + 128) // 257
    return result


def in_depth_of(values: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """uint16, or values that are of the photo's type already, in that type: uint8 or uint16."""
    return eight_bits(values) if photo.dtype == np.uint8 else values
