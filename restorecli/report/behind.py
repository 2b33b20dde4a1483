"""Entries made in the background, written in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from restorecli.report.page import Entry, Page


class Behind:
    """Adds entries to a page that ``workers`` threads make meanwhile; ``waiting`` at most are under way at once.

    As a context manager it waits for those at the end of the block, also when the block ends in an error.
    """

    def __init__(
        self, page: Page, *, workers: int = 1, waiting: int = 4, told: Callable[[Entry], None] | None = None
    ) -> None:
        self._page, self._waiting, self._told = page, waiting, told
        self._threads = ThreadPoolExecutor(workers, "page")
        self._entries: deque[Future[Entry]] = deque()

    def add(self, make: Callable[[], Entry]) -> None:
        """Have ``make`` called, and what it returns added after all that was given before; may wait for those."""
        self._entries.append(self._threads.submit(make))
        while self._entries and (self._entries[0].done() or len(self._entries) > self._waiting):
            self._take()

    def _take(self) -> None:
        entry = self._entries.popleft().result()
        self._page.add(entry)
        if self._told is not None:
            self._told(entry)

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._threads:
            while self._entries:
                self._take()
