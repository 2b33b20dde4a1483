"""The geometry of tiles keeps what it promises, for all kinds of photos."""

from __future__ import annotations

import numpy as np
import pytest

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


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tile", [16, 256, 512, (64, 1000)])
@pytest.mark.parametrize(("halo", "stride"), [(112, 8), (192, 16), (0, 1), (13, 4)])
def test_plan_keeps_its_promises(size: tuple[int, int], tile: int | tuple[int, int], halo: int, stride: int) -> None:
    found = plan(*size, tile=tile, halo=halo, stride=stride)
    check(found, *size, halo, stride)
    assert len({(t.window.height, t.window.width) for t in found.tiles}) == 1
    rows, columns = (tile, tile) if isinstance(tile, int) else tile
    padded = -(-halo // stride) * stride
    assert found.tiles[0].window.height <= -(-rows // stride) * stride + 2 * padded
    assert found.tiles[0].window.width <= -(-columns // stride) * stride + 2 * padded


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pixels", [80_000, 300_000, 2_500_000])
def test_plan_within_stays_within(size: tuple[int, int], pixels: int) -> None:
    found = plan_within(*size, pixels=pixels, halo=112, stride=8)
    assert found is not None
    check(found, *size, 112, 8)
    assert found.window_pixels <= pixels
    # No square grid that fits does with less work.
    for tile in range(80, 2000, 240):
        other = plan(*size, tile=tile, halo=112, stride=8)
        assert other.window_pixels > pixels or computed(other) >= computed(found)


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
