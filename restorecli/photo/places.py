"""Where a file is, whatever its path says: links, capital letters, folders that come and go."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from restorecli.errors import PhotoError
from restorecli.photo.atomic import temporary
from restorecli.photo.names import shown


@dataclass(frozen=True)
class Ground:
    """A folder that was there when it was looked at."""

    path: Path
    device: int
    inode: int

    def check(self, target: Path) -> None:
        """:class:`PhotoError` when another folder, or none, is there now: the disk was taken out, for example."""
        if _ground_at(self.path) != self:
            raise PhotoError(
                f"{shown(target)}: cannot be written: the folder {shown(self.path)} is gone; "
                "bring it back and run this again",
                kind="unwritable",
            )


@dataclass(frozen=True)
class Place:
    """A file by the nearest folder that exists and the names from there on; two equal ones are one file."""

    device: int
    inode: int
    names: tuple[str, ...]

    def folded(self) -> Place:
        """The same for disks that do not tell capital letters (or two spellings of an accent) apart."""
        return replace(self, names=tuple(unicodedata.normalize("NFC", name.casefold()) for name in self.names))


class Places:
    """Places of many files; each folder is looked at once."""

    def __init__(self) -> None:
        self.ground_of = cache(ground_of)
        self._folds = cache(_folds)

    def of(self, path: Path) -> Place:
        """The place of a file or of one that is to be; the file itself may be a link, which is not followed."""
        ground = self.ground_of(path.parent)
        names = path.parent.parts[len(ground.path.parts) :]
        return Place(ground.device, ground.inode, (*names, path.name))

    def are_one(self, one: Path, other: Path) -> bool:
        """Whether two paths whose places are equal when folded are really one file."""
        return self.of(one) == self.of(other) or self._folds(self.ground_of(one.parent).path)


def ground_of(folder: Path) -> Ground:
    """The folder if it exists, else the nearest above it that does."""
    for path in (folder, *folder.parents):
        found = _ground_at(path)
        if found is not None:
            return found
    return Ground(folder, 0, 0)


def _ground_at(path: Path) -> Ground | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Ground(path, found.st_dev, found.st_ino)


def _folds(folder: Path) -> bool:
    """Whether a folder does not tell capital letters apart; False where nothing can be written to find out."""
    try:
        with temporary(folder) as temp:
            return os.path.lexists(temp.with_name(temp.name.upper()))
    except OSError:
        return False
