from __future__ import annotations

from pathlib import Path

import pytest

from restorecli.photo import PHOTO_SUFFIXES, SUFFIXES, format_of
from restorecli.photo.formats import EXTRAS, HEAD_BYTES, TITLES, sniff

from .photos import saved, smooth


@pytest.mark.parametrize("format", sorted(set(SUFFIXES) - set(EXTRAS)))
def test_own_files_are_recognised(format: str) -> None:
    assert sniff(saved(smooth(8, 9), format.upper())[:HEAD_BYTES]) == format


def test_suffixes_and_formats_agree() -> None:
    assert set(TITLES) == {*SUFFIXES, "raw"}
    assert all(format_of(Path("a" + suffix)) == name for name, suffix in SUFFIXES.items())
    assert {".jpg", ".jpeg", ".tif", ".tiff", ".png", ".webp", ".avif", ".bmp", ".gif"} <= PHOTO_SUFFIXES
    assert format_of(Path("A.JPeG")) == "jpeg"
    assert format_of(Path("a.txt")) is None and format_of(Path("jpg")) is None


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
        (b"\xff\x0a\0", "jxl"),
        (b"FUJIFILMCCD-RAW 0201", "raw"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "raw"),
        (b"II*\0\x10\0\0\0CR\2\0", "raw"),
        (b"%PDF-1.7", None),
    ],
)
def test_what_extras_read_is_recognised(head: bytes, what: str | None) -> None:
    assert sniff(head) == what


def test_avif_by_its_compatible_brand() -> None:
    assert sniff(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "avif"
