"""How near two photos are to a target."""

from __future__ import annotations

import numpy as np

from restorecli import metrics
from restorecli.errors import PhotoError
from restorecli.photo import Photo
from restorecli.report.page import Scores

NAMES = ("psnr", "ssim", "psnr_y", "ssim_y")


def scores_of(before: Photo, after: Photo, target: Photo) -> Scores:
    """PSNR and SSIM of both photos against ``target``, by their values as stored.

    :class:`PhotoError` of the kind ``size`` when the sizes differ, or when the photos are too small for SSIM.
    """
    height, width = target.pixels.shape[:2]
    for photo in (before, after):
        if photo.pixels.shape[:2] != (height, width):
            size = f"{photo.pixels.shape[1]}x{photo.pixels.shape[0]}"
            raise PhotoError(f"the target is {width}x{height}, the photo {size}; score photos of one size", kind="size")
    if min(height, width) < 11:
        raise PhotoError(f"{width}x{height} is too small to score; SSIM needs 11x11 pixels", kind="size")
    wanted = _rgb(target.pixels)
    before_scores, after_scores = (
        {name: float(getattr(metrics, name)(_rgb(photo.pixels), wanted)) for name in NAMES} for photo in (before, after)
    )
    return Scores(before_scores, after_scores)


def _rgb(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 1 or 3) of either depth -> (H, W, 3) uint8, or float64 in [0, 255] where that would lose something."""
    colours = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    return colours if colours.dtype == np.uint8 else colours / 257.0
