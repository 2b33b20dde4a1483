"""Which photo of one folder belongs to which of another, by their names."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from restorecli.pairs import photos_in

ENDINGS = ("_dehazed", "_derained")
"""What restoring adds to a name."""


@dataclass(frozen=True)
class Matches:
    """Photos of two folders, each sorted by path."""

    pairs: list[tuple[Path, Path]]
    without_after: list[Path]
    without_before: list[Path]


def match_folders(before: Path, after: Path) -> Matches:
    """Pair the photos of two folders; one may lie in the other, or both be the same.

    A photo belongs to the one of its name (suffix aside, and what restoring adds to names) at the same place of the
    other tree, failing that to the only one of its name anywhere there; failing both, the same is tried with its name
    up to the first ``_``, which is how the dehazing sets name several hazes of one photo.

    :class:`~restorecli.errors.UsageError` when one of the two is no folder.
    """
    befores, afters = photos_in(before), photos_in(after)
    if before.resolve() == after.resolve():
        afters = [path for path in afters if plain(path.stem) != path.stem]
        befores = [path for path in befores if path not in set(afters)]
    else:
        befores = [path for path in befores if not _inside(path, after, of=before)]
        afters = [path for path in afters if not _inside(path, before, of=after)]
    pairs, alone = match(befores, before, afters, after)
    used = {path for _, path in pairs}
    return Matches(pairs, alone, [path for path in afters if path not in used])


def match(
    photos: list[Path], root: Path, others: list[Path], others_root: Path
) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Pairs of ``photos``, below ``root``, with ``others`` by the rules of :func:`match_folders`, and who has none."""
    placed: dict[tuple[Path, str], Path] = {}
    named: defaultdict[str, list[Path]] = defaultdict(list)
    # Where a name is there with and without an ending, the plain one is meant.
    for other in sorted(others, key=lambda path: (plain(path.stem) != path.stem, path)):
        place = other.parent.relative_to(others_root), plain(other.stem)
        if place not in placed:
            placed[place] = other
            named[plain(other.stem)].append(other)
    pairs, alone = [], []
    for photo in photos:
        stems = dict.fromkeys((photo.stem, plain(photo.stem), photo.stem.split("_")[0]))
        found = None
        for stem in stems:
            elsewhere = named[stem] if len(named[stem]) == 1 else [None]
            found = found or placed.get((photo.parent.relative_to(root), stem)) or elsewhere[0]
        if found is None:
            alone.append(photo)
        else:
            pairs.append((photo, found))
    return pairs, alone


def plain(stem: str) -> str:
    """A file's stem without what restoring added to it."""
    for ending in ENDINGS:
        if stem.endswith(ending) and stem != ending:
            return stem.removesuffix(ending)
    return stem


def _inside(path: Path, folder: Path, *, of: Path) -> bool:
    """Whether ``path`` lies in ``folder``, which itself lies somewhere in ``of``."""
    inner = folder.resolve()
    return inner.is_relative_to(of.resolve()) and path.resolve().is_relative_to(inner)
