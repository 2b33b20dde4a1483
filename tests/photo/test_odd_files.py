"""Files that are sound, but not as most programs write them."""

from __future__ import annotations

import io
import os
import stat
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from restorecli.errors import PhotoError
from restorecli.photo import encode_photo, formats, read_photo, tiff, xmp
from restorecli.photo.atomic import write_bytes_atomic

from .photos import noise, png_chunk, saved

EXIF, INTEROP, ARTIST, LENS, ORIENTATION = 0x8769, 0xA005, 315, 0xA434, 0x0112


def block(*fields: tuple[int, int, int, bytes], more: bytes = b"") -> bytes:
    """An EXIF block of fields (tag, kind, count, four bytes of value) and what lies behind them."""
    entries = b"".join(struct.pack("<HHL", *field[:3]) + field[3].ljust(4, b"\0") for field in fields)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(fields)) + entries + bytes(4) + more


def texts_of(data: bytes) -> tuple[str, str, dict[int, object]]:
    with Image.open(io.BytesIO(data)) as image:
        found = image.getexif()
        details = found.get_ifd(EXIF)
        return found[ARTIST], details[LENS], found.get_ifd(INTEROP)


def test_texts_and_pointers_of_exif_survive_a_tiff() -> None:
    utf8 = "Jörg ©".encode()
    exif = Image.Exif()
    exif[ARTIST] = "x"
    exif.get_ifd(EXIF)[LENS] = "y"
    exif.get_ifd(EXIF)[INTEROP] = {1: "R98"}
    # Pillow does not write such texts.
    longer = _with_texts(exif.tobytes()[6:], {ARTIST: utf8 + b"\0", LENS: b"30\xe9mm f/2\0"})
    read = read_photo(saved(noise(24, 32), "JPEG", exif=b"Exif\0\0" + longer))
    data, _ = encode_photo(read, format="tiff")
    again, _ = encode_photo(read_photo(data), format="tiff")
    for file in (data, again):
        artist, lens, interop = texts_of(file)
        assert artist.encode("latin-1") == utf8 and lens.encode("latin-1") == b"30\xe9mm f/2"
        assert interop == {1: "R98"}


def _with_texts(exif: bytes, texts: dict[int, bytes]) -> bytes:
    """The block with other texts in these fields, wherever they stand."""
    data = bytearray(exif)
    order = "<" if data[:2] == b"II" else ">"
    for tag, text in texts.items():
        entry = data.index(struct.pack(order + "HH", tag, 2))
        struct.pack_into(order + "LL", data, entry + 4, len(text), len(data))
        data += text
    return bytes(data)


def test_iptc_of_a_tiff_counts_whatever_it_is_declared_as() -> None:
    iptc = b"\x1c\x02\x19\x00\x02kk\0"
    file = io.BytesIO()
    tifffile.imwrite(
        file, noise(24, 32), photometric="rgb", extratags=[(33723, 4, 2, struct.unpack("<2L", iptc), True)]
    )
    assert read_photo(file.getvalue()).iptc == iptc


def test_a_large_text_costs_a_png_nothing_else() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = saved(noise(24, 40), "PNG", icc_profile=profile, exif=exif, dpi=(72, 72))
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_200_000)))
    photo = read_photo(data[:33] + text + data[33:])
    assert photo.pixels.shape[:2] == (40, 24)
    assert photo.icc == profile and photo.exif is not None and photo.dpi is not None


@pytest.mark.parametrize("kind", [1, 3, 4, 7, 8, 9])
@pytest.mark.parametrize("count", [1, 2])
def test_no_viewer_turns_a_photo_again(kind: int, count: int) -> None:
    exif = block((ORIENTATION, kind, count, b"\6"))
    photo = read_photo(saved(noise(24, 40), "JPEG", exif=b"Exif\0\0" + exif))
    data, _ = encode_photo(photo)
    with Image.open(io.BytesIO(data)) as image:
        assert ImageOps.exif_transpose(image).size == image.size == photo.pixels.shape[1::-1]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_bigtiff_is_no_raw(order: str) -> None:
    for seed in range(20):
        file = io.BytesIO()
        tifffile.imwrite(file, noise(24, 32, seed=seed), bigtiff=True, byteorder=order, photometric="rgb")
        assert not tiff.is_raw(file)
    if order == "<":
        assert read_photo(file.getvalue()).pixels.shape == (24, 32, 3)


def test_a_pixel_makes_no_raw_of_a_tiff() -> None:
    # Pixels stand behind the head of an uncompressed file, and these are those of a RAW's mark.
    assert formats.sniff(b"II*\0" + struct.pack("<L", 4000) + b"CR\2\0") == "tiff"
    assert formats.sniff(b"II*\0\x10\0\0\0CR\2\0") == "raw"


@pytest.mark.parametrize("compression", ["zstd", "lzma"])
def test_compressions_that_opencv_does_not_know(compression: str) -> None:
    pixels = noise(24, 32, dtype=np.uint16)
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, compression=compression, photometric="rgb")
    assert np.array_equal(read_photo(file.getvalue()).pixels, pixels)


def test_odd_packets_take_no_time() -> None:
    head, tail = b'<x xmlns:x="y"><!-- RDF ', b" --></x>"
    packets = (
        head + b"\n" * 400_000 + tail,
        head + b"<xmp:Thumbnails " * 30_000 + tail,
        head + b"<rdf:Description " * 30_000 + b"</rdf:RDF>" + tail,
        head + b"<xmp:Thumbnails>1</xmp:Thumbnails>" * 10_000 + tail,
        head + b"GCamera:MotionPhoto =" * 30_000 + tail,
        head + b"<xmp:Thumbnails/>" * 30_000 + b"<xmp:Thumbnails>1</xmp:Thumbnails>" + tail,
        head + b"<xmp:ThumbnailsOfMine>" * 30_000 + b"</xmp:Thumbnails" + tail,
    )
    began = time.process_time()
    for packet in packets:
        sound = xmp.upright_xmp(packet, rotated=True, width=3, height=4)
        xmp.with_history(sound, {"action": "saved"})
    assert time.process_time() - began < 2


def test_what_xmp_says_of_parts_that_are_not_kept_goes() -> None:
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" '
        b'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" GCamera:MotionPhoto="1" hdrgm:Version="1.0" '
        b'GCamera:MicroVideoOffset=\'99\' xmlns:xap="http://ns.adobe.com/xap/1.0/" xap:Rating="3">'
        b"<GCamera:MotionPhotoVersion>1</GCamera:MotionPhotoVersion>"
        b'<Container:Directory xmlns:Container="http://ns.google.com/photos/1.0/container/"><rdf:Seq><rdf:li>GainMap'
        b"</rdf:li></rdf:Seq></Container:Directory><hdrgm:GainMapMax><rdf:Seq><rdf:li>1</rdf:li></rdf:Seq></hdrgm:GainMapMax>"
        b"<xap:Thumbnails><rdf:Alt>OLD</rdf:Alt></xap:Thumbnails><xap:ThumbnailsOfMine>mine</xap:ThumbnailsOfMine>"
        b"</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    after = xmp.upright_xmp(packet, rotated=False, width=1, height=1)
    assert after is not None and xmp.checked_xmp(after) == after
    assert not [gone for gone in (b"Motion", b"MicroVideo", b"hdrgm:V", b"GainMap", b"OLD") if gone in after]
    assert b'xap:Rating="3"' in after and b">mine<" in after


def test_many_coded_profiles_are_no_bomb() -> None:
    digits = b"\nexif\n    8\n" + b"00" * 8_000_000
    chunks = [png_chunk(b"zTXt", b"Raw profile type a%d\0\0" % n + zlib.compress(digits)) for n in range(20)]
    chunks += [png_chunk(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(digits))] * 10
    data = saved(noise(8, 8), "PNG")
    end = data.index(b"IEND") - 4
    tracemalloc.start()
    read_photo(data[:end] + b"".join(chunks) + data[end:])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


@pytest.mark.parametrize("text", [b"", png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_200_000)))])
@pytest.mark.parametrize("profile", [None, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()])
def test_hdr_by_numbers_is_hdr_whatever_the_profile(profile: bytes | None, text: bytes) -> None:
    data = saved(noise(24, 32), "PNG", icc_profile=profile)
    with pytest.raises(PhotoError) as caught:
        read_photo(data[:33] + png_chunk(b"cICP", bytes([9, 16, 0, 1])) + text + data[33:])
    assert caught.value.kind == "colour"


@pytest.mark.parametrize("behind", [True, False])
def test_a_profile_says_more_than_a_gamma_wherever_it_stands(behind: bool) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data, gamma = saved(noise(24, 32), "PNG", icc_profile=profile), png_chunk(b"gAMA", struct.pack(">L", 100_000))
    at = data.index(b"IDAT") - 4 if behind else 33
    assert read_photo(data[:at] + gamma + data[at:]).icc == profile
    bare = saved(noise(24, 32), "PNG")
    with pytest.raises(PhotoError, match="linear"):
        read_photo(bare[:33] + gamma + bare[33:])


def test_an_orientation_at_the_very_end_of_its_block() -> None:
    exif = block((ORIENTATION, 3, 1, b"\6\0"))[:-6]
    photo = read_photo(saved(noise(24, 40), "JPEG", exif=b"Exif\0\0" + exif))
    assert photo.pixels.shape[:2] == (40, 24) and photo.exif is not None


@pytest.mark.parametrize(("gamma", "told"), [(55_556, True), (45_455, False)])
def test_colours_that_only_png_states_are_told_of(gamma: int, told: bool, caplog: pytest.LogCaptureFixture) -> None:
    data = saved(noise(24, 32), "PNG")
    photo = read_photo(data[:33] + png_chunk(b"gAMA", struct.pack(">L", gamma)) + data[33:])
    encode_photo(photo, format="png")
    assert not caplog.messages
    encode_photo(photo, format="jpg")
    assert [("gamma" in message) for message in caplog.messages] == [True] * told


def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_bytes(b"precious")
    genuine = os.open

    def swapped(path: object, flags: int, *more: int, **others: object) -> int:
        handle = genuine(path, flags, *more, **others)  # type: ignore[arg-type, call-overload]
        if flags & os.O_EXCL:
            os.rename(path, tmp_path / "elsewhere")  # type: ignore[arg-type]
            os.symlink(victim, path)  # type: ignore[arg-type]
        return int(handle)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(PhotoError):
        write_bytes_atomic(b"new", tmp_path / "out.png", overwrite=False)
    assert victim.read_bytes() == b"precious" and not (tmp_path / "out.png").is_symlink()


@pytest.mark.skipif(not hasattr(os, "chown") or os.geteuid() != 0, reason="only the superuser gives files away")
@pytest.mark.parametrize("given", [True, False])
def test_another_group_never_sees_what_it_could_not(
    given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old.png"
    old.write_bytes(b"old")
    os.chown(old, 2000, 3002)
    os.chmod(old, 0o664)
    original = os.stat_result((*old.stat()[:0], 0o100660, *old.stat()[1:]))
    if not given:
        # As for somebody who is not in that group.
        def refused(*_: object, **__: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "chown", refused)
        monkeypatch.setattr(os, "fchown", refused)
    new = tmp_path / "new.png"
    write_bytes_atomic(b"new", new, overwrite=False, original=original)
    write_bytes_atomic(b"new", old, overwrite=True)
    modes = [stat.S_IMODE(path.stat().st_mode) & 0o070 for path in (new, old)]
    if given:
        assert new.stat().st_gid == old.stat().st_gid == 3002 and modes[0] & 0o040 and modes[1] == 0o060
    else:
        assert modes == [0, 0o040]
