"""Tiles out of order of memory or of numbers: what is kept, what is repeated, what is given up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from restorecli.errors import PhotoError
from restorecli.inference.backends import NotFinite, OutOfMemory, Pending, Window
from restorecli.inference.runs import Runs
from restorecli.inference.stitch import Outcome, start_plan
from restorecli.inference.tiling import Plan, plan
from restorecli.models.descriptor import Descriptor
from tests.small import noise

THUMBNAIL = np.zeros((16, 16, 3), np.float32)


class Inverter:
    """Gives the negative; cannot hold more than ``limit`` pixels, and the windows in ``broken`` are not finite.

    With ``ahead`` windows are computed only when they are waited for, and all that are under way take memory.
    """

    name, device, precision = "fake", "cpu", "bf16"
    descriptor = Descriptor("derain", "fake", stride=8, halo=16, thumbnail=16)

    def __init__(self, limit: int = 10**9, broken: tuple[int, ...] = (), ahead: int = 0, together: int = 1) -> None:
        self.limit, self.broken, self.ahead, self.together = limit, broken, ahead, together
        self.calls: list[tuple[int, int]] = []
        self.runs: list[int] = []
        self.held = 0

    def start(self, windows: Sequence[Window], strength: float) -> list[Pending]:
        height, width = windows[0].pixels.shape[:2]
        if self.held + len(windows) * height * width > self.limit:
            raise OutOfMemory
        self.runs.append(len(windows))
        return [self._start(window, strength) for window in windows]

    def _start(self, window: Window, strength: float) -> Pending:
        pixels, place, size = window.pixels, window.place, window.pixels.shape[:2]
        assert size[0] % 8 == 0 and size[1] % 8 == 0 and pixels.shape[2] == 3
        assert place.shape == (4,) and place.dtype == np.float32 and (place >= 0).all() and (place <= 8).all()
        self.calls.append(size)
        self.held += size[0] * size[1]
        assert self.held <= (self.ahead + 1) * self.together * max(high * wide for high, wide in self.calls)
        broken = len(self.calls) - 1 in self.broken

        def wait() -> np.ndarray:
            self.held -= size[0] * size[1]
            if broken:
                raise NotFinite
            top = np.iinfo(pixels.dtype).max
            blended = pixels + strength * (top - 2.0 * pixels)
            return np.rint(blended).astype(pixels.dtype)

        return wait

    def limit(self, memory: int) -> None:
        pass

    def free_memory(self) -> int | None:
        return None


def run_plan(pixels: np.ndarray, thumbnail: np.ndarray, tiles: Plan, backend: Inverter, **options: Any) -> Outcome:
    return start_plan(pixels, thumbnail, tiles, Runs(backend, pixels=10**6), **options).whole()


def tiles_of(pixels: np.ndarray, tile: int = 128):
    return plan(*pixels.shape[:2], tile=tile, halo=16, stride=8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (3, 500), (301, 410)])
def test_every_pixel_comes_out_in_its_place(size: tuple[int, int], channels: int, dtype: type) -> None:
    pixels = noise(*size, channels, dtype)
    outcome = run_plan(pixels, THUMBNAIL, tiles_of(pixels), Inverter())
    assert outcome.pixels.dtype == dtype
    assert np.abs(outcome.pixels.astype(int) - (np.iinfo(dtype).max - pixels.astype(int))).max() <= (channels == 1)


@pytest.mark.parametrize("ahead", [0, 1])
def test_memory_that_runs_out_halves_the_tiles_that_are_left(ahead: int) -> None:
    pixels = noise(500, 700)
    backend = Inverter(limit=90 * 90, ahead=ahead)
    seen: list[tuple[int, int]] = []
    outcome = run_plan(pixels, THUMBNAIL, tiles_of(pixels, 256), backend, progress=lambda *p: seen.append(p))
    assert np.array_equal(outcome.pixels, 255 - pixels)
    assert outcome.halvings >= 2
    assert outcome.tiles == len(backend.calls) == len(seen)
    assert seen == sorted(seen) and seen[-1] == (504 * 704, 504 * 704)


def test_memory_for_one_window_but_not_for_two_halves_nothing() -> None:
    pixels = noise(500, 700)
    tiles = tiles_of(pixels, 256)
    outcome = run_plan(pixels, THUMBNAIL, tiles, Inverter(limit=int(1.5 * tiles.window_pixels), ahead=1))
    assert np.array_equal(outcome.pixels, 255 - pixels)
    assert (outcome.halvings, outcome.tiles) == (0, len(tiles.tiles))


def test_finished_tiles_are_kept_when_memory_runs_out_later() -> None:
    pixels = noise(500, 700)
    backend = Inverter()
    tiles = tiles_of(pixels, 256)

    def shrink(done: int, total: int) -> None:
        backend.limit = 150 * 150

    outcome = run_plan(pixels, THUMBNAIL, tiles, backend, progress=shrink)
    assert np.array_equal(outcome.pixels, 255 - pixels)
    large = [size for size in backend.calls if size[0] * size[1] > 150 * 150]
    assert len(large) == 1, "the first tile is computed once, and none of its size is tried again in vain"


def test_a_photo_that_does_not_fit_at_all_is_refused_with_a_remedy() -> None:
    pixels = noise(300, 400)
    with pytest.raises(PhotoError, match=r"400x300 pixels: memory ran out.*--device cpu") as caught:
        run_plan(pixels, THUMBNAIL, tiles_of(pixels), Inverter(limit=10))
    assert caught.value.kind == "out_of_memory"


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_tile_that_is_not_finite_runs_again_in_fp32(ahead: int) -> None:
    pixels = noise(500, 700)
    exact = Inverter()
    backend = Inverter(broken=(1, 3), ahead=ahead)
    outcome = run_plan(pixels, THUMBNAIL, tiles_of(pixels), backend, exact_backend=lambda: exact)
    assert np.array_equal(outcome.pixels, 255 - pixels)
    assert outcome.repeated == len(exact.calls) == 2


def test_values_that_are_never_finite_are_an_error() -> None:
    pixels = noise(50, 70)
    for exact in (None, Inverter(broken=(0,))):
        with pytest.raises(PhotoError, match="no numbers") as caught:
            run_plan(pixels, THUMBNAIL, tiles_of(pixels), Inverter(broken=(0,)), exact_backend=lambda e=exact: e)
        assert caught.value.kind == "not_finite"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_strength_blends(channels: int, dtype: type) -> None:
    # All levels of the type, so that none is lost on the way.
    levels = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    pixels = np.resize(levels, (260, 256, channels))
    none = run_plan(pixels, THUMBNAIL, tiles_of(pixels), Inverter(), strength=0.0).pixels
    assert np.array_equal(none, pixels)
    half = run_plan(pixels, THUMBNAIL, tiles_of(pixels), Inverter(), strength=0.5).pixels
    assert np.abs(half.astype(float) - np.iinfo(dtype).max / 2).max() <= 0.5
