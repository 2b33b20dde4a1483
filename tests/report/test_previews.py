"""The pictures of a page: how large they come out, and that their colours are the photo's."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from restorecli.photo import Photo
from restorecli.report import capture, share_of
from restorecli.report.previews import PAGE_BYTES, Picture, Previews
from tests.small import noise


def _opened(picture: Picture) -> Image.Image:
    image = Image.open(BytesIO(picture.data))
    assert image.get_format_mimetype() == picture.type
    return image


def _all(previews: Previews) -> list[Picture]:
    detail = previews.detail
    return [previews.thumbnail, previews.before, previews.after, *([detail.before, detail.after] if detail else [])]


@pytest.mark.parametrize(
    ("photos", "wild", "reduced"),
    [
        (1, False, False),
        (60, False, False),
        (500, False, True),
        (3000, False, True),
        (1, True, False),
        (60, True, True),
    ],
)
def test_the_pictures_keep_to_their_share(photos: int, wild: bool, reduced: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1100, 1500, 3), np.uint8) if wild else noise(1100, 1500)
    share = share_of(photos)
    assert share * photos <= PAGE_BYTES
    previews = capture(Photo(pixels), Photo(np.ascontiguousarray(255 - pixels)), share).encode()
    assert sum(len(picture.data) for picture in _all(previews)) <= share
    assert previews.photo_size == (1500, 1100) and max(previews.thumbnail_size) == 240
    assert _opened(previews.before).size == _opened(previews.after).size == previews.size
    assert previews.reduced == reduced and max(previews.size) >= 160
    if previews.detail is not None:
        left, top, width, height = previews.detail.box
        assert min(left, top) >= 0 and left + width <= 1500 and top + height <= 1100
        assert _opened(previews.detail.after).size == (width, height)


def test_the_detail_is_where_the_change_is() -> None:
    before = np.full((2400, 3000, 3), 90, np.uint8)
    after = before.copy()
    after[2000:2200, 300:500] += np.random.default_rng(0).integers(0, 100, (200, 200, 1), np.uint8)
    detail = capture(Photo(before), Photo(after), 600_000).encode().detail
    assert detail is not None
    left, top, width, height = detail.box
    assert left <= 300 and top <= 2000 and left + width >= 500 and top + height >= 2200
    shown = np.asarray(_opened(detail.after)).astype(int)
    assert np.abs(shown - after[top : top + height, left : left + width]).mean() < 4


def test_colours_are_srgb_of_eight_bits() -> None:
    # A profile whose red is sRGB's blue: a photo that is all red in it is blue.
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")
    pixels = np.zeros((40, 60, 3), np.uint16)
    pixels[..., 0] = 65535
    previews = capture(Photo(pixels), Photo(pixels, icc=swapped), 100_000).encode()
    assert np.abs(np.asarray(_opened(previews.before)).reshape(-1, 3) - [254, 0, 0]).max() <= 3
    assert np.abs(np.asarray(_opened(previews.after)).reshape(-1, 3).astype(int) - [0, 0, 254]).max() <= 3
    # Where the photo's own values lie beside them, the pixels are in sRGB already.
    previews = capture(Photo(pixels), Photo(pixels, icc=swapped, native=pixels), 100_000).encode()
    assert np.abs(np.asarray(_opened(previews.after)).reshape(-1, 3) - [254, 0, 0]).max() <= 3
    grey = np.full((40, 60, 1), 32768, np.uint16)
    previews = capture(Photo(grey), Photo(grey, icc=b"no profile"), 100_000).encode()
    assert [_opened(picture).getpixel((30, 20)) for picture in _all(previews)] == [(128, 128, 128)] * 3


@pytest.mark.parametrize(("width", "height"), [(1, 1), (9000, 2), (3, 9000)])
def test_odd_shapes(width: int, height: int) -> None:
    random = np.random.default_rng(0)
    before, after = (Photo(random.integers(0, 256, (height, width, 3), np.uint8)) for _ in range(2))
    for share in (20_000, 8_000_000):
        previews = capture(before, after, share).encode()
        assert _opened(previews.before).size == previews.size and max(previews.size) <= 8192


def test_alpha_stays() -> None:
    alpha = np.full((600, 900), 255, np.uint8)
    opaque = Photo(noise(600, 900), alpha.copy())
    alpha[:, :450] = 0
    previews = capture(opaque, Photo(noise(600, 900), alpha), 60_000).encode()
    assert previews.before.type == "image/jpeg" and previews.after.type == "image/webp"
    with _opened(previews.after) as image:
        bands = np.asarray(image)[..., 3]
        assert (bands[:, : bands.shape[1] // 3] == 0).all() and (bands[:, -bands.shape[1] // 3 :] == 255).all()
