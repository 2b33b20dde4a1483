"""Walking a folder that may hold anything."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from restorecli.photo.names import shown

_log = logging.getLogger(__name__)


def walk(folder: Path, *, without: Path | None, on_error: Callable[[Path, OSError], None]) -> Iterator[Path]:
    """All files below ``folder`` in order, without hidden ones and without those in the folder ``without``.

    Links to files are files. Links to folders are not followed, as they may lead round in a circle, and that is logged.
    ``on_error`` is told of each folder that cannot be read; the others are walked on.
    """
    own = _identity(without)
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as found:
                entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            on_error(place, error)
            continue
        folders = []
        for entry in entries:
            path = place / entry.name
            if not os.path.isdir(path):
                yield path
            elif entry.is_symlink():
                _log.warning("%s: a link to a folder is not followed; name it to have it done too", shown(path))
            elif own is None or _identity(path) != own:
                folders.append(path)
        waiting += reversed(folders)


def is_special(path: Path) -> bool:
    """Whether there is something that is neither file nor folder: a pipe, a socket, a device."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _identity(folder: Path | None) -> tuple[int, int] | None:
    if folder is None:
        return None
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino
