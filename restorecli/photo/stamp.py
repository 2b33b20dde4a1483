"""The note of what was done to a photo, in its metadata."""

from __future__ import annotations

from dataclasses import replace

from restorecli.photo.jpeg import MOST_EXIF, MOST_XMP
from restorecli.photo.metadata import SOFTWARE, with_fields
from restorecli.photo.photo import Photo
from restorecli.photo.xmp import with_history


def stamped(photo: Photo, done: str) -> Photo:
    """``photo`` with EXIF's ``Software`` naming this program, and one more entry in XMP's ``xmpMM:History``.

    ``done`` says what was done, in a few words. The entry has no time: the same command makes the same file.
    """
    from restorecli import __version__

    agent = f"restorecli {__version__}"
    exif = with_fields(photo.exif, {SOFTWARE: agent})
    xmp = with_history(photo.xmp, {"action": "edited", "softwareAgent": agent, "parameters": done})
    return replace(photo, exif=_fitting(photo.exif, exif, MOST_EXIF), xmp=_fitting(photo.xmp, xmp, MOST_XMP))


def _fitting(before: bytes | None, after: bytes | None, most: int) -> bytes | None:
    """What is stamped, unless a JPEG could hold it only without the stamp: the photo's own is worth more."""
    return before if before and after and len(before) <= most < len(after) else after
