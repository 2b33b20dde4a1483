"""``restore eval``."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restorecli.cli import defaults
from restorecli.cli.options import Json, Offline, Quiet, Verbose, WeightsOption, console_of
from restorecli.errors import BackendError, PhotoError, RestoreError, UsageError, WeightsError, failure_of

if TYPE_CHECKING:
    from restorecli.cli.console import Console
    from restorecli.inference.restorer import Restorer
    from restorecli.pairs import Pairing

TITLES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "psnr_y": "PSNR-Y",
    "ssim_y": "SSIM-Y",
    "lpips": "LPIPS",
    "niqe": "NIQE",
    "gain": "gain",
    "gain_y": "gain-Y",
    "niqe_before": "NIQE before",
}
FINE = ("ssim", "ssim_y", "lpips")
"""What differs in the fourth digit."""
_COLUMNS = ("photo", "target")


class Task(StrEnum):
    """What is restored."""

    dehaze = "dehaze"
    derain = "derain"


def evaluate(
    context: typer.Context,
    target: Annotated[
        Path | None,
        typer.Option(
            "--target", metavar="DIR", help="How the photos should look; NIQE needs none.", show_default=False
        ),
    ] = None,
    task: Annotated[Task | None, typer.Option("--task", help="What to do with --input.", show_default=False)] = None,
    inputs: Annotated[
        Path | None, typer.Option("--input", metavar="DIR", help="Photos to restore and score.", show_default=False)
    ] = None,
    restored: Annotated[
        Path | None, typer.Option("--restored", metavar="DIR", help="Photos to score as they are.", show_default=False)
    ] = None,
    weights: WeightsOption = None,
    lpips: Annotated[
        bool,
        typer.Option(
            "--lpips", help="LPIPS too (AlexNet); needs the extra [lpips] and AlexNet's weights on this machine."
        ),
    ] = False,
    niqe: Annotated[
        bool,
        typer.Option("--niqe", help="NIQE too; needs the extra [niqe] and the statistics that it compares with."),
    ] = False,
    table: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            help="Write all scores to FILE.csv, too, in the place of an older one.",
            show_default=False,
        ),
    ] = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Score restored photos: PSNR and SSIM, of RGB and of luma (BT.601), per photo and mean.

    With --task and --input the photos are restored first, and what is gained over them is told too: restore eval
    --task derain --input rainy --target clean. With --restored they are scored as they are: restore eval --restored
    out --target clean. With --niqe alone there need be no --target: restore eval --restored out --niqe.

    A photo's target is the one of the same path below --target, suffix aside, or else the only one of its name in any
    folder; failing that, the one of its name without _dehazed or _derained at the end, or of its name up to the first
    underscore, found likewise. Photos without a target, targets without a photo, and pairs of different sizes are
    named, and count as failed (exit code 1); the others are scored.
    """
    console = console_of(context, quiet=quiet, json=json, verbose=verbose)
    if (inputs is None) == (restored is None) or (task is None) != (inputs is None):
        raise UsageError("give --task and --input DIR, or --restored DIR alone")
    if restored is not None and weights is not None and not defaults.by_default(context, "weights"):
        raise UsageError("--weights goes with --input: --restored photos are scored as they are")
    if table is not None and table.suffix.lower() != ".csv":
        raise UsageError(f"--csv {table} is no name of a table: give one that ends in .csv")
    if target is None and (lpips or not niqe):
        raise UsageError("--target DIR is missing: only NIQE does without (--niqe, and no --lpips)")
    from restorecli.pairs import meant, pair_folders, photos_in
    from restorecli.scoring import Scorer

    folder = inputs or restored or Path()
    pairs: list[tuple[Path, Path | None]]
    failures: list[tuple[Path, RestoreError]] = []
    photos = photos_in(folder)
    if not photos:
        raise UsageError(f"{folder}: there are no photos in this folder; name another", kind="no_photos")
    if target is None:
        pairs = [(path, None) for path in meant(photos, restored=inputs is None)]
    else:
        pairing = pair_folders(folder, target, restored=restored is not None)
        if not pairing.pairs and not pairing.unsure:
            raise UsageError(f"no photo in {folder} has a target of its name in {target}; see `restore eval --help`")
        pairs, failures = [*pairing.pairs], _unpaired(pairing, folder, target)
    if table is not None:
        _make_room(table)
    score = Scorer(_open_restorer(task, weights), lpips=lpips, niqe=niqe)
    for path, error in failures:
        console.failure({"input": str(path)}, error)
    rows: list[tuple[Path, Path | None, dict[str, float]]] = []
    with console.progress(len(pairs), "photos") as bar:
        for done, (source, wanted) in enumerate(pairs):
            bar.update(done, source.name)
            names = {"input": str(source)} | ({} if wanted is None else {"target": str(wanted)})
            try:
                scores = score(source, wanted)
            except (BackendError, WeightsError, UsageError):
                raise
            except Exception as problem:
                error = failure_of(problem, str(source), "scored")
                failures.append((source, error))
                console.failure(names, error)
                continue
            rows.append((source, wanted, scores))
            console.value({**names, "error": None} | _rounded(scores))
    mean = {name: sum(scores[name] for *_, scores in rows) / len(rows) for name in rows[0][2]} if rows else {}
    if mean:
        _show(console, folder, rows, mean)
    console.value({"mean_of": len(rows), "failed": len(failures)} | _rounded(mean))
    if failures and not json:
        console.note(f"{len(rows)} scored, {len(failures)} failed")
    if table is not None:
        _write(table, rows, mean, failures)
    return 1 if failures else 0


def _make_room(table: Path) -> None:
    """Make the folder of a table; :class:`UsageError` before anything is scored when that, or the table, cannot be."""
    from restorecli.photo.atomic import remove_remains

    try:
        table.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--csv {table} cannot be written ({error.strerror or error}): name another file") from error
    remove_remains(table.parent)
    if os.path.isfile(table) and not _is_ours(table):
        raise UsageError(f"--csv {table} is there and is no table of scores: name another file, or take it away")
    if os.path.isdir(table) or not os.access(table.parent, os.W_OK):
        raise UsageError(f"--csv {table} cannot be written: name a file in a folder that is open to you")


def _is_ours(table: Path) -> bool:
    """Whether an earlier run wrote it (or nobody anything), so that it may be replaced."""
    start = ",".join(_COLUMNS).encode()
    try:
        with table.open("rb") as file:
            return file.read(len(start)) in (start, b"")
    except OSError as error:
        raise UsageError(f"--csv {table} cannot be looked into ({error.strerror}); name another file") from error


def _unpaired(pairing: Pairing, folder: Path, target: Path) -> list[tuple[Path, RestoreError]]:
    """What has no partner, with why."""
    found: list[tuple[Path, RestoreError]] = [
        (path, PhotoError(f"{path}: has no target of its name in {target}; add one, or take it out", kind="no_target"))
        for path in pairing.alone
    ]
    for path, fitting in pairing.unsure:
        names = ", ".join(str(each.relative_to(target)) for each in fitting[:4])
        problem = f"{path}: has several targets of its name in {target} ({names}); keep one of them"
        found.append((path, PhotoError(problem, kind="several_targets")))
    for path in pairing.unused:
        problem = f"{path}: no photo in {folder} belongs to it; add one, or take the target out"
        found.append((path, PhotoError(problem, kind="no_input")))
    return found


def _open_restorer(task: Task | None, weights: str | None) -> Restorer | None:
    if task is None:
        return None
    from restorecli.inference.restorer import Restorer

    return Restorer(task.value, weights=weights)


def _show(
    console: Console, folder: Path, rows: Sequence[tuple[Path, Path | None, dict[str, float]]], mean: dict[str, float]
) -> None:
    def cells(scores: dict[str, float]) -> list[str]:
        return [f"{value:.{4 if name in FINE else 2}f}" for name, value in scores.items()]

    lines = [[str(source.relative_to(folder)), *cells(scores)] for source, _, scores in rows]
    lines.append([f"mean of {len(rows)}", *cells(mean)])
    console.table(["photo", *(TITLES[name] for name in mean)], lines)


def _write(
    path: Path,
    rows: Sequence[tuple[Path, Path | None, dict[str, float]]],
    mean: dict[str, float],
    failures: Sequence[tuple[Path, RestoreError]],
) -> None:
    """One line a photo, failed ones with why, and the mean; in the place of an older table of scores."""
    from restorecli.photo.atomic import write_bytes_atomic

    text = io.StringIO(newline="")
    sheet = csv.DictWriter(text, [*_COLUMNS, *mean, "error"], lineterminator="\n")
    sheet.writeheader()
    for source, wanted, scores in rows:
        sheet.writerow({"photo": str(source), "target": str(wanted or "")} | _rounded(scores))
    sheet.writerows({"photo": str(source), "error": str(error)} for source, error in failures)
    if mean:
        sheet.writerow({"photo": f"mean of {len(rows)}"} | _rounded(mean))
    try:
        write_bytes_atomic(text.getvalue().encode("utf-8", "surrogateescape"), path, overwrite=True)
    except PhotoError as error:
        raise PhotoError(str(error).replace("--out", "--csv"), kind=error.kind) from error


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in scores.items()}
