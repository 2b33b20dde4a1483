"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from restorecli.errors import PhotoError
from restorecli.photo.names import shown

TEMP_PREFIX = ".restore-"
"""How the names of files that are still being written begin."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
_REMEDIES = {
    errno.EACCES: "no permission to write there; choose another folder with --out",
    errno.EPERM: "no permission to write there; choose another folder with --out",
    errno.EROFS: "the disk is read-only; choose another folder with --out",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one with --out",
    errno.ENOTDIR: "a part of the path is no folder; choose another one with --out",
    errno.EEXIST: "a part of the path is no folder; choose another one with --out",
    errno.EISDIR: "there is a folder of that name; choose another name with --out",
    errno.ENOENT: "the folder is gone; choose another one with --out",
    errno.EFBIG: "too large a file for this disk; choose another folder with --out",
}


def write_bytes_atomic(data: bytes, path: Path, *, overwrite: bool) -> None:
    """Write ``data`` to ``path`` as :func:`final_name` does, which says what is promised and raised."""
    with final_name(path, overwrite=overwrite) as temp:
        temp.write_bytes(data)


@contextlib.contextmanager
def final_name(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """An empty file beside ``path`` to write to, which gets that name once the block has ended and it is on the disk.

    Missing folders are made. Whatever happens, ``path`` holds what it held before or all that was written, and nothing
    is left beside it (a kill may leave a file named :data:`TEMP_PREFIX` ...). Without ``overwrite`` a file that is
    already there is never replaced, not even one that appears meanwhile; one that is replaced leaves its permissions.

    :class:`PhotoError` of the kind ``exists``, ``disk_full`` or ``unwritable``, also for an :class:`OSError` of the
    block itself, which is taken for one of writing.
    """
    temp = path.parent / f"{TEMP_PREFIX}{secrets.token_hex(8)}.tmp"
    try:
        refuse_existing(path, overwrite=overwrite)
        path.parent.mkdir(parents=True, exist_ok=True)
        temp.touch(exist_ok=False)
        yield temp
        with open(temp, "rb+") as file:
            os.fsync(file.fileno())
        _publish(temp, path, overwrite=overwrite)
    except OSError as error:
        raise _failure(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temp.unlink(missing_ok=True)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise what :func:`write_bytes_atomic` would, before the work of making the data has been done."""
    if os.path.isdir(path):
        raise _failure(path, OSError(errno.EISDIR, os.strerror(errno.EISDIR)))
    if not overwrite and os.path.lexists(path):
        raise _exists(path)


def _publish(temp: Path, path: Path, *, overwrite: bool) -> None:
    """Give the finished file its name, and see to it that the name survives a power cut."""
    if overwrite:
        with contextlib.suppress(OSError):
            # Who may read a photo is not ours to change.
            os.chmod(temp, stat.S_IMODE(os.stat(path).st_mode))
        os.replace(temp, path)
    else:
        try:
            os.link(temp, path)
        except FileExistsError as error:
            raise _exists(path) from error
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # A disk without hard links (FAT, some network shares): what is left is to look, then rename.
            refuse_existing(path, overwrite=False)
            os.rename(temp, path)
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _exists(path: Path) -> PhotoError:
    return PhotoError(f"{shown(path)}: is already there; replace it with --overwrite", kind="exists")


def _failure(path: Path, error: OSError) -> PhotoError:
    if error.errno in _FULL:
        return PhotoError(
            f"{shown(path)}: the disk is full; free some space or choose another folder with --out", kind="disk_full"
        )
    remedy = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; choose another folder with --out")
    return PhotoError(f"{shown(path)}: cannot be written: {remedy}", kind="unwritable")
