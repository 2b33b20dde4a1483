"""Whether restored photos look like clear ones, judged without any pair and without a discriminator.

Photos are described patch by patch by statistics that haze and rain change: how strong differences between neighbours
are along, across and diagonally, at three scales; how dark the darkest channel is; saturation; contrast. The Frechet
distance between the restored photos' patches and those of clear photos says how far apart the two collections are.

What it can tell: that rain or haze was left, or that a network has begun to blur, to grey or to add texture everywhere.
What it cannot: whether a restored photo is the right one. Detail that was invented, colours that changed from one
plausible set to another, and folders whose scenes differ (forests here, streets there) are invisible to it or count as
distance. So clear photos are restored too: what happens to them is an error whatever the scene.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

PATCH = 64
"""Edge of a patch in pixels."""


def patch_statistics(photo: np.ndarray) -> np.ndarray:
    """Photo (H, W, 3) uint8 -> (N, 12) statistics of its patches; smaller photos are one patch."""
    values = photo.astype(np.float32) / 255
    height, width = values.shape[:2]
    rows = []
    for top in range(0, max(height - PATCH, 0) + 1, PATCH):
        for left in range(0, max(width - PATCH, 0) + 1, PATCH):
            rows.append(_describe(values[top : top + PATCH, left : left + PATCH]))
    return np.array(rows)


def _describe(patch: np.ndarray) -> list[float]:
    luma = patch @ np.array([0.299, 0.587, 0.114], np.float32)
    row: list[float] = []
    for scale in range(3):
        if scale:
            luma = cv2.resize(luma, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        for difference in (luma[:, 1:] - luma[:, :-1], luma[1:] - luma[:-1], luma[1:, 1:] - luma[:-1, :-1]):
            row.append(float(np.log(difference.std() + 1 / 255)))
    darkest = cv2.erode(patch.min(2), np.ones((7, 7), np.uint8))
    brightest = patch.max(2)
    saturation = (brightest - patch.min(2)) / np.maximum(brightest, 1 / 255)
    return [*row, float(darkest.mean()), float(saturation.mean()), float(np.log(luma.std() + 1 / 255))]


def distance(photos: Iterable[np.ndarray], clear: Iterable[np.ndarray]) -> float:
    """Frechet distance between two collections of photos (H, W, 3) uint8; 0 for one and the same, else positive."""
    one, other = (np.concatenate([patch_statistics(photo) for photo in group]) for group in (photos, clear))
    scale = np.maximum(other.std(0), 0.05)
    one, other = one / scale, other / scale
    # Few patches do not determine a covariance: a tenth of the identity keeps it one.
    spread = [np.atleast_2d(np.cov(x.T, bias=True)) + 0.1 * np.eye(x.shape[1]) for x in (one, other)]
    cross = np.sqrt(np.maximum(np.linalg.eigvals(spread[0] @ spread[1]).real, 0)).sum()
    return float(((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(spread[0] + spread[1]) - 2 * cross)
