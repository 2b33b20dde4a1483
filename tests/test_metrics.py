"""The figures agree with a library that others trust, and with values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from restorecli.metrics import luma, psnr, psnr_y, ssim, ssim_y


def _photos() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)
    return a, np.clip(a.astype(int) + rng.integers(-20, 21, a.shape), 0, 255).astype(np.uint8)


def test_psnr_agrees_with_scikit_image() -> None:
    a, b = _photos()
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(b, a, data_range=255), abs=1e-9)
    assert psnr(a, a) == math.inf


def test_psnr_of_a_known_error() -> None:
    a = np.full((4, 4, 3), 100, np.uint8)
    assert psnr(a, a + 5) == pytest.approx(20 * math.log10(255 / 5))


def test_luma_is_that_of_matlab() -> None:
    white, black = np.full((1, 1, 3), 255, np.uint8), np.zeros((1, 1, 3), np.uint8)
    assert luma(white)[0, 0] == pytest.approx(235, abs=0.01)
    assert luma(black)[0, 0] == 16
    a = np.full((4, 4, 3), 100, np.uint8)
    assert psnr_y(a, a + 5) == pytest.approx(20 * math.log10(255 / (5 * 219 / 255)), abs=0.01)


def _ssim_of_scikit_image(a: np.ndarray, b: np.ndarray, channel_axis: int | None) -> float:
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    mean, full = structural_similarity(a, b, channel_axis=channel_axis, full=True, **options)
    # It leaves the border that windows reach out of out of its mean, as the tables do.
    assert mean == pytest.approx(float(full[5:-5, 5:-5].mean()))
    return float(mean)


def test_luma_scores_agree_with_scikit_image() -> None:
    integers = _photos()
    for a, b in (integers, tuple(photo / 1.1 for photo in integers)):  # what 16 bits come as is no whole number
        y = [rgb2ycbcr(photo / 255)[..., 0] for photo in (a, b)]
        assert luma(a) == pytest.approx(y[0], abs=1e-9)
        assert psnr_y(a, b) == pytest.approx(peak_signal_noise_ratio(y[1], y[0], data_range=255), abs=1e-9)
        assert ssim_y(a, b) == pytest.approx(_ssim_of_scikit_image(y[0], y[1], None), abs=1e-4)


def test_ssim_agrees_with_scikit_image() -> None:
    a, b = _photos()
    assert ssim(a, b) == pytest.approx(_ssim_of_scikit_image(a, b, 2), abs=1e-4)
    assert ssim(a, a) == pytest.approx(1)
    assert ssim_y(a, a) == pytest.approx(1)


def test_photos_of_different_sizes_are_refused() -> None:
    a, b = _photos()
    for score in (psnr, ssim):
        with pytest.raises(ValueError, match="different sizes"):
            score(a, b[1:])
    with pytest.raises(ValueError, match="11x11"):
        ssim(a[:5], b[:5])
