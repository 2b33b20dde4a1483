from __future__ import annotations

from pathlib import Path

import pytest

from restorecli.photo import PHOTO_SUFFIXES, SUFFIXES, format_of
from restorecli.photo.formats import HEAD_BYTES, TITLES, known_but_unsupported, sniff

from .photos import saved, smooth


@pytest.mark.parametrize("format", SUFFIXES)
def test_own_files_are_recognised(format: str) -> None:
    assert sniff(saved(smooth(8, 9), format.upper())[:HEAD_BYTES]) == format


def test_suffixes_and_formats_agree() -> None:
    assert set(TITLES) == set(SUFFIXES)
    assert all(format_of(Path("a" + suffix)) == name for name, suffix in SUFFIXES.items())
    assert {".jpg", ".jpeg", ".tif", ".tiff", ".png", ".webp", ".avif", ".bmp", ".gif"} <= PHOTO_SUFFIXES
    assert format_of(Path("A.JPeG")) == "jpeg"
    assert format_of(Path("a.txt")) is None and format_of(Path("jpg")) is None


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"FUJIFILMCCD-RAW 0201", "camera RAW"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "camera RAW"),
        (b"II*\0\x10\0\0\0CR\2\0", "camera RAW"),
        (b"%PDF-1.7", None),
    ],
)
def test_what_is_known_but_not_read(head: bytes, what: str | None) -> None:
    assert sniff(head) is None
    assert known_but_unsupported(head) == what


def test_avif_by_its_compatible_brand() -> None:
    assert sniff(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "avif"
