"""PSNR and SSIM as the dehazing (RGB) and deraining (luma) tables score them.

Photos are (H, W, 3) arrays, uint8 or float in [0, 255].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

SMALLEST = 11
"""Pixels of a side that SSIM needs."""


def rgb(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 1 or 3) of either depth -> (H, W, 3) uint8, or float64 in [0, 255] where that would lose something."""
    colours = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    return colours if colours.dtype == np.uint8 else colours / 257.0


def luma(photo: np.ndarray) -> np.ndarray:
    """BT.601 luma in studio range, 16 to 235, as MATLAB's ``rgb2ycbcr`` gives: (H, W, 3) -> (H, W) float64."""
    return photo.astype(np.float64) @ (np.array([65.481, 128.553, 24.966]) / 255) + 16


def psnr(restored: np.ndarray, target: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB over all channels, peak 255; infinite for equal photos."""
    _same_shape(restored, target)
    error = float(np.mean((restored.astype(np.float64) - target.astype(np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def psnr_y(restored: np.ndarray, target: np.ndarray) -> float:
    """PSNR in dB of the luma (see :func:`luma`)."""
    return psnr(luma(restored), luma(target))


def ssim(restored: np.ndarray, target: np.ndarray) -> float:
    """Structural similarity (Wang et al., TIP 2004), mean over channels: Gaussian window of 11x11 and sigma 1.5,
    constants for a peak of 255, and only windows that lie wholly inside the photo (photos of at least 11x11)."""
    _same_shape(restored, target)
    if min(restored.shape[:2]) < SMALLEST:
        raise ValueError("SSIM needs photos of at least 11x11 pixels")
    a, b = restored.astype(np.float64), target.astype(np.float64)

    def window(x: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.GaussianBlur(x, (11, 11), 1.5))[5:-5, 5:-5]

    mean_a, mean_b = window(a), window(b)
    variance_a = window(a * a) - mean_a**2
    variance_b = window(b * b) - mean_b**2
    covariance = window(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    )
    return float(similarity.mean())


def ssim_y(restored: np.ndarray, target: np.ndarray) -> float:
    """SSIM of the luma (see :func:`luma`)."""
    return ssim(luma(restored), luma(target))


def _same_shape(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"photos of different sizes cannot be compared: {a.shape} and {b.shape}")


AGAINST: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "psnr": psnr,
    "ssim": ssim,
    "psnr_y": psnr_y,
    "ssim_y": ssim_y,
}
"""The measures of a photo against its target, by their names in tables."""
