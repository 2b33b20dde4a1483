"""Every error that a user can meet, each with the exit code of the command line's contract.

::

    RestoreError                  1   the base; never raised itself
    |-- PhotoError                1   one photo could not be read, restored or written; the others go on. Also a file
    |                                 of another kind that cannot be written
    |-- UsageError                2   the command line (or an argument of the Python API) is wrong; nothing was done
    |-- WeightsError              3   weights missing, corrupt, of the wrong task, or not to be had offline
    |-- BackendError              4   the backend, device or precision asked for is not available
    |-- TrainingError             5   a training run cannot start or go on

A message is one line: what is wrong, with which file, and what to do about it.
"""

from __future__ import annotations


class RestoreError(Exception):
    """Base of all errors that are reported to the user as one line.

    ``kind`` is a short stable word for programs (it is what ``--json`` shows), the message is for people.
    """

    exit_code = 1

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class PhotoError(RestoreError):
    """One photo could not be read, restored or written."""

    exit_code = 1


class UsageError(RestoreError):
    """The command line or an argument is wrong; nothing was done."""

    exit_code = 2

    def __init__(self, message: str, *, kind: str = "usage") -> None:
        super().__init__(message, kind=kind)


class WeightsError(RestoreError):
    """Weights are missing, corrupt, of the wrong task, or not to be had offline."""

    exit_code = 3

    def __init__(self, message: str, *, kind: str = "weights") -> None:
        super().__init__(message, kind=kind)


class BackendError(RestoreError):
    """The backend, device or precision asked for is not available."""

    exit_code = 4

    def __init__(self, message: str, *, kind: str = "backend") -> None:
        super().__init__(message, kind=kind)


class TrainingError(RestoreError):
    """A training run cannot start or go on; what was saved before is intact."""

    exit_code = 5

    def __init__(self, message: str, *, kind: str = "training") -> None:
        super().__init__(message, kind=kind)


def failure_of(problem: Exception, name: str, verb: str) -> RestoreError:
    """What to tell of any problem with one photo, called ``name``, that could not be ``verb`` (``read``, ``scored``).

    One of ours is told as it is; others are a :class:`PhotoError` of the kind ``out_of_memory`` or ``internal``.
    """
    if isinstance(problem, RestoreError):
        return problem
    if isinstance(problem, MemoryError):
        return PhotoError(f"{name}: memory ran out; close other programs", kind="out_of_memory")
    error = PhotoError(
        f"{name}: cannot be {verb} ({type(problem).__name__}: {problem}); please report it", kind="internal"
    )
    error.__cause__ = problem
    return error
