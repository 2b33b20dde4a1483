"""``restore weights``: list, show, pull, verify and pack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from restorecli.cli.options import Json, Offline, Quiet, Verbose, console_of, weights_names
from restorecli.errors import WeightsError

app = typer.Typer(help="The generators: which there are, and whether they are sound.")

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        autocompletion=weights_names,
        help="A name of the list, a file, or hf://OWNER/REPO[@REV][/FILE].",
    ),
]
Source = Annotated[
    str,
    typer.Argument(
        metavar="NAME", autocompletion=weights_names, help="A name of the list, or hf://OWNER/REPO[@REV][/FILE]."
    ),
]


@app.command("list")
def list_(
    context: typer.Context,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """The weights that have a name: task, size, what they gain, licence."""
    console = console_of(context, quiet=quiet, json=json, verbose=verbose)
    from restorecli.weights import catalogue

    rows = []
    for entry in catalogue():
        size = f"{entry.size / 1e6:.1f} MB" if entry.size is not None else "on the hub" if entry.hub else "missing"
        default = "default" if entry.default else ""
        rows.append((entry.name, entry.task, default, size, _first_gain(entry.figures), entry.licence))
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
                "hub": entry.hub,
                "figures": dict(entry.figures),
            }
        )
    console.table(("name", "task", "", "size", "a figure (all: weights show NAME)", "licence"), rows)
    return 0


def _first_gain(figures: Mapping[str, float | str]) -> str:
    """One figure for one line: the first that says what is gained, else the first."""
    for name, value in sorted(figures.items(), key=lambda item: "gain" not in item[0]):
        return f"{name}: {value}"
    return ""


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
    from restorecli.weights.foreign import examine
    from restorecli.weights.resolving import located

    try:
        weights = resolve(name, None)
    except WeightsError as error:
        if error.kind != "no_task":
            raise
        # Of another program, which says less of it.
        found = asdict(examine(located(name)))
        console.value({"name": name, **found})
        console.table(("field", "value"), [("name", name), *((key, _told(value)) for key, value in found.items())])
        return 0
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
    rows = [(key, _told(value)) for key, value in facts.items()]
    rows += list(told.items())
    console.value(facts | {"metadata": dict(weights.metadata)})
    console.table(("field", "value"), rows)
    return 0


def _told(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


@app.command("pull")
def pull(
    context: typer.Context,
    name: Source,
    sha256: Annotated[
        str | None,
        typer.Option("--sha256", metavar="HEX", help="What the file's SHA-256 must be.", show_default=False),
    ] = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Fetch weights of the Hugging Face Hub, check them, and tell where they lie; afterwards --offline finds them.

    Their checksum must be that of the list for a name, that of --sha256, or else the hub's own. What is told as pinned
    names the same bytes for ever.
    """
    console = console_of(context, quiet=quiet, json=json, verbose=verbose)
    from dataclasses import asdict

    from restorecli.weights import pull as fetch

    with console.progress(1, "") as bar:
        found = fetch(name, sha256=sha256, progress=lambda here, total: bar.update(here / total, name))
    pinned = f"; pinned: {found.pinned} sha256 {found.sha256}" if found.pinned else ""
    text = f"{found.name} ({found.task or 'of another program'}) is at {found.path}{pinned}"
    console.result(text, asdict(found) | {"path": str(found.path)})
    return 0


@app.command("verify")
def verify(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", autocompletion=weights_names, help="Default: all of the list.")
    ] = None,
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


@app.command("pack")
def pack(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a training run.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="A new folder. Default: RUN-packed.", show_default=False),
    ] = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Make a folder to publish from a training run: weights, preset, checksums, and a card to fill in.

    The folder can be used as --weights at once.
    """
    console = console_of(context, quiet=quiet, json=json, verbose=verbose)
    from restorecli.weights.packing import TO_FILL_IN
    from restorecli.weights.packing import pack as make

    packed = make(run, run.resolve().with_name(f"{run.resolve().name}-packed") if out is None else out)
    facts = {"folder": str(packed.folder), "files": list(packed.files), "sha256": packed.weights.sha256}
    console.result(f"{packed.folder} holds {', '.join(packed.files)}", facts)
    console.note(f"Before you publish it: README.md has places marked {TO_FILL_IN!r}, the licence among them")
    return 0
