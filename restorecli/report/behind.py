"""Entries made in the background, written in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from restorecli.report.page import Entry, Page


class Behind:
    """Adds entries to a page that ``workers`` threads make meanwhile; ``waiting`` at most are under way at once.

    Each is written by a thread too, so that an interruption never finds one half written. ``told`` is told of it then,
    in the thread that calls :meth:`add`. As a context manager it waits for all at the end of the block, also when the
    block ends in an error.
    """

    def __init__(
        self, page: Page, *, workers: int = 1, waiting: int = 4, told: Callable[[Entry], None] | None = None
    ) -> None:
        self._page, self._waiting, self._told = page, waiting, told
        self._makers = ThreadPoolExecutor(workers, "entry")
        self._writer = ThreadPoolExecutor(1, "page")
        self._written: deque[Future[Entry]] = deque()

    def add(self, make: Callable[[], Entry]) -> None:
        """Have ``make`` called, and what it returns added after all that was given before; may wait for those."""
        made = self._makers.submit(make)
        self._written.append(self._writer.submit(self._write, made))
        while self._written and (self._written[0].done() or len(self._written) > self._waiting):
            self._tell()

    def _write(self, made: Future[Entry]) -> Entry:
        entry = made.result()
        self._page.add(entry)
        return entry

    def _tell(self) -> None:
        entry = self._written[0].result()
        self._written.popleft()
        if self._told is not None:
            self._told(entry)

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._makers, self._writer:
            while self._written:
                self._tell()
