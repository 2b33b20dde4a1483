"""Runs a plan: tiles in, one restored photo out, in the photo's own integer type.

Nothing here is as large as the photo but the result itself, which is why memory is a matter of the tile's size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from restorecli.errors import PhotoError
from restorecli.inference.backends import Backend, OutOfMemory
from restorecli.inference.tiling import Box, Plan, Tile, halve, margin_index

# BT.601: what a grey photo of the restored colours would show.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Outcome:
    """What came out of a plan and how it went."""

    pixels: np.ndarray
    """Shape and type of the photo's pixels."""
    tiles: int
    """How many tiles were computed."""
    halvings: int
    """How often memory ran out and tiles were halved."""
    repeated: int
    """How many tiles were not finite and were computed again in fp32."""


def run_plan(
    pixels: np.ndarray,
    thumbnail: np.ndarray,
    plan: Plan,
    backend: Backend,
    *,
    strength: float = 1.0,
    exact_backend: Callable[[], Backend | None] = lambda: None,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Restore ``pixels``, (H, W, C) uint8 or uint16 with C = 1 or 3, tile by tile.

    The result is ``pixels + strength * (restored - pixels)``, rounded once. A tile that is not finite is computed again
    by ``exact_backend()``, an fp32 one, when there is one. When memory runs out, this tile and those still to come are
    halved, finished ones are kept. ``progress`` is told the pixels done and the pixels in all.

    Raises :class:`PhotoError` of kind ``out_of_memory`` when even small tiles are too large, and ``not_finite`` when
    the network gives no numbers in fp32 either.
    """
    height, width = pixels.shape[:2]
    result = np.empty_like(pixels)
    rows, columns = margin_index(height, plan.height), margin_index(width, plan.width)
    waiting = deque(plan.tiles)
    largest = plan.window_pixels
    tiles = halvings = repeated = done = 0
    while waiting:
        tile = waiting.popleft()
        if tile.window.pixels > largest and (parts := halve(tile, plan)):
            waiting.extendleft(reversed(parts))
            continue
        window = tile.window
        try:
            given = _floats(_cut_out(pixels, rows, columns, window))
            place = _place_of(window, height, width)
            restored = backend.run(given, thumbnail, place)
            if not np.isfinite(restored).all():
                restored = _again(exact_backend(), given, thumbnail, place)
                repeated += 1
        except (OutOfMemory, MemoryError) as error:
            parts = halve(tile, plan)
            if not parts:
                raise PhotoError(
                    f"{width}x{height} pixels: memory ran out even with tiles of "
                    f"{window.width}x{window.height} pixels; close other programs, or use --device cpu",
                    kind="out_of_memory",
                ) from error
            largest = window.pixels - 1
            halvings += 1
            waiting.extendleft(reversed(parts))
            continue
        _keep(result, tile, given, restored, strength, pixels.dtype)
        tiles += 1
        done += tile.core.pixels
        if progress is not None:
            progress(done, plan.height * plan.width)
    return Outcome(result, tiles, halvings, repeated)


def _cut_out(pixels: np.ndarray, rows: np.ndarray, columns: np.ndarray, window: Box) -> np.ndarray:
    """The window's pixels, mirrored where it lies in the margin."""
    height, width = pixels.shape[:2]
    if window.bottom <= height and window.right <= width:
        return pixels[window.top : window.bottom, window.left : window.right]
    return pixels[np.ix_(rows[window.top : window.bottom], columns[window.left : window.right])]


def _floats(pixels: np.ndarray) -> np.ndarray:
    """(H, W, C) integers -> (H, W, 3) float32 in [0, 1]; grey in all three channels."""
    scaled = np.multiply(pixels, np.float32(1 / np.iinfo(pixels.dtype).max), dtype=np.float32)
    return np.repeat(scaled, 3, axis=2) if pixels.shape[2] == 1 else scaled


def _place_of(window: Box, height: int, width: int) -> np.ndarray:
    """The window's top, left, bottom and right in shares of the photo's height and width; its margin lies beyond 1."""
    return np.array(
        [window.top / height, window.left / width, window.bottom / height, window.right / width], np.float32
    )


def _again(backend: Backend | None, given: np.ndarray, thumbnail: np.ndarray, place: np.ndarray) -> np.ndarray:
    if backend is not None:
        restored = backend.run(given, thumbnail, place)
        if np.isfinite(restored).all():
            return restored
    raise PhotoError(
        "the network gave values that are no numbers; try --precision fp32, or other weights", kind="not_finite"
    )


def _keep(
    result: np.ndarray, tile: Tile, given: np.ndarray, restored: np.ndarray, strength: float, dtype: np.dtype
) -> None:
    """Blend, round and keep the core of one tile, as far as it lies in the photo."""
    core, window = tile.core, tile.window
    bottom, right = min(core.bottom, result.shape[0]), min(core.right, result.shape[1])
    kept = np.s_[core.top - window.top : bottom - window.top, core.left - window.left : right - window.left]
    before, after = given[kept], np.clip(restored[kept], 0, 1)
    if result.shape[2] == 1:
        before, after = before[..., :1], (after @ _LUMA)[..., None]
    blended = before + np.float32(strength) * (after - before)
    top = np.iinfo(dtype).max
    result[core.top : bottom, core.left : right] = np.clip(np.rint(blended * np.float32(top)), 0, top).astype(dtype)
