"""Which photo of one folder belongs to which of another, by their names: restored ones to targets, before to after."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from restorecli.errors import UsageError
from restorecli.photo import PHOTO_SUFFIXES
from restorecli.photo.folders import walk

OUTPUT_ENDINGS = {"dehaze": "_dehazed", "derain": "_derained"}
"""What each task adds to a photo's name when its output lies beside it."""
ENDINGS = tuple(OUTPUT_ENDINGS.values())


def photos_in(folder: Path) -> list[Path]:
    """All photos below ``folder`` (any depth, by suffix, no hidden ones), sorted by path.

    :class:`UsageError` when it is no folder, or when it or a folder in it cannot be read.
    """
    if not os.path.isdir(folder):
        raise UsageError(f"{folder} is not a folder: give a folder of photos", kind="missing")
    files = walk(folder, without=None, on_error=_refuse)
    return sorted(path for path in files if path.suffix.lower() in PHOTO_SUFFIXES and os.path.isfile(path))


def _refuse(folder: Path, error: OSError) -> None:
    raise UsageError(f"{folder} cannot be read ({error.strerror or error}): name another folder", kind="unreadable")


@dataclass(frozen=True)
class Pairing:
    """What became of the photos of two folders."""

    pairs: list[tuple[Path, Path]]
    """Each photo with its other one, in the order of the photos; several may have the same."""
    alone: list[Path]
    """Photos without another."""
    unsure: list[tuple[Path, list[Path]]]
    """Photos that several others would fit, with those."""
    unused: list[Path]
    """Others that belong to no photo."""


def pair_folders(inputs: Path, targets: Path, *, restored: bool = False) -> Pairing:
    """Find the target of each photo of a folder, by the rules of :func:`pair`.

    What was restored into the folder that its source lies in is passed over; with ``restored`` the source is.
    :class:`UsageError` when one of the two is no folder.
    """
    photos = meant(photos_in(inputs), restored=restored)
    return pair(photos, inputs, meant(photos_in(targets)), targets)


def pair(photos: list[Path], root: Path, others: list[Path], others_root: Path) -> Pairing:
    """Find the one of ``others`` for each of ``photos``, which lie below these folders, by name and never by position.

    It is the first of these that there is: the other of the same path and suffix below its folder; the one of the same
    path, whatever its suffix; the only one of the same name in any folder; the same two without ``_dehazed`` or
    ``_derained`` at the end of the name; the same two with the name up to its first ``_`` (``0012_0.8_0.2.jpg`` and
    ``0012.png``), which is how the dehazing sets name several hazes of one photo. Such an ending of the other's name
    does not count.
    """
    exact = {other.relative_to(others_root): other for other in others}
    placed: defaultdict[Path, list[Path]] = defaultdict(list)
    named: defaultdict[str, list[Path]] = defaultdict(list)
    for other in others:
        stem = plain(other.stem)
        placed[other.relative_to(others_root).parent / stem].append(other)
        named[stem].append(other)
    found = Pairing([], [], [], [])
    for photo in photos:
        place = photo.relative_to(root)
        fitting = [exact[place]] if place in exact else []
        for stem in dict.fromkeys((photo.stem, plain(photo.stem), photo.stem.partition("_")[0])):
            fitting = fitting or placed.get(place.parent / stem, []) or named.get(stem, [])
        if len(fitting) == 1:
            found.pairs.append((photo, fitting[0]))
        elif fitting:
            found.unsure.append((photo, fitting))
        else:
            found.alone.append(photo)
    used = {other for _, other in found.pairs} | {other for _, fitting in found.unsure for other in fitting}
    found.unused.extend(other for other in others if other not in used)
    return found


def meant(photos: list[Path], *, restored: bool = False) -> list[Path]:
    """``photos`` without those that restoring put beside their sources; with ``restored``, without these sources."""
    there = {path.with_suffix(""): path for path in photos}
    made = {path: path.parent / plain(path.stem) for path in photos if plain(path.stem) != path.stem}
    made = {path: there[source] for path, source in made.items() if source in there}
    passed_over = set(made.values()) if restored else set(made)
    return [path for path in photos if path not in passed_over]


def plain(stem: str) -> str:
    """A file's stem without what restoring added to it."""
    for ending in ENDINGS:
        if stem.endswith(ending) and stem != ending:
            return stem.removesuffix(ending)
    return stem
