"""Windows gathered into runs.

A small window leaves a large device idle, so several of one shape and type are computed together where that pays, be
they of one photo or of several. What comes out is the same to rounding.
"""

from __future__ import annotations

from itertools import takewhile

import numpy as np

from restorecli.inference.backends import Backend, OutOfMemory, Pending, Window, failing


class Runs:
    """Starts windows on a backend: each at once, or with others as soon as they fill a run or one is waited for.

    Not for several threads at once.
    """

    def __init__(self, backend: Backend, pixels: int = 0) -> None:
        """``pixels`` is how many all windows of one run may have together; a single window is never too large."""
        self.backend = backend
        self.pixels = pixels
        self._proven = np.inf
        self._gathered: list[_Gathered] = []

    def ahead(self, window_pixels: int) -> int:
        """How many further windows of that size are worth starting before the first is waited for."""
        return (self.backend.ahead + 1) * self._together(window_pixels) - 1

    @property
    def eager(self) -> bool:
        """Whether windows are worth starting before there is anyone to wait for them."""
        return self.backend.ahead > 0 or self.backend.together > 1

    def hungry(self, under_way: int) -> bool:
        """Whether another photo is worth starting while windows of ``under_way`` pixels are not waited for yet."""
        return self.eager and under_way < (self.backend.ahead + 1) * self.pixels

    def start(self, window: Window, strength: float) -> Pending:
        """Begin to restore one window; as :meth:`Backend.start`, but the errors of a run of several come on waiting."""
        together = self._together(window.pixels[..., 0].size)
        if together == 1:
            (pending,) = self.backend.start([window], strength)
            return pending
        gathered = _Gathered(window, strength)
        self._gathered.append(gathered)
        if len(self._gathered) >= together or self._gathered[0].key != gathered.key:
            self._flush(waited_for=False)

        def wait() -> np.ndarray:
            while gathered.pending is None:
                self._flush(waited_for=True)
            return gathered.pending()

        return wait

    def _together(self, window_pixels: int) -> int:
        """How many windows of that size make a run."""
        return max(1, min(self.backend.together, int(min(self.pixels, self._proven) // window_pixels)))

    def _flush(self, *, waited_for: bool) -> None:
        """Start the oldest windows in one run, fewer of them when the memory does not suffice.

        Not even one, as long as none of them is ``waited_for``: others, which hold the memory, will be first.
        """
        oldest = self._gathered[0]
        run = list(takewhile(lambda gathered: gathered.key == oldest.key, self._gathered))
        del run[self._together(oldest.pixels) :]
        started: list[Pending] = []
        while not started:
            try:
                started = self.backend.start([gathered.window for gathered in run], run[0].strength)
            except (OutOfMemory, MemoryError) as error:
                if len(run) > 1:
                    del run[len(run) // 2 :]
                    self._proven = len(run) * run[0].pixels
                elif waited_for:
                    # Anew, as what was raised holds on to all that the run had in the memory.
                    started = [failing(OutOfMemory(str(error)))]
                else:
                    return
            except Exception as error:
                # All of the run's own, whichever of them is waited for.
                started = [failing(error)] * len(run)
        del self._gathered[: len(run)]
        for gathered, pending in zip(run, started, strict=True):
            gathered.pending = pending


class _Gathered:
    """A window that waits for others."""

    def __init__(self, window: Window, strength: float) -> None:
        self.window, self.strength = window, strength
        self.pixels = window.pixels[..., 0].size
        self.key = (window.pixels.shape, window.pixels.dtype, strength)
        self.pending: Pending | None = None
