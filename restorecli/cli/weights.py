"""``restore weights``: list, show, pull and verify."""

from __future__ import annotations

from typing import Annotated

import typer

from restorecli.cli.options import Json, Offline, Quiet, Verbose, console_of
from restorecli.errors import UsageError, WeightsError

app = typer.Typer(help="The generators: which there are, and whether they are sound.")

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A name of the list, a file, or hf://OWNER/REPO[@REV][/FILE].")
]


@app.command("list")
def list_(
    context: typer.Context,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """The shipped weights."""
    console = console_of(context, quiet=quiet, json=json, verbose=verbose)
    from restorecli.weights import catalogue

    rows = []
    for entry in catalogue():
        size = "missing" if entry.size is None else f"{entry.size / 1e6:.1f} MB"
        rows.append((entry.name, entry.task, "default" if entry.default else "", size, entry.licence, str(entry.path)))
        console.value(
            {
                "name": entry.name,
                "task": entry.task,
                "default": entry.default,
                "size": entry.size,
                "licence": entry.licence,
                "path": str(entry.path),
                "onnx": None if entry.onnx_path is None else str(entry.onnx_path),
                "sha256": entry.sha256,
            }
        )
    console.table(("name", "task", "", "size", "licence", "file"), rows)
    return 0


@app.command("show")
def show(
    context: typer.Context,
    name: Name,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Everything that is known of one generator."""
    console = console_of(context, quiet=quiet, json=json, verbose=verbose)
    from dataclasses import asdict

    from restorecli.weights import catalogue, resolve, weights_folder

    weights = resolve(name, None)
    facts: dict[str, object] = {
        "name": weights.name,
        "task": weights.task,
        "file": str(weights.path),
        "onnx": None if weights.onnx is None else str(weights.onnx),
        "sha256": weights.sha256,
        **asdict(weights.descriptor),
    }
    # What was trained how is long; --json has it whole.
    told = {key: value for key, value in weights.metadata.items() if "\n" not in value and key != "descriptor"}
    for entry in catalogue():
        if entry.name == name:
            facts |= {"licence": entry.licence, "card": str(weights_folder() / entry.card)} | dict(entry.figures)
    rows = [(key, ", ".join(value) if isinstance(value, tuple) else str(value)) for key, value in facts.items()]
    rows += list(told.items())
    console.value(facts | {"metadata": dict(weights.metadata)})
    console.table(("field", "value"), rows)
    return 0


@app.command("pull")
def pull(
    context: typer.Context,
    name: Name,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Fetch weights of the Hugging Face Hub, check them, and tell where they lie; afterwards --offline finds them."""
    console = console_of(context, quiet=quiet, json=json, verbose=verbose)
    if not name.startswith("hf://"):
        raise UsageError(f"only hf://OWNER/REPO[@REV][/FILE] can be pulled: {name!r} is to be here already")
    from restorecli.weights import resolve

    weights = resolve(name, None)
    console.result(
        f"{weights.name} ({weights.task}) is at {weights.path}",
        {"name": weights.name, "task": weights.task, "path": str(weights.path), "sha256": weights.sha256},
    )
    return 0


@app.command("verify")
def verify(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Default: all of the list.")] = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Check the files of shipped weights: checksums, and that they load."""
    console = console_of(context, quiet=quiet, json=json, verbose=verbose)
    from restorecli.weights import catalogue
    from restorecli.weights import verify as check

    failed = 0
    for each in [name] if name is not None else [entry.name for entry in catalogue()]:
        try:
            check(each)
        except WeightsError as error:
            failed = error.exit_code
            console.failure({"name": each, "sound": False}, error)
        else:
            console.result(f"{each} is sound", {"name": each, "sound": True, "error": None})
    return failed
