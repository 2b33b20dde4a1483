"""``restore eval``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restorecli.cli.options import Json, Offline, Quiet, Verbose, WeightsOption, console_of
from restorecli.errors import PhotoError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from restorecli.inference.restorer import Restorer

SCORES = ("psnr", "ssim", "psnr_y", "ssim_y")
MOST_DECIBELS = 100.0
"""What the PSNR of two equal photos counts as, so that means stay finite."""


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
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Score restored photos: PSNR and SSIM, of RGB and of luma, per photo and mean.

    With --task and --input the photos are restored first, and what is gained over them is told too. A photo belongs
    to the target of the same name, or of its name up to the first underscore.
    """
    console = console_of(context, quiet=quiet, json=json, verbose=verbose)
    if (inputs is None) == (restored is None) or (task is None) != (inputs is None):
        raise UsageError("give --task and --input DIR, or --restored DIR alone")
    if restored is not None and weights is not None:
        raise UsageError("--weights goes with --input: --restored photos are scored as they are")
    from restorecli.pairs import pair_folders

    folder = inputs or restored or Path()
    pairs, alone = pair_folders(folder, target)
    if not pairs:
        raise UsageError(f"no photo in {folder} has a target of its name in {target}")
    restorer = _open_restorer(task, weights)
    failed = 0
    for path in alone:
        failed += 1
        error = PhotoError(f"{path}: has no target of its name in {target}; add one, or take it out", kind="no_target")
        console.failure({"input": str(path)}, error)
    rows: list[dict[str, float]] = []
    with console.progress(len(pairs), "photos") as bar:
        for done, (source, wanted) in enumerate(pairs):
            bar.update(done, source.name)
            try:
                scores = _scores(source, wanted, restorer)
            except PhotoError as problem:
                failed += 1
                console.failure({"input": str(source), "target": str(wanted)}, problem)
                continue
            rows.append(scores)
            facts = {"input": str(source), "target": str(wanted), "error": None}
            console.result(f"{source.name}  {_shown(scores)}", facts | _rounded(scores))
    if rows:
        mean = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        console.result(f"mean of {len(rows)}  {_shown(mean)}", {"mean_of": len(rows)} | _rounded(mean))
    return 1 if failed else 0


def _open_restorer(task: Task | None, weights: str | None) -> Restorer | None:
    if task is None:
        return None
    from restorecli.inference.restorer import Restorer

    return Restorer(task.value, weights=weights)


def _scores(source: Path, wanted: Path, restorer: Restorer | None) -> dict[str, float]:
    """Scores of one photo; when it is restored first, also the ``gain`` of PSNR over the photo as it was."""
    from restorecli import metrics
    from restorecli.photo import read_photo

    given, target = read_photo(source), _rgb(read_photo(wanted).pixels)
    before = _rgb(given.pixels)
    if before.shape != target.shape:
        sizes = f"{before.shape[1]}x{before.shape[0]} and {target.shape[1]}x{target.shape[0]}"
        raise PhotoError(f"{source}: differs in size from {wanted} ({sizes}); pair photos of one size", kind="size")
    if min(before.shape[:2]) < 11:
        raise PhotoError(f"{source}: is too small to score; SSIM needs 11x11 pixels", kind="size")
    after = before if restorer is None else _rgb(restorer.restore(given).pixels)
    scores = {name: min(float(getattr(metrics, name)(after, target)), MOST_DECIBELS) for name in SCORES}
    if restorer is not None:
        for name, gain in (("psnr", "gain"), ("psnr_y", "gain_y")):
            scores[gain] = scores[name] - min(float(getattr(metrics, name)(before, target)), MOST_DECIBELS)
    return scores


def _rgb(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 1 or 3) of either depth -> (H, W, 3) uint8, or float64 in [0, 255] where that would lose something."""
    import numpy as np

    colours = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    return colours if colours.dtype == np.uint8 else colours / 257.0


def _shown(scores: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.{4 if name.startswith('ssim') else 2}f}" for name, value in scores.items())


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in scores.items()}
