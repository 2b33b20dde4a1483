"""Runs a plan: tiles in, one restored photo out, in the photo's own integer type.

Nothing here is as large as the photo but the result itself, which is why memory is a matter of the tile's size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from restorecli.errors import PhotoError
from restorecli.inference.backends import Backend, NotFinite, OutOfMemory, Pending, Window
from restorecli.inference.runs import Runs
from restorecli.inference.tiling import Box, Plan, Tile, halve, margin_index
from restorecli.inference.views import start_views
from restorecli.photo.bits import deepened, in_depth_of

# BT.601: what a grey photo of the restored colours would show.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Outcome:
    """What came out of a plan and how it went."""

    pixels: np.ndarray
    """Of the shape of the photo's pixels, and of their type unless 16 bits were asked for."""
    tiles: int
    """How many tiles were computed."""
    halvings: int
    """How often memory ran out and tiles were halved."""
    repeated: int
    """How many tiles were not finite and were computed again in fp32."""


def start_plan(
    pixels: np.ndarray,
    thumbnail: np.ndarray,
    plan: Plan,
    runs: Runs,
    *,
    strength: float = 1.0,
    views: int = 1,
    deep: bool = False,
    exact_backend: Callable[[], Backend | None] = lambda: None,
    progress: Callable[[int, int], None] | None = None,
) -> Stitching:
    """Begin to restore ``pixels``, (H, W, C) uint8 or uint16 with C = 1 or 3, tile by tile.

    As many windows are started as are worth starting before the first is waited for. The result is
    ``pixels + strength * (restored - pixels)``, and ``restored`` the mean of ``views`` views; of the photo's own type,
    or ``deep``, of 16 bits whatever the photo has, for what is not done with it yet. A tile that is not finite
    is computed again by ``exact_backend()``, an fp32 one, when there is one. When memory runs out, this tile and those
    still to come are halved, finished ones are kept. ``progress`` is told the pixels done and the pixels in all.

    Raises :class:`PhotoError` of kind ``out_of_memory`` when even small tiles are too large, and ``not_finite`` when
    the network gives no numbers in fp32 either; so does waiting for the rest, :meth:`Stitching.whole`.
    """
    begun = Stitching(pixels, thumbnail, plan, runs, strength, views, deep, exact_backend, progress)
    if runs.eager:
        begun.fill()
    return begun


class Stitching:
    """One photo on its way through its plan."""

    def __init__(
        self,
        pixels: np.ndarray,
        thumbnail: np.ndarray,
        plan: Plan,
        runs: Runs,
        strength: float,
        views: int,
        deep: bool,
        exact_backend: Callable[[], Backend | None],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._pixels, self._thumbnail, self.plan = pixels, thumbnail, plan
        self._strength, self._views = strength, views
        self._runs, self._exact_backend, self._progress = runs, exact_backend, progress
        self._rows = margin_index(pixels.shape[0], plan.height)
        self._columns = margin_index(pixels.shape[1], plan.width)
        self._result = np.empty_like(pixels, dtype=np.uint16 if deep else pixels.dtype)
        self._largest = plan.window_pixels
        self._waiting = deque(plan.tiles)
        self._started: deque[tuple[Tile, Pending]] = deque()
        self._tiles = self._halvings = self._repeated = self._done = 0

    @property
    def under_way(self) -> int:
        """Pixels of the windows that are started and not waited for."""
        return sum(tile.window.pixels for tile, _ in self._started)

    def fill(self) -> None:
        """Start as many windows as are worth it before the first is waited for."""
        while self._waiting and len(self._started) <= self._runs.ahead(self._waiting[0].window.pixels):
            self._start(self._waiting.popleft())

    def whole(self) -> Outcome:
        """Restore what is left and give the photo; called once."""
        self.fill()
        while self._started:
            self._finish(*self._started.popleft())
            self.fill()
        return Outcome(self._result, self._tiles, self._halvings, self._repeated)

    def _start(self, tile: Tile) -> None:
        if tile.window.pixels > self._largest and (parts := halve(tile, self.plan)):
            self._waiting.extendleft(reversed(parts))
            return
        try:
            self._started.append((tile, self._begin(tile, self._runs.start)))
            return
        except (OutOfMemory, MemoryError) as error:
            # Anew, as what was raised holds on to all that the run had in the memory.
            failed = OutOfMemory(str(error))
        # What others of this photo hold is worth waiting for before its tiles are cut up.
        if self._started:
            self._waiting.appendleft(tile)
            self._finish(*self._started.popleft())
        else:
            self._halve(tile, failed)

    def _begin(self, tile: Tile, start: Callable[[Window, float], Pending]) -> Pending:
        return start_views(lambda window: start(window, self._strength), self._window(tile), self._views)

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
        exact = self._exact_backend()
        try:
            if exact is None:
                raise NotFinite
            restored = self._begin(tile, Runs(exact).start)()
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
        parts = halve(tile, self.plan)
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

    def _window(self, tile: Tile) -> Window:
        pixels, place = self._cut_out(tile.window), self._place_of(tile.window)
        if pixels.shape[2] == 1 or self._views > 1 or self._result.dtype == np.uint16:
            # So that what follows (views, weighing the colours of grey) is not done with rounded values.
            pixels = deepened(pixels)
        if pixels.shape[2] == 1:
            # Grey is in all three channels.
            pixels = np.repeat(pixels, 3, axis=2)
        return Window(pixels, self._thumbnail, place)

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
        else:
            kept = in_depth_of(kept, result)
        result[core.top : bottom, core.left : right] = kept
        self._tiles += 1
        self._done += core.pixels
        if self._progress is not None:
            self._progress(self._done, self.plan.height * self.plan.width)
