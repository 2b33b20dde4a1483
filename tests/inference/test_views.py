"""Views of a window: each is turned as a whole, and the mean is that of what comes back the right way round."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from restorecli.errors import PhotoError, UsageError
from restorecli.inference import closeup
from restorecli.inference.backends import Pending, Window
from restorecli.inference.footprint import resident_memory
from restorecli.inference.restorer import Restorer
from restorecli.inference.views import BUDGET, affordable, start_views
from restorecli.photo import Photo
from restorecli.photo.bits import deepened, eight_bits
from tests.small import noise


def window(dtype: type = np.uint8) -> Window:
    thumbnail = noise(16, 16).astype(np.float32) / 255
    return Window(noise(32, 48, 3, dtype), thumbnail, np.array([0.25, 0.5, 0.5, 1.25], np.float32))


class Seen:
    """Notes the windows that are begun; gives each back with ``darker`` of its value, in its own type."""

    def __init__(self, *shares: float) -> None:
        self.shares = list(shares)
        self.windows: list[Window] = []

    def __call__(self, window: Window) -> Pending:
        self.windows.append(window)
        share = self.shares[len(self.windows) - 1]
        return lambda: np.rint(window.pixels * share).astype(window.pixels.dtype)


def test_one_view_is_the_window_itself() -> None:
    given, begin = window(), Seen(1.0)
    assert np.array_equal(start_views(begin, given, 1)(), given.pixels)
    assert begin.windows == [given]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("count", [2, 4])
def test_views_are_turned_with_their_thumbnails_and_places_and_turned_back(count: int, dtype: type) -> None:
    given, begin = window(dtype), Seen(1.0, 1.0, 1.0, 1.0)
    mean = start_views(begin, given, count)()
    assert mean.dtype == dtype and np.array_equal(mean, given.pixels)
    mirrored = begin.windows[1]
    assert np.array_equal(mirrored.pixels, given.pixels[:, ::-1])
    assert np.array_equal(mirrored.thumbnail, given.thumbnail[:, ::-1])
    # What reached a quarter beyond the right border reaches as far beyond the left one.
    assert np.allclose(mirrored.place, [0.25, -0.25, 0.5, 0.5]) and mirrored.place.dtype == np.float32
    assert all(w.pixels.flags.c_contiguous and w.thumbnail.flags.c_contiguous for w in begin.windows)
    if count == 4:
        upside_down, turned = begin.windows[2:]
        assert np.array_equal(upside_down.thumbnail, given.thumbnail[::-1])
        assert np.allclose(upside_down.place, [0.5, 0.5, 0.75, 1.25])
        assert np.array_equal(turned.pixels, given.pixels[::-1, ::-1])


def test_the_mean_is_rounded_once() -> None:
    given = replace(window(), pixels=deepened(window().pixels))
    mean = start_views(Seen(0.2, 0.9), given, 2)()
    exact = (np.rint(given.pixels * 0.2) + np.rint(given.pixels * 0.9)) / 2
    assert np.abs(mean - exact).max() <= 0.5
    assert np.abs(eight_bits(mean) - exact / 257).max() <= 0.5 + 1 / 257
    every = np.arange(256, dtype=np.uint8)
    assert np.array_equal(eight_bits(deepened(every)), every)


def test_as_many_views_as_are_hardly_waited_for() -> None:
    sizes = (1, BUDGET // 4, BUDGET // 4 + 1, BUDGET // 2, BUDGET // 2 + 1)
    assert [affordable(4, pixels) for pixels in sizes] == [4, 4, 2, 2, 1]
    assert affordable(2, 1) == 2 and affordable(1, 1) == 1
    # As the comment beside the budget says; and a photo of a megapixel takes as long as ever.
    sides = ((480, 320), (640, 480), (1024, 768), (1000, 1000), (1920, 1080))
    assert [affordable(6, wide * high) for wide, high in sides] == [6, 4, 2, 1, 1]
    # Two enlarged views have four and a half times the photo's pixels.
    assert [affordable(6, pixels) for pixels in (int(BUDGET / 8.5), int(BUDGET / 8.5) + 1)] == [6, 4]


def test_a_mirrored_photo_comes_out_mirrored(weights_files: dict[str, object]) -> None:
    """With two views, and not with one, a photo's mirror image becomes the mirror image of the result."""
    pixels = noise(64, 128)
    for task in ("derain", "dehaze"):
        for count, same in ((1, False), (2, True)):
            restorer = Restorer(task, weights=str(weights_files[task]), device="cpu", precision="fp32", ensemble=count)
            there = restorer.restore(pixels).astype(int)
            mirrored = restorer.restore(np.ascontiguousarray(pixels[:, ::-1]))[:, ::-1].astype(int)
            assert (np.abs(there - mirrored).max() <= 1) == same, (task, count)


def test_grey_and_16_bits_are_seen_alike(weights_files: dict[str, object]) -> None:
    weights = str(weights_files["derain"])
    restorer = Restorer("derain", weights=weights, device="cpu", precision="fp32", ensemble=4)
    grey = noise(60, 70, 1)
    result = restorer.restore_photo(Photo(grey))[0].pixels
    colours = restorer.restore(np.repeat(grey, 3, axis=2)).astype(float) @ [0.299, 0.587, 0.114]
    assert result.dtype == np.uint8 and np.abs(result[..., 0] - colours).max() <= 1
    deep = restorer.restore(grey.astype(np.uint16) * 257)
    assert np.abs(deep / 257 - result).max() <= 1


def test_a_number_of_views_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="auto, 1, 2, 4 or 6, not 3"):
        Restorer("derain", ensemble=3)
    with pytest.raises(UsageError, match="upside down"):
        Restorer("dehaze", ensemble=4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_closer_look_brings_its_change_back(dtype: type, channels: int) -> None:
    pixels = noise(61, 80, channels, dtype)
    large = closeup.enlarged(pixels)
    assert large.dtype == np.uint16 and large.shape == (92, 120, channels)
    restored = deepened(pixels) // 2
    unchanged = restored.copy()
    closeup.join(pixels, unchanged, large, large, 0.0)
    assert np.array_equal(unchanged, restored)
    # A closer look that changes nothing gives the photo itself, grain and all, not a softer one.
    half = restored.copy()
    closeup.join(pixels, half, large, large, 0.5)
    assert np.abs(half - (restored / 2 + deepened(pixels) / 2)).max() <= 1
    darker = restored.copy()
    closeup.join(pixels, darker, large, (large * 0.9).astype(np.uint16), 1.0)
    blocks = [cv2.resize(one.astype(np.float32), (5, 4), interpolation=cv2.INTER_AREA) for one in (darker, pixels)]
    scale = 257 if dtype == np.uint8 else 1
    assert np.allclose(blocks[0], blocks[1] * scale * 0.9, rtol=0.03)


def test_six_views_are_four_and_two_closer_ones(weights_files: dict[str, object]) -> None:
    weights = str(weights_files["derain"])
    pixels = noise(60, 70)

    def restored(photo: np.ndarray, views: int | str, **options: object) -> np.ndarray:
        chosen = {"device": "cpu", "precision": "fp32", "ensemble": views, **options}
        return Restorer("derain", weights=weights, **chosen).restore(photo).astype(float)  # type: ignore[arg-type]

    large = closeup.enlarged(pixels)
    closer = restored(large, 2) - large
    closer = cv2.resize(closer, (70, 60), interpolation=cv2.INTER_AREA) / 257 + pixels
    six = restored(pixels, 6)
    # Nearly, as here the enlarged photo's thumbnail is its own.
    off = np.abs(six - (4 * restored(pixels, 4) + 2 * closer) / 6)
    assert off.max() <= 3 and off.mean() < 0.7
    assert np.abs(six - restored(pixels, 4)).mean() > 1
    # They are what a small photo gets by itself, and a blend of them is one of all.
    assert np.array_equal(restored(pixels, "auto"), six)
    assert np.abs(restored(pixels, 6, strength=0.5) - (six + pixels) / 2).max() <= 1
    # Memory for them is counted.
    with pytest.raises(PhotoError, match="too little"):
        restored(noise(600, 700), 6, max_memory=resident_memory() + 20_000_000)
