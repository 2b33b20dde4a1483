"""A photo at other sizes: all of it at a small one, in an overview, and enlarged, in a closer look."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from restorecli.inference import closeup
from restorecli.inference.overview import bend, bend_between
from restorecli.inference.stitch import Stitching
from restorecli.photo.bits import in_depth_of

_ENOUGH = 1024
"""Edge in pixels from which on rounding to whole values averages out."""


class Reductions:
    """A photo (H, W, C), uint8 or uint16, at small sizes."""

    def __init__(self, pixels: np.ndarray) -> None:
        height, width = (min(side, _ENOUGH) for side in pixels.shape[:2])
        # A float copy of the photo would take four times its memory.
        self._small = _resized(pixels, height, width, cv2.INTER_AREA).astype(np.float32) / np.iinfo(pixels.dtype).max

    def at(self, edge: int) -> np.ndarray:
        """The whole photo at (edge, edge, C), float32 in [0, 1]; each value the mean of the area that it stands for."""
        height, width = (min(side, edge) for side in self._small.shape[:2])
        small = _resized(self._small, height, width, cv2.INTER_AREA)
        return _resized(small, edge, edge, cv2.INTER_LINEAR)

    def in_colour(self, edge: int) -> np.ndarray:
        """As :meth:`at`, with three channels: of a grey photo all alike."""
        return np.array(np.broadcast_to(self.at(edge), (edge, edge, 3)), order="C")


@dataclass(frozen=True)
class Look:
    """A photo at another size, on its way."""

    pixels: np.ndarray
    """The photo at that size."""
    begun: Stitching
    share: float = 1.0
    """Of the mean that it is a part of."""


@dataclass(frozen=True)
class Looks:
    """What is seen better at other sizes."""

    overview: Look | None
    """Of float32 in [0, 1]."""
    closeup: Look | None
    """Of uint16."""

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return self.overview is not None or self.closeup is not None

    def joined(self, pixels: np.ndarray, restored: np.ndarray, strength: float) -> np.ndarray:
        """``restored``, of 16 bits where there are any looks, with what these see, in the type of ``pixels``.

        ``restored`` is ``pixels`` blended with what the tiles gave by ``strength``; it is used up.
        """
        if self.closeup is not None:
            look = self.closeup
            closeup.join(pixels, restored, look.pixels, look.begun.whole().pixels, look.share)
        if self.overview is None:
            return in_depth_of(restored, pixels)
        before = self.overview.pixels
        whole = self.overview.begun.whole().pixels.astype(np.float32) / 65535
        tiles = before + (Reductions(restored).at(before.shape[0]) - before) / strength
        return bend(pixels, restored, bend_between(before, tiles, whole), strength)


def _resized(pixels: np.ndarray, height: int, width: int, interpolation: int) -> np.ndarray:
    # OpenCV drops an axis of one channel.
    return cv2.resize(pixels, (width, height), interpolation=interpolation).reshape(height, width, -1)
