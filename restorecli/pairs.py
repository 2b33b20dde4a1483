"""Which restored photo belongs to which target: two folders paired by file name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from restorecli.errors import UsageError
from restorecli.photo import PHOTO_SUFFIXES

_RESTORED = ("_dehazed", "_derained")


def photos_in(folder: Path) -> list[Path]:
    """All photos below ``folder`` (any depth, by suffix), sorted by path; :class:`UsageError` when it is no folder."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give a folder of photos", kind="missing")
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES and p.is_file())


@dataclass(frozen=True)
class Pairing:
    """What became of the photos of two folders."""

    pairs: list[tuple[Path, Path]]
    """(input, target), by the inputs' paths; several inputs may have one target."""
    alone: list[Path]
    """Inputs without a target."""
    unsure: list[tuple[Path, list[Path]]]
    """Inputs that several targets would fit, with those."""
    unused: list[Path]
    """Targets that belong to no input."""


def pair_folders(inputs: Path, targets: Path) -> Pairing:
    """Find each input's target, by name and never by position.

    It is the first of these that there is, suffixes aside: the target of the same path below its folder; the only one
    of the same name in any folder; the only one of the name without ``_dehazed`` or ``_derained`` at its end; the only
    one of the name up to its first ``_`` (``0012_0.8_0.2.jpg`` and ``0012.png``), which is how the dehazing sets name
    several hazes of one photo. :class:`UsageError` when one of the two is no folder.
    """
    there = photos_in(targets)
    by_path: dict[str, list[Path]] = {}
    by_name: dict[str, list[Path]] = {}
    for target in there:
        by_path.setdefault(target.relative_to(targets).with_suffix("").as_posix(), []).append(target)
        by_name.setdefault(target.stem, []).append(target)
    found = Pairing([], [], [], [])
    for path in photos_in(inputs):
        fitting = by_path.get(path.relative_to(inputs).with_suffix("").as_posix()) or next(
            (by_name[name] for name in _names(path.stem) if name in by_name), []
        )
        if len(fitting) == 1:
            found.pairs.append((path, fitting[0]))
        elif fitting:
            found.unsure.append((path, fitting))
        else:
            found.alone.append(path)
    used = {target for _, target in found.pairs} | {target for _, fitting in found.unsure for target in fitting}
    found.unused.extend(target for target in there if target not in used)
    return found


def _names(stem: str) -> Iterator[str]:
    """What the target of a photo of this name may be called, likeliest first."""
    yield stem
    for ending in _RESTORED:
        if stem.endswith(ending):
            yield stem.removesuffix(ending)
    yield stem.partition("_")[0]
