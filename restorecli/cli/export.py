"""``restore export``."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from restorecli.cli.options import Json, Offline, Quiet, Verbose, console_of, weights_names
from restorecli.errors import UsageError, WeightsError


class ExportPrecision(StrEnum):
    """What the weights in the ONNX file are."""

    fp32 = "fp32"
    fp16 = "fp16"


def export(
    context: typer.Context,
    weights: Annotated[
        str | None,
        typer.Argument(
            metavar="[WEIGHTS]",
            autocompletion=weights_names,
            help="A name, a file or hf://OWNER/REPO. Default: the shipped ones.",
        ),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write an ONNX file.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="PATH",
            help="A file when PATH ends in .onnx, else a folder. Default: beside a weights FILE, else in this folder.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        ExportPrecision, typer.Option("--precision", help="What the weights are in the file.")
    ] = ExportPrecision.fp32,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Write generators as ONNX files with free height and width; each is checked against torch first."""
    console = console_of(context, quiet=quiet, json=json, verbose=verbose)
    if not onnx:
        raise UsageError("nothing to export to: give --onnx")
    if weights is None and out is not None and _is_file(out):
        raise UsageError(f"--out {out} is one file: without WEIGHTS all shipped weights are exported, give a folder")
    from restorecli.export import export_onnx
    from restorecli.weights import catalogue, resolve

    chosen = [resolve(weights, None)] if weights else [resolve(entry.name, None) for entry in catalogue()]
    targets = [_target(weights, found.path, out) for found in chosen]
    for found, target in zip(chosen, targets, strict=True):
        _make_room(target, found.path)
    for found, target in zip(chosen, targets, strict=True):
        report = export_onnx(found, target, precision=precision.value)
        console.result(
            f"{found.name} -> {target} ({report.size / 1e6:.1f} MB, opset {report.opset}, {report.precision}, "
            f"at most {report.largest_difference:.2g} levels of 255 from torch)",
            {
                "weights": found.name,
                "output": str(target),
                "size": report.size,
                "sha256": report.sha256,
                "opset": report.opset,
                "precision": report.precision,
                "largest_difference": report.largest_difference,
            },
        )
    return 0


def _target(asked: str | None, source: Path, out: Path | None) -> Path:
    """Where the ONNX file of the weights at ``source`` goes."""
    if out is not None:
        return out if _is_file(out) else out / source.with_suffix(".onnx").name
    from restorecli.weights import weights_folder

    # Beside a file of one's own, where --weights FILE finds it; never into the installed program or a cache. A name of
    # the catalogue means its weights, whatever file is called so.
    own = asked is not None and os.path.isfile(asked) and os.path.samefile(asked, source)
    beside = own and not source.resolve().is_relative_to(weights_folder())
    return source.with_suffix(".onnx") if beside else Path(source.with_suffix(".onnx").name)


def _is_file(out: Path) -> bool:
    """Whether ``--out`` names the file and not its folder."""
    return out.suffix.lower() == ".onnx" and not os.path.isdir(out)


def _is_ours(target: Path) -> bool:
    """Whether a file is an earlier export, which may be replaced."""
    from restorecli.weights.described import onnx_metadata

    try:
        return "exported_by" in onnx_metadata(target)
    except WeightsError:
        return False


def _make_room(target: Path, source: Path) -> None:
    """Make the folder of ``target``; :class:`UsageError` when that cannot be, or when ``target`` is the source, or what
    no export wrote."""
    if os.path.realpath(target) == os.path.realpath(source):
        raise UsageError(f"{target} would be replaced by its own export: give another --out")
    if os.path.isfile(target) and not _is_ours(target):
        raise UsageError(f"{target} is there and is no export of restore: give another --out, or take it away")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--out: the folder {target.parent} cannot be made ({error.strerror or error}): "
            "give another folder, or a file that ends in .onnx"
        ) from error
    if not os.access(target.parent, os.W_OK):
        raise UsageError(f"--out: nothing can be written into the folder {target.parent}: give another")
