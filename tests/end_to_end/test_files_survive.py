"""What photographers look at first: the stamp, quality as it was, pipes, and formats that are only read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restorecli.photo import read_photo
from tests.end_to_end.conftest import Call
from tests.photo.photos import XMP, dng_file, exif_block, heic_file, rgb_profile
from tests.small import noise

Restore = Callable[..., Call]
Photo = Callable[..., Path]
Engine = Callable[[str], list[str]]


@pytest.mark.parametrize("notes", [65_380, 65_450])
def test_no_stamp_costs_a_photo_its_exif(
    notes: int, restore: Restore, photo: Photo, engine: Engine, tmp_path: Path
) -> None:
    """A segment of a JPEG holds 64 KB, and a camera's notes may fill it nearly whole."""
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0x927C] = b"x" * notes
    given = photo("big.jpg", exif=exif)
    assert restore("derain", given, *engine("derain")).code == 0
    with Image.open(tmp_path / "big_derained.jpg") as made:
        found = made.getexif()
        assert found[0x010F] == "Maker" and len(found.get_ifd(0x8769)[0x927C]) == notes


def test_the_stamp_and_its_absence(restore: Restore, photo: Photo, engine: Engine, tmp_path: Path) -> None:
    exif = exif_block(1, size=(56, 40))
    source = photo("a.jpg", exif=b"Exif\0\0" + exif, xmp=XMP)
    for options, stamped in ((["--strength", "0.5"], True), (["--no-stamp"], False)):
        out = tmp_path / f"{stamped}.jpg"
        assert restore("derain", source, "--out", out, *options, *engine("derain")).code == 0
        found = read_photo(out)
        if not stamped:
            assert (found.exif, found.xmp) == (exif, XMP)
            continue
        with Image.open(out) as image:
            assert image.getexif()[0x0131].startswith("restorecli ")
        assert b'stEvt:parameters="derain with derain.safetensors, strength 0.5"' in (found.xmp or b"")


def test_the_same_command_makes_the_same_file(restore: Restore, photo: Photo, engine: Engine, tmp_path: Path) -> None:
    source, outputs = photo("a.jpg"), [tmp_path / "1.jpg", tmp_path / "2.jpg"]
    for out in outputs:
        restore("derain", source, "--out", out, *engine("derain"))
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_quality_same(restore: Restore, photo: Photo, engine: Engine, tmp_path: Path) -> None:
    source, out = photo("a.jpg", quality=71, subsampling="4:2:0"), tmp_path / "out.jpg"
    assert restore("derain", source, "--quality", "same", "--out", out, *engine("derain")).code == 0
    assert read_photo(out).coding == read_photo(source).coding
    for wrong in ("best", "0", "101", "9.5"):
        call = restore("derain", source, "--quality", wrong, *engine("derain"))
        assert call.code == 2 and "same or a whole number from 1 to 100" in call.err


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.webp"])
def test_strength_0_gives_back_every_value(
    name: str, restore: Restore, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / name, tmp_path / "out" / name
    options = {"lossless": True, "exact": True} if name == "a.webp" else {}
    pixels = np.dstack([noise(40, 56), noise(40, 56, 1)])
    Image.fromarray(pixels).save(source, icc_profile=rgb_profile(), **options)
    assert restore("dehaze", source, "--strength", "0", "--out", out, *engine("dehaze")).code == 0
    with Image.open(out) as image:
        assert np.array_equal(np.asarray(image), pixels) and image.info["icc_profile"] == rgb_profile()


def test_camera_raw_becomes_tiff_and_nothing_becomes_raw(
    restore: Restore, engine: Engine, photo: Photo, tmp_path: Path
) -> None:
    source = tmp_path / "a.DNG"
    source.write_bytes(dng_file())
    assert restore("derain", source, *engine("derain")).code == 0
    assert read_photo(tmp_path / "a_derained.tiff").pixels.dtype == np.uint16
    call = restore("derain", photo(), "--out", tmp_path / "b.dng", *engine("derain"))
    assert call.code == 2 and "camera RAW is only read" in call.err


def test_a_missing_extra_fails_its_photo_alone(
    restore: Restore, engine: Engine, photo: Photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo("in/b.jpg")
    (tmp_path / "in" / "a.heic").write_bytes(heic_file(noise(40, 56)))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    call = restore("derain", tmp_path / "in", *engine("derain"))
    assert call.code == 1 and (tmp_path / "in" / "b_derained.jpg").exists()
    assert call.errors[0].endswith("pip install 'restorecli[heif]'")


def start(*arguments: str | Path, **streams: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "restorecli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **streams)  # type: ignore[call-overload]


def test_a_reader_that_has_enough_ends_the_run_quietly(photo: Photo, engine: Engine, tmp_path: Path) -> None:
    for index in range(4):
        photo(f"in/{index}.jpg")
    process = start("derain", tmp_path / "in", "--json", *engine("derain"))
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline().startswith(b'{"input"')
    process.stdout.close()
    assert process.wait(60) in (0, 141)
    assert not process.stderr.read().strip()
    process.stderr.close()
    assert not [path for path in (tmp_path / "in").iterdir() if path.name.startswith(".")]


def test_a_photo_for_a_closed_pipe(photo: Photo, engine: Engine) -> None:
    with open(photo("a.png", 400, 400), "rb") as source:
        process = start("derain", "-", *engine("derain"), stdin=source)
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.wait(60) == 141
        assert not process.stderr.read()
        process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_a_full_disk_behind_standard_output(photo: Photo, engine: Engine) -> None:
    with open(photo("a.png"), "rb") as source, open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "restorecli", "derain", "-", *engine("derain")],
            stdin=source,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert done.returncode == 1
    assert (
        done.stderr.startswith(b"restore: standard output cannot be written (No space left")
        and done.stderr.count(b"\n") == 1
    )


def test_any_format_goes_through_a_pipe(engine: Engine) -> None:
    pixels = noise(40, 56)
    for data, expected in ((heic_file(pixels), "heic"), (dng_file(), "tiff")):
        done = subprocess.run(
            [sys.executable, "-m", "restorecli", "derain", "-", "--quiet", *engine("derain")],
            input=data,
            capture_output=True,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert read_photo(done.stdout).format == expected
