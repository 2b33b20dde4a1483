"""What one photo scores, by every measure that is asked for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from restorecli import metrics
from restorecli.errors import PhotoError
from restorecli.photo import read_photo

if TYPE_CHECKING:
    import numpy as np

    from restorecli.inference.restorer import Restorer

MOST_DECIBELS = 100.0
"""What the PSNR of two equal photos counts as, so that means stay finite."""


class Scorer:
    """Scores photos one by one; what it needs is loaded once."""

    def __init__(self, restorer: Restorer | None, *, lpips: bool = False, niqe: bool = False) -> None:
        """``restorer``: what photos go through first, None for nothing.

        :class:`WeightsError` when what LPIPS or NIQE needs is not here.
        """
        self._restorer, self._against, self._niqe = restorer, dict(metrics.AGAINST), None
        self._smallest, self._smallest_for = metrics.SMALLEST, "SSIM"
        if lpips:
            from restorecli.perceptual import SMALLEST, Lpips

            self._against["lpips"] = Lpips()
            self._smallest, self._smallest_for = SMALLEST, "LPIPS"
        if niqe:
            from restorecli.niqe import Niqe

            self._niqe = Niqe()

    def __call__(self, source: Path, wanted: Path | None) -> dict[str, float]:
        """The scores of the photo ``source``, against the photo ``wanted`` where there is one.

        Of a photo that is restored first also what it scored before: ``gain`` and ``gain_y`` in dB, ``niqe_before``.
        :class:`PhotoError` when one of the two cannot be read or scored.
        """
        given = read_photo(source)
        before = metrics.rgb(given.pixels)
        target = None if wanted is None else metrics.rgb(read_photo(wanted).pixels)
        self._check_sizes(source, before, wanted, target)
        after = before if self._restorer is None else metrics.rgb(self._restorer.restore(given).pixels)
        scores = {}
        if target is not None:
            scores = {name: min(measure(after, target), MOST_DECIBELS) for name, measure in self._against.items()}
        if self._niqe is not None:
            scores["niqe"] = self._natural(source, after)
        if self._restorer is not None:
            if target is not None:
                for name, gain in (("psnr", "gain"), ("psnr_y", "gain_y")):
                    scores[gain] = scores[name] - min(self._against[name](before, target), MOST_DECIBELS)
            if self._niqe is not None:
                scores["niqe_before"] = self._natural(source, before)
        return scores

    def _check_sizes(self, source: Path, before: np.ndarray, wanted: Path | None, target: np.ndarray | None) -> None:
        height, width = before.shape[:2]
        if target is not None:
            if before.shape != target.shape:
                sizes = f"{width}x{height} and {target.shape[1]}x{target.shape[0]}"
                problem = f"{source}: differs in size from {wanted} ({sizes}); pair photos of one size"
                raise PhotoError(problem, kind="size")
            if min(height, width) < self._smallest:
                needed = f"{self._smallest_for} needs {self._smallest}x{self._smallest} pixels"
                raise PhotoError(f"{source}: is too small to score; {needed}", kind="size")
        if self._niqe is not None:
            from restorecli.niqe import BLOCK, fits

            if not fits(height, width):
                needed = f"NIQE needs {2 * BLOCK}x{BLOCK} pixels"
                raise PhotoError(f"{source}: is too small to score; {needed}", kind="size")

    def _natural(self, source: Path, photo: np.ndarray) -> float:
        assert self._niqe is not None
        value = self._niqe(photo)
        if not math.isfinite(value):
            raise PhotoError(f"{source}: is too flat for NIQE; score it without --niqe", kind="flat")
        return value
