"""A photo at small sizes, and what is seen there."""

from __future__ import annotations

import numpy as np
import pytest

from restorecli.inference.looks import Look, Looks, Reductions
from restorecli.inference.overview import SHARE
from restorecli.inference.stitch import Outcome
from restorecli.photo.bits import deepened
from tests.small import noise


class Done:
    """A plan that has been carried out already."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def whole(self) -> Outcome:
        return Outcome(self.pixels, 1, 0, 0)


def test_a_reduction_is_the_mean_of_areas() -> None:
    pixels = noise(640, 1280, 3, np.uint16)
    blocks = pixels.reshape(64, 10, 64, 20, 3).mean(axis=(1, 3)) / 65535
    assert np.abs(Reductions(pixels).in_colour(64) - blocks).max() < 0.02
    for size in [(1, 1), (7, 1000), (63, 65)]:
        small = Reductions(noise(*size, 1)).in_colour(64)
        assert small.shape == (64, 64, 3) and small.dtype == np.float32 and small.flags.c_contiguous
        assert 0 <= small.min() <= small.max() <= 1


@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_an_overview_has_its_share(strength: float) -> None:
    """The tiles leave the photo as it is, the overview makes it darker by a tenth of the full range."""
    photo = np.full((400, 500, 3), 150, np.uint8)
    small = Reductions(photo).at(64)
    darker = Done(np.rint((small - 0.1) * 65535).astype(np.uint16))
    looks = Looks(Look(small, darker), None)  # type: ignore[arg-type]
    out = looks.joined(photo, deepened(photo.copy()), strength)
    assert looks.any and np.abs(out - (150 - strength * SHARE * 25.5)).max() <= 0.6


def test_without_looks_the_tiles_are_the_result() -> None:
    photo, restored = noise(40, 50), noise(40, 50, seed=3)
    looks = Looks(None, None)
    assert not looks.any
    assert np.array_equal(looks.joined(photo, deepened(restored.copy()), 1.0), restored)
