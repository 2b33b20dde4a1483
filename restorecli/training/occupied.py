"""One run at a time in a run's folder: two would write over each other's checkpoints and books."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from restorecli.errors import TrainingError

LOCK = ".lock"
"""Name of the file that a run holds locked; whatever ends the run, unlocks it."""


@contextmanager
def alone_in(run: Path) -> Iterator[None]:
    """Keep other runs, of this process and of others, out of the folder ``run``, which is there.

    :class:`TrainingError` of the kind ``occupied`` where one is in it already.
    """
    lock = FileLock(run / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise TrainingError(
            f"another run is at work in {run}: stop it first (Ctrl-C keeps its steps), or choose another --out",
            kind="occupied",
        ) from error
    try:
        yield
    finally:
        lock.release()
