"""Which file formats there are, how they are told apart, and what each can hold."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = {
    "jpeg": ".jpg",
    "png": ".png",
    "tiff": ".tiff",
    "webp": ".webp",
    "avif": ".avif",
    "bmp": ".bmp",
    "gif": ".gif",
    "heic": ".heic",
    "jxl": ".jxl",
}
"""The formats that are written (and read), each with the suffix that new files get."""

RAW_SUFFIXES = frozenset(
    {
        *(".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw"),
        *(".orf", ".pef", ".raf", ".raw", ".rw2", ".srw", ".x3f"),
    }
)
"""Lower-case suffixes of camera RAW, which is read only."""

EXTRAS = {"heic": "heif", "jxl": "jxl", "raw": "raw"}
"""Formats that are read with the help of an extra of the package, each with the extra's name."""

_FORMAT_OF_SUFFIX = {suffix: name for name, suffix in SUFFIXES.items()} | {
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".tif": "tiff",
    ".heif": "heic",
    ".hif": "heic",
    **dict.fromkeys(RAW_SUFFIXES, "raw"),
}

PHOTO_SUFFIXES = frozenset(_FORMAT_OF_SUFFIX)
"""Lower-case suffixes of the files that are taken for photos when a folder is walked."""

TITLES = {
    "jpeg": "JPEG",
    "png": "PNG",
    "tiff": "TIFF",
    "webp": "WebP",
    "avif": "AVIF",
    "bmp": "BMP",
    "gif": "GIF",
    "heic": "HEIC",
    "jxl": "JPEG XL",
    "raw": "camera RAW",
}
"""The formats' names for people."""

SUCCESSORS = {"raw": "tiff"}
"""What photos become whose own format cannot be written: TIFF has room for all the bits, and any editor opens it."""

DEEP_FORMATS = frozenset({"png", "tiff"})
"""Formats that hold 16 bits a channel; in all others 8 are written (10 in HEIC)."""

ALPHA_FORMATS = frozenset({"png", "tiff", "webp", "avif", "heic", "jxl"})
"""Formats that hold any alpha channel. GIF holds one of two levels, JPEG and BMP hold none."""

ICC_FORMATS = frozenset({"jpeg", "png", "tiff", "webp", "avif", "heic", "jxl"})
"""Formats that hold an ICC profile for RGB."""

GREY_ICC_FORMATS = frozenset({"jpeg", "png", "tiff"})
"""Formats that hold grey with its own profile; in others grey is coded as colour."""

CMYK_FORMATS = frozenset({"jpeg", "tiff"})
"""Formats that hold CMYK."""

MAX_SIDE = {"jpeg": 65_500, "webp": 16_383, "avif": 65_536, "gif": 65_535}
"""Longest side in pixels that the format (or its encoder) can hold, where that is less than anyone's photo."""

HEAD_BYTES = 64
"""How much of a file :func:`sniff` wants to see."""

_BMP_HEADER_SIZES = frozenset({12, 40, 52, 56, 64, 108, 124})
_RAW_HEADS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb")


def format_of(path: Path) -> str | None:
    """The format that the suffix of ``path`` names, None when it names none."""
    return _FORMAT_OF_SUFFIX.get(path.suffix.lower())


def sniff(head: bytes) -> str | None:
    """The format of a file that starts with ``head`` (:data:`HEAD_BYTES` of it), None when it is none of ours."""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        # Other makers' RAW starts like any TIFF: its directory tells.
        return "raw" if head[4:12] == b"\x10\0\0\0CR\2\0" else "tiff"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    brands = _brands(head)
    if brands & {b"avif", b"avis"}:
        return "avif"
    if brands & {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}:
        return "heic"
    if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")):
        return "jxl"
    if head.startswith(_RAW_HEADS) or b"crx " in brands:
        return "raw"
    # Two letters alone would take many a text for a bitmap.
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "bmp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    return None


def _brands(head: bytes) -> set[bytes]:
    """Major and compatible brands of an ISO media file; empty when it is not one."""
    if head[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}
