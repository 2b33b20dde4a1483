"""Many photos: which there are and where each goes, then read ahead, restore, write behind."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from restorecli.errors import BackendError, PhotoError, RestoreError, UsageError, WeightsError
from restorecli.inference.restorer import Details, Restorer
from restorecli.photo import PHOTO_SUFFIXES, SUFFIXES, Photo, format_of, read_photo, write_photo
from restorecli.photo.formats import SUCCESSORS
from restorecli.photo.names import shown

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

    A folder is walked (hidden files and an ``out`` inside it are left alone), what is no photo by its suffix is passed
    over; a file is taken whatever it is called. ``out`` is a file for one photo when it has an image suffix, else a
    folder that mirrors the input tree; None puts ``NAME_dehazed.EXT`` beside the input. ``format`` other than ``same``
    decides the suffix. Outputs of earlier runs are passed over when their source is there.

    Returns the jobs, the number of files passed over, and a failed result for each input that is missing or a folder
    without photos. :class:`UsageError` when two photos would get one output, when an output would replace a photo that
    is an input (its own only without ``overwrite``), or when ``out`` does not fit the inputs.
    """
    into_file = out is not None and out.suffix.lower() in PHOTO_SUFFIXES and not out.is_dir()
    if into_file and (len(inputs) != 1 or inputs[0].is_dir()):
        raise UsageError(f"--out {out} is one file, but there is more than one photo: give a folder")
    if into_file and out is not None:
        check_format(out, format)
    ending = OUTPUT_ENDINGS[task]
    named = {path.resolve() for path in inputs}
    jobs: dict[tuple[Path, Path], Job] = {}
    failures: list[Result] = []
    passed_over = 0
    for given in inputs:
        if not given.exists():
            error = PhotoError(f"{shown(given)}: no such file; check the path", kind="missing")
            failures.append(_failed(given, error))
            continue
        if not given.is_dir():
            if any(source.resolve() in named for source in _sources_of(given, ending)):
                passed_over += 1
                continue
            target = out if into_file and out is not None else _target(given, given.name, ending, out, format)
            jobs.setdefault((given.resolve(), target.resolve()), Job(given, target))
            continue
        found = False
        for path in _walk(given, out):
            if path.suffix.lower() not in PHOTO_SUFFIXES or any(s.exists() for s in _sources_of(path, ending)):
                passed_over += 1
                continue
            found = True
            target = _target(path, path.relative_to(given), ending, out, format)
            jobs.setdefault((path.resolve(), target.resolve()), Job(path, target))
        if not found:
            error = PhotoError(f"{shown(given)}: there are no photos in this folder; name another", kind="no_photos")
            failures.append(_failed(given, error))
    _check(jobs, overwrite)
    return list(jobs.values()), passed_over, failures


def check_format(out: Path, format: str) -> None:
    """:class:`UsageError` when ``out`` has the suffix of another format than ``format``, or of one not written."""
    if format_of(out) in SUCCESSORS:
        raise UsageError(f"--out {out}: camera RAW is only read; choose another suffix, such as .tiff")
    if format != "same" and format_of(out) != _format_named(format):
        raise UsageError(f"--out {out} and --format {format} disagree: leave one of them out")


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
    on_progress: Callable[[Job, int, int], None] | None = None,
    look: Callable[[Photo, Photo], object] | None = None,
) -> None:
    """Restore all photos, telling ``on_result`` of each in the order of ``jobs``, from the calling thread.

    ``workers`` photos are read ahead and as many are written behind at once; no more are held in memory. With
    ``overwrite`` off a photo whose target is there is skipped, so that the same call again finishes what was
    interrupted. ``on_progress`` is told the photo, its pixels done and its pixels in all.
    ``look`` sees each photo as it was read and as it was restored, from the calling thread; the restoring
    waits for it, and what it raises counts as the photo's failure.

    A photo that fails is a failed result, and the others go on. :class:`BackendError` and :class:`WeightsError` stop
    the run, as no other photo would fare better; photos that are being written then are finished first.
    """
    with ThreadPoolExecutor(workers, "read") as readers, ThreadPoolExecutor(workers, "write") as writers:
        writing: deque[Future[Result]] = deque()

        def tell() -> None:
            # Taken only when it is there: one that an interruption finds waiting here is told of later.
            writing[0].result()
            on_result(writing.popleft().result())

        try:
            for job, reading in _read_ahead(jobs, readers, workers, overwrite=overwrite, max_pixels=max_pixels):
                writing.append(_restore(job, reading, restorer, writers, overwrite, format, quality, on_progress, look))
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
class _Read:
    photo: Photo | None
    error: RestoreError | None
    seconds: float


def _read_ahead(
    jobs: Iterable[Job], readers: ThreadPoolExecutor, workers: int, *, overwrite: bool, max_pixels: int
) -> Iterator[tuple[Job, Future[_Read] | None]]:
    """Each job with the future that reads it, None when it is to be skipped; ``workers`` futures at most wait."""
    ahead: deque[tuple[Job, Future[_Read] | None]] = deque()
    for job in jobs:
        skip = not overwrite and job.target.exists()
        ahead.append((job, None if skip else readers.submit(_read, job, max_pixels)))
        if len(ahead) > workers:
            yield ahead.popleft()
    while ahead:
        yield ahead.popleft()


def _read(job: Job, max_pixels: int) -> _Read:
    started = time.perf_counter()
    photo, error = None, None
    try:
        photo = read_photo(job.source, max_pixels=max_pixels)
    except Exception as problem:
        error = _failure(problem, job.source, "read")
    return _Read(photo, error, time.perf_counter() - started)


def _restore(
    job: Job,
    reading: Future[_Read] | None,
    restorer: Restorer,
    writers: ThreadPoolExecutor,
    overwrite: bool,
    format: str,
    quality: int | str,
    on_progress: Callable[[Job, int, int], None] | None,
    look: Callable[[Photo, Photo], object] | None,
) -> Future[Result]:
    """Restore one photo and hand it to a writer."""
    if reading is None:
        return _done(Result(job, "skipped", seconds=_seconds(0, 0, 0)))
    read = reading.result()
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
            write_photo(restored, job.target, format=format, quality=quality, overwrite=overwrite)
        except Exception as problem:
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


def _done(result: Result) -> Future[Result]:
    future: Future[Result] = Future()
    future.set_result(result)
    return future


def _failed(source: Path, error: RestoreError) -> Result:
    return Result(Job(source, source), "failed", error, seconds=_seconds(0, 0, 0))


def _walk(folder: Path, out: Path | None) -> Iterator[Path]:
    """All files below ``folder`` in order, without hidden ones and without an output folder inside it."""
    own = out.resolve() if out is not None and out.resolve() != folder.resolve() else None
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(n for n in folders if not n.startswith(".") and Path(place, n).resolve() != own)
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))


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


def _check(jobs: dict[tuple[Path, Path], Job], overwrite: bool) -> None:
    """Raise :class:`UsageError` where an output would replace an input or another output."""
    sources = {source: job.source for (source, _), job in jobs.items()}
    targets: dict[Path, Job] = {}
    for (source, target), job in jobs.items():
        if target in targets:
            raise UsageError(
                f"{shown(targets[target].source)} and {shown(job.source)} would both become {shown(job.target)}: "
                "restore them one by one, or into different folders"
            )
        targets[target] = job
        if target == source and not overwrite:
            raise UsageError(
                f"{shown(job.source)} would be replaced by its own output: give another --out, or --overwrite"
            )
        if target != source and target in sources:
            raise UsageError(
                f"the output of {shown(job.source)} would replace the input {shown(sources[target])}: "
                "give another --out"
            )
