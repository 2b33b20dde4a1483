"""Options that more than one command has."""

from __future__ import annotations

import os
from typing import Annotated, cast

import typer

from restorecli.cli.console import Console


def _offline(value: bool) -> bool:
    # Read by huggingface_hub when it is imported, which happens after the command line is parsed.
    if value:
        os.environ["HF_HUB_OFFLINE"] = "1"
    return value


Json = Annotated[bool, typer.Option("--json", help="JSON Lines on stdout, one object a result.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Nothing but errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Logs, and tracebacks of errors.")]
Offline = Annotated[
    bool, typer.Option("--offline", help="Never use the network, only what is here.", callback=_offline)
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="NAME|FILE|hf://OWNER/REPO[@REV][/FILE]",
        help="Which generator; see `restore weights list`. Default: the shipped one of the task.",
        show_default=False,
    ),
]


def console_of(context: typer.Context, *, quiet: bool = False, json: bool = False, verbose: bool = False) -> Console:
    """The console that ``main`` made for this call, in the mode that the command was asked for."""
    console = cast(Console, context.obj)
    console.configure(quiet=quiet, json=json, verbose=verbose)
    return console
