"""Many photos: which there are and where each goes, then read ahead, restore, write behind."""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from restorecli.errors import BackendError, PhotoError, RestoreError, UsageError, WeightsError
from restorecli.inference.restorer import Details, Restorer
from restorecli.photo import PHOTO_SUFFIXES, SUFFIXES, Photo, format_of, read_photo, write_photo
from restorecli.photo.atomic import refuse_existing, remove_remains
from restorecli.photo.folders import is_special, walk
from restorecli.photo.formats import SUCCESSORS
from restorecli.photo.names import shown
from restorecli.photo.opening import open_failure
from restorecli.photo.places import Ground, Place, Places, ground_of

Outcome = TypeVar("Outcome")

OUTPUT_ENDINGS = {"dehaze": "_dehazed", "derain": "_derained"}
"""What is added to a photo's name when its output lies beside it."""


@dataclass(frozen=True)
class Job:
    """One photo and where its restored form goes."""

    source: Path
    target: Path


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


def plan_jobs(
    inputs: list[Path], *, task: str, out: Path | None, format: str, overwrite: bool = False
) -> tuple[list[Job], int, list[Result]]:
    """Find the photos and name their outputs.

    A folder is walked (hidden files, links to folders and an ``out`` inside it are left alone); what is no photo by its
    suffix, a pipe or a device is passed over. A file is taken whatever it is called. ``out`` is a file for one photo
    when it has an image suffix, else a folder that mirrors the input tree; None puts ``NAME_dehazed.EXT`` beside the
    input. ``format`` other than ``same`` decides the suffix. Outputs of earlier runs are passed over when their source
    is there.

    Returns the jobs, the number of files passed over, and a failed result for each input that is missing or a folder
    without photos, and for each folder that cannot be read. :class:`UsageError` when two photos would get one output
    (on disks that do not tell capital letters apart too), when an output would replace a photo that is an input (its
    own only without ``overwrite``), or when ``out`` does not fit the inputs.
    """
    into_file = out is not None and out.suffix.lower() in PHOTO_SUFFIXES and not os.path.isdir(out)
    if into_file and out is not None and (len(inputs) != 1 or os.path.isdir(inputs[0])):
        raise UsageError(f"--out {shown(out)} is one file, but there is more than one photo: give a folder")
    if into_file and out is not None:
        check_format(out, format)
    ending = OUTPUT_ENDINGS[task]
    named = {os.path.realpath(path) for path in inputs}
    jobs: dict[tuple[Path, Path], Job] = {}
    failures: list[Result] = []
    passed_over = 0

    def unreadable(path: Path, error: OSError) -> None:
        failures.append(_failed(path, open_failure(error, shown(path))))

    def add(source: Path, target: Path) -> None:
        jobs.setdefault((_real(source), _real(target)), Job(source, target))

    for given in inputs:
        try:
            is_folder = stat.S_ISDIR(os.stat(given).st_mode)
        except OSError as error:
            unreadable(given, error)
            continue
        if not is_folder:
            if any(os.path.realpath(source) in named for source in _sources_of(given, ending)):
                passed_over += 1
            else:
                add(given, out if into_file and out is not None else _target(given, given.name, ending, out, format))
            continue
        photos, problems = 0, len(failures)
        for path in walk(given, without=out, on_error=unreadable):
            if path.suffix.lower() not in PHOTO_SUFFIXES or is_special(path) or _is_output(path, ending):
                passed_over += 1
                continue
            photos += 1
            add(path, _target(path, path.relative_to(given), ending, out, format))
        if not photos and len(failures) == problems:
            nothing = PhotoError(f"{shown(given)}: there are no photos in this folder; name another", kind="no_photos")
            failures.append(_failed(given, nothing))
    _check(jobs, overwrite)
    return list(jobs.values()), passed_over, failures


def check_format(out: Path, format: str) -> None:
    """:class:`UsageError` when ``out`` has the suffix of another format than ``format``, or of one not written."""
    if format_of(out) in SUCCESSORS:
        raise UsageError(f"--out {out}: camera RAW is only read; choose another suffix, such as .tiff")
    if format != "same" and format_of(out) != _format_named(format):
        raise UsageError(f"--out {shown(out)} and --format {format} disagree: leave one of them out")


def run(
    jobs: Iterable[Job],
    restorer: Restorer,
    *,
    overwrite: bool,
    format: str,
    quality: int | str,
    workers: int,
    max_pixels: int,
    on_result: Callable[[Result], None],
    preserve_times: bool = False,
    on_progress: Callable[[Job, int, int], None] | None = None,
    look: Callable[[Photo, Photo], object] | None = None,
) -> None:
    """Restore all photos, telling ``on_result`` of each in the order of ``jobs``, from the calling thread.

    ``workers`` photos are read ahead and as many are written behind at once; no more are held in memory. With
    ``overwrite`` off a photo whose target is there is skipped, so that the same call again finishes what was
    interrupted; what a killed run was writing then is removed first. With ``preserve_times`` outputs get the times of
    their inputs. ``on_progress`` is told the photo, its pixels done and its pixels in all.
    ``look`` sees each photo as it was read and as it was restored, from the calling thread; the restoring
    waits for it, and what it raises counts as the photo's failure.

    A photo that fails is a failed result, and the others go on. :class:`BackendError` and :class:`WeightsError` stop
    the run, as no other photo would fare better; photos that are being written then are finished first.
    """
    jobs = list(jobs)
    grounds = {folder: ground_of(folder) for folder in {job.target.parent for job in jobs}}
    sources = {job.source.name for job in jobs}
    for folder in grounds:
        remove_remains(folder, keep=sources)
    output = _Output(format, quality, overwrite, preserve_times, grounds)
    with ThreadPoolExecutor(workers, "read") as readers, ThreadPoolExecutor(workers, "write") as writers:
        writing: deque[Future[Result]] = deque()

        def tell() -> None:
            # Taken only when it is there: one that an interruption finds waiting here is told of later.
            writing[0].result()
            on_result(writing.popleft().result())

        try:
            for job, reading in _read_ahead(jobs, readers, workers, overwrite=overwrite, max_pixels=max_pixels):
                writing.append(_restore(job, reading, restorer, writers, output, on_progress, look))
                while writing and (writing[0].done() or len(writing) > workers):
                    tell()
            while writing:
                tell()
        except BaseException:
            # Photos that are restored are worth the moment that writing them takes.
            readers.shutdown(wait=False, cancel_futures=True)
            while writing:
                tell()
            raise


@dataclass(frozen=True)
class _Output:
    """How all outputs of a run are written."""

    format: str
    quality: int | str
    overwrite: bool
    preserve_times: bool
    grounds: dict[Path, Ground]
    """For each folder of an output the one that was there when the run began: nothing is made where a disk was."""

    def write(self, photo: Photo, target: Path, original: os.stat_result | None) -> None:
        self.grounds[target.parent].check(target)
        write_photo(
            photo,
            target,
            format=self.format,
            quality=self.quality,
            overwrite=self.overwrite,
            original=original,
            preserve_times=self.preserve_times,
        )


@dataclass(frozen=True)
class _Read:
    photo: Photo | None
    error: RestoreError | None
    seconds: float
    original: os.stat_result | None = None


def _read_ahead(
    jobs: Iterable[Job], readers: ThreadPoolExecutor, workers: int, *, overwrite: bool, max_pixels: int
) -> Iterator[tuple[Job, Future[_Read]]]:
    """Each job with the future that reads it, or that says why there is no need to; ``workers`` at most wait."""
    ahead: deque[tuple[Job, Future[_Read]]] = deque()
    for job in jobs:
        try:
            refuse_existing(job.target, overwrite=overwrite)
        except PhotoError as error:
            ahead.append((job, _done(_Read(None, error, 0))))
        else:
            ahead.append((job, readers.submit(_read, job, max_pixels)))
        if len(ahead) > workers:
            yield ahead.popleft()
    while ahead:
        yield ahead.popleft()


def _read(job: Job, max_pixels: int) -> _Read:
    started = time.perf_counter()
    photo, original = None, None
    error: RestoreError | None = None
    try:
        # Taken before: the output may replace its own input.
        original = os.stat(job.source)
        photo = read_photo(job.source, max_pixels=max_pixels)
    except OSError as problem:
        error = open_failure(problem, shown(job.source))
    except Exception as problem:
        error = _failure(problem, job.source, "read")
    return _Read(photo, error, time.perf_counter() - started, original)


def _restore(
    job: Job,
    reading: Future[_Read],
    restorer: Restorer,
    writers: ThreadPoolExecutor,
    output: _Output,
    on_progress: Callable[[Job, int, int], None] | None,
    look: Callable[[Photo, Photo], object] | None,
) -> Future[Result]:
    """Restore one photo and hand it to a writer."""
    read = reading.result()
    if read.error is not None and read.error.kind == "exists":
        return _done(Result(job, "skipped", seconds=_seconds(0, 0, 0)))
    if read.photo is None:
        return _done(Result(job, "failed", read.error, seconds=_seconds(read.seconds, 0, 0)))
    height, width = read.photo.pixels.shape[:2]
    started = time.perf_counter()
    try:
        report = None if on_progress is None else lambda done, total: on_progress(job, done, total)
        restored, details = restorer.restore_photo(read.photo, report)
        took = time.perf_counter() - started
        glance = None if look is None else look(read.photo, restored)
    except (BackendError, WeightsError):
        raise
    except Exception as problem:
        if isinstance(problem, PhotoError):
            problem = PhotoError(f"{shown(job.source)}: {problem}", kind=problem.kind)
        error = _failure(problem, job.source, "restored")
        seconds = _seconds(read.seconds, time.perf_counter() - started, 0)
        return _done(Result(job, "failed", error, width, height, seconds=seconds))
    spent = (read.seconds, took)

    def write() -> Result:
        begun = time.perf_counter()
        try:
            output.write(restored, job.target, read.original)
        except Exception as problem:
            if isinstance(problem, PhotoError) and problem.kind == "exists":
                # Another run over the same folder was faster.
                return Result(job, "skipped", seconds=_seconds(*spent, time.perf_counter() - begun))
            error = _failure(problem, job.target, "written")
            return Result(job, "failed", error, width, height, details, _seconds(*spent, time.perf_counter() - begun))
        seconds = _seconds(*spent, time.perf_counter() - begun)
        return Result(job, "restored", None, width, height, details, seconds, glance)

    return writers.submit(write)


def _failure(problem: Exception, path: Path, verb: str) -> RestoreError:
    """What to tell of any problem with one photo."""
    if isinstance(problem, RestoreError):
        return problem
    if isinstance(problem, MemoryError):
        return PhotoError(f"{shown(path)}: memory ran out; close other programs", kind="out_of_memory")
    error = PhotoError(
        f"{shown(path)}: cannot be {verb} ({type(problem).__name__}: {problem}); please report it", kind="internal"
    )
    error.__cause__ = problem
    return error


def _seconds(read: float, restore: float, write: float) -> dict[str, float]:
    return {"read": read, "restore": restore, "write": write, "total": read + restore + write}


def _done(result: Outcome) -> Future[Outcome]:
    future: Future[Outcome] = Future()
    future.set_result(result)
    return future


def _failed(source: Path, error: RestoreError) -> Result:
    return Result(Job(source, source), "failed", error, seconds=_seconds(0, 0, 0))


def _is_output(path: Path, ending: str) -> bool:
    """Whether an earlier run made it of a photo that is still there."""
    return any(os.path.exists(source) for source in _sources_of(path, ending))


def _sources_of(path: Path, ending: str) -> list[Path]:
    """What ``path`` would have been made from, if it is the output of an earlier run."""
    if not path.stem.endswith(ending) or path.stem == ending:
        return []
    stem = path.stem.removesuffix(ending)
    suffixes = [path.suffix, *sorted(PHOTO_SUFFIXES), *sorted(suffix.upper() for suffix in PHOTO_SUFFIXES)]
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
