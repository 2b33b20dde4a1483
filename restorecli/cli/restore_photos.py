"""``restore dehaze`` and ``restore derain``."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restorecli.cli import defaults, quantities
from restorecli.cli.console import Console, Nowhere, Progress
from restorecli.cli.options import Json, Offline, Quiet, Verbose, WeightsOption, console_of, device_names
from restorecli.cli.report import PhotoPage, ReportOption, photo_page
from restorecli.errors import PhotoError, UsageError
from restorecli.hardware import usable_cores

if TYPE_CHECKING:
    from restorecli.inference.jobs import Job, Result
    from restorecli.inference.restorer import Restorer

STANDARD_INPUT = Path("-")
_MOST_WORKERS = 4


class Format(StrEnum):
    """Output codings."""

    same = "same"
    jpg = "jpg"
    png = "png"
    webp = "webp"
    tiff = "tiff"
    avif = "avif"


class Backend(StrEnum):
    """What runs the network."""

    auto = "auto"
    torch = "torch"
    onnx = "onnx"
    openvino = "openvino"


class Precision(StrEnum):
    """What the network is computed in."""

    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"
    int8 = "int8"


@dataclass(frozen=True)
class _Request:
    """One command line of ``dehaze`` or ``derain``, parsed."""

    task: str
    inputs: list[Path]
    out: Path | None
    weights: str | None
    engine: dict[str, Any]
    """What ``Restorer`` takes beside the task and the weights."""
    output: dict[str, Any]
    """``format``, ``quality`` and ``overwrite``."""
    workers: int
    max_pixels: int
    preserve_times: bool
    report: Path | None
    stamp: bool


def command_for(task: str) -> Callable[..., int]:
    """The command that does ``task``; both tasks have the same options."""

    def command(
        context: typer.Context,
        inputs: Annotated[
            list[str],
            typer.Argument(
                metavar="INPUT", help="A photo, a folder (walked recursively), or - for a photo on standard input."
            ),
        ],
        out: Annotated[
            Path | None,
            typer.Option(
                "--out",
                metavar="PATH",
                help="A file (one photo, PATH has an image suffix) or a folder, which mirrors the input tree. "
                "Default: beside the input, as NAME_dehazed.EXT or NAME_derained.EXT.",
                show_default=False,
            ),
        ] = None,
        format: Annotated[
            Format, typer.Option("--format", help="Output coding; same keeps format, bit depth, chroma subsampling.")
        ] = Format.same,
        quality: Annotated[
            str,
            typer.Option(
                "--quality",
                metavar="same|N",
                help="From 1 to 100, for JPEG, WebP, AVIF, HEIC and JPEG XL; same: a JPEG is quantised as it was.",
            ),
        ] = "95",
        strength: Annotated[
            float, typer.Option("--strength", min=0, max=1, help="From 0, the input, to 1, the restored photo.")
        ] = 1.0,
        ensemble: Annotated[
            str,
            typer.Option(
                "--ensemble",
                metavar="auto|1|2|4|6",
                help="Views to take the mean of: 1, the photo; 2, its mirror image too; for rain also 4, both upside "
                "down too, and 6, the first two enlarged too; auto: as many as take no longer than a photo of 1.9 MP.",
            ),
        ] = "auto",
        weights: WeightsOption = None,
        backend: Annotated[Backend, typer.Option("--backend", help="What runs the network.")] = Backend.auto,
        device: Annotated[
            str,
            typer.Option(
                "--device",
                metavar="auto|cpu|cuda|cuda:N",
                autocompletion=device_names,
                help="Where it runs; --backend onnx and openvino know others: tensorrt, coreml, gpu, ...",
            ),
        ] = "auto",
        precision: Annotated[Precision, typer.Option("--precision", help="What it is computed in.")] = Precision.auto,
        tile: Annotated[str, typer.Option("--tile", metavar="auto|N", help="Tile edge in pixels.")] = "auto",
        max_memory: Annotated[
            str | None,
            typer.Option(
                "--max-memory",
                metavar="SIZE",
                help="A bound on working memory, such as 2GB. Default: what is free.",
                show_default=False,
            ),
        ] = None,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Replace existing outputs; without it they are skipped.")
        ] = False,
        jobs: Annotated[
            str, typer.Option("--jobs", metavar="auto|N", help="Photos decoded and encoded at once.")
        ] = "auto",
        max_pixels: Annotated[
            str, typer.Option("--max-pixels", metavar="N", help="Larger photos are refused before they are read.")
        ] = "400MP",
        preserve_times: Annotated[
            bool, typer.Option("--preserve-times", help="Outputs get the times of their inputs.")
        ] = False,
        report: ReportOption = None,
        no_stamp: Annotated[
            bool, typer.Option("--no-stamp", help="Leave no note of the restoration in the metadata.")
        ] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, do nothing.")] = False,
        offline: Offline = False,
        json: Json = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> int:
        console = console_of(context, quiet=quiet, json=json, verbose=verbose)
        # What is set for all commands and photos is not meant where it cannot be had.
        from restorecli.inference.jobs import is_file

        if out is not None and is_file(out) and defaults.by_default(context, "format"):
            format = Format.same
        if ensemble in ("4", "6") and task == "dehaze" and defaults.by_default(context, "ensemble"):
            ensemble = "2"
        if str(STANDARD_INPUT) in inputs and defaults.by_default(context, "preserve_times"):
            preserve_times = False
        request = _Request(
            task=task,
            inputs=[_path(given) for given in inputs],
            out=out,
            weights=weights,
            engine={
                "backend": backend.value,
                "device": device,
                "precision": precision.value,
                "tile": quantities.count_or_auto(tile, "--tile") or "auto",
                "max_memory": None if max_memory is None else quantities.memory(max_memory),
                "strength": strength,
                "ensemble": quantities.count_or_auto(ensemble, "--ensemble") or "auto",
            },
            output={
                "format": format.value,
                "quality": quantities.quality_or_same(quality),
                "overwrite": overwrite,
            },
            # Under a bound on memory tiles are worth more than photos read ahead.
            workers=quantities.count_or_auto(jobs, "--jobs")
            or (min(_MOST_WORKERS, usable_cores()) if max_memory is None else 1),
            max_pixels=quantities.pixels(max_pixels),
            preserve_times=preserve_times,
            report=report,
            stamp=not no_stamp,
        )
        from restorecli.hardware import keep_memory
        from restorecli.inference.restorer import check_arguments

        check_arguments(task, **request.engine)
        if report is not None:
            from restorecli.report import check_path

            check_path(report)
        keep_memory()
        if STANDARD_INPUT in request.inputs:
            return _restore_standard_input(request, console, dry_run=dry_run)
        return _restore_files(request, console, dry_run=dry_run)

    return command


def _restore_files(request: _Request, console: Console, *, dry_run: bool) -> int:
    from restorecli.inference.jobs import plan_jobs

    jobs, passed_over, failures = plan_jobs(
        request.inputs,
        task=request.task,
        out=request.out,
        format=request.output["format"],
        overwrite=request.output["overwrite"],
    )
    if not jobs and failures and all(failure.error and failure.error.kind == "no_photos" for failure in failures):
        raise UsageError("; ".join(str(failure.error) for failure in failures), kind="no_photos")
    report = _Report(request, console, passed_over)
    if dry_run:
        return _show_plan(request, report, jobs, failures)
    # First, because a wrong device or wrong weights are the command line's fault, whatever the photos are.
    restorer = _open_restorer(request, report, jobs) if jobs or failures else None
    if restorer is None:
        return report.close()
    with _page(request, console, restorer, [result.job for result in failures] + jobs) as report.page:
        for failure in failures:
            report.add(failure)
        _run(request, console, report, jobs, restorer)
        return report.close()


def _run(request: _Request, console: Console, report: _Report, jobs: list[Job], restorer: Restorer) -> None:
    from restorecli.inference.devices import engines_for
    from restorecli.inference.pipeline import run

    if jobs:
        places = {job: place for place, job in enumerate(jobs)}
        with console.progress(len(jobs), "photos" if len(jobs) > 1 else "") as bar:
            furthest = 0.0
            pixels: dict[Job, int] = {}

            def move(job: Job, part: float) -> None:
                nonlocal furthest
                # Photos are written behind: one that is done may be told of when the next is under way.
                if places[job] + part > furthest:
                    furthest = places[job] + part
                    bar.update(furthest, _name(Path(job.source.name)), pixels=sum(pixels.values()))

            def on_progress(job: Job, done: int, total: int) -> None:
                pixels[job] = done
                move(job, done / total)

            def on_result(result: Result) -> None:
                report.add(result)
                move(result.job, 1)

            run(
                jobs,
                engines_for(restorer.engine, request.engine["device"], len(jobs)),
                **request.output,
                workers=request.workers,
                max_pixels=request.max_pixels,
                preserve_times=request.preserve_times,
                on_result=on_result,
                on_progress=on_progress,
                look=None if report.page is None else report.page.look,
            )


def _page(
    request: _Request, console: Console, restorer: Restorer, jobs: list[Job]
) -> contextlib.AbstractContextManager[PhotoPage | None]:
    return photo_page(
        request.report,
        restorer,
        [job.source for job in jobs],
        console,
        strength=request.engine["strength"],
        max_pixels=request.max_pixels,
    )


def _open_restorer(request: _Request, report: _Report, jobs: list[Job]) -> Restorer:
    from restorecli.inference.restorer import Restorer

    restorer = Restorer(
        request.task,
        weights=request.weights,
        stamp=request.stamp,
        **request.engine,
        work=_pixels_ahead(jobs, overwrite=request.output["overwrite"]),
        neighbours=request.workers if len(jobs) > 1 else 0,
    )
    report.weights = restorer.weights.name
    return restorer


def _pixels_ahead(jobs: list[Job], *, overwrite: bool) -> int:
    """Roughly how many pixels there are to restore, by the sizes of the files."""
    pixels = 0.0
    for job in jobs:
        with contextlib.suppress(OSError):
            if overwrite or not os.path.exists(job.target):
                # Photographs take a byte a pixel where they are compressed with loss, three and more elsewhere.
                lossy = job.source.suffix.lower() in (".jpg", ".jpeg", ".webp", ".avif")
                pixels += job.source.stat().st_size / (1 if lossy else 3)
    return int(pixels)


def _show_plan(request: _Request, report: _Report, jobs: list[Job], failures: list[Result]) -> int:
    from restorecli.weights import resolve

    # Finding out more of weights on the Hub may mean to download them.
    if request.weights is None or not request.weights.startswith("hf://"):
        if any(request.engine[wish] != "auto" for wish in ("backend", "device", "precision")):
            # What was asked for by name may not be there.
            _open_restorer(request, report, [])
        else:
            report.weights = resolve(request.weights, request.task).name
    for failure in failures:
        report.add(failure)
    for job in jobs:
        report.plan(job)
    return report.close()


def _restore_standard_input(request: _Request, console: Console, *, dry_run: bool) -> int:
    from restorecli.inference.jobs import Job, check_format, is_file

    if len(request.inputs) > 1:
        raise UsageError("- stands for one photo on standard input: give it alone")
    if request.preserve_times:
        raise UsageError("--preserve-times needs a file: standard input has no times")
    out = request.out
    if out is not None and not is_file(out):
        raise UsageError(
            f"--out {_name(out)} must be a file with an image suffix when the photo comes from standard input"
        )
    if out is not None:
        check_format(out, request.output["format"])
    if out is None:
        console.results_on_stdout = False
        if console.json:
            raise UsageError("--json needs standard output, which the photo takes: give --out FILE")
        if isinstance(sys.stdout, Nowhere) and not dry_run:
            raise UsageError("the photo would go to standard output, which is closed: redirect it, or give --out FILE")
        if sys.stdout.isatty() and not dry_run:
            raise UsageError("the photo would go to the terminal: redirect standard output, or give --out FILE")
    job = Job(STANDARD_INPUT, out or STANDARD_INPUT)
    report = _Report(request, console, 0)
    if dry_run:
        return _show_plan(request, report, [job], [])
    restorer = _open_restorer(request, report, [job])
    with _page(request, console, restorer, [job]) as report.page:
        with console.progress(1, "") as bar:
            report.add(_restore_stream(request, restorer, job, bar, report.page))
        return report.close()


def _restore_stream(request: _Request, restorer: Restorer, job: Job, bar: Progress, page: PhotoPage | None) -> Result:
    """Read standard input, restore it, and write it to standard output or to the file of ``job``."""
    from restorecli.inference.jobs import Result
    from restorecli.inference.reading import read_within
    from restorecli.photo import encode_photo, write_photo
    from restorecli.photo.atomic import remove_remains
    from restorecli.photo.opening import read_all

    output, into_file = request.output, job.target != STANDARD_INPUT
    seconds = {"read": 0.0, "restore": 0.0, "write": 0.0, "total": 0.0}

    @contextlib.contextmanager
    def timed(stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds[stage] = time.perf_counter() - started
            seconds["total"] += seconds[stage]

    if into_file:
        remove_remains(job.target.parent)
    if into_file and os.path.lexists(job.target) and not output["overwrite"]:
        return Result(job, "skipped", seconds=seconds)
    width = height = details = glance = None
    try:
        with timed("read"):
            data = read_all(sys.stdin.buffer, request.max_pixels, "standard input")
            photo = read_within(data, request.max_pixels, restorer.engine.most_pixels, "standard input")
        height, width = photo.pixels.shape[:2]
        with timed("restore"):
            restored, details = restorer.restore_photo(photo, lambda done, total: bar.update(done / total, pixels=done))
        glance = None if page is None else page.look(photo, restored)
        with timed("write"):
            if into_file:
                write_photo(restored, job.target, **output)
            else:
                try:
                    coded, _ = encode_photo(restored, format=output["format"], quality=output["quality"])
                except PhotoError as error:
                    raise PhotoError(f"standard input: {error}", kind=error.kind) from error
                _write_to_stdout(coded)
    except PhotoError as error:
        return Result(job, "failed", error, width, height, details, seconds)
    return Result(job, "restored", None, width, height, details, seconds, glance)


def _write_to_stdout(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise PhotoError(
            f"standard output cannot be written ({error.strerror or error}); give --out FILE", kind="unwritable"
        ) from error


class _Report:
    """Tells of each photo as it is done, and counts."""

    def __init__(self, request: _Request, console: Console, passed_over: int) -> None:
        self._request, self._console = request, console
        self._passed_over = passed_over
        self._counts: Counter[str] = Counter()
        self.weights = request.weights
        self.page: PhotoPage | None = None

    def add(self, result: Result) -> None:
        """Tell of one photo that is done, one way or the other."""
        if self.page is not None:
            self.page.add(result)
        job, details = result.job, result.details
        text = f"{_name(job.source)} -> {_name(job.target, 'standard output')}"
        if result.error is not None:
            self._console.error(result.error)
        elif result.status == "skipped":
            text += " is already there; replace it with --overwrite"
        elif details is not None:
            size, ran_on = f"{result.width}x{result.height}", f"{details.backend} {details.device} {details.precision}"
            text += f"  {size}, {result.seconds['total']:.1f} s, {ran_on}"
            for note in details.notes:
                self._console.note(f"{_name(job.source)}: {note}")
        self._tell(result, text)

    def plan(self, job: Job) -> None:
        """Tell of one photo that would be done."""
        from restorecli.inference.jobs import Result
        from restorecli.photo.atomic import refuse_existing

        text, skip = f"{_name(job.source)} -> {_name(job.target, 'standard output')}", False
        try:
            refuse_existing(job.target, overwrite=self._request.output["overwrite"])
        except PhotoError as error:
            skip = error.kind == "exists"
            if not skip:
                self.add(Result(job, "failed", error))
                return
        self._tell(Result(job, "skipped" if skip else "planned"), text + " is already there" * skip)

    def close(self) -> int:
        """Sum up when there was more than one photo, and return the exit code."""
        counts = [f"{count} {status}" for status, count in self._counts.items()]
        if self._passed_over:
            counts.append(f"{self._passed_over} passed over")
        if self._counts.total() + self._passed_over > 1:
            self._console.note(", ".join(counts))
        return 1 if self._counts["failed"] else 0

    def _tell(self, result: Result, text: str) -> None:
        self._counts[result.status] += 1
        error, details = result.error, result.details
        if error is not None and not self._console.json:
            return
        self._console.result(
            text,
            {
                "input": str(result.job.source),
                "output": None if error is not None else str(result.job.target),
                "status": result.status,
                "error": None if error is None else {"kind": error.kind, "message": str(error)},
                "width": result.width,
                "height": result.height,
                "task": self._request.task,
                "weights": self.weights,
                "backend": details.backend if details else None,
                "device": details.device if details else None,
                "precision": details.precision if details else None,
                "tile": details.tile if details else None,
                "tiles": details.tiles if details else None,
                "seconds": {stage: round(spent, 4) for stage, spent in result.seconds.items()} or None,
            },
        )


def _path(given: str) -> Path:
    """The path that was given; ``./-`` is a file of that name, ``-`` is standard input."""
    path = Path(given)
    return path.absolute() if path == STANDARD_INPUT and given != str(STANDARD_INPUT) else path


def _name(path: Path, stream: str = "standard input") -> str:
    from restorecli.photo.names import shown

    return stream if path == STANDARD_INPUT else shown(path)
