"""Opening what may be anything: a file, a folder, a pipe, nothing at all."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from restorecli.errors import PhotoError
from restorecli.photo.formats import HEAD_BYTES, sniff
from restorecli.photo.guards import check_bytes

_PART = 1 << 24
_MISSING = {errno.ENOENT, errno.ENOTDIR}


@contextlib.contextmanager
def opened(source: str | Path | bytes, label: str) -> Iterator[IO[bytes]]:
    """The source as a file that can be sought in, never one that would block or that has no end.

    :class:`PhotoError` of the kind ``missing`` or ``unreadable``, which calls it ``label``.
    """
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    try:
        _refuse_all_but_files(os.stat(source).st_mode, label)
        # It may have become something else since: opening that must not wait for anybody.
        handle = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        file = open(handle, "rb")  # noqa: SIM115 - closed below, and errors of opening are not those of reading
    except (OSError, ValueError) as error:
        raise open_failure(error, label) from error
    with file:
        _refuse_all_but_files(os.fstat(file.fileno()).st_mode, label)
        yield file


def read_all(stream: IO[bytes], max_pixels: int, label: str) -> bytes:
    """What a stream holds, if that may be a photo of at most ``max_pixels`` pixels; it is not read on otherwise.

    :class:`PhotoError` of the kind ``too_large`` or ``unreadable``, or of any that
    :func:`restorecli.photo.read_photo` raises for its first bytes.
    """
    try:
        data = bytearray(stream.read(HEAD_BYTES))
        if sniff(bytes(data)) is not None:
            while part := stream.read(_PART):
                data += part
                check_bytes(len(data), max_pixels, label)
    except OSError as error:
        raise PhotoError(
            f"{label}: cannot be read ({error.strerror or error}); check where it comes from", kind="unreadable"
        ) from error
    return bytes(data)


def open_failure(error: OSError | ValueError, label: str) -> PhotoError:
    """What to tell of a file or folder that could not be opened."""
    if isinstance(error, ValueError) or error.errno in _MISSING:
        return PhotoError(f"{label}: no such file; check the path", kind="missing")
    if isinstance(error, PermissionError):
        return PhotoError(f"{label}: no permission to read it; change its permissions", kind="unreadable")
    return PhotoError(f"{label}: cannot be opened ({error.strerror}); check the path", kind="unreadable")


def _refuse_all_but_files(mode: int, label: str) -> None:
    if stat.S_ISDIR(mode):
        raise PhotoError(f"{label}: is a folder, not a photo; name a file in it", kind="unreadable")
    if not stat.S_ISREG(mode):
        raise PhotoError(f"{label}: is no ordinary file; pipe it in and name it -", kind="unreadable")
