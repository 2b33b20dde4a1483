"""HEIC, JPEG XL and camera RAW."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pylibjxl
import pytest
from imagecodecs import jpegxl_encode
from PIL import Image

from restorecli.errors import PhotoError
from restorecli.photo import Photo, encode_photo, read_photo

from .photos import MAKER_NOTE, XMP, dng_file, exif_block, heic_file, rgb_profile, smooth
from .test_write import reread

WIDE = rgb_profile()
RAW_FILE = dng_file()


def jxl_file(pixels: np.ndarray, **options: object) -> bytes:
    return bytes(pylibjxl.encode(pixels, **options))


def kind_of(data: bytes, **options: int) -> str:
    with pytest.raises(PhotoError) as caught:
        read_photo(data, name="photo", **options)
    assert str(caught.value).startswith("photo: ") and "\n" not in str(caught.value)
    return caught.value.kind


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_heic_comes_back(dtype: type, channels: int, transparent: bool) -> None:
    alpha = smooth(64, 80, 1, dtype)[..., 0] if transparent else None
    photo = Photo(smooth(64, 80, channels, dtype), alpha, format="heic")
    back = reread(photo)
    assert back.format == "heic" and back.pixels.dtype == dtype
    # HEIC has no grey with alpha.
    assert back.pixels.shape == (64, 80, 3 if transparent else channels)
    top = np.iinfo(dtype).max
    assert np.abs(back.pixels / top - photo.pixels / top).mean() < 0.01
    assert alpha is None or np.abs(back.alpha / top - alpha / top).mean() < 0.01


def test_white_of_10_bits_is_white() -> None:
    white = np.full((64, 80, 3), 65535, np.uint16)
    assert (read_photo(heic_file(white)).pixels >= 65535 - 64).all()


def test_heic_keeps_what_it_carries() -> None:
    exif = exif_block(6, size=(80, 64), thumbnail=b"\xff\xd8\xff\xd9")
    photo = read_photo(heic_file(smooth(64, 80), exif=b"Exif\0\0" + exif, xmp=XMP, icc_profile=WIDE, chroma=422))
    # The boxes turn it, not the EXIF, and once.
    assert photo.pixels.shape == (80, 64, 3) and photo.icc == WIDE and photo.coding.subsampling == "4:2:2"
    back = reread(photo)
    assert back.pixels.shape == (80, 64, 3)
    assert (back.icc, back.xmp, back.coding.subsampling) == (WIDE, XMP.replace(b'"6"', b'"1"'), "4:2:2")
    found = Image.Exif()
    found.load(back.exif or b"")
    assert found[0x0112] == 1 and found.get_ifd(0x8769)[0x927C] == MAKER_NOTE


def test_hdr_and_huge_heic_are_refused() -> None:
    pq = heic_file(smooth(64, 80, dtype=np.uint16), transfer_characteristics=16, color_primaries=9)
    assert kind_of(pq) == "colour"
    assert kind_of(heic_file(smooth(64, 80)), max_pixels=5000) == "too_large"
    assert kind_of(heic_file(smooth(64, 80))[:300]) == "truncated"


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_xl_comes_back(channels: int, transparent: bool) -> None:
    alpha = smooth(64, 80, 1)[..., 0] if transparent else None
    exif = exif_block(1, size=(80, 64))
    back = reread(Photo(smooth(64, 80, channels), alpha, format="jxl", exif=exif, xmp=XMP), quality=100)
    expected = smooth(64, 80, channels)
    assert np.array_equal(back.pixels, np.repeat(expected, 3, 2) if transparent and channels == 1 else expected)
    assert alpha is None or np.array_equal(back.alpha, alpha)
    assert (back.format, back.exif, back.xmp) == ("jxl", exif, XMP.replace(b'"6"', b'"1"'))
    photo = Photo(smooth(64, 80, channels), format="jxl")
    sizes = [len(encode_photo(photo, quality=quality)[0]) for quality in (10, 60, 95, 100)]
    assert sizes[0] < sizes[1] < sizes[2] != sizes[3]


def test_jpeg_xl_of_16_bits_and_of_wide_gamut(caplog: pytest.LogCaptureFixture) -> None:
    deep = smooth(64, 80, dtype=np.uint16)
    photo = read_photo(bytes(jpegxl_encode(deep, lossless=True)))
    assert np.array_equal(photo.pixels, deep)
    assert np.array_equal(reread(photo, "tiff").pixels, deep) and not caplog.messages
    assert reread(photo).pixels.dtype == np.uint8
    assert "JPEG XL is written with 8 bits a channel" in caplog.text
    wide = read_photo(jxl_file(smooth(64, 80), lossless=True, icc=WIDE))
    assert wide.icc == WIDE and wide.native is not None and np.array_equal(wide.native, smooth(64, 80))
    assert reread(wide).icc == WIDE


def test_odd_jpeg_xl_are_refused() -> None:
    data = jxl_file(smooth(64, 80))
    assert kind_of(data, max_pixels=5000) == "too_large"
    assert kind_of(data[:40]) in ("truncated", "unreadable")
    assert kind_of(bytes(jpegxl_encode(smooth(8, 9).astype(np.float32)))) == "colour"


def test_camera_raw_is_developed() -> None:
    photo = read_photo(RAW_FILE)
    assert photo.format == "raw" and photo.pixels.dtype == np.uint16 and photo.native is None
    # It lies on its side.
    upright = np.rot90(smooth(96, 128), -1)
    assert photo.pixels.shape == upright.shape
    seen, wanted = (array[8:-8, 8:-8].reshape(-1, 3).astype(float) for array in (photo.pixels, upright))
    assert all(np.corrcoef(seen[:, channel], wanted[:, channel])[0, 1] > 0.97 for channel in range(3))
    found = Image.Exif()
    found.load(photo.exif or b"")
    assert dict(found) == {0x010F: "A Camera", 0x0112: 1}
    data, suffix = encode_photo(photo)
    assert suffix == ".tiff" and np.array_equal(read_photo(data).pixels, photo.pixels)
    assert kind_of(RAW_FILE, max_pixels=5000) == "too_large"
    assert kind_of(RAW_FILE[:3000]) == "truncated"


@pytest.mark.parametrize(
    ("data", "module", "extra"),
    [
        (heic_file(smooth(64, 80)), "pillow_heif", "heif"),
        (jxl_file(smooth(64, 80)), "pylibjxl", "jxl"),
        (RAW_FILE, "rawpy", "raw"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(100), "rawpy", "raw"),
    ],
    ids=["heic", "jxl", "dng", "cr2"],
)
def test_a_missing_extra_is_named(data: bytes, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PhotoError, match=rf"^photo: .* pip install 'restorecli\[{extra}\]'$") as caught:
        read_photo(data, name="photo")
    assert caught.value.kind == "extra"
    if extra != "raw":
        with pytest.raises(PhotoError, match="pip install"):
            encode_photo(replace(Photo(smooth(8, 9)), format="heic" if extra == "heif" else extra))


def test_damaged_extras_end_in_a_photo_or_a_photo_error() -> None:
    random = np.random.default_rng(0)
    for data in (heic_file(smooth(64, 80)), jxl_file(smooth(64, 80)), RAW_FILE):
        for _ in range(40):
            damaged = bytearray(data)
            for at in random.integers(0, len(data), 6):
                damaged[at] = random.integers(256)
            try:
                photo = read_photo(bytes(damaged), max_pixels=1_000_000)
            except PhotoError:
                continue
            assert photo.pixels.ndim == 3
