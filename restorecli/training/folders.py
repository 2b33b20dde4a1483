"""The folders of a run, looked at before its first step: what they hold, and what is wrong with them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from restorecli.errors import PhotoError, TrainingError
from restorecli.pairs import pair_folders
from restorecli.training.config import TrainConfig
from restorecli.training.data import read_rgb, training_photos
from restorecli.training.options import Options


@dataclass(frozen=True)
class Folders:
    """The photos of a run."""

    degraded: list[Path]
    clear: list[Path]
    pairs: list[tuple[Path, Path]]
    """Validation pairs."""
    held_degraded: list[Path] = field(default_factory=list)
    """Photos to measure on without pairs; not learnt from unless the folder is too small to spare any."""
    held_clear: list[Path] = field(default_factory=list)
    warnings: tuple[str, ...] = ()


def open_folders(options: Options) -> Folders:
    """Find the photos; :class:`TrainingError` when there is nothing to learn from or to validate on."""
    _refuse_nested(options.degraded, options.clear)
    for folder in (options.degraded, options.clear):
        if options.run.resolve().is_relative_to(folder.resolve()):
            raise TrainingError(
                f"--out {options.run} lies inside {folder}, whose photos would include its sheets: choose another",
                kind="folders",
            )
    exclude = options.config.data.exclude
    degraded, clear = (training_photos(folder, exclude) for folder in (options.degraded, options.clear))
    for folder, photos in ((options.degraded, degraded), (options.clear, clear)):
        _refuse_unreadable(folder, photos)
    found = Folders(degraded, clear, _pairs(options))
    warnings = []
    twins = same_photos(degraded, clear)
    if twins:
        first, second = twins[0]
        warnings.append(
            f"{len(twins)} photos are in both folders ({first} and {second}): "
            "what is degraded and clear at once teaches nothing"
        )
    if options.start_from is not None and options.val is None:
        spared = "learnt from too, as its folder has too few photos to spare"
        (held_degraded, degraded), (held_clear, clear) = (
            hold_out(photos, options.config.data.held_out) for photos in (degraded, clear)
        )
        for name, held, rest in (("degraded", held_degraded, degraded), ("clear", held_clear, clear)):
            if set(held) <= set(rest):
                warnings.append(f"what is measured on in the {name} folder is {spared} any")
        found = replace(found, degraded=degraded, clear=clear, held_degraded=held_degraded, held_clear=held_clear)
    return replace(found, warnings=tuple(warnings))


def length_of(config: TrainConfig, folders: Folders, groups: int) -> TrainConfig:
    """The configuration with ``epochs`` as ``steps``: passes over the larger folder, ``groups`` of crops a step."""
    if config.epochs == 0:
        return config
    crops = groups * (config.data.batch if config.rendered.weight > 0 else config.unpaired.batch)
    photos = max(len(folders.degraded), len(folders.clear))
    return replace(config, steps=config.epochs * -(-photos // crops))


def hold_out(photos: list[Path], most: int) -> tuple[list[Path], list[Path]]:
    """Photos to measure on, evenly spread over the sorted folder and at most a fifth of it, and the others.

    Of fewer than five photos none can be spared: up to ``most`` are then in both lists.
    """
    count = min(most, len(photos) // 5)
    if count == 0:
        return photos[:most], photos
    chosen = {photos[(2 * index + 1) * len(photos) // (2 * count)] for index in range(count)}
    return sorted(chosen), [photo for photo in photos if photo not in chosen]


def same_photos(first: Iterable[Path], second: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Files of the same content in both; only those of one size are read."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in first:
        by_size[path.stat().st_size].append(path)
    twins, hashes = [], {}

    def digest(path: Path) -> bytes:
        if path not in hashes:
            with path.open("rb") as file:
                hashes[path] = hashlib.file_digest(file, "sha256").digest()
        return hashes[path]

    for path in second:
        alike = by_size.get(path.stat().st_size, ())
        twin = next((other for other in alike if digest(other) == digest(path)), None)
        if twin is not None:
            twins.append((twin, path))
    return twins


def _refuse_nested(degraded: Path, clear: Path) -> None:
    one, other = degraded.resolve(), clear.resolve()
    if one == other:
        raise TrainingError(f"{degraded} is given twice: degraded and clear photos need a folder each", kind="folders")
    for inner, outer in ((one, other), (other, one)):
        if inner.is_relative_to(outer):
            raise TrainingError(
                f"{inner} lies inside {outer}, whose photos would include it: put one beside the other", kind="folders"
            )


def _refuse_unreadable(folder: Path, photos: Iterable[Path]) -> None:
    """Known before the first step, rather than when the first of them is learnt from."""
    reason = ""
    for path in photos:
        try:
            read_rgb(path)
        except PhotoError as error:
            reason = reason or str(error)
        else:
            return
    raise TrainingError(f"none of the photos in {folder} can be read ({reason})", kind="unreadable")


def _pairs(options: Options) -> list[tuple[Path, Path]]:
    if options.val is None:
        return []
    found = pair_folders(*options.val)
    pairs, alone = found.pairs, [*found.alone, *(path for path, _ in found.unsure)]
    if not pairs or alone:
        what = f"{alone[0].name} has no target, or several," if alone else "there are no photos"
        raise TrainingError(f"cannot validate on {options.val[0]}: {what} in {options.val[1]}", kind="validation")
    for source, wanted in pairs:
        _check_pair(source, wanted)
    return pairs


def _check_pair(source: Path, wanted: Path) -> None:
    """Known before the first step, rather than at the first validation."""
    try:
        same = read_rgb(source).shape == read_rgb(wanted).shape
    except PhotoError as error:
        raise TrainingError(f"cannot validate: {error}", kind="validation") from error
    if not same:
        raise TrainingError(f"cannot validate: {source} and {wanted} are of different sizes", kind="validation")
