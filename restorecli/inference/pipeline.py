"""Many photos: read ahead, restore on one device or several, write behind."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from restorecli.errors import BackendError, PhotoError, RestoreError, WeightsError, failure_of
from restorecli.inference.engine import Engine, Started
from restorecli.inference.jobs import Job, Result, seconds_of
from restorecli.inference.lanes import in_order
from restorecli.inference.reading import read_within
from restorecli.photo import Photo, write_photo
from restorecli.photo.atomic import refuse_existing, remove_remains
from restorecli.photo.formats import SUCCESSORS
from restorecli.photo.names import shown
from restorecli.photo.opening import open_failure
from restorecli.photo.places import Ground, ground_of

Outcome = TypeVar("Outcome")
Progress = Callable[[Job, int, int], None]
Look = Callable[[Photo, Photo], object]


def run(
    jobs: Iterable[Job],
    engines: Sequence[Engine],
    *,
    overwrite: bool,
    format: str,
    quality: int | str,
    workers: int,
    max_pixels: int,
    on_result: Callable[[Result], None],
    preserve_times: bool = False,
    on_progress: Progress | None = None,
    look: Look | None = None,
) -> None:
    """Restore all photos, telling ``on_result`` of each in the order of ``jobs``, from the calling thread.

    ``workers`` photos are read ahead, none within a bound on memory, and as many are written behind at once; no more
    are held in memory, but for those that an engine restores together. With several engines each has a thread, and
    takes the next photo when it is free; with one, photos are restored in the calling thread. With ``overwrite`` off a
    photo whose target is there is skipped, so that the same call again finishes what was interrupted; what a killed run
    was writing then is removed first. With ``preserve_times`` outputs get the times of their inputs. ``on_progress`` is
    told the photo, its pixels done and its pixels in all. ``look`` sees each photo as it was read and as it was
    restored, by the thread that restored it, which waits for it; what it raises counts as the photo's failure. No two
    of these three calls are made at once.

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
            with line.telling:
                on_result(writing.popleft().result())

        def tell_of_written() -> None:
            while writing and writing[0].done():
                tell()

        line = _Line(writers, workers, output, tell_of_written if len(engines) == 1 else None, on_progress, look)
        lanes = [line.lane(engine) for engine in engines]
        bounds = [engine.most_pixels for engine in engines if engine.most_pixels is not None]
        # What is read ahead under a bound on memory may be larger than what that was planned for.
        ahead = 0 if bounds else workers
        reading = _read_ahead(jobs, readers, ahead, overwrite=overwrite, bounds=(max_pixels, min(bounds, default=None)))
        try:
            with contextlib.closing(in_order(reading, lanes, line.stop)) as restored:
                for writes in restored:
                    writing.append(writes)
                    tell_of_written()
            while writing:
                tell()
        except BaseException as error:
            # Photos that are restored are worth the moment that writing them takes.
            readers.shutdown(wait=False, cancel_futures=True)
            while writing:
                tell()
            if isinstance(error, _Untold) and error.__cause__ is not None:
                raise error.__cause__ from None
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

    def write(self, photo: Photo, job: Job, original: os.stat_result | None) -> None:
        self.grounds[job.target.parent].check(job.target)
        if os.path.realpath(job.source) == os.path.realpath(job.target):
            _check_in_place(photo, job.source, original)
        # A PNG called photo.jpg stays a PNG of 16 bits, with its transparency.
        own = SUCCESSORS.get(photo.format, photo.format)
        try:
            write_photo(
                photo,
                job.target,
                format=own if self.format == "same" and not job.named else self.format,
                quality=self.quality,
                overwrite=self.overwrite,
                original=original,
                preserve_times=self.preserve_times,
            )
        except PhotoError as error:
            if error.kind not in ("format", "extra"):
                raise
            # It is the photo that does not fit: there is no file of the other name.
            raise PhotoError(f"{shown(job.source)} -> {error}", kind=error.kind) from error


@dataclass(frozen=True)
class _Read:
    photo: Photo | None
    error: RestoreError | None
    seconds: float
    original: os.stat_result | None = None


def _read_ahead(
    jobs: Iterable[Job], readers: ThreadPoolExecutor, most: int, *, overwrite: bool, bounds: _Bounds
) -> Iterator[_Given]:
    """Each job with the future that reads it, or that says why there is no need to; ``most`` wait at once."""
    ahead: deque[tuple[Job, Future[_Read]]] = deque()
    for job in jobs:
        try:
            refuse_existing(job.target, overwrite=overwrite)
        except PhotoError as error:
            ahead.append((job, _done(_Read(None, error, 0))))
        else:
            ahead.append((job, readers.submit(_read, job, bounds)))
        if len(ahead) > most:
            yield ahead.popleft()
    while ahead:
        yield ahead.popleft()


def _check_in_place(photo: Photo, path: Path, original: os.stat_result | None) -> None:
    """:class:`PhotoError` when what is in the place of the result is more, or other, than what it was made from."""
    if photo.pictures > 1:
        raise PhotoError(
            f"{shown(path)}: holds {photo.pictures} pictures, of which the first alone would be left; "
            "give another place with --out",
            kind="pictures",
        )
    try:
        now = os.stat(path)
    except OSError:  # it is gone: nothing is lost
        return
    if original is not None and _version_of(now) != _version_of(original):
        raise PhotoError(
            f"{shown(path)}: was changed while it was being restored, and is left as it is now; run this again",
            kind="changed",
        )


def _version_of(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _read(job: Job, bounds: _Bounds) -> _Read:
    started = time.perf_counter()
    photo, original = None, None
    error: RestoreError | None = None
    try:
        # Taken before: the output may replace its own input.
        original = os.stat(job.source)
        photo = read_within(job.source, *bounds)
    except OSError as problem:
        error = open_failure(problem, shown(job.source))
    except Exception as problem:
        error = failure_of(problem, shown(job.source), "read")
    return _Read(photo, error, time.perf_counter() - started, original)


_Given = tuple[Job, Future[_Read]]
_Bounds = tuple[int, int | None]
"""Pixels of the largest photo that is read, and of the largest that fits into the bound on memory, if there is one."""


class _Stopped(BaseException):
    """Leaves a photo that nobody waits for any more."""


class _Untold(BaseException):
    """Leaves a photo because another could not be told of, which is no failure of this one; its cause says why."""


@dataclass(frozen=True)
class _Begun:
    """A photo that is being restored, or that never will be."""

    finish: Callable[[], Future[Result]]
    """Waits until it is restored and hands it to a writer; called once."""
    started: Started | None = None


def _under_way(photo: _Begun) -> int:
    return photo.started.under_way if photo.started else 0


class _Line:
    """What photos go through between their reading and their writing; one for all engines of a run."""

    def __init__(
        self,
        writers: ThreadPoolExecutor,
        workers: int,
        output: _Output,
        between: Callable[[], None] | None,
        on_progress: Progress | None,
        look: Look | None,
    ) -> None:
        """``between`` is called between the tiles of a photo, however long it takes."""
        self._between = between
        self._writers, self._workers, self._output = writers, workers, output
        self._on_progress, self._look = on_progress, look
        self._room = threading.Semaphore(workers)
        self.stop = threading.Event()
        self.telling = threading.Lock()

    def lane(self, engine: Engine) -> Callable[[Iterator[_Given]], Iterator[Future[Result]]]:
        """Restores on ``engine`` what it is given: one photo at a time, or several where that pays."""

        def lane(given: Iterator[_Given]) -> Iterator[Future[Result]]:
            begun: deque[_Begun] = deque()
            for job, reading in given:
                begun.append(self._begin(job, reading.result(), engine))
                while begun and (len(begun) > self._workers or not engine.hungry(sum(map(_under_way, begun)))):
                    yield begun.popleft().finish()
            while begun:
                yield begun.popleft().finish()

        return lane

    def _begin(self, job: Job, read: _Read, engine: Engine) -> _Begun:
        photo = read.photo
        if read.error is not None and read.error.kind == "exists":
            return _Begun(lambda: _done(Result(job, "skipped", seconds=seconds_of())))
        if photo is None:
            return _Begun(lambda: _done(Result(job, "failed", read.error, seconds=seconds_of(read.seconds))))
        height, width = photo.pixels.shape[:2]
        began = time.perf_counter()

        def failed(problem: Exception) -> Future[Result]:
            if isinstance(problem, BackendError | WeightsError):
                raise problem
            if isinstance(problem, PhotoError):
                problem = PhotoError(f"{shown(job.source)}: {problem}", kind=problem.kind)
            error = failure_of(problem, shown(job.source), "restored")
            seconds = seconds_of(read.seconds, time.perf_counter() - began)
            return _done(Result(job, "failed", error, width, height, seconds=seconds))

        def finish() -> Future[Result]:
            try:
                restored, details = started.wait()
                glance = self._glance(photo, restored)
            except Exception as problem:
                return failed(problem)
            seconds = seconds_of(read.seconds, details.seconds)
            result = Result(job, "restored", None, width, height, details, seconds, glance)
            return self._write(restored, read.original, result)

        try:
            started = engine.start(photo, lambda done, total: self._progress(job, done, total))
        except Exception as problem:
            over = failed(problem)
            return _Begun(lambda: over)
        return _Begun(finish, started)

    def _progress(self, job: Job, done: int, total: int) -> None:
        if self.stop.is_set():
            raise _Stopped
        if self._between is not None:
            try:
                self._between()
            except Exception as error:
                raise _Untold from error
        if self._on_progress is not None:
            with self.telling:
                self._on_progress(job, done, total)

    def _glance(self, before: Photo, after: Photo) -> object:
        if self._look is None:
            return None
        with self.telling:
            return self._look(before, after)

    def _write(self, photo: Photo, original: os.stat_result | None, result: Result) -> Future[Result]:
        """Hand a photo to a writer as soon as one has room; ``result`` is what to tell when all goes well."""
        job, spent = result.job, result.seconds

        def write() -> Result:
            begun = time.perf_counter()
            try:
                self._output.write(photo, job, original)
                error = None
            except Exception as problem:
                error = failure_of(problem, shown(job.target), "written")
            finally:
                self._room.release()
            seconds = seconds_of(spent["read"], spent["restore"], time.perf_counter() - begun)
            if error is None:
                return replace(result, seconds=seconds)
            if error.kind == "exists":
                # Another run over the same folder was faster.
                return Result(job, "skipped", seconds=seconds)
            return replace(result, status="failed", error=error, glance=None, seconds=seconds)

        self._room.acquire()
        return self._writers.submit(write)


def _done(result: Outcome) -> Future[Outcome]:
    future: Future[Outcome] = Future()
    future.set_result(result)
    return future
