"""Many photos: which there are and where each goes."""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from restorecli.errors import PhotoError, RestoreError, UsageError
from restorecli.pairs import OUTPUT_ENDINGS
from restorecli.photo import PHOTO_SUFFIXES, SUFFIXES, format_of
from restorecli.photo.folders import is_special, walk
from restorecli.photo.formats import SUCCESSORS
from restorecli.photo.names import shown
from restorecli.photo.opening import open_failure
from restorecli.photo.places import Place, Places

if TYPE_CHECKING:
    from restorecli.inference.engine import Details


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One photo and where its restored form goes."""

    source: Path
    target: Path
    named: bool = False
    """Whether somebody named the target, whose suffix then says what it is to be; else it has the source's, which may
    be wrong."""


@dataclass(frozen=True)
class Result:
    """What became of one photo."""

    job: Job
    status: str
    """``restored``, ``skipped`` (the target was there) or ``failed``."""
    error: RestoreError | None = None
    width: int | None = None
    height: int | None = None
    details: Details | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    """``read``, ``restore``, ``write`` and ``total``; total is their sum, as the three of different photos overlap."""
    glance: object = None
    """What ``look`` of :func:`run` made of the photo before and after; None where it was not called."""


def seconds_of(read: float = 0, restore: float = 0, write: float = 0) -> dict[str, float]:
    """What :attr:`Result.seconds` says."""
    return {"read": read, "restore": restore, "write": write, "total": read + restore + write}


def plan_jobs(
    inputs: list[Path], *, task: str, out: Path | None, format: str, overwrite: bool = False
) -> tuple[list[Job], int, list[Result]]:
    """Find the photos and name their outputs.

    A folder is walked. Hidden files and links to folders are left alone, and so is an ``out`` inside it: photos there
    that are no outputs of these jobs are counted as passed over, with a warning. What is no photo by its suffix, a pipe
    or a device is passed over. A file is taken whatever it is called. ``out`` is a file for one photo when it has an
    image suffix, else a folder that mirrors the input tree; None puts ``NAME_dehazed.EXT`` beside the input.
    ``format`` other than ``same`` decides the suffix. Outputs of earlier runs are passed over when their source is
    there.

    Returns the jobs, the number of files passed over, and a failed result for each input that is missing or a folder
    without photos, and for each folder that cannot be read. :class:`UsageError` when two photos would get one output
    (on disks that do not tell capital letters apart too), when an output would replace a photo that is an input (its
    own only without ``overwrite``), or when ``out`` does not fit the inputs (for another ``format`` it is no
    folder that is walked itself).
    """
    into_file = out is not None and is_file(out)
    if into_file and out is not None and (len(inputs) != 1 or os.path.isdir(inputs[0])):
        raise UsageError(f"--out {shown(out)} is one file, but there is more than one photo: give a folder")
    if into_file and out is not None:
        check_format(out, format)
    ending = OUTPUT_ENDINGS[task]
    named = {os.path.realpath(path) for path in inputs if not os.path.isdir(path)}
    jobs: dict[tuple[Path, Path], Job] = {}
    failures: list[Result] = []
    passed_over = 0

    def unreadable(path: Path, error: OSError) -> None:
        failures.append(_failed(path, open_failure(error, shown(path))))

    def add(source: Path, target: Path, *, named: bool = False) -> None:
        jobs.setdefault((_real(source), _place(target)), Job(source, target, named))

    for given in inputs:
        try:
            is_folder = stat.S_ISDIR(os.stat(given).st_mode)
        except OSError as error:
            unreadable(given, error)
            continue
        if not is_folder:
            if any(os.path.realpath(source) in named for source in _sources_of(given, ending)):
                passed_over += 1
            elif into_file and out is not None:
                add(given, out, named=True)
            else:
                add(given, _target(given, given.name, ending, out, format))
            continue
        if out is not None and format != "same" and _real(out) == _real(given):
            raise UsageError(
                f"--out {shown(out)} is the input itself, where outputs of another --format cannot be told from "
                "photos: leave --out out, or give another folder"
            )
        photos, problems = 0, len(failures)
        for path in walk(given, without=out, on_error=unreadable):
            if not _is_photo(path) or _is_output(path):
                passed_over += 1
                continue
            photos += 1
            add(path, _target(path, path.relative_to(given), ending, out, format))
        if not photos and len(failures) == problems:
            nothing = PhotoError(f"{shown(given)}: there are no photos in this folder; name another", kind="no_photos")
            failures.append(_failed(given, nothing))
    if out is not None and any(_real(given) in _real(out).parents for given in inputs):
        passed_over += _left_alone(out, {target for _, target in jobs})
    _check(jobs, overwrite)
    return list(jobs.values()), passed_over, failures


def _left_alone(out: Path, targets: set[Path]) -> int:
    """How many photos in ``out``, a folder inside of an input, are no outputs of this command, which is told of."""
    there = walk(out, without=None, on_error=lambda path, error: None)
    found = sum(_is_photo(path) and _place(path) not in targets for path in there)
    if found:
        _log.warning(
            "%s: the folder of the outputs lies in the input, and what is in it is not restored, %s among it; "
            "give an --out elsewhere if it should be",
            shown(out),
            "a photo that is no output" if found == 1 else f"{found} photos that are no outputs",
        )
    return found


def is_file(out: Path) -> bool:
    """Whether ``--out`` names the file of one photo and not a folder."""
    return out.suffix.lower() in PHOTO_SUFFIXES and not os.path.isdir(out)


def check_format(out: Path, format: str) -> None:
    """:class:`UsageError` when ``out`` has the suffix of another format than ``format``, or of one not written."""
    if format_of(out) in SUCCESSORS:
        raise UsageError(f"--out {out}: camera RAW is only read; choose another suffix, such as .tiff")
    if format != "same" and format_of(out) != _format_named(format):
        raise UsageError(f"--out {shown(out)} and --format {format} disagree: leave one of them out")


def _failed(source: Path, error: RestoreError) -> Result:
    return Result(Job(source, source), "failed", error, seconds=seconds_of())


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in PHOTO_SUFFIXES and not is_special(path)


def _is_output(path: Path) -> bool:
    """Whether an earlier run, of whichever task, made it of a photo that is still there."""
    endings = OUTPUT_ENDINGS.values()
    return any(os.path.isfile(source) for ending in endings for source in _sources_of(path, ending))


def _sources_of(path: Path, ending: str) -> list[Path]:
    """What ``path`` would have been made from, if it is the output of an earlier run."""
    if not path.stem.endswith(ending) or path.stem == ending:
        return []
    stem = path.stem.removesuffix(ending)
    suffixes = [path.suffix, "", *sorted(PHOTO_SUFFIXES), *sorted(suffix.upper() for suffix in PHOTO_SUFFIXES)]
    return [path.with_name(stem + suffix) for suffix in suffixes]


def _format_named(format: str) -> str:
    return "jpeg" if format == "jpg" else format


def _target(source: Path, place: str | Path, ending: str, out: Path | None, format: str) -> Path:
    if format == "same":
        successor = SUCCESSORS.get(format_of(source) or "")
        suffix = source.suffix if successor is None else SUFFIXES[successor]
    else:
        suffix = SUFFIXES[_format_named(format)]
    if out is None:
        return source.with_name(source.stem + ending + suffix)
    return (out / place).with_suffix(suffix)


def _real(path: Path) -> Path:
    """Without links on the way; as good as can be where they lead round in a circle."""
    return Path(os.path.realpath(path))


def _place(target: Path) -> Path:
    """Where an output goes: a link in its place is replaced itself, and what it leads to stays."""
    return _real(target.parent) / target.name


def _check(jobs: dict[tuple[Path, Path], Job], overwrite: bool) -> None:
    """Raise :class:`UsageError` where an output would replace an input or another output."""
    places = Places()
    sources: dict[Place, list[tuple[Path, Job]]] = {}
    targets: dict[Place, list[tuple[Path, Job]]] = {}
    for (source, _), job in jobs.items():
        sources.setdefault(places.of(source).folded(), []).append((source, job))
    for (source, target), job in jobs.items():
        folded = places.of(target).folded()
        for other, earlier in targets.get(folded, ()):
            if places.are_one(other, target):
                raise UsageError(
                    f"{shown(earlier.source)} and {shown(job.source)} would both become {shown(job.target)}: "
                    "restore them one by one, or into different folders"
                )
        targets.setdefault(folded, []).append((target, job))
        for other, owner in sources.get(folded, ()):
            if other == source and not overwrite and places.are_one(other, target):
                raise UsageError(
                    f"{shown(job.source)} would be replaced by its own output: give another --out, or --overwrite"
                )
            if other != source and places.are_one(other, target):
                raise UsageError(
                    f"the output of {shown(job.source)} would replace the input {shown(owner.source)}: "
                    "give another --out"
                )
