"""Where the tiles of a photo lie: pure geometry.

The photo is thought of as lying in the top left corner of a *plane* whose sides are multiples of the network's stride;
the margin at the bottom and the right is mirrored (:func:`margin_index`). What the network gives for the whole plane
is the truth; tiles are only a way of computing it with less memory. All lengths are pixels.

What every :class:`Plan` keeps:

1. The cores of its tiles cover every pixel of the plane exactly once.
2. The window of a tile holds its core and everything within ``halo`` of it that lies inside the plane.
3. Windows never reach out of the plane: at its border the network's own zero padding acts as for the whole plane.
4. All sides of windows and cores are multiples of ``stride``, counted from the plane's origin.
5. All windows of a fresh plan have one shape, which backends that prepare themselves for a shape are glad of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Box:
    """The pixels with ``top <= y < bottom`` and ``left <= x < right``."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def pixels(self) -> int:
        return self.height * self.width


@dataclass(frozen=True)
class Tile:
    """What the network is given (``window``) and the part of its output that is kept (``core``)."""

    window: Box
    core: Box


@dataclass(frozen=True)
class Plan:
    """The tiles of one photo, row by row."""

    height: int
    """Of the plane: the photo's height rounded up to a multiple of ``stride``."""
    width: int
    halo: int
    """Context around each core, at least what was asked for and a multiple of ``stride``."""
    stride: int
    tiles: tuple[Tile, ...]

    @property
    def window_pixels(self) -> int:
        """Pixels of the largest window: what memory has to hold."""
        return max(tile.window.pixels for tile in self.tiles)


def round_up(length: int, stride: int) -> int:
    """The smallest multiple of ``stride`` that is at least ``length``."""
    return -(-length // stride) * stride


def plan(height: int, width: int, *, tile: int | tuple[int, int], halo: int, stride: int) -> Plan:
    """Cut a photo of ``height`` x ``width`` into tiles.

    ``tile`` is the edge (or height and width) of the core of an inner tile, rounded up to ``stride``. Tiles at the
    border need no context there and are given more core instead; the tiles are then evened out, so none is larger.
    :class:`ValueError` when a length is not positive or ``halo`` is negative.
    """
    tile_height, tile_width = (tile, tile) if isinstance(tile, int) else tile
    if min(height, width, tile_height, tile_width, stride) < 1 or halo < 0:
        raise ValueError("height, width, tile and stride must be at least 1, halo at least 0")
    halo, plane_height, plane_width = round_up(halo, stride), round_up(height, stride), round_up(width, stride)
    rows = _cut(plane_height, _count(plane_height, round_up(tile_height, stride), halo), halo, stride)
    columns = _cut(plane_width, _count(plane_width, round_up(tile_width, stride), halo), halo, stride)
    return _grid(plane_height, plane_width, rows, columns, halo, stride)


def plan_within(height: int, width: int, *, pixels: int, halo: int, stride: int) -> Plan | None:
    """The plan with the least work among those whose windows have at most ``pixels`` pixels; None when there is none.

    The other arguments are those of :func:`plan`.
    """
    halo, plane_height, plane_width = round_up(halo, stride), round_up(height, stride), round_up(width, stride)
    # The work of k windows along a side of length L grows only with k: L + 2 halo (k - 1). So for each number of rows
    # the fewest columns that fit are the best.
    best: tuple[int, int, int] | None = None
    for row_count in range(1, plane_height // stride + 1):
        window_height = _window(plane_height, row_count, halo, stride)
        widest = pixels // window_height // stride * stride
        if widest >= plane_width:
            column_count = 1
        elif widest > 2 * halo:
            column_count = _count(plane_width, widest - 2 * halo, halo)
        else:
            column_count = 0
        if column_count:
            work = row_count * window_height * column_count * _window(plane_width, column_count, halo, stride)
            if best is None or work < best[0]:
                best = (work, row_count, column_count)
        if window_height <= 2 * halo + stride:
            break
    if best is None:
        return None
    rows, columns = _cut(plane_height, best[1], halo, stride), _cut(plane_width, best[2], halo, stride)
    return _grid(plane_height, plane_width, rows, columns, halo, stride)


def halve(tile: Tile, of: Plan) -> tuple[Tile, ...]:
    """The tile cut into two or four with cores half as long, or ``()`` when cutting would save next to nothing.

    For a photo that turns out to need more memory than there is: the new tiles cover the core exactly, so finished
    neighbours stay as they are.
    """
    core = tile.core
    if max(core.height, core.width) <= max(of.stride, of.halo // 2):
        return ()
    rows = _halves(core.top, core.bottom, of.stride)
    columns = _halves(core.left, core.right, of.stride)
    # Cutting across the longer side first keeps the share of the halo small.
    if core.height >= 2 * core.width:
        columns = [(core.left, core.right)]
    elif core.width >= 2 * core.height:
        rows = [(core.top, core.bottom)]
    return tuple(
        Tile(_grow(Box(top, left, bottom, right), of), Box(top, left, bottom, right))
        for top, bottom in rows
        for left, right in columns
    )


def margin_index(length: int, padded: int) -> np.ndarray:
    """For each of ``padded`` positions of the plane the position in the photo (of ``length``) that stands there.

    (padded,) of whole numbers below ``length``: the photo itself, then its mirror image without the edge; a side of
    one pixel is repeated.
    """
    return np.pad(np.arange(length), (0, padded - length), mode="reflect" if length > 1 else "edge")


def _count(length: int, core: int, halo: int) -> int:
    """How many windows of ``core + 2 halo`` it takes along a side of ``length``."""
    if length <= core + 2 * halo:
        return 1
    return -(-(length - 2 * halo) // core)


def _window(length: int, count: int, halo: int, stride: int) -> int:
    """Length of each of ``count`` equal windows, overlapping by twice the halo, that cover ``length``."""
    return min(length, round_up(-(-(length + 2 * halo * (count - 1)) // count), stride))


def _cut(length: int, count: int, halo: int, stride: int) -> list[tuple[int, int, int, int]]:
    """Equal windows along one side and their cores: (window start, window end, core start, core end) each."""
    window = _window(length, count, halo, stride)
    cuts, done = [], 0
    while done < length:
        start = max(0, min(done - halo, length - window))
        end = start + window
        until = length if end == length else end - halo
        cuts.append((start, end, done, until))
        done = until
    return cuts


def _grid(
    height: int,
    width: int,
    rows: list[tuple[int, int, int, int]],
    columns: list[tuple[int, int, int, int]],
    halo: int,
    stride: int,
) -> Plan:
    def tiles() -> Iterator[Tile]:
        for window_top, window_bottom, top, bottom in rows:
            for window_left, window_right, left, right in columns:
                yield Tile(Box(window_top, window_left, window_bottom, window_right), Box(top, left, bottom, right))

    return Plan(height, width, halo, stride, tuple(tiles()))


def _halves(start: int, end: int, stride: int) -> list[tuple[int, int]]:
    middle = start + round_up((end - start) // 2, stride)
    return [(start, middle), (middle, end)] if start < middle < end else [(start, end)]


def _grow(core: Box, of: Plan) -> Box:
    return Box(
        max(0, core.top - of.halo),
        max(0, core.left - of.halo),
        min(of.height, core.bottom + of.halo),
        min(of.width, core.right + of.halo),
    )
