"""Photos in files: bytes to pixels and back, without losing what else the files hold."""

from __future__ import annotations

from restorecli.photo.atomic import TEMP_PREFIX, write_bytes_atomic
from restorecli.photo.formats import PHOTO_SUFFIXES, SUFFIXES, format_of
from restorecli.photo.photo import Photo
from restorecli.photo.read import read_photo
from restorecli.photo.write import encode_photo, write_photo

__all__ = [
    "PHOTO_SUFFIXES",
    "SUFFIXES",
    "TEMP_PREFIX",
    "Photo",
    "encode_photo",
    "format_of",
    "read_photo",
    "write_bytes_atomic",
    "write_photo",
]
