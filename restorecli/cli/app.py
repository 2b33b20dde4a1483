"""The ``restore`` app: its commands, and what becomes of their errors.

This module, and every module that it imports, leaves torch, onnxruntime and cv2 to the commands that need them:
``restore --help`` has to answer at once.
"""

from __future__ import annotations

import difflib
import errno
import io
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from restorecli.cli import benchmark, compare, defaults, doctor, export, restore_photos, train, weights
from restorecli.cli import eval as evaluation
from restorecli.cli.console import Console, Nowhere, output_failure
from restorecli.cli.examples import add_examples
from restorecli.errors import RestoreError, UsageError

INTERRUPTED = 130
CLOSED_PIPE = 141
"""What a shell shows of a program that such a pipe has ended."""
_OUTPUT_FAILS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)

app = typer.Typer(
    name="restore",
    help="Take haze or rain out of photos.",
    epilog="Defaults of options come from restore.toml and from variables such as RESTORE_BACKEND; `restore doctor`"
    " shows which are in effect. Exit codes: 0 done; 1 some photos failed; 2 wrong command line; 3 weights; 4 backend"
    " or device; 5 training; 130 interrupted.",
    # Rich help pages cost a tenth of a second or two, each time.
    rich_markup_mode=None,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from restorecli.cli.machine import version_lines

        print("\n".join(version_lines()))
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Versions of restorecli and of what it runs on."
        ),
    ] = False,
    no_config: Annotated[
        bool, typer.Option("--no-config", help="Take no defaults from restore.toml and RESTORE_ variables.")
    ] = False,
) -> None:
    if not no_config:
        defaults.apply(context)


app.command("dehaze", help="Take haze out of photos.")(restore_photos.command_for("dehaze"))
app.command("derain", help="Take rain out of photos.")(restore_photos.command_for("derain"))
app.command("train", short_help="Learn from two unpaired folders.")(train.train)
app.command("finetune", short_help="Go on learning from existing weights.")(train.finetune)
app.command("export", short_help="Write generators as ONNX files.")(export.export)
app.command("eval", short_help="Score photos: PSNR and SSIM.")(evaluation.evaluate)
app.command("compare", short_help="Photos before and after on one page.")(compare.compare)
app.add_typer(weights.app, name="weights", short_help="List, show, pull, verify and pack weights.")
app.command("benchmark", short_help="How fast each backend is on this machine.")(benchmark.benchmark)
app.command("doctor", short_help="What is installed and what really runs.")(doctor.doctor)


def main() -> None:
    """Run the command line of this process and exit with the code of the contract."""
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot show is no reason to stop.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def _open_missing_streams() -> None:
    """Open what the caller closed, on nothing: else a photo gets that number, and what libraries print goes into it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, Nowhere(open(number, "rb" if number == 0 else "wb", closefd=False)))  # noqa: SIM115


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors are one line on stderr."""
    console = Console()
    try:
        _refuse_empty(arguments)
        code = tree().main(list(arguments), prog_name="restore", standalone_mode=False, obj=console)
    except TyperException as error:
        console.error(_told(error))
        return 2
    except RestoreError as error:
        console.error(error, also=defaults.blame(error, console.settings))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except SystemExit as error:
        # Whoever read our output has enough of it: Typer has seen to it that Python does not complain at the end.
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        return CLOSED_PIPE
    except OSError as error:
        # What Typer prints by itself, help and version, onto a disk that is full.
        if error.filename is not None or error.errno not in _OUTPUT_FAILS:
            return _internal(console, error)
        console.error(output_failure(error))
        return 1
    except MemoryError as error:
        console.error(f"memory ran out ({error or 'no more to be had'}): close other programs")
        return 1
    except Exception as error:
        return _internal(console, error)
    if code == INTERRUPTED:
        console.error("interrupted; what was finished is kept, nothing is half written")
    return int(code or 0)


def _refuse_empty(arguments: Sequence[str]) -> None:
    """:class:`UsageError` for what a shell makes of a variable that is not set: as a path it is the current folder,
    with everything in it."""
    for argument in arguments:
        if not argument or re.fullmatch(r"--[a-z-]+=", argument):
            what = f"{argument} has no value" if argument else "an argument is empty"
            raise UsageError(f"{what}; is a variable of the shell not set?")


def _internal(console: Console, error: Exception) -> int:
    hint = "please report it" if console.verbose else "run it again with --verbose and report what it says"
    internal = RuntimeError(f"internal error ({type(error).__name__}: {error}); {hint}")
    internal.__cause__ = error
    console.error(internal)
    return 1


def tree() -> Any:
    """The commands as one tree of Typer's own objects."""
    command = get_command(app)
    add_examples(command)
    return command


def _told(error: TyperException) -> str:
    """What Typer says of a wrong command line, in the form of our own errors, with the nearest of what it knows."""
    possibilities = getattr(error, "possibilities", None)
    if possibilities:
        text = f"{error.message}, did you mean {possibilities[0]}?"
    else:
        text = error.format_message().rstrip(".")
        # pydantic, which typer reads values with, begins some of its sentences so.
        text = text.replace("Value error, ", "").replace(". Did you mean", ", did you mean")
        if choice := re.search(r"'([^']*)' is not one of (.*)", text):
            near = difflib.get_close_matches(choice[1], re.findall(r"'([^']*)'", choice[2]), 1)
            text += f", did you mean {near[0]}?" if near else ""
    context = getattr(error, "ctx", None)
    if context is not None:
        text += defaults.blame(text, defaults.in_effect(context))
    command = "restore" if context is None else context.command_path
    return f"{text}{' See' if text.endswith('?') else '; see'} `{command} --help`"
