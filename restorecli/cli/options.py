"""Options that more than one command has."""

from __future__ import annotations

import os
from typing import Annotated, cast

import typer

from restorecli.cli import defaults
from restorecli.cli.console import Console
from restorecli.errors import RestoreError


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


def weights_names() -> list[tuple[str, str]]:
    """Names of the catalogue and their tasks, for the shell's completion; none when it cannot be read."""
    from restorecli.weights import catalogue

    try:
        return [(entry.name, f"for {entry.task}") for entry in catalogue()]
    except RestoreError:
        return []


def device_names() -> list[str]:
    """Kinds of devices, for the shell's completion."""
    return ["auto", "cpu", "cuda"]


WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="NAME|FILE|hf://OWNER/REPO[@REV][/FILE]",
        autocompletion=weights_names,
        help="Which generator; see `restore weights list`. Default: the shipped one of the task.",
        show_default=False,
    ),
]


def console_of(context: typer.Context, *, quiet: bool = False, json: bool = False, verbose: bool = False) -> Console:
    """The console that ``main`` made for this call, in the mode that the command was asked for."""
    console = cast(Console, context.obj)
    console.configure(quiet=quiet, json=json, verbose=verbose)
    console.settings = defaults.in_effect(context)
    of_folder = [f"{each.option} = {each.value}" for each in console.settings if each.source == defaults.FILE]
    if of_folder:
        # It may have come with the folder: nothing that it changes goes unsaid.
        console.note(f"{defaults.FILE} of this folder sets {', '.join(of_folder)}")
    return console
