"""How near two photos are to a target."""

from __future__ import annotations

from restorecli import metrics
from restorecli.errors import PhotoError
from restorecli.photo import Photo
from restorecli.report.page import Scores


def scores_of(before: Photo, after: Photo, target: Photo) -> Scores:
    """PSNR and SSIM of both photos against ``target``, by their values as stored.

    :class:`PhotoError` of the kind ``size`` when the sizes differ, or when the photos are too small for SSIM.
    """
    height, width = target.pixels.shape[:2]
    for photo in (before, after):
        if photo.pixels.shape[:2] != (height, width):
            size = f"{photo.pixels.shape[1]}x{photo.pixels.shape[0]}"
            raise PhotoError(f"the target is {width}x{height}, the photo {size}; score photos of one size", kind="size")
    if min(height, width) < metrics.SMALLEST:
        needed = f"SSIM needs {metrics.SMALLEST}x{metrics.SMALLEST} pixels"
        raise PhotoError(f"{width}x{height} is too small to score; {needed}", kind="size")
    wanted = metrics.rgb(target.pixels)
    before_scores, after_scores = (
        {name: measure(metrics.rgb(photo.pixels), wanted) for name, measure in metrics.AGAINST.items()}
        for photo in (before, after)
    )
    return Scores(before_scores, after_scores)
