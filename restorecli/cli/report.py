"""``--report`` of ``restore dehaze`` and ``restore derain``: what the page tells of each result."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restorecli import __version__
from restorecli.errors import PhotoError

if TYPE_CHECKING:
    from restorecli.cli.console import Console
    from restorecli.inference.jobs import Result
    from restorecli.inference.restorer import Restorer
    from restorecli.photo import Photo
    from restorecli.report import Entry, Previews
    from restorecli.report.behind import Behind
    from restorecli.report.names import Names
    from restorecli.report.previews import Capture

ReportOption = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE.html",
        help="A page with a before/after slider for each photo. One of an earlier run is replaced, no other file is.",
        show_default=False,
    ),
]

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def photo_page(
    path: Path | None,
    restorer: Restorer,
    sources: Sequence[Path],
    console: Console,
    *,
    strength: float,
    max_pixels: int,
) -> Iterator[PhotoPage | None]:
    """The page of one run over ``sources``, under its name at the end of the block; None without a ``path``."""
    if path is None:
        yield None
        return
    from restorecli.photo.names import shown
    from restorecli.report import Page, share_of
    from restorecli.report.behind import Behind
    from restorecli.report.names import Names

    backend = restorer.backend
    facts = [
        ("Weights", restorer.weights.name),
        ("Ran on", f"{backend.name}, {backend.device}, {backend.precision}"),
        ("Made by", f"restore {__version__}"),
    ]
    if strength != 1:
        facts.insert(1, ("Strength", f"{strength:g}"))
    page = Page(path, f"restore {restorer.task}", facts, len(sources), "--report")
    with page, Behind(page) as behind:
        yield PhotoPage(behind, Names(sources), share_of(len(sources)), max_pixels)
    console.note(f"report: {shown(path)}")


class PhotoPage:
    """Turns results into what the page shows of them."""

    def __init__(self, behind: Behind, names: Names, share: int, max_pixels: int) -> None:
        self._behind, self._names, self._share, self._max_pixels = behind, names, share, max_pixels

    def look(self, before: Photo, after: Photo) -> Capture | None:
        """What :func:`restorecli.inference.pipeline.run` calls with each photo; what is returned belongs in a result.

        A photo that the page cannot show is no reason not to restore it.
        """
        from restorecli.report import capture

        try:
            return capture(before, after, self._share)
        except Exception as error:
            _log.warning("a photo cannot be shown in the report (%s: %s)", type(error).__name__, error)
            return None

    def add(self, result: Result) -> None:
        """Show one photo that is done, one way or the other."""
        self._behind.add(lambda: self._entry(result))

    def _entry(self, result: Result) -> Entry:
        from restorecli.report import Entry

        previews, reason = None, None if result.error is None else str(result.error)
        if result.status == "skipped":
            reason = "the output is already there; replace it with --overwrite"
        try:
            previews = self._previews(result)
        except Exception as error:
            told = str(error) if isinstance(error, PhotoError) else f"{type(error).__name__}: {error}"
            reason = f"{reason}; it cannot be shown: {told}" if reason else f"it cannot be shown: {told}"
        name = _name(result.job.source, "standard input", self._names)
        return Entry(name, result.status, reason, self._facts(result), previews=previews)

    def _previews(self, result: Result) -> Previews | None:
        from restorecli.photo import read_photo
        from restorecli.report import capture
        from restorecli.report.previews import Capture

        if isinstance(result.glance, Capture):
            return result.glance.encode()
        if result.status != "skipped" or not os.path.isfile(result.job.source):
            return None
        before, after = (
            read_photo(path, max_pixels=self._max_pixels) for path in (result.job.source, result.job.target)
        )
        if before.pixels.shape[:2] != after.pixels.shape[:2]:
            name = _name(result.job.target, "standard output", self._names)
            raise PhotoError(f"{name} has another size; replace it with --overwrite", kind="size")
        return capture(before, after, self._share).encode()

    def _facts(self, result: Result) -> list[tuple[str, str]]:
        facts, details, seconds = [], result.details, result.seconds
        if result.error is None:
            facts.append(("Output", _name(result.job.target, "standard output", self._names)))
        if details is not None:
            facts += [
                ("Time", f"{seconds['total']:.1f} s, of it {seconds['restore']:.1f} s for restoring"),
                ("Computed in", f"{details.tiles} tiles of {details.tile} px" if details.tiles > 1 else "one tile"),
                *(("Note", note) for note in details.notes),
            ]
        return facts


def _name(path: Path, stream: str, names: Names) -> str:
    return stream if path == Path("-") else names.of(path)
