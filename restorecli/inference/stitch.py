"""Runs a plan: tiles in, one restored photo out, in the photo's own integer type.

Nothing here is as large as the photo but the result itself, which is why memory is a matter of the tile's size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from restorecli.errors import PhotoError
from restorecli.inference.backends import Backend, NotFinite, OutOfMemory, Pending
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

    The result is ``pixels + strength * (restored - pixels)``. A tile that is not finite is computed again by
    ``exact_backend()``, an fp32 one, when there is one. When memory runs out, this tile and those still to come are
    halved, finished ones are kept. ``progress`` is told the pixels done and the pixels in all.

    Raises :class:`PhotoError` of kind ``out_of_memory`` when even small tiles are too large, and ``not_finite`` when
    the network gives no numbers in fp32 either.
    """
    return _Run(pixels, thumbnail, plan, backend, strength, exact_backend, progress).whole()


class _Run:
    """One photo on its way through its plan."""

    def __init__(
        self,
        pixels: np.ndarray,
        thumbnail: np.ndarray,
        plan: Plan,
        backend: Backend,
        strength: float,
        exact_backend: Callable[[], Backend | None],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._pixels, self._thumbnail, self._plan, self._strength = pixels, thumbnail, plan, strength
        self._backend, self._exact_backend, self._progress = backend, exact_backend, progress
        self._rows = margin_index(pixels.shape[0], plan.height)
        self._columns = margin_index(pixels.shape[1], plan.width)
        self._result = np.empty_like(pixels)
        self._largest = plan.window_pixels
        self._waiting = deque(plan.tiles)
        self._started: deque[tuple[Tile, Pending]] = deque()
        self._tiles = self._halvings = self._repeated = self._done = 0

    def whole(self) -> Outcome:
        while self._waiting or self._started:
            if self._waiting and len(self._started) <= self._backend.ahead:
                self._start(self._waiting.popleft())
            else:
                self._finish(*self._started.popleft())
        return Outcome(self._result, self._tiles, self._halvings, self._repeated)

    def _start(self, tile: Tile) -> None:
        if tile.window.pixels > self._largest and (parts := halve(tile, self._plan)):
            self._waiting.extendleft(reversed(parts))
            return
        try:
            self._started.append((tile, self._begun(self._backend, tile)))
        except NotFinite:
            self._repeat(tile)
        except (OutOfMemory, MemoryError) as error:
            # What others of this photo hold is worth waiting for before its tiles are cut up.
            if self._started:
                self._waiting.appendleft(tile)
                self._finish(*self._started.popleft())
            else:
                self._halve(tile, error)

    def _finish(self, tile: Tile, pending: Pending) -> None:
        try:
            restored = pending()
        except NotFinite:
            self._repeat(tile)
        except (OutOfMemory, MemoryError) as error:
            self._halve(tile, error)
        else:
            self._keep(tile, restored)

    def _repeat(self, tile: Tile) -> None:
        backend = self._exact_backend()
        try:
            if backend is None:
                raise NotFinite
            restored = self._begun(backend, tile)()
        except NotFinite as error:
            raise PhotoError(
                "the network gave values that are no numbers; try --precision fp32, or other weights",
                kind="not_finite",
            ) from error
        except (OutOfMemory, MemoryError) as error:
            self._halve(tile, error)
        else:
            self._repeated += 1
            self._keep(tile, restored)

    def _halve(self, tile: Tile, error: BaseException) -> None:
        parts = halve(tile, self._plan)
        if not parts:
            height, width = self._pixels.shape[:2]
            raise PhotoError(
                f"{width}x{height} pixels: memory ran out even with tiles of "
                f"{tile.window.width}x{tile.window.height} pixels; close other programs, or use --device cpu",
                kind="out_of_memory",
            ) from error
        self._largest = min(self._largest, tile.window.pixels - 1)
        self._halvings += 1
        self._waiting.extendleft(reversed(parts))

    def _begun(self, backend: Backend, tile: Tile) -> Pending:
        window, place = self._cut_out(tile.window), self._place_of(tile.window)
        if window.shape[2] == 3:
            return backend.start(window, self._thumbnail, place, self._strength)
        # Grey is in all three channels; 16 bits, so that weighing the colours is all that is rounded.
        if window.dtype == np.uint8:
            window = window.astype(np.uint16) * 257
        return backend.start(np.repeat(window, 3, axis=2), self._thumbnail, place, self._strength)

    def _place_of(self, window: Box) -> np.ndarray:
        """The window's top, left, bottom and right in shares of the photo's sides; its margin lies beyond 1."""
        height, width = self._pixels.shape[:2]
        return np.array(
            [window.top / height, window.left / width, window.bottom / height, window.right / width], np.float32
        )

    def _cut_out(self, window: Box) -> np.ndarray:
        """The window's pixels, mirrored where it lies in the margin."""
        height, width = self._pixels.shape[:2]
        if window.bottom <= height and window.right <= width:
            return self._pixels[window.top : window.bottom, window.left : window.right]
        rows, columns = self._rows[window.top : window.bottom], self._columns[window.left : window.right]
        return self._pixels[np.ix_(rows, columns)]

    def _keep(self, tile: Tile, restored: np.ndarray) -> None:
        """Keep the core of one tile, as far as it lies in the photo."""
        core, window, result = tile.core, tile.window, self._result
        bottom, right = min(core.bottom, result.shape[0]), min(core.right, result.shape[1])
        kept = restored[core.top - window.top : bottom - window.top, core.left - window.left : right - window.left]
        if result.shape[2] == 1:
            grey = np.rint(kept @ _LUMA * np.float32(np.iinfo(result.dtype).max / 65535))
            kept = np.clip(grey, 0, np.iinfo(result.dtype).max)[..., None]
        result[core.top : bottom, core.left : right] = kept
        self._tiles += 1
        self._done += core.pixels
        if self._progress is not None:
            self._progress(self._done, self._plan.height * self._plan.width)
