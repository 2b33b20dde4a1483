"""``restore eval``."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restorecli.cli.options import Json, Offline, Quiet, Verbose, WeightsOption, console_of
from restorecli.errors import PhotoError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from restorecli.cli.console import Console
    from restorecli.inference.restorer import Restorer
    from restorecli.pairs import Pairing

    Metric = Callable[[np.ndarray, np.ndarray], float]

MOST_DECIBELS = 100.0
"""What the PSNR of two equal photos counts as, so that means stay finite."""
TITLES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "psnr_y": "PSNR-Y",
    "ssim_y": "SSIM-Y",
    "lpips": "LPIPS",
    "gain": "gain",
    "gain_y": "gain-Y",
}


class Task(StrEnum):
    """What is restored."""

    dehaze = "dehaze"
    derain = "derain"


def evaluate(
    context: typer.Context,
    target: Annotated[Path, typer.Option("--target", metavar="DIR", help="How the photos should look.")],
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
    table: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write all scores to FILE.csv, too.", show_default=False),
    ] = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Score restored photos: PSNR and SSIM, of RGB and of luma (BT.601), per photo and mean.

    With --task and --input the photos are restored first, and what is gained over them is told too: restore eval
    --task derain --input rainy --target clean. With --restored they are scored as they are: restore eval --restored
    out --target clean.

    A photo's target is the first of these that there is, suffixes aside: the one of the same path below --target; the
    only one of the same name in any folder; the only one of its name without _dehazed or _derained; the only one of its
    name up to the first underscore. Photos without a target, targets without a photo, and pairs of different sizes are
    named, and count as failed (exit code 1); the others are scored.
    """
    console = console_of(context, quiet=quiet, json=json, verbose=verbose)
    if (inputs is None) == (restored is None) or (task is None) != (inputs is None):
        raise UsageError("give --task and --input DIR, or --restored DIR alone")
    if restored is not None and weights is not None:
        raise UsageError("--weights goes with --input: --restored photos are scored as they are")
    if table is not None and table.suffix.lower() != ".csv":
        raise UsageError(f"--csv {table} is no name of a table: give one that ends in .csv")
    from restorecli.pairs import pair_folders

    folder = inputs or restored or Path()
    pairing = pair_folders(folder, target)
    if not pairing.pairs:
        raise UsageError(f"no photo in {folder} has a target of its name in {target}; see `restore eval --help`")
    restorer, metrics = _open_restorer(task, weights), _metrics(lpips)
    failures = _unpaired(pairing, folder, target)
    for path, error in failures:
        console.failure({"input": str(path)}, error)
    rows: list[tuple[Path, Path, dict[str, float]]] = []
    with console.progress(len(pairing.pairs), "photos") as bar:
        for done, (source, wanted) in enumerate(pairing.pairs):
            bar.update(done, source.name)
            try:
                scores = _scores(source, wanted, restorer, metrics)
            except PhotoError as problem:
                failures.append((source, problem))
                console.failure({"input": str(source), "target": str(wanted)}, problem)
                continue
            rows.append((source, wanted, scores))
            console.value({"input": str(source), "target": str(wanted), "error": None} | _rounded(scores))
    mean = {name: sum(scores[name] for *_, scores in rows) / len(rows) for name in rows[0][2]} if rows else {}
    if mean:
        _show(console, folder, rows, mean)
    console.value({"mean_of": len(rows), "failed": len(failures)} | _rounded(mean))
    if failures and not json:
        console.note(f"{len(rows)} scored, {len(failures)} failed")
    if table is not None:
        _write(table, rows, mean, failures)
    return 1 if failures else 0


def _unpaired(pairing: Pairing, folder: Path, target: Path) -> list[tuple[Path, PhotoError]]:
    """What has no partner, with why."""
    found = [
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


def _metrics(lpips: bool) -> dict[str, Metric]:
    from restorecli import metrics

    found: dict[str, Metric] = {
        "psnr": metrics.psnr,
        "ssim": metrics.ssim,
        "psnr_y": metrics.psnr_y,
        "ssim_y": metrics.ssim_y,
    }
    if lpips:
        from restorecli.perceptual import Lpips

        found["lpips"] = Lpips()
    return found


def _scores(source: Path, wanted: Path, restorer: Restorer | None, metrics: dict[str, Metric]) -> dict[str, float]:
    """Scores of one photo; when it is restored first, also the ``gain`` of PSNR over the photo as it was."""
    from restorecli.perceptual import SMALLEST
    from restorecli.photo import read_photo

    given, target = read_photo(source), _rgb(read_photo(wanted).pixels)
    before = _rgb(given.pixels)
    if before.shape != target.shape:
        sizes = f"{before.shape[1]}x{before.shape[0]} and {target.shape[1]}x{target.shape[0]}"
        raise PhotoError(f"{source}: differs in size from {wanted} ({sizes}); pair photos of one size", kind="size")
    least = SMALLEST if "lpips" in metrics else 11
    if min(before.shape[:2]) < least:
        problem = f"{source}: is too small to score; {'LPIPS' if least > 11 else 'SSIM'} needs {least}x{least} pixels"
        raise PhotoError(problem, kind="size")
    after = before if restorer is None else _rgb(restorer.restore(given).pixels)
    scores = {name: min(metric(after, target), MOST_DECIBELS) for name, metric in metrics.items()}
    if restorer is not None:
        for name, gain in (("psnr", "gain"), ("psnr_y", "gain_y")):
            scores[gain] = scores[name] - min(metrics[name](before, target), MOST_DECIBELS)
    return scores


def _rgb(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 1 or 3) of either depth -> (H, W, 3) uint8, or float64 in [0, 255] where that would lose something."""
    import numpy as np

    colours = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    return colours if colours.dtype == np.uint8 else colours / 257.0


def _show(
    console: Console, folder: Path, rows: Sequence[tuple[Path, Path, dict[str, float]]], mean: dict[str, float]
) -> None:
    def cells(scores: dict[str, float]) -> list[str]:
        return [f"{value:.{4 if name in ('ssim', 'ssim_y', 'lpips') else 2}f}" for name, value in scores.items()]

    lines = [[str(source.relative_to(folder)), *cells(scores)] for source, _, scores in rows]
    lines.append([f"mean of {len(rows)}", *cells(mean)])
    console.table(["photo", *(TITLES[name] for name in mean)], lines)


def _write(
    path: Path,
    rows: Sequence[tuple[Path, Path, dict[str, float]]],
    mean: dict[str, float],
    failures: Sequence[tuple[Path, PhotoError]],
) -> None:
    """One line a photo, failed ones with why, and the mean; in the place of an older table."""
    from restorecli.photo.atomic import write_bytes_atomic

    text = io.StringIO(newline="")
    sheet = csv.DictWriter(text, ["photo", "target", *mean, "error"], lineterminator="\n")
    sheet.writeheader()
    for source, wanted, scores in rows:
        sheet.writerow({"photo": str(source), "target": str(wanted)} | _rounded(scores))
    sheet.writerows({"photo": str(source), "error": str(error)} for source, error in failures)
    if mean:
        sheet.writerow({"photo": f"mean of {len(rows)}"} | _rounded(mean))
    write_bytes_atomic(text.getvalue().encode("utf-8", "surrogateescape"), path, overwrite=True)


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in scores.items()}
