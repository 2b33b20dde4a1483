from __future__ import annotations

import io
import os
import re
import struct
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from restorecli.errors import PhotoError
from restorecli.photo import read_photo
from restorecli.photo.formats import HEAD_BYTES
from restorecli.photo.opening import read_all

from .photos import SRGB, XMP, exif_block, noise, png_chunk, png_file, saved, smooth


def kind_of(source: Path | bytes, **options: int) -> str:
    with pytest.raises(PhotoError) as caught:
        read_photo(source, **options)
    assert "\n" not in str(caught.value)
    return caught.value.kind


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def as_viewers_show(pixels: np.ndarray, orientation: int) -> np.ndarray:
    stored = Image.open(io.BytesIO(saved(pixels, "PNG", exif=turned(orientation))))
    return np.asarray(ImageOps.exif_transpose(stored))


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_jpeg_keeps_what_it_was(subsampling: str, options: dict[str, bool]) -> None:
    data = saved(smooth(40, 60), "JPEG", subsampling=subsampling, quality=95, dpi=(300, 150), **options)
    photo = read_photo(data)
    assert (photo.format, photo.coding.subsampling, photo.dpi) == ("jpeg", subsampling, (300, 150))
    assert photo.pixels.dtype == np.uint8 and photo.alpha is None
    assert np.array_equal(photo.pixels, np.asarray(Image.open(io.BytesIO(data))))


def test_grey_jpeg_has_one_channel() -> None:
    photo = read_photo(saved(smooth(40, 60, 1), "JPEG"))
    assert photo.pixels.shape == (40, 60, 1) and photo.coding.subsampling is None


def test_lab_tiff_becomes_srgb() -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(Image.fromarray(smooth(40, 60)), srgb, lab, outputMode="LAB")
    assert converted is not None
    photo = read_photo(saved(converted, "TIFF"))
    # 8 bits of Lab are coarse.
    assert np.abs(photo.pixels.astype(int) - smooth(40, 60)).mean() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_orientation_is_applied_once(format: str, orientation: int) -> None:
    stored = Image.fromarray(smooth(40, 60))
    photo = read_photo(saved(stored, format, exif=turned(orientation), dpi=(300, 150)))
    expected = as_viewers_show(smooth(40, 60), orientation)
    assert photo.pixels.shape == expected.shape
    assert np.abs(photo.pixels.astype(int) - expected).mean() < 4
    if photo.exif:
        found = Image.Exif()
        found.load(photo.exif)
        assert found.get(0x0112, 1) == 1
    if format in ("JPEG", "PNG", "TIFF"):
        assert photo.dpi == pytest.approx((150, 300) if orientation >= 5 else (300, 150), abs=0.02)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_16_bit_files_is_applied_once(orientation: int) -> None:
    pixels = noise(4, 6, dtype=np.uint16)
    expected = as_viewers_show((pixels >> 8).astype(np.uint8), orientation)
    in_png = png_file(pixels, 2, after=png_chunk(b"eXIf", exif_block(orientation)))
    in_tiff = tiff(pixels, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    in_big_tiff = tiff(pixels, photometric="rgb", bigtiff=True, extratags=[(274, 3, 1, orientation, True)])
    for data in (in_png, in_tiff, in_big_tiff):
        photo = read_photo(data)
        assert photo.pixels.dtype == np.uint16
        assert np.array_equal(photo.pixels >> 8, expected)


def test_xmp_orientation_follows() -> None:
    turned = read_photo(saved(smooth(8, 9), "JPEG", exif=b"Exif\0\0" + exif_block(6), xmp=XMP))
    assert turned.xmp == XMP.replace(b'"6"', b'"1"')
    assert read_photo(saved(smooth(8, 9), "JPEG", xmp=XMP)).xmp == XMP


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_png_modes(mode: str) -> None:
    image = Image.fromarray(noise(20, 30, 3 if mode == "P" else 4)).convert(mode)
    photo = read_photo(saved(image, "PNG"))
    assert photo.pixels.shape == (20, 30, 1 if mode in ("1", "L", "LA") else 3)
    wanted = np.asarray(image.convert("RGBA"))
    assert np.array_equal(np.broadcast_to(photo.pixels, (20, 30, 3)), wanted[..., :3])
    assert (photo.alpha is not None) == (mode in ("LA", "RGBA"))
    if photo.alpha is not None:
        assert np.array_equal(photo.alpha, wanted[..., 3])


def test_transparent_colours_of_png() -> None:
    palette = Image.fromarray(noise(20, 30)).quantize(16)
    photo = read_photo(saved(palette, "PNG", transparency=bytes([0, 128])))
    indices = np.asarray(palette)
    assert np.array_equal(photo.alpha, np.select([indices == 0, indices == 1], [0, 128], 255))

    colour = noise(20, 30)
    photo = read_photo(saved(colour, "PNG", transparency=tuple(colour[3, 4].tolist())))
    assert photo.alpha is not None and photo.alpha[3, 4] == 0 and (photo.alpha == 0).sum() < 5

    # The key of a 4-bit file counts in 16ths.
    rows = np.array([[0x05, 0xAF]], np.uint8)
    header = struct.pack(">LLBBBBB", 4, 1, 4, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"tRNS", b"\0\5")
    data += png_chunk(b"IDAT", zlib.compress(b"\0" + rows.tobytes())) + png_chunk(b"IEND", b"")
    photo = read_photo(data)
    assert photo.pixels[0, :, 0].tolist() == [0, 85, 170, 255]
    assert photo.alpha is not None and photo.alpha[0].tolist() == [255, 0, 255, 255]


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
def test_png_stays_16_bit(colour: int, channels: int) -> None:
    stored = noise(20, 30, channels, np.uint16)
    photo = read_photo(png_file(stored, colour))
    assert photo.pixels.dtype == np.uint16
    assert np.array_equal(photo.pixels, stored[..., : 3 if channels > 2 else 1])
    if channels in (2, 4):
        assert np.array_equal(photo.alpha, stored[..., -1])
    else:
        assert photo.alpha is None


def test_transparent_colour_of_16_bit_png() -> None:
    stored = noise(20, 30, 3, np.uint16)
    key = png_chunk(b"tRNS", struct.pack(">HHH", *stored[2, 3].tolist()))
    photo = read_photo(png_file(stored, 2, before=key))
    assert np.array_equal(photo.pixels, stored)
    assert photo.alpha is not None and photo.alpha[2, 3] == 0 and (photo.alpha == 65535).sum() == 20 * 30 - 1


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "predictor": True}, {"tile": (16, 16)}])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tiff_is_exact(channels: int, dtype: type, options: dict[str, object], byteorder: str) -> None:
    stored = noise(40, 50, channels, dtype)
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    photometric = "minisblack" if channels == 1 else "rgb"
    photo = read_photo(tiff(stored.squeeze(), photometric=photometric, byteorder=byteorder, **extra, **options))
    assert photo.pixels.dtype == dtype
    assert np.array_equal(photo.pixels, stored[..., : min(channels, 3)])
    assert channels < 4 or np.array_equal(photo.alpha, stored[..., 3])


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "raw"])
def test_tiff_compressions(compression: str) -> None:
    stored = noise(40, 50)
    assert np.array_equal(read_photo(saved(stored, "TIFF", compression=compression)).pixels, stored)


def test_tiff_variants_of_16_bits() -> None:
    grey, colour = noise(20, 30, 1, np.uint16), noise(20, 30, 4, np.uint16)
    assert np.array_equal(read_photo(tiff(grey[..., 0], photometric="miniswhite")).pixels, 65535 - grey)
    assert np.array_equal(read_photo(tiff(colour[..., :3], photometric="rgb", bigtiff=True)).pixels, colour[..., :3])
    colour[..., 3] |= 1
    premultiplied = colour.copy()
    premultiplied[..., :3] = (colour[..., :3] * (colour[..., 3:] / 65535)).round()
    photo = read_photo(tiff(premultiplied, photometric="rgb", extrasamples=["assocalpha"]))
    opaque = colour[..., 3] > 32768
    assert np.abs(photo.pixels[opaque].astype(int) - colour[opaque][:, :3]).max() <= 2


@pytest.mark.parametrize(
    "data",
    [
        tiff(noise(20, 30, 1, np.uint16)[..., 0].astype(np.float32)),
        tiff(noise(20, 30, 1, np.uint16)[..., 0].astype(np.uint32)),
        tiff(noise(20, 30, 1, np.uint16)[..., 0].astype(np.int16)),
    ],
    ids=["float", "uint32", "int16"],
)
def test_values_without_a_white_are_refused(data: bytes) -> None:
    assert kind_of(data) == "colour"


def test_odd_layouts_of_16_bits() -> None:
    planes, grey = noise(3, 20, 30, np.uint16), noise(20, 30, 2, np.uint16)
    photo = read_photo(tiff(planes, photometric="rgb", planarconfig="separate", compression="lzw", predictor=True))
    assert np.array_equal(photo.pixels, np.moveaxis(planes, 0, -1))
    photo = read_photo(tiff(grey, photometric="minisblack", extrasamples=["unassalpha"], planarconfig="contig"))
    assert np.array_equal(photo.pixels, grey[..., :1]) and np.array_equal(photo.alpha, grey[..., 1])


@pytest.mark.parametrize("format", ["WEBP", "AVIF", "BMP", "GIF"])
def test_other_formats(format: str) -> None:
    photo = read_photo(saved(smooth(40, 60), format))
    assert photo.format == format.lower() and photo.pixels.shape == (40, 60, 3)
    assert np.abs(photo.pixels.astype(int) - smooth(40, 60)).mean() < 6


@pytest.mark.parametrize("format", ["WEBP", "AVIF"])
def test_alpha_of_lossy_formats(format: str) -> None:
    photo = read_photo(saved(np.dstack([smooth(40, 60), smooth(40, 60, 1)]), format))
    assert photo.pixels.shape == (40, 60, 3)
    assert photo.alpha is not None and np.abs(photo.alpha.astype(int) - smooth(40, 60, 1)[..., 0]).mean() < 3


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (30, 20), colour) for colour in ((200, 0, 0), (0, 200, 0))]
    for coding in ("GIF", "PNG", "WEBP"):
        photo = read_photo(saved(frames[0], coding, save_all=True, append_images=frames[1:]))
        assert np.abs(photo.pixels[10, 10].astype(int) - (200, 0, 0)).max() < 12


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(saved(noise(8, 9), "PNG"))
    assert read_photo(path).format == "png"


def test_missing_empty_text_folder(tmp_path: Path) -> None:
    assert kind_of(tmp_path / "none.jpg") == "missing"
    assert kind_of(tmp_path / "x" / "none.jpg") == "missing"
    (tmp_path / "empty.jpg").touch()
    assert kind_of(tmp_path / "empty.jpg") == "empty"
    assert kind_of(b"") == "empty"
    for text in ("This is no photo.", "BM", "BMW is a car maker in Munich, Bavaria, founded in 1916.", "GIF", "II*"):
        (tmp_path / "text.jpg").write_text(text)
        assert kind_of(tmp_path / "text.jpg") == "not_a_photo"
        assert kind_of(tmp_path / "text.jpg" / "deeper.jpg") == "missing"
    assert kind_of(tmp_path) == "unreadable"


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert kind_of(tmp_path / "pipe.jpg") == "unreadable"


def test_messages_name_the_file_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"a\nb\xff \xf0\x9f\x8c\xa7.jpg")
    path.write_text("no photo")
    with pytest.raises(PhotoError) as caught:
        read_photo(path)
    assert "a\\nb" in str(caught.value) and "\U0001f327" in str(caught.value)
    str(caught.value).encode()
    with pytest.raises(PhotoError, match="standard input: "):
        read_photo(b"no photo", name="standard input")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
@pytest.mark.parametrize(
    "data",
    [
        saved(noise(100, 120), "JPEG"),
        saved(noise(100, 120), "JPEG", progressive=True),
        saved(noise(100, 120), "PNG"),
        png_file(noise(100, 120, 3, np.uint16), 2),
        saved(noise(100, 120), "WEBP"),
        saved(noise(100, 120), "AVIF"),
        saved(noise(100, 120), "BMP"),
        saved(noise(100, 120), "TIFF"),
        saved(noise(100, 120), "TIFF", compression="tiff_lzw"),
        tiff(noise(100, 120, 3, np.uint16), photometric="rgb", compression="zlib"),
    ],
    ids=["jpeg", "progressive", "png", "png16", "webp", "avif", "bmp", "tiff", "lzw", "tiff16"],
)
def test_truncated(data: bytes, share: float) -> None:
    assert kind_of(data[: max(64, int(len(data) * share))]) == "truncated"


def with_tags(data: bytes, values: dict[int, int]) -> bytes:
    """A little-endian TIFF whose fields of one short or long hold other values."""
    for tag, value in values.items():
        field = re.search(re.escape(struct.pack("<H", tag)) + rb"[\x03\x04]\x00\x01\x00\x00\x00", data, re.DOTALL)
        assert field
        data = data[: field.end()] + struct.pack("<L", value) + data[field.end() + 4 :]
    return data


def bombs() -> dict[str, bytes]:
    huge = 60_000
    jpeg = bytearray(saved(smooth(8, 8), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    struct.pack_into(">HH", jpeg, at + 5, huge, huge)
    header = struct.pack(">LLBBBBB", huge, huge, 8, 2, 0, 0, 0)
    deep = struct.pack(">LLBBBBB", huge, huge, 16, 2, 0, 0, 0)
    rest = png_chunk(b"IDAT", zlib.compress(bytes(1000))) + png_chunk(b"IEND", b"")
    bmp = bytearray(saved(smooth(8, 8), "BMP"))
    struct.pack_into("<LL", bmp, 18, huge, huge)
    gif = bytearray(saved(smooth(8, 8), "GIF"))
    struct.pack_into("<HH", gif, 6, huge, huge)
    disposed = b"!\xf9\4\x08\0\0\0\0," + struct.pack("<HHHH", 0, 0, huge, huge) + b"\0\2\2\x4c\1\0;"
    canvas = (huge - 1).to_bytes(3, "little")
    webp = b"RIFF" + struct.pack("<L", 22 + 8) + b"WEBPVP8X" + struct.pack("<L", 10) + bytes(4) + canvas * 2
    plain, tiled = tiff(smooth(8, 8), photometric="rgb"), tiff(smooth(16, 16), photometric="rgb", tile=(16, 16))
    return {
        "jpeg": bytes(jpeg),
        "png": b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + rest,
        "png16": b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", deep) + rest,
        "bmp": bytes(bmp),
        "gif": bytes(gif),
        # Pillow takes memory for this when it opens the file, to clear the picture that is larger than its screen.
        "first picture of a gif": b"GIF89a" + struct.pack("<HH", 8, 8) + b"\x80\0\0" + bytes(6) + disposed,
        "webp": webp + b"VP8L" + struct.pack("<L", 0),
        "tiff": with_tags(plain, {256: huge, 257: huge}),
        "tile": with_tags(tiled, {322: huge, 323: huge}),
    }


@pytest.mark.parametrize(("name", "data"), bombs().items())
def test_bombs_are_refused_from_the_header(name: str, data: bytes) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert kind_of(data) == "too_large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "BMP", "GIF"])
def test_the_limit_is_the_callers(format: str) -> None:
    data = saved(smooth(40, 60), format)
    assert kind_of(data, max_pixels=2399) == "too_large"
    assert read_photo(data, max_pixels=2400).pixels.shape[:2] == (40, 60)


def test_pillows_own_limit_neither_applies_nor_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for coding in ("JPEG", "TIFF", "WEBP", "PNG"):
            read_photo(saved(smooth(40, 60), coding))
        kind_of(b"\xff\xd8\xff")
    assert Image.MAX_IMAGE_PIXELS == 100


def test_malformed_metadata_do_not_lose_the_photo() -> None:
    for coding in ("JPEG", "PNG", "WEBP"):
        data = saved(smooth(40, 60), coding, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f", icc_profile=b"no profile")
        photo = read_photo(data)
        assert photo.pixels.shape == (40, 60, 3)
        assert photo.exif is None and photo.icc is None
    assert read_photo(saved(smooth(40, 60), "JPEG", xmp=b"no xmp")).xmp is None


def test_png_with_a_broken_chunk_of_text() -> None:
    bomb = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(100_000_000), 9))
    torn = png_chunk(b"zTXt", b"k\0\0" + b"x")[:-1] + b"?"
    for before in (bomb, torn, png_chunk(b"iCCP", b"x\0\0broken"), png_chunk(b"pHYs", b"1")):
        for depth, dtype in ((8, np.uint8), (16, np.uint16)):
            stored = noise(20, 30, 3, dtype)
            assert np.array_equal(read_photo(png_file(stored, 2, before=before, depth=depth)).pixels, stored)


def test_a_broken_chunk_does_not_take_the_sound_ones_along() -> None:
    profile = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(SRGB))
    torn = png_chunk(b"eXIf", exif_block())[:-1] + b"?"
    for depth, dtype in ((8, np.uint8), (16, np.uint16)):
        photo = read_photo(png_file(noise(20, 30, 3, dtype), 2, before=profile + torn, depth=depth))
        assert photo.icc == SRGB and photo.exif is None


def test_profile_of_another_colour_space_is_left_out() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert read_photo(saved(smooth(8, 9), "PNG", icc_profile=lab)).icc is None
    assert read_photo(saved(smooth(8, 9), "PNG", icc_profile=SRGB)).icc == SRGB


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
@pytest.mark.parametrize("count", [1, 3])
def test_of_several_pictures_the_first_is_read_and_that_is_told(
    format: str, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [Image.fromarray(noise(20, 30, seed=seed)) for seed in range(count)]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:])
    photo = read_photo(data, name="moving")
    assert photo.pixels.shape == (20, 30, 3)
    told = ["moving: only the first of 3 pictures is restored"] if count == 3 else []
    assert caplog.messages == told


def test_a_smaller_copy_in_a_tiff_is_no_picture_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(noise(40, 60), photometric="rgb")
        writer.write(noise(20, 30), photometric="rgb", subfiletype=1)
    assert read_photo(file.getvalue()).pixels.shape == (40, 60, 3)
    assert not caplog.messages


def test_millions_of_pictures_are_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    two = [Image.new("RGB", (4, 4), colour) for colour in ("red", "green")]
    gif = saved(two[0], "GIF", save_all=True, append_images=two[1:])
    frame = gif[gif.rindex(b"!\xf9") : -1]
    page = bytearray(saved(two[0].convert("L"), "TIFF"))
    (at,) = struct.unpack_from("<L", page, 4)
    end = at + 2 + 12 * struct.unpack_from("<H", page, at)[0]
    # Each directory links to the next, and all of them are the same.
    step = end + 4 - at
    page[end:] = b"".join(struct.pack("<L", end + 4 + index * step) + page[at:end] for index in range(20_000)) + bytes(
        4
    )
    for data in (gif[:-1] + frame * 50_000 + b";", bytes(page)):
        began = time.process_time()
        read_photo(data, name="many")
        assert time.process_time() - began < 1
    assert caplog.messages == ["many: only the first of more than 100 pictures is restored"] * 2


@pytest.mark.parametrize("scans", [90, 200])
def test_a_jpeg_is_not_decoded_over_and_over(scans: int) -> None:
    data = saved(smooth(8, 8, 1), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    repeated = data[:-2] + last * (scans - data.count(b"\xff\xda")) + b"\xff\xd9"
    # What follows the picture is another one, or a film: its bytes may look like anything.
    repeated += b"\xff\xda" * 500
    if scans < 100:
        assert read_photo(repeated).pixels.shape == (8, 8, 1)
    else:
        assert kind_of(repeated) == "unreadable"


def test_a_file_larger_than_any_photo_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.png"
    path.write_bytes(png_file(noise(8, 9, 3, np.uint16), 2))
    with path.open("rb+") as file:
        file.truncate(4 << 40)
    assert kind_of(path) == "too_large"

    class Endless(io.RawIOBase):
        """A photo's beginning, then the same byte for ever."""

        count = 0

        def read(self, size: int = -1) -> bytes:
            self.count += 1
            return b"\xff\xd8\xff".ljust(size, b"x")

    endless = Endless()
    with pytest.raises(PhotoError) as caught:
        read_all(endless, 1000, "the stream")  # type: ignore[arg-type]
    assert caught.value.kind == "too_large" and 1 < endless.count < 100
    assert read_all(io.BytesIO(b"no photo, " * 100), 1000, "the stream") == (b"no photo, " * 100)[:HEAD_BYTES]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["exif", "APP1"])
def test_exif_of_a_png_in_a_text_counts(packed: bool, name: str) -> None:
    """As ImageMagick wrote it before PNG had a chunk for it; and the photo lies on its side without."""
    block = b"Exif\0\0" + exif_block(orientation=6)
    digits = block.hex()
    text = "\n".join(
        ["", name.lower(), f"{len(block):8}", *(digits[i : i + 72] for i in range(0, len(digits), 72)), ""]
    )
    about = PngImagePlugin.PngInfo()
    about.add_text(f"Raw profile type {name}", text, zip=packed)
    pixels = noise(20, 30)
    photo = read_photo(saved(pixels, "PNG", pnginfo=about))
    assert photo.pixels.shape == (30, 20, 3)
    assert np.array_equal(photo.pixels, as_viewers_show(pixels, 6))
    assert photo.exif is not None and not photo.texts
