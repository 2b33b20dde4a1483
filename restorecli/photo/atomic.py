"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import stat
from collections.abc import Container, Iterator
from pathlib import Path

from restorecli.errors import PhotoError
from restorecli.photo.names import shown

try:
    import fcntl
except ImportError:  # a system that lets nobody remove a file that is open, so that it needs no locks for this
    fcntl = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)

TEMP_PREFIX = ".restore-"
"""How the names of files that are still being written begin."""

_TEMP_NAME = re.compile(re.escape(TEMP_PREFIX) + r"[0-9a-f]{16}\.tmp")
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
    errno.ELOOP: "links there lead round in a circle; choose another folder with --out",
}


def write_bytes_atomic(
    data: bytes,
    path: Path,
    *,
    overwrite: bool,
    original: os.stat_result | None = None,
    preserve_times: bool = False,
) -> None:
    """Write ``data`` to ``path`` as :func:`final_name` does, which says what is promised and raised."""
    with (
        final_name(path, overwrite=overwrite, original=original, preserve_times=preserve_times) as temp,
        open(reopened(temp, os.O_WRONLY), "wb") as file,
    ):
        file.write(data)


@contextlib.contextmanager
def final_name(
    path: Path, *, overwrite: bool, original: os.stat_result | None = None, preserve_times: bool = False
) -> Iterator[Path]:
    """An empty file beside ``path`` to write to, which gets that name once the block has ended and it is on the disk.

    Missing folders are made. Whatever happens, ``path`` holds what it held before or all that was written, and nothing
    is left beside it; only a kill may leave a file there, which :func:`remove_remains` knows. Without ``overwrite`` a
    file that is already there is never replaced, not even one that appears meanwhile. One that is replaced leaves its
    permissions, owner and extended attributes. A new file is for nobody's eyes who could not read the ``original`` that
    it was made from, and has that one's times with ``preserve_times``.

    :class:`PhotoError` of the kind ``exists``, ``disk_full`` or ``unwritable``, also for an :class:`OSError` of the
    block itself, which is taken for one of writing.
    """
    mode = 0o666 if original is None else 0o666 & (original.st_mode | 0o600)
    try:
        refuse_existing(path, overwrite=overwrite)
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary(path.parent, mode) as temp:
            if original is not None:
                with _handle_on(temp) as handle:
                    _narrow(handle, original)
            yield temp
            # By its name: libraries that write to a path may have put another file there.
            with _handle_on(temp) as handle:
                os.fsync(handle)
                if overwrite:
                    _take_over(path, handle if os.chmod in os.supports_fd else temp)
                if preserve_times and original is not None:
                    _set_times(handle if os.utime in os.supports_fd else temp, original, path)
                if not os.path.samestat(os.lstat(temp), os.fstat(handle)):
                    raise OSError(errno.EPERM, os.strerror(errno.EPERM))
            _publish(temp, path, overwrite=overwrite)
    except OSError as error:
        raise write_failure(path, error) from error


@contextlib.contextmanager
def temporary(folder: Path, mode: int = 0o600) -> Iterator[Path]:
    """A new empty file in ``folder``, removed at the end, that :func:`remove_remains` of another run leaves alone."""
    temp, handle = _locked_file(folder, mode)
    if fcntl is None:
        os.close(handle)
    try:
        yield temp
    finally:
        with contextlib.suppress(OSError):
            temp.unlink(missing_ok=True)
        if fcntl is not None:
            os.close(handle)


def remove_remains(folder: Path, keep: Container[str] = ()) -> None:
    """Remove the files that killed runs were writing in ``folder``; those of living runs stay, and what must.

    A living run holds a lock on each, which ends with the run whatever ended it. Where the disk has no locks nothing
    is removed, and never a file whose name is to be kept.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if _TEMP_NAME.fullmatch(entry.name) and entry.name not in keep]
    except OSError:
        return
    for name in names:
        with contextlib.suppress(OSError):
            _remove_unlocked(folder / name)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise what :func:`write_bytes_atomic` would, before the work of making the data has been done."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise write_failure(path, error) from error
    if os.path.isdir(path):
        raise write_failure(path, OSError(errno.EISDIR, os.strerror(errno.EISDIR)))
    if not overwrite:
        raise _exists(path)
    # A link is replaced itself; what it points to stays.
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        raise PhotoError(f"{shown(path)}: is no ordinary file; choose another name with --out", kind="unwritable")


def write_failure(path: Path, error: OSError) -> PhotoError:
    """What to tell of a file that could not be written."""
    if error.errno in _FULL:
        return PhotoError(
            f"{shown(path)}: the disk is full; free some space or choose another folder with --out", kind="disk_full"
        )
    remedy = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; choose another folder with --out")
    return PhotoError(f"{shown(path)}: cannot be written: {remedy}", kind="unwritable")


def _locked_file(folder: Path, mode: int) -> tuple[Path, int]:
    """A new file and a handle on it that holds its lock, where there are locks."""
    while True:
        path = folder / f"{TEMP_PREFIX}{secrets.token_hex(8)}.tmp"
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink > 0:
                return path, handle
        except BlockingIOError:
            pass
        except OSError:
            return path, handle
        # Another run took it for a dead one's before it was locked.
        os.close(handle)


def reopened(temp: Path, flags: int) -> int:
    """A handle on a file that is being written; :class:`OSError` when a link has taken its place."""
    return os.open(temp, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))


@contextlib.contextmanager
def _handle_on(temp: Path) -> Iterator[int]:
    handle = reopened(temp, os.O_RDWR)
    try:
        yield handle
    finally:
        os.close(handle)


def _narrow(handle: int, original: os.stat_result) -> None:
    """Give a new file the group of the one that it is made from where that group may do more than others; where that
    cannot be, its own group may do no more than they."""
    ours, others = (stat.S_IMODE(original.st_mode) >> by & 0o7 for by in (3, 0))
    if fcntl is None or os.fstat(handle).st_gid == original.st_gid or not ours & ~others:
        return
    with contextlib.suppress(OSError):
        os.fchown(handle, -1, original.st_gid)
        return
    with contextlib.suppress(OSError):
        os.fchmod(handle, stat.S_IMODE(os.fstat(handle).st_mode) & ~(0o70 & ~(others << 3)))


def _remove_unlocked(path: Path) -> None:
    # On a disk that is shared between machines only those who may write get a lock.
    handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        if fcntl is None or not stat.S_ISREG(os.fstat(handle).st_mode):
            return
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
        _log.debug("%s: removed, a killed run left it", shown(path))
    finally:
        os.close(handle)


def _take_over(path: Path, temp: int | Path) -> None:
    """Give ``temp``, by a handle where there are such calls, what the file that it is to replace has besides its
    content: who may do what with it."""
    try:
        old = os.stat(path)
    except OSError:
        return
    mode = stat.S_IMODE(old.st_mode)
    with contextlib.suppress(OSError, AttributeError):
        new = os.stat(temp)
        if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
            os.chmod(temp, stat.S_IMODE(new.st_mode) & 0o700)
            # Files may be given away by the superuser alone, but to a group by whoever is in it.
            with contextlib.suppress(OSError):
                os.chown(temp, -1, old.st_gid)
            with contextlib.suppress(OSError):
                os.chown(temp, old.st_uid, -1)
        if os.stat(temp).st_gid != old.st_gid:
            mode &= ~0o70 | (mode & 0o7) << 3
    with contextlib.suppress(OSError, AttributeError):
        for name in os.listxattr(path):
            with contextlib.suppress(OSError):
                os.setxattr(temp, name, os.getxattr(path, name))
    with contextlib.suppress(OSError):
        os.chmod(temp, mode)


def _set_times(temp: int | Path, original: os.stat_result, path: Path) -> None:
    try:
        os.utime(temp, ns=(original.st_atime_ns, original.st_mtime_ns))
    except OSError as error:
        _log.warning("%s: its times cannot be set: %s", shown(path), error.strerror or error)


def _publish(temp: Path, path: Path, *, overwrite: bool) -> None:
    """Give the finished file its name, and see to it that the name survives a power cut."""
    if overwrite:
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
