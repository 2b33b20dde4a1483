from __future__ import annotations

from pathlib import Path

import numpy as np

from restorecli.inference.restorer import Restorer
from restorecli.photo import Photo
from restorecli.photo.transparency import filled, kept

from .photos import noise, smooth


def test_holes_get_the_nearest_colour_that_is_seen() -> None:
    pixels = np.zeros((1, 6, 3), np.uint8)
    pixels[0, [0, 5]] = (10, 20, 30), (200, 210, 220)
    alpha = np.array([[255, 0, 0, 0, 0, 1]], np.uint8)
    found = filled(pixels, alpha)
    assert found[0, :, 0].tolist() == [10, 10, 10, 200, 200, 200]
    assert kept(found, pixels, alpha)[0, :, 0].tolist() == [10, 0, 0, 0, 0, 200]
    for solid in (None, np.ones((1, 6), np.uint8), np.zeros((1, 6), np.uint8)):
        assert filled(pixels, solid) is pixels


def test_what_is_hidden_does_not_bleed(weights_files: dict[str, Path]) -> None:
    restorer = Restorer("derain", weights=str(weights_files["derain"]), backend="onnx", device="cpu")
    alpha = np.full((60, 80), 255, np.uint8)
    alpha[20:40, 30:60] = 0
    results = []
    for hidden in (0, 255):
        pixels = smooth(60, 80)
        pixels[alpha == 0] = hidden
        restored = restorer.restore_photo(Photo(pixels, alpha))[0]
        assert (restored.pixels[alpha == 0] == hidden).all() and restored.alpha is alpha
        results.append(restored.pixels[alpha == 255])
    assert np.array_equal(*results)
    assert not np.array_equal(results[0], smooth(60, 80)[alpha == 255])
    assert np.array_equal(restorer.restore_photo(Photo(noise(60, 80), np.zeros_like(alpha)))[0].pixels, noise(60, 80))
