"""The one output sink: people, ``--quiet`` and ``--json``.

Results go to stdout, everything else (notes, errors, the progress bar, logs) to stderr.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import shutil
import sys
import textwrap
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from restorecli.errors import PhotoError, RestoreError

if TYPE_CHECKING:
    from restorecli.cli.defaults import Setting


class Nowhere(io.TextIOWrapper):
    """Stands for a standard stream that the caller closed: takes what is printed, and keeps nothing."""


class Console:
    """What the commands speak through; each command says first in which mode, with :meth:`configure`."""

    def __init__(self) -> None:
        self.quiet = False
        self.json = False
        self.verbose = False
        self.results_on_stdout = True
        """Off when stdout carries something else: a photo, for example."""
        self.settings: Sequence[Setting] = ()
        """What files and variables, not the command line, have set for this command."""

    def configure(self, *, quiet: bool = False, json: bool = False, verbose: bool = False) -> None:
        """``quiet``: nothing but errors (and JSON); ``json``: results as JSON Lines; ``verbose``: logs, tracebacks."""
        self.quiet, self.json, self.verbose = quiet, json, verbose
        logger = logging.getLogger("restorecli")
        logger.setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING)
        logger.handlers = [_LogHandler()]
        logger.propagate = False

    def result(self, text: str, values: Mapping[str, Any] | None = None) -> None:
        """One result: ``text`` for people, or ``values`` (None: this command has no JSON) as one line of JSON."""
        if self.quiet and not self.json:
            return
        line = json.dumps(values, allow_nan=False) if self.json else "\n".join(map(_printable, text.split("\n")))
        with _told_of_output():
            print(line, file=sys.stdout if self.json or self.results_on_stdout else sys.stderr, flush=True)

    def value(self, values: Mapping[str, Any]) -> None:
        """One result for ``--json`` alone."""
        if self.json:
            self.result("", values)

    def failure(self, values: Mapping[str, Any], error: RestoreError) -> None:
        """What failed, on stderr; under ``--json`` also ``values`` with the ``error`` on stdout."""
        self.error(error)
        self.value({**values, "error": {"kind": error.kind, "message": str(error)}})

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows in aligned columns, for people only: whoever calls it gives ``--json`` its objects one by one."""
        if self.json or self.quiet:
            return
        cells = [headers, *rows]
        widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
        # What does not fit into the terminal stays one line each: people search and copy them.
        if sys.stdout.isatty() and sum(widths) + 3 * len(widths) <= shutil.get_terminal_size().columns:
            _print_table(headers, rows)
            return
        lines = (
            "  ".join(_printable(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        )
        with _told_of_output():
            print("\n".join(lines), flush=True)

    def note(self, text: str) -> None:
        """Something worth knowing, on stderr."""
        if not self.quiet:
            _to_stderr(_printable(text))

    def error(self, error: BaseException | str, *, also: str = "") -> None:
        """One line on stderr, whatever the mode; under ``--verbose`` the traceback comes before it."""
        if self.verbose and isinstance(error, BaseException):
            traceback.print_exception(error, file=sys.stderr)
        # Two spaces may be those of a file's name.
        line = re.sub(r"\s*[\r\n]+\s*", " ", f"{error}{also}").strip()
        _to_stderr(f"restore: {_printable(line)}")

    @contextlib.contextmanager
    def progress(self, total: float, unit: str) -> Iterator[Progress]:
        """A bar with the speed and the time left, on stderr, while the block runs; on a terminal only."""
        if self.quiet or not sys.stderr.isatty():
            yield Progress(None, None)
            return
        from rich.console import Console as Terminal
        from rich.console import RenderableType
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        class BarAndFigures(Bar):
            """A bar with lines of figures below it."""

            def get_renderables(self) -> Iterator[RenderableType]:
                yield from super().get_renderables()
                for task in self.tasks:
                    yield from _lines_of(task.fields["below"], self.console.width)

        bar = BarAndFigures(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn() if total > 1 else TextColumn("{task.percentage:>3.0f}%"),
            TextColumn(unit),
            TextColumn("{task.fields[speed]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            # Lines printed meanwhile stay whole, however narrow the terminal: people search and copy them.
            console=Terminal(stderr=True, soft_wrap=True),
            # Long enough for two of the slowest photos or training steps.
            speed_estimate_period=300,
            # Lines printed meanwhile go above the bar, but never from a piped stdout into the terminal.
            redirect_stdout=sys.stdout.isatty(),
            transient=True,
        )
        with bar:
            yield Progress(bar, bar.add_task("", total=total, speed="", below=()))


def _print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console as Terminal
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, header in enumerate(headers):
        numbers = bool(rows) and all(_is_number(row[column]) for row in rows)
        table.add_column(Text(header), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Terminal().print(table)


def _lines_of(figures: Sequence[str], width: int) -> list[str]:
    """The figures on as few lines of that width as hold them, none of them broken."""
    # Hard spaces within a figure, which textwrap leaves together.
    joined = "  ".join(figure.replace(" ", "\N{NO-BREAK SPACE}") for figure in figures)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in textwrap.wrap(joined, max(width - 1, 20))]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class Progress:
    """The bar of :meth:`Console.progress`, or nothing where no bar is shown."""

    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task = bar, task
        self._started = time.monotonic()

    def update(self, completed: float, text: str = "", *, pixels: int = 0) -> None:
        """Move the bar to ``completed`` of its total and say what is being done; ``pixels``: computed so far in all."""
        if self._bar is not None:
            spent = time.monotonic() - self._started
            speed = f"{pixels / 1e6 / spent:.2g} MP/s" if pixels and spent > 0 else ""
            # What leaves the bar its place on a line of 80.
            self._bar.update(self._task, completed=completed, description=text[: 20 if speed else 32], speed=speed)

    def step(self, completed: float, total: float) -> None:
        """Move the bar to ``completed`` of ``total``; what it says stays."""
        if self._bar is not None:
            self._bar.update(self._task, completed=completed, total=total)

    def figures(self, speed: str, below: Sequence[str]) -> None:
        """Say how fast it goes, on the bar, and figures (``name value``) on the lines below it."""
        if self._bar is not None:
            self._bar.update(self._task, speed=speed, below=below)


class _LogHandler(logging.Handler):
    """The program's own logs, in the form of its errors."""

    def emit(self, record: logging.LogRecord) -> None:
        # Looked up each time: the progress bar puts something else in the place of stderr.
        text = f"restore: {record.levelname.lower()}: {record.getMessage()}"
        _to_stderr(_printable(text))


def output_failure(error: OSError) -> PhotoError:
    """What to tell of a standard output that cannot be written, such as onto a disk that is full."""
    return PhotoError(f"standard output cannot be written ({error.strerror or error})", kind="unwritable")


@contextlib.contextmanager
def _told_of_output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise output_failure(error) from error


def _to_stderr(line: str) -> None:
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass  # There is nowhere left to say so, and what was asked for is done all the same.


def _printable(text: str) -> str:
    """The text on one line, without what would command the terminal: names and metadata come from anywhere."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
