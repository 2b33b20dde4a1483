"""An overview puts right what is wrong over large areas, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from restorecli.inference.overview import SHARE, Bend, bend, bend_between
from restorecli.inference.restorer import Restorer
from restorecli.models.descriptor import Descriptor
from restorecli.photo.bits import deepened
from restorecli.weights import save_network
from tests.small import narrow_network, noise


def reduced(pixels: np.ndarray, edge: int = 64) -> np.ndarray:
    return cv2.resize(pixels.astype(np.float32) / 255, (edge, edge), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_bend_of_nothing_changes_nothing(dtype: type, channels: int) -> None:
    pixels, restored = noise(200, 301, channels, dtype), noise(200, 301, channels, dtype, seed=3)
    nothing = np.zeros((64, 64, channels), np.float32)
    bent = bend(pixels, deepened(restored.copy()), Bend(nothing, nothing), 1.0)
    assert bent.dtype == dtype and np.array_equal(bent, restored)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_half_of_what_is_wrong_over_large_areas_goes(strength: float) -> None:
    photo = noise(512, 640)
    # What the tiles gave is too dark on the left; the overview sees that.
    ramp = np.linspace(-40, 0, 640)[None, :, None]
    right = photo * 0.8
    blended = np.rint(photo + strength * (right + ramp - photo)).clip(0, 255).astype(np.uint8)
    tiles = reduced(photo) + (reduced(blended) - reduced(photo)) / strength
    found = bend_between(reduced(photo), tiles, reduced(right))
    bent = bend(photo, deepened(blended), found, strength)
    wanted = photo + strength * (right - photo)
    left = np.abs(cv2.blur(bent - wanted, (80, 80))).mean() / np.abs(cv2.blur(blended - wanted, (80, 80))).mean()
    assert left == pytest.approx(1 - SHARE, abs=0.05)


def test_edges_of_the_change_stay_where_they_are() -> None:
    """Haze was taken from the hill alone: an overview that takes more leaves the sky as it is, up to the edge."""
    photo = np.full((512, 512, 3), 200, np.uint8)
    tiles = photo.copy()
    tiles[256:] = 120
    overview = photo.copy()
    overview[256:] = 80
    bent = bend(photo, deepened(tiles), bend_between(*(reduced(one) for one in (photo, tiles, overview))), 1.0)
    assert np.abs(bent[:253].astype(int) - 200).max() <= 3
    assert np.abs(bent[260:].astype(int) - 100).max() <= 3


def test_strips_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    photo, restored = noise(300, 200), noise(300, 200, seed=3)
    random = np.random.default_rng(0)
    maps = Bend(*(random.random((64, 64, 3)).astype(np.float32) for _ in range(2)))
    results = []
    for values in (200 * 3, 7 * 200 * 3, 10**9):
        monkeypatch.setattr("restorecli.inference.overview._STRIP", values)
        results.append(bend(photo, deepened(restored), maps, 0.7).astype(int))
    assert max(np.abs(one - results[0]).max() for one in results[1:]) <= 1


def test_the_engine_looks_at_the_whole_photo(tmp_path: Path) -> None:
    """A network with an overview gives another result than the same network without; too small a photo the same."""
    plain = narrow_network("dehaze")
    paths = []
    for edge in (0, 64):
        plain.config = replace(plain.config, overview=edge)
        assert plain.descriptor("dehaze").overview == edge
        paths.append(tmp_path / f"{edge}.safetensors")
        save_network(paths[-1], plain, plain.descriptor("dehaze"))
    without, with_it = (Restorer("dehaze", weights=path, device="cpu", precision="fp32") for path in paths)
    small, large = noise(63, 500), noise(200, 300)
    assert np.array_equal(without.restore(small), with_it.restore(small))
    change = np.abs(without.restore(large).astype(int) - with_it.restore(large))
    assert change.max() > 0
    # Both are of the same network, whose change is the same at any size but for the grain: neither is far off.
    assert change.mean() < 10
    grey = with_it.restore(noise(200, 300, 1))
    assert grey.shape == (200, 300, 1)


def test_older_files_know_no_overview() -> None:
    text = Descriptor("dehaze", "unet", stride=16, halo=192, thumbnail=64).to_json()
    older = text.replace('"overview": 0, ', "").replace(', "views": 1', "")
    assert "views" not in older and "overview" not in older
    assert Descriptor.from_json(older) == Descriptor.from_json(text)
    with pytest.raises(ValueError, match="overview must be 0 or a multiple of 16"):
        Descriptor("dehaze", "unet", stride=16, halo=192, thumbnail=64, overview=100)
    with pytest.raises(ValueError, match="views must be"):
        Descriptor("dehaze", "unet", stride=16, halo=192, thumbnail=64, views=3)
