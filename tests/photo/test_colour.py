"""Photos in other colours than sRGB: what the network sees of them, and what comes back."""

from __future__ import annotations

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from skimage import data as skimage_data

from restorecli.errors import PhotoError
from restorecli.photo import Photo, encode_photo, read_photo
from restorecli.photo.colour import encoding_of, profile_of, returned, seen

from .photos import SRGB, cmyk_profile, grey_profile, noise, png_chunk, png_file, rgb_profile, saved, smooth

WIDE, LARGEST = rgb_profile(), rgb_profile(1.8, (0.7347, 0.2653, 1, 0.1596, 0.8404, 1, 0.0366, 0.0001, 1))
CMYK = cmyk_profile()
PROFILES = {
    "wide": (WIDE, 3),
    "widest": (LARGEST, 3),
    "p3": (profile_of(12), 3),
    "grey": (grey_profile(1.8), 1),
    "grey with rgb": (WIDE, 1),
    "cmyk": (CMYK, 4),
    "plain cmyk": (None, 4),
}


def by_littlecms(pixels: np.ndarray, icc: bytes) -> np.ndarray:
    """sRGB of 8-bit values, as any other program shows them."""
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[pixels.shape[2]]
    image = Image.frombytes(mode, pixels.shape[1::-1], pixels.tobytes())
    done = ImageCms.profileToProfile(
        image,
        ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert done is not None
    return np.asarray(done)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", PROFILES)
def test_what_nobody_changed_keeps_its_value(name: str, dtype: type) -> None:
    icc, channels = PROFILES[name]
    encoding = encoding_of(icc, channels)
    assert encoding is not None
    native = np.stack([noise(60, 80, 1, dtype, seed)[..., 0] for seed in range(channels)], -1)
    shown = seen(native, encoding)
    assert shown.dtype == np.uint16 and shown.shape == (60, 80, 1 if channels == 1 else 3)
    assert np.array_equal(returned(native, shown, encoding), native)
    # One pixel that changed changes no other.
    shown[5, 6] = shown[5, 6] // 2 + 10_000
    assert (returned(native, shown, encoding) != native).any(axis=2).sum() == 1


@pytest.mark.parametrize(("name", "within"), [("wide", 1), ("widest", 1), ("p3", 1), ("grey", 1), ("cmyk", 3)])
def test_the_network_sees_what_other_programs_show(name: str, within: int) -> None:
    icc, channels = PROFILES[name]
    encoding = encoding_of(icc, channels)
    assert encoding is not None and icc is not None
    native = np.concatenate([smooth(60, 80, min(channels, 3)), smooth(60, 80, 1)[::-1]], -1)[..., :channels]
    shown = seen(native, encoding) / 257
    assert np.abs(shown - by_littlecms(native, icc)[..., : shown.shape[2]]).max() <= within


@pytest.mark.parametrize(("name", "within"), [("wide", 3), ("widest", 6), ("grey", 1), ("cmyk", 8), ("plain cmyk", 6)])
def test_other_programs_show_what_the_network_made(name: str, within: float) -> None:
    icc, channels = PROFILES[name]
    encoding = encoding_of(icc, channels)
    assert encoding is not None
    native = np.concatenate([smooth(60, 80, min(channels, 3)) // 2 + 40, smooth(60, 80, 1) // 4], -1)[..., :channels]
    shown = seen(native, encoding)
    wanted = np.clip(shown * 0.8 + 9000, 0, 65535).astype(np.uint16)
    back = returned(native, wanted, encoding)
    # Where a colour is more than sRGB can show, so it is afterwards.
    within_srgb = ((shown > 0) & (shown < 65535)).all(axis=2)
    found = seen(back, encoding) if icc is None else by_littlecms(back, icc)[..., : shown.shape[2]].astype(float) * 257
    assert np.abs(found / 257 - wanted / 257)[within_srgb].max() <= within
    # And 16 bits are worth it.
    deep = native.astype(np.uint16) * 257
    if encoding.exact:
        error = seen(returned(deep, wanted, encoding), encoding).astype(int) - wanted
        assert np.abs(error[within_srgb]).max() <= 8


def test_small_changes_of_cmyk_are_steady() -> None:
    encoding = encoding_of(CMYK, 4)
    assert encoding is not None
    native = np.full((1, 1, 4), 100, np.uint8)
    shown = seen(native, encoding).astype(int)
    steps = [
        returned(native, (shown + step).astype(np.uint16), encoding)[0, 0].astype(int) for step in range(0, 3000, 50)
    ]
    assert all(np.abs(after - before).max() <= 12 for before, after in zip(steps, steps[1:], strict=False))


def test_profiles_like_srgb_change_nothing() -> None:
    photo = read_photo(saved(smooth(20, 30), "PNG", icc_profile=SRGB))
    assert photo.native is None and photo.icc == SRGB and photo.pixels.dtype == np.uint8


def change(photo: Photo) -> Photo:
    return replace(photo, pixels=(photo.pixels * 0.9).astype(photo.pixels.dtype))


@pytest.mark.parametrize("format", ["jpeg", "png", "tiff", "webp", "avif"])
def test_wide_gamut_files_come_back_in_their_own_profile(format: str) -> None:
    pixels = skimage_data.coffee()[:100, :120]
    photo = read_photo(saved(pixels, format.upper(), icc_profile=WIDE, quality=95))
    assert photo.native is not None and photo.native.dtype == np.uint8
    back = read_photo(encode_photo(photo, quality=100)[0])
    assert back.icc == WIDE and back.native is not None
    assert np.abs(back.native.astype(int) - photo.native).mean() < 1.5
    if format in ("png", "tiff"):
        assert np.array_equal(back.native, pixels)
        darker = read_photo(encode_photo(change(photo))[0])
        assert np.abs(darker.pixels - photo.pixels * 0.9).mean() / 257 < 0.5


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_cmyk_jpeg_stays_cmyk(subsampling: str) -> None:
    inks = Image.frombytes(
        "CMYK", (120, 100), np.concatenate([smooth(100, 120), smooth(100, 120, 1)[::-1]], -1).tobytes()
    )
    data = saved(inks, "JPEG", quality=97, icc_profile=CMYK, subsampling=subsampling)
    photo = read_photo(data)
    assert photo.pixels.shape == (100, 120, 3) and photo.native is not None
    same, _ = encode_photo(photo, quality="same")
    with Image.open(io.BytesIO(same)) as found, Image.open(io.BytesIO(data)) as given:
        assert found.mode == "CMYK" and found.info["icc_profile"] == CMYK
        assert np.abs(np.asarray(found).astype(int) - np.asarray(given)).mean() < 1
        assert found.quantization == given.quantization
    # What cannot hold CMYK gets what it looks like.
    png = read_photo(encode_photo(photo, format="png")[0])
    assert png.icc is None and png.pixels.dtype == np.uint8
    assert np.abs(png.pixels * 257.0 - photo.pixels).max() <= 129


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_cmyk_tiff_is_exact(dtype: type) -> None:
    stored = noise(40, 50, 4, dtype)
    file = io.BytesIO()
    tifffile.imwrite(file, stored, photometric="separated", iccprofile=CMYK)
    photo = read_photo(file.getvalue())
    assert photo.icc == CMYK and np.array_equal(photo.native, stored)
    back = tifffile.TiffFile(io.BytesIO(encode_photo(photo)[0])).pages[0]
    assert back.photometric.name == "SEPARATED" and np.array_equal(back.asarray(), stored)  # type: ignore[union-attr]


def avif(transfer: int, primaries: int, bits: int = 10) -> bytes:
    from imagecodecs import avif_encode

    pixels = smooth(32, 40, dtype=np.uint16) >> (16 - bits) if bits > 8 else smooth(32, 40)
    return bytes(avif_encode(pixels, level=80, bitspersample=bits, primaries=primaries, transfer=transfer, matrix=6))


LINEAR = rgb_profile(1.0)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (saved(smooth(8, 9), "JPEG", icc_profile=LINEAR), "linear"),
        (png_file(smooth(8, 9, dtype=np.uint16), 2, before=png_chunk(b"gAMA", struct.pack(">L", 100_000))), "linear"),
        (png_file(smooth(8, 9, dtype=np.uint16), 2, before=png_chunk(b"cICP", bytes([9, 16, 0, 1]))), "HDR"),
        (png_file(smooth(8, 9), 2, before=png_chunk(b"cICP", bytes([9, 18, 0, 1])), depth=8), "HDR"),
        (avif(16, 9), "HDR"),
        (avif(8, 1), "linear"),
    ],
    ids=["profile", "gamma", "pq", "hlg", "avif pq", "avif linear"],
)
def test_linear_and_hdr_photos_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(PhotoError, match=why) as caught:
        read_photo(data, name="photo")
    assert caught.value.kind == "colour" and str(caught.value).startswith("photo: ") and ";" in str(caught.value)


def test_colours_that_only_numbers_name_are_honoured(caplog: pytest.LogCaptureFixture) -> None:
    photo = read_photo(avif(13, 12))
    assert photo.native is not None and photo.icc == profile_of(12)
    assert caplog.messages == ["an AVIF of 10 bits a channel is read with 8"]
    assert read_photo(avif(13, 1, bits=8)).native is None
    sdr = png_file(smooth(8, 9), 2, before=png_chunk(b"cICP", bytes([12, 13, 0, 1])), depth=8)
    assert read_photo(sdr).icc == profile_of(12)


def test_a_profile_that_leads_nowhere_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    broken = bytearray(WIDE)
    at = broken.index(b"rXYZ")
    broken[at : at + 4] = b"none"
    photo = read_photo(saved(smooth(8, 9), "PNG", icc_profile=bytes(broken)))
    assert photo.icc is None and photo.native is None and np.array_equal(photo.pixels, smooth(8, 9))
    assert "ICC profile is left out" in caplog.text
