"""The geometry of tiles keeps what it promises, for all kinds of photos."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restorecli.inference.tiling import Plan, halve, margin_index, plan, plan_within

SIZES = [(1, 1), (1, 5000), (7, 1000), (513, 769), (1500, 2000), (3000, 4000), (17, 16), (225, 224)]


def check(found: Plan, height: int, width: int, halo: int, stride: int) -> None:
    """All five promises of the module."""
    assert found.height % stride == 0 and 0 <= found.height - height < stride
    assert found.width % stride == 0 and 0 <= found.width - width < stride
    cell_rows, cell_columns = found.height // stride, found.width // stride
    times = np.zeros((cell_rows, cell_columns), int)
    for tile in found.tiles:
        core, window = tile.core, tile.window
        for box in (core, window):
            assert 0 <= box.top < box.bottom <= found.height and 0 <= box.left < box.right <= found.width
            assert not any(value % stride for value in (box.top, box.left, box.bottom, box.right))
        assert window.top <= max(0, core.top - halo) and window.left <= max(0, core.left - halo)
        assert window.bottom >= min(found.height, core.bottom + halo)
        assert window.right >= min(found.width, core.right + halo)
        times[core.top // stride : core.bottom // stride, core.left // stride : core.right // stride] += 1
    assert (times == 1).all()


def computed(plan: Plan) -> int:
    """Pixels of all windows together: what time has to be spent on."""
    return sum(tile.window.pixels for tile in plan.tiles)


@st.composite
def geometries(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Height and width of a photo, halo and stride: everyday ones, and sides of a few pixels or of many thousand."""
    side = st.one_of(st.integers(1, 40), st.integers(41, 2000), st.sampled_from([3000, 4000, 6000, 25_000]))
    return draw(side), draw(side), draw(st.integers(0, 200)), draw(st.sampled_from([1, 2, 4, 8, 16, 32]))


@given(geometries(), st.integers(1, 1500), st.integers(1, 1500))
@settings(max_examples=60, deadline=None)
def test_plan_keeps_its_promises(geometry: tuple[int, int, int, int], rows: int, columns: int) -> None:
    height, width, halo, stride = geometry
    # Tiles that make sense: thousands of slivers take the test long and tell nothing new.
    rows, columns = max(rows, height // 30), max(columns, width // 30)
    found = plan(height, width, tile=(rows, columns), halo=halo, stride=stride)
    check(found, height, width, halo, stride)
    assert len({(t.window.height, t.window.width) for t in found.tiles}) == 1
    padded = -(-halo // stride) * stride
    assert found.tiles[0].window.height <= -(-rows // stride) * stride + 2 * padded
    assert found.tiles[0].window.width <= -(-columns // stride) * stride + 2 * padded
    if rows == columns:
        assert plan(height, width, tile=rows, halo=halo, stride=stride) == found


@given(geometries(), st.integers(10_000, 20_000_000))
@settings(max_examples=60, deadline=None)
def test_plan_within_stays_within_and_wastes_little(geometry: tuple[int, int, int, int], pixels: int) -> None:
    height, width, halo, stride = geometry
    pixels = max(pixels, height * width // 400)
    found = plan_within(height, width, pixels=pixels, halo=halo, stride=stride)
    if found is None:
        # Not even a window whose core is one stride.
        edges = [min(side + -side % stride, 2 * (halo + -halo % stride) + stride) for side in (height, width)]
        assert edges[0] * edges[1] > pixels
        return
    check(found, height, width, halo, stride)
    assert found.window_pixels <= pixels
    assert len({(t.window.height, t.window.width) for t in found.tiles}) == 1
    if height * width > 10**7:
        return
    # No grid of squares and no strips that fit do with less work, but for what rounding windows up to the stride takes.
    least = sum((tile.window.height - stride) * (tile.window.width - stride) for tile in found.tiles)
    for tile in [(edge, edge) for edge in range(80, 2000, 480)] + [(10**6, 200), (200, 10**6)]:
        other = plan(height, width, tile=tile, halo=halo, stride=stride)
        assert other.window_pixels > pixels or computed(other) >= least


def test_strips_are_cut_where_they_waste_less() -> None:
    found = plan_within(800, 25_000, pixels=2_000_000, halo=112, stride=8)
    assert found is not None
    assert {tile.core.height for tile in found.tiles} == {800}
    assert max(tile.core.width for tile in found.tiles) - min(tile.core.width for tile in found.tiles) <= 2 * 112 + 8


def test_plan_within_says_when_there_is_none() -> None:
    assert plan_within(3000, 4000, pixels=200 * 200, halo=112, stride=8) is None


def test_context_costs_little_on_a_12_megapixel_photo() -> None:
    found = plan_within(3000, 4000, pixels=2_330_000, halo=112, stride=8)
    assert found is not None
    assert computed(found) < 1.3 * 12e6


def test_a_photo_that_fits_is_one_tile() -> None:
    for found in (
        plan(300, 400, tile=512, halo=112, stride=8),
        plan_within(300, 400, pixels=10**6, halo=112, stride=8),
    ):
        assert found is not None and len(found.tiles) == 1


@pytest.mark.parametrize("size", SIZES)
def test_halved_tiles_cover_the_same_core(size: tuple[int, int]) -> None:
    found = plan(*size, tile=400, halo=112, stride=8)
    tiles = found.tiles
    while any(halve(tile, found) for tile in tiles):
        parts = [halve(tile, found) or (tile,) for tile in tiles]
        for tile, pieces in zip(tiles, parts, strict=True):
            assert len(pieces) == 1 or all(piece.core.pixels < tile.core.pixels for piece in pieces)
        tiles = tuple(piece for pieces in parts for piece in pieces)
        check(Plan(found.height, found.width, found.halo, found.stride, tiles), *size, 112, 8)


def test_the_margin_is_a_mirror() -> None:
    assert margin_index(5, 8).tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    assert margin_index(2, 8).tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    assert margin_index(1, 8).tolist() == [0] * 8
    assert margin_index(8, 8).tolist() == list(range(8))


@pytest.mark.parametrize("wrong", [{"height": 0}, {"tile": 0}, {"halo": -1}, {"stride": 0}])
def test_impossible_lengths_are_refused(wrong: dict[str, int]) -> None:
    values = {"height": 10, "width": 10, "tile": 64, "halo": 16, "stride": 8} | wrong
    with pytest.raises(ValueError, match="at least"):
        plan(values.pop("height"), values.pop("width"), **values)
