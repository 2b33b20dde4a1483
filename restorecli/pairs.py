"""Which restored photo belongs to which target: two folders paired by file name."""

from __future__ import annotations

from pathlib import Path

from restorecli.errors import UsageError
from restorecli.photo import PHOTO_SUFFIXES


def photos_in(folder: Path) -> list[Path]:
    """All photos below ``folder`` (any depth, by suffix), sorted by path; :class:`UsageError` when it is no folder."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give a folder of photos", kind="missing")
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES and p.is_file())


def pair_folders(inputs: Path, targets: Path) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Pairs (input, target), and the inputs that have no target.

    An input belongs to the target of the same stem; failing that, to the target whose stem is its own up to the first
    ``_`` (``0012_0.8_0.2.jpg`` and ``0012.png``), which is how the dehazing sets name several hazes of one photo.
    """
    by_stem = {path.stem: path for path in photos_in(targets)}
    pairs, alone = [], []
    for path in photos_in(inputs):
        target = by_stem.get(path.stem) or by_stem.get(path.stem.split("_")[0])
        if target is None:
            alone.append(path)
        else:
            pairs.append((path, target))
    return pairs, alone
