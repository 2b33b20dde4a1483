"""``restore benchmark``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from restorecli.cli import quantities
from restorecli.cli.options import Json, Offline, Quiet, Verbose, WeightsOption, console_of
from restorecli.cli.restore_photos import Backend, Precision
from restorecli.errors import BackendError

if TYPE_CHECKING:
    from restorecli.inference.measure import Measurement
    from restorecli.weights import Weights


def benchmark(
    context: typer.Context,
    weights: WeightsOption = None,
    megapixels: Annotated[
        float, typer.Option("--megapixels", metavar="N", min=0.01, max=400, help="Size of the photo.")
    ] = 6.0,
    tile: Annotated[str, typer.Option("--tile", metavar="auto|N", help="Tile edge in pixels.")] = "auto",
    max_memory: Annotated[
        str | None,
        typer.Option(
            "--max-memory", metavar="SIZE", help="A bound on working memory, such as 2GB.", show_default=False
        ),
    ] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Timed runs of each, after one that is not.")] = 3,
    backend: Annotated[Backend, typer.Option("--backend", help="This one only.")] = Backend.auto,
    device: Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda|cuda:N", help="This one only.")] = "auto",
    precision: Annotated[Precision, typer.Option("--precision", help="This one only.")] = Precision.auto,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Megapixels per second and peak memory of each backend and precision that this machine has.

    Each is measured in a process of its own, on a photo in memory: reading and writing files is not part of it. Default
    weights: the shipped ones of both tasks. What is measured on 2 megapixels or more is remembered: ``auto`` chooses by
    it from then on.
    """
    console = console_of(context, quiet=quiet, json=json, verbose=verbose)
    edge = quantities.count_or_auto(tile, "--tile") or "auto"
    bound = None if max_memory is None else quantities.memory(max_memory)
    from restorecli.inference.backends.choice import choose
    from restorecli.inference.benchmark import benchmark as measured
    from restorecli.inference.benchmark import settings_for
    from restorecli.inference.measure import Setting
    from restorecli.inference.restorer import check_arguments
    from restorecli.weights import catalogue, resolve

    engine = {"backend": backend.value, "device": device, "precision": precision.value}
    check_arguments("derain", **engine, tile=edge, max_memory=bound, strength=1)
    asked = Setting(backend.value, device, precision.value)
    chosen = [resolve(weights, None)] if weights else [resolve(row.name, None) for row in catalogue() if row.default]
    console.note(f"{'weights':<16}{'backend':<10}{'device':<8}{'precision':<11}{'MP/s':>7}{'memory':>10}{'start':>8}")
    ran, problems = 0, []
    for found in chosen:
        settings = settings_for(found, asked)
        for result in measured(found, settings, megapixels=megapixels, tile=edge, max_memory=bound, runs=runs):
            console.result(_line(found, result), _values(found, result, edge))
            ran += result.problem is None
            problems += [result.problem] if result.problem else []
        if asked == Setting("auto", "auto", "auto"):
            choice = choose(found, "auto", "auto", "auto")
            console.note(f"auto uses {' '.join(str(choice.settings[0]).split()[::2])} for {found.name}")
    if not ran:
        raise BackendError(f"nothing that was asked for runs here: {problems[0]}")
    return 0


def _line(weights: Weights, result: Measurement) -> str:
    setting = result.setting
    start = f"{weights.name[:15]:<16}{setting.backend:<10}{setting.device:<8}{setting.precision:<11}"
    if result.problem is not None:
        return f"{start}does not run: {result.problem}"
    memory = "?" if result.peak_memory is None else f"{result.peak_memory / 1e6:.0f} MB"
    return f"{start}{1 / result.seconds_per_megapixel:>7.2f}{memory:>10}{result.start:>6.1f} s"


def _values(weights: Weights, result: Measurement, tile: int | str) -> dict[str, Any]:
    ran = result.problem is None
    return {
        "weights": weights.name,
        "task": weights.task,
        "backend": result.setting.backend,
        "device": result.setting.device,
        "precision": result.setting.precision,
        "megapixels": result.megapixels if ran else None,
        "tile": tile,
        "tiles": result.tiles if ran else None,
        "megapixels_per_second": 1 / result.seconds_per_megapixel if ran else None,
        "seconds": list(result.seconds),
        "start_seconds": result.start if ran else None,
        "peak_memory": result.peak_memory,
        "device_memory": result.device_memory,
        "error": None if ran else {"kind": "backend", "message": result.problem},
    }
