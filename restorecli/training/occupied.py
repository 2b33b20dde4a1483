"""One run at a time in a run's folder: two would write over each other's checkpoints and books."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from restorecli.errors import TrainingError

_log = logging.getLogger(__name__)

LOCK = ".lock"
"""Name of the file that a run holds locked; whatever ends the run, unlocks it."""


PATIENCE = 5.0
"""Seconds that a lock is waited for: processes of a run that was killed may live on for a moment."""


@contextmanager
def alone_in(run: Path) -> Iterator[None]:
    """Keep other runs, of this process and of others, out of the folder ``run``, which is there.

    On a disk that has no locks this does nothing. :class:`TrainingError` of the kind ``occupied`` where another run is
    in it already.
    """
    lock = FileLock(run / LOCK, timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout as error:
        raise TrainingError(
            f"another run is at work in {run}: stop it first (Ctrl-C keeps its steps), or choose another --out",
            kind="occupied",
        ) from error
    except (OSError, NotImplementedError) as error:
        _log.warning("%s: this disk has no locks (%s); do not start another run there", run, error)
    try:
        yield
    finally:
        lock.release()
