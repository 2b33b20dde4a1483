from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as skimage_data

from restorecli.errors import PhotoError, UsageError
from restorecli.photo import Photo, encode_photo, jpeg, read_photo, write_photo

from .photos import MAKER_NOTE, SRGB, XMP, exif_block, noise, saved, smooth

LOSSLESS = ("png", "tiff")


def reread(photo: Photo, format: str = "same", **options: int | str) -> Photo:
    return read_photo(encode_photo(photo, format=format, **options)[0])


@pytest.mark.parametrize("format", LOSSLESS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (7, 1000), (200, 300)])
def test_lossless_formats_give_back_every_value(
    format: str, dtype: type, transparent: bool, channels: int, size: tuple[int, int]
) -> None:
    alpha = noise(*size, 1, dtype, seed=1)[..., 0] if transparent else None
    photo = Photo(noise(*size, channels, dtype), alpha)
    back = reread(photo, format)
    assert back.format == format and back.pixels.dtype == dtype
    assert np.array_equal(back.pixels, photo.pixels)
    assert (back.alpha is None) == (alpha is None)
    assert alpha is None or np.array_equal(back.alpha, alpha)


def test_bmp_gives_back_every_value() -> None:
    for channels in (1, 3):
        photo = Photo(noise(20, 31, channels), format="bmp")
        assert np.array_equal(reread(photo).pixels, np.broadcast_to(photo.pixels, reread(photo).pixels.shape))


def test_gif_gives_back_its_colours() -> None:
    rng = np.random.default_rng(0)
    colours, alpha = noise(1, 200)[0], rng.choice([0, 255], (40, 60)).astype(np.uint8)
    photo = Photo(colours[rng.integers(0, 200, (40, 60))], format="gif")
    assert np.array_equal(reread(photo).pixels, photo.pixels)
    transparent = reread(replace(photo, alpha=alpha))
    assert np.array_equal(transparent.alpha, alpha)
    assert np.array_equal(transparent.pixels[alpha == 255], photo.pixels[alpha == 255])


@pytest.mark.parametrize("format", ["jpeg", "webp", "avif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossy_formats_stay_close(format: str, channels: int) -> None:
    photo = Photo(skimage_data.astronaut()[:200, :300, :channels])
    back = reread(photo, format, quality=95)
    assert back.pixels.shape == (200, 300, 3 if format == "webp" else back.pixels.shape[2])
    error = np.abs(back.pixels.astype(float) - photo.pixels)
    assert error.mean() < 3
    worse, _ = encode_photo(photo, format=format, quality=50)
    assert len(worse) < len(encode_photo(photo, format=format, quality=95)[0])


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1"])
def test_jpeg_is_coded_as_it_was(subsampling: str, progressive: bool) -> None:
    given = jpeg.encode(smooth(40, 60), coding=jpeg.Coding(subsampling, progressive=progressive), quality=83)
    photo = read_photo(given)
    assert (photo.coding.subsampling, photo.coding.progressive) == (subsampling, progressive)
    same, better = reread(photo, quality="same"), reread(photo)
    assert same.coding == photo.coding
    assert better.coding.subsampling == subsampling and better.coding.tables != photo.coding.tables
    # And again and again, without loss from one generation to the next.
    assert np.abs(same.pixels.astype(int) - photo.pixels).mean() <= 0.5


def test_odd_quantisation_is_kept_too() -> None:
    tables = [list(range(3, 67)), list(range(10, 74))]
    photo = read_photo(saved(smooth(40, 60), "JPEG", qtables=tables, subsampling="4:2:0"))
    assert reread(photo, quality="same").coding.tables == photo.coding.tables != ()
    grey = read_photo(saved(smooth(40, 60, 1), "JPEG", quality=61))
    assert reread(grey, quality="same").coding == grey.coding
    # From anything else it is the usual quality.
    assert encode_photo(Photo(smooth(40, 60)), format="jpg", quality="same") == encode_photo(
        Photo(smooth(40, 60)), format="jpg"
    )


@pytest.mark.parametrize("quality", [10, 30, 75, 92, 100])
def test_quality_is_estimated(quality: int) -> None:
    tables = read_photo(saved(smooth(40, 60), "JPEG", quality=quality)).coding.tables
    assert jpeg.quality_of(tables[0]) == jpeg.quality_of(tables[1], colour=True) == quality


@pytest.mark.parametrize("transparent", [False, True])
def test_webp_without_loss_stays_so(transparent: bool) -> None:
    pixels = noise(40, 60, 4 if transparent else 3)
    photo = read_photo(saved(pixels, "WEBP", lossless=True, exact=True, exif=exif_block(1)))
    assert photo.lossless
    assert np.array_equal(reread(photo).pixels, pixels[..., :3])
    assert not reread(read_photo(saved(pixels, "WEBP"))).lossless


def test_grey_stays_grey() -> None:
    for coding in ("jpeg", "png", "tiff", "bmp"):
        assert reread(Photo(smooth(40, 60, 1)), coding).pixels.shape == (40, 60, 1)


def test_16_bits_are_rounded_where_8_are_held() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    assert np.array_equal(reread(Photo(every), "bmp").pixels, np.rint(every / 257).astype(np.uint8))


@pytest.mark.parametrize("format", ["webp", "avif"])
def test_alpha_and_what_lies_under_it(format: str) -> None:
    alpha = np.zeros((40, 60), np.uint8)
    alpha[:, 30:] = noise(40, 30, 1)[..., 0]
    back = reread(Photo(smooth(40, 60), alpha), format)
    assert np.array_equal(back.alpha, alpha)
    assert np.abs(back.pixels.astype(int) - smooth(40, 60)).mean() < 4


@pytest.mark.parametrize("format", ["jpeg", "bmp", "gif"])
def test_alpha_is_never_dropped(format: str) -> None:
    with pytest.raises(PhotoError, match="png") as caught:
        encode_photo(Photo(smooth(4, 5), np.full((4, 5), 254, np.uint8)), format=format)
    assert caught.value.kind == "format"
    encode_photo(Photo(smooth(4, 5), np.full((4, 5), 255, np.uint8)), format=format)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("format", ["jpeg", "png", "tiff", "webp", "avif"])
def test_metadata_come_through(format: str, dtype: type) -> None:
    exif = exif_block(1, size=(60, 40))
    photo = Photo(smooth(40, 60, dtype=dtype), exif=exif, xmp=XMP, icc=SRGB, dpi=(300, 150))
    back = reread(photo, format)
    assert back.icc == SRGB and back.xmp == XMP and back.exif
    found = Image.Exif()
    found.load(back.exif)
    details = found.get_ifd(0x8769)
    assert found[0x010F] == "A Camera" and found.get(0x0112, 1) == 1
    assert (details[0xA002], details[0xA003], details[0x927C]) == (60, 40, MAKER_NOTE)
    if format in ("jpeg", "png"):
        assert back.exif == exif
    if format in ("webp", "avif"):
        # There is no other place for it.
        assert (found[0x011A], found[0x011B], found[0x0128]) == (300, 150, 2)
    else:
        assert back.dpi == pytest.approx((300, 150), abs=0.02)
    again = reread(back)
    assert (again.exif, again.xmp, again.icc, again.dpi) == (back.exif, back.xmp, back.icc, back.dpi)


def test_tags_of_a_tiff_come_through() -> None:
    tags = {270: "a hazy valley", 315: "Somebody", 33432: "Theirs", 33550: (0.5, 0.5, 0.0), 305: "Scanner"}
    photo = read_photo(saved(smooth(40, 60), "TIFF", tiffinfo=tags, dpi=(300, 300), compression="tiff_lzw"))
    data, suffix = encode_photo(photo)
    found = Image.open(io.BytesIO(data))
    assert suffix == ".tiff"
    assert {tag: found.tag_v2[tag] for tag in tags} == tags
    assert found.info["dpi"] == (300, 300)


def test_what_a_jpeg_segment_cannot_hold_is_left_out() -> None:
    photo = Photo(smooth(40, 60), exif=exif_block(size=(60, 40)) + bytes(70_000), xmp=XMP + b" " * 70_000, icc=SRGB)
    back = reread(photo, "jpeg")
    assert back.exif is None and back.xmp is None and back.icc == SRGB
    assert reread(photo, "png").exif == photo.exif


def test_broken_exif_does_not_stop_a_tiff() -> None:
    broken = b"II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\xff\xff\xff\x7f\0\0\0\0"
    assert np.array_equal(reread(Photo(smooth(40, 60), exif=broken, icc=SRGB), "tiff").pixels, smooth(40, 60))


def test_sizes_that_a_format_cannot_hold() -> None:
    for coding, side in (("webp", 16_384), ("jpeg", 65_501)):
        with pytest.raises(PhotoError, match="png") as caught:
            encode_photo(Photo(np.zeros((1, side, 1), np.uint8)), format=coding)
        assert caught.value.kind == "format"


@pytest.mark.parametrize("options", [{"format": "raw"}, {"quality": 0}, {"quality": 101}, {"quality": "best"}])
def test_wrong_arguments(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        encode_photo(Photo(smooth(4, 5)), **options)


def test_suffixes() -> None:
    photo = Photo(smooth(4, 5), format="webp")
    assert encode_photo(photo)[1] == ".webp"
    assert encode_photo(photo, format="jpg")[1] == ".jpg"


def test_the_suffix_of_the_path_decides_unless_told_otherwise(tmp_path: Path) -> None:
    photo = Photo(smooth(40, 60), format="jpeg")
    for name, asked, expected in (
        ("a.png", "same", "png"),
        ("a.TIF", "same", "tiff"),
        ("a", "same", "jpeg"),
        ("b.png", "webp", "webp"),
    ):
        write_photo(photo, tmp_path / name, format=asked)
        assert read_photo(tmp_path / name).format == expected


def test_refusals_name_the_file_and_leave_nothing(tmp_path: Path) -> None:
    photo = Photo(smooth(4, 5), np.zeros((4, 5), np.uint8))
    with pytest.raises(PhotoError, match="photo") as caught:
        write_photo(photo, tmp_path / "photo.jpg")
    assert caught.value.kind == "format" and not os.listdir(tmp_path)
    write_photo(photo, tmp_path / "photo.png")
    with pytest.raises(PhotoError) as caught:
        write_photo(photo, tmp_path / "photo.png")
    assert caught.value.kind == "exists"
    write_photo(photo, tmp_path / "photo.png", overwrite=True)


def test_a_real_photo_goes_round(tmp_path: Path) -> None:
    pixels = skimage_data.coffee()
    for coding in LOSSLESS:
        write_photo(Photo(pixels), tmp_path / f"coffee.{coding}")
        assert np.array_equal(read_photo(tmp_path / f"coffee.{coding}").pixels, pixels)
