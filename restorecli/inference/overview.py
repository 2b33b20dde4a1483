"""What is wrong over large areas, put right by an overview: the whole photo, restored at a small size.

How dense haze is cannot be told from a tile: a grey wall may be white behind haze, or grey without any. The more of a
photo a network sees at once, the better it judges, and at a small size it sees all of it. So the change that the tiles
make is bent, place by place, towards the change that the overview makes: with ``I`` the photo and ``J`` what the tiles
gave, the result is ``I + (1 + a) (J - I) + b``. The smooth maps ``a`` and ``b`` are those of a guided filter (He et
al., TPAMI 2013; enlarged as in the fast one, arXiv 1505.00996) whose guide is the tiles' change. Where they changed
nothing, hardly anything is changed, and what is enlarged is smooth, so edges stay where the tiles saw them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

SHARE = 0.5
"""How far the tiles' change is bent towards the overview's: half-way, as either may be the better one."""

SMOOTH = 32
"""The windows of the guided filter have a radius of this share of the overview's edge."""

FLAT = 1e-4
"""Variance of the tiles' change (of 1) below which the maps do not follow it."""

_STRIP = 400_000
"""Values that are worked on at once: few enough to stay in the processor's cache."""


@dataclass(frozen=True)
class Bend:
    """Smooth maps (S, S, C) float32 over the whole photo."""

    gain: np.ndarray
    """``a``: how much more, or less, is to change."""
    offset: np.ndarray
    """``b``, in shares of the full range."""


def bend_between(photo: np.ndarray, tiles: np.ndarray, overview: np.ndarray) -> Bend:
    """How the tiles' change is bent; all (S, S, C) float32 in [0, 1]: the photo, and as either restored it."""
    radius = max(1, photo.shape[0] // SMOOTH)

    def mean(values: np.ndarray) -> np.ndarray:
        edge = 2 * radius + 1
        return cv2.blur(values, (edge, edge), borderType=cv2.BORDER_REPLICATE).reshape(photo.shape)

    change, lacking = tiles - photo, overview - tiles
    mean_change, mean_lacking = mean(change), mean(lacking)
    together = mean(change * lacking) - mean_change * mean_lacking
    gain = together / (mean(change * change) - mean_change**2 + FLAT)
    offset = mean_lacking - gain * mean_change
    return Bend(SHARE * mean(gain), SHARE * mean(offset))


def bend(pixels: np.ndarray, restored: np.ndarray, by: Bend, strength: float) -> np.ndarray:
    """``restored``, bent: (H, W, C) of the type of ``pixels``, uint8 or uint16.

    ``restored`` is uint16 over its full range, contiguous and already blended with ``pixels`` by ``strength``; it is
    not to be used any more, as the result lies in its memory.
    """
    height, width, channels = pixels.shape
    top = float(np.iinfo(pixels.dtype).max)
    depth = cv2.CV_8U if pixels.dtype == np.uint8 else cv2.CV_16U
    # Of 8 bits, the result is written over what has been read already.
    bent = restored.reshape(-1).view(pixels.dtype)[: pixels.size].reshape(pixels.shape)
    rows = max(1, _STRIP // (width * channels))
    for first in range(0, height, rows):
        strip = slice(first, min(first + rows, height))
        before = pixels[strip].astype(np.float32)
        change = restored[strip].astype(np.float32)
        change *= top / 65535
        change -= before
        change *= _part(1 + by.gain, strip, height, width)
        change += _part(by.offset * (strength * top), strip, height, width)
        change += before
        # Rounds to the nearest, and keeps within the type's range.
        bent[strip] = cv2.add(change, 0.0, dtype=depth).reshape(change.shape)  # type: ignore[call-overload]
    return bent


def _part(values: np.ndarray, strip: slice, height: int, width: int) -> np.ndarray:
    """Some rows of a map (S, S, C), enlarged to (height, width, C) bilinearly."""
    size = values.shape[0]
    at = ((np.arange(strip.start, strip.stop) + 0.5) * (size / height) - 0.5).clip(0, size - 1).astype(np.float32)
    above = np.minimum(at.astype(np.intp), size - 2)
    share = (at - above)[:, None, None]
    rows = values[above] * (1 - share) + values[above + 1] * share
    found = cv2.resize(rows.astype(np.float32), (width, len(at)), interpolation=cv2.INTER_LINEAR)
    return found.reshape(len(at), width, -1)
