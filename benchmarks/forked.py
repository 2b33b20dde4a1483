"""Command lines of ``restore`` in processes of their own, without the second that each takes to import everything."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import restorecli.cli.restore_photos
import restorecli.inference.backends.onnx_backend
import restorecli.inference.pipeline  # noqa: F401 - for the processes to come
from restorecli.cli.app import main


def start(arguments: Sequence[str | Path], *, stdout: int, stderr: int) -> int:
    """Begin ``restore ARGUMENTS`` with these descriptors for its streams, and return the process's number.

    Only for programs that run no threads of their own.
    """
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        # The old ones know what they were: a file, a terminal.
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        sys.argv = ["restore", *map(str, arguments)]
        main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 70
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def run(arguments: Sequence[str | Path], *, stdout: int, stderr: int) -> int:
    """The same to its end: its exit code, or minus the number of the signal that ended it."""
    _, status = os.waitpid(start(arguments, stdout=stdout, stderr=stderr), 0)
    return os.waitstatus_to_exitcode(status)
