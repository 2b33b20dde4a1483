"""``restore train`` and ``restore finetune``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restorecli.cli import quantities
from restorecli.cli.console import Console, Progress
from restorecli.cli.options import Offline, Quiet, Verbose, console_of, device_names, weights_names
from restorecli.errors import UsageError

if TYPE_CHECKING:
    from restorecli.training.config import TrainConfig
    from restorecli.training.options import Event, Options


class TrainingPrecision(StrEnum):
    """What training is computed in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


def _preset_names() -> list[str]:
    # The module that knows them takes a second or two to load.
    folder = resources.files("restorecli.training").joinpath("presets")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir())


Hazy = Annotated[Path | None, typer.Option("--hazy", metavar="DIR", help="Hazy photos.", show_default=False)]
Clear = Annotated[
    Path | None, typer.Option("--clear", metavar="DIR", help="Clear photos of other scenes.", show_default=False)
]
Rainy = Annotated[Path | None, typer.Option("--rainy", metavar="DIR", help="Rainy photos.", show_default=False)]
Clean = Annotated[
    Path | None, typer.Option("--clean", metavar="DIR", help="Photos of other scenes without rain.", show_default=False)
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME|FILE.toml",
        autocompletion=_preset_names,
        help="How to train. Default: that of the command and task.",
        show_default=False,
    ),
]
Run = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="RUN",
        help="Folder of the run; the same command again resumes it. Default: runs/PRESET or runs/TASK.",
        show_default=False,
    ),
]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Length of the run.", show_default=False)]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="Crops of a step.", show_default=False)]
Crop = Annotated[int | None, typer.Option("--crop", min=1, help="Edge of a crop in pixels.", show_default=False)]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of all that is random.", show_default=False)]
Device = Annotated[
    str,
    typer.Option("--device", metavar="auto|cpu|cuda|cuda:N", autocompletion=device_names, help="Where to train."),
]
Precision = Annotated[TrainingPrecision, typer.Option("--precision", help="What the networks are computed in.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=0, help="Processes that make batches. Default: by device.", show_default=False),
]
Val = Annotated[
    str | None,
    typer.Option("--val", metavar="INPUT:TARGET", help="Paired folders, for scores only.", show_default=False),
]
TimeLimit = Annotated[
    str | None,
    typer.Option("--time-limit", metavar="150m", help="Stop with a checkpoint after this time.", show_default=False),
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Put the networks through torch.compile first; measure whether it pays.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any field of the preset; repeatable.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be trained on what, do nothing.")]


def train(
    context: typer.Context,
    hazy: Hazy = None,
    clear: Clear = None,
    rainy: Rainy = None,
    clean: Clean = None,
    preset: Preset = None,
    out: Run = None,
    steps: Steps = None,
    batch: Batch = None,
    crop: Crop = None,
    seed: Seed = None,
    device: Device = "auto",
    precision: Precision = TrainingPrecision.auto,
    workers: Workers = None,
    val: Val = None,
    time_limit: TimeLimit = None,
    settings: Set = None,
    compiled: Compile = False,
    dry_run: DryRun = False,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Learn from two unpaired folders: --hazy and --clear, or --rainy and --clean."""
    console = console_of(context, quiet=quiet, verbose=verbose)
    task, degraded, restored = _folders(hazy, clear, rainy, clean)
    name = preset or f"ship-{task}"
    options = _options(
        task=task,
        degraded=degraded,
        clear=restored,
        run=out or Path("runs", Path(preset or task).stem),
        preset=name,
        settings=settings or [],
        numbers={"steps": steps, "batch": batch, "crop": crop, "seed": seed},
        device=device,
        precision=precision.value,
        workers=workers,
        val=val,
        time_limit=time_limit,
        compile=compiled,
        start_from=None,
    )
    return _learn(options, console, dry_run=dry_run)


def finetune(
    context: typer.Context,
    start: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="WEIGHTS",
            autocompletion=weights_names,
            help="What to start from: a name, a file or hf://OWNER/REPO.",
        ),
    ],
    hazy: Hazy = None,
    clear: Clear = None,
    rainy: Rainy = None,
    clean: Clean = None,
    preset: Preset = None,
    out: Run = None,
    steps: Steps = None,
    batch: Batch = None,
    crop: Crop = None,
    seed: Seed = None,
    device: Device = "auto",
    precision: Precision = TrainingPrecision.auto,
    workers: Workers = None,
    val: Val = None,
    time_limit: TimeLimit = None,
    settings: Set = None,
    compiled: Compile = False,
    dry_run: DryRun = False,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Go on learning from existing weights; folders and options as for train."""
    console = console_of(context, quiet=quiet, verbose=verbose)
    task, degraded, restored = _folders(hazy, clear, rainy, clean)
    name = preset or f"finetune-{task}"
    options = _options(
        task=task,
        degraded=degraded,
        clear=restored,
        run=out or Path("runs", Path(name).stem),
        preset=name,
        settings=settings or [],
        numbers={"steps": steps, "batch": batch, "crop": crop, "seed": seed},
        device=device,
        precision=precision.value,
        workers=workers,
        val=val,
        time_limit=time_limit,
        compile=compiled,
        start_from=start,
    )
    return _learn(options, console, dry_run=dry_run)


def _folders(hazy: Path | None, clear: Path | None, rainy: Path | None, clean: Path | None) -> tuple[str, Path, Path]:
    """The task that the folders speak of, the degraded folder and the clear one."""
    if hazy and clear and not rainy and not clean:
        return "dehaze", hazy, clear
    if rainy and clean and not hazy and not clear:
        return "derain", rainy, clean
    raise UsageError("give two folders: --hazy DIR --clear DIR, or --rainy DIR --clean DIR")


def _overrides(config: TrainConfig, settings: list[str], numbers: Mapping[str, int | None]) -> list[str]:
    """The options that stand for fields of the preset, and ``--set``; the same field by both is refused."""
    # Without rendered photos all crops are those of the two folders. What is wrong with a setting is told of later, as
    # it may fit these options alone.
    weight = config.rendered.weight
    for key, _, value in (pair.partition("=") for pair in settings):
        if key.strip() == "rendered.weight":
            with suppress(ValueError):
                weight = float(value)
    rendered = weight > 0
    fields = {"batch": "data.batch" if rendered else "unpaired.batch", "crop": "data.crop"}
    given = {fields.get(name, name): value for name, value in numbers.items() if value is not None}
    keys = [pair.partition("=")[0].strip() for pair in settings]
    names = {fields.get(name, name): name for name in numbers}
    twice = [f"--{names[key]} and --set {key}" for key in given if key in keys]
    if twice:
        raise UsageError(f"given more than once: {', '.join(twice)}; give each field one value")
    return [f"{key}={value}" for key, value in given.items()] + settings


def _options(
    *,
    task: str,
    preset: str,
    settings: list[str],
    numbers: Mapping[str, int | None],
    val: str | None,
    time_limit: str | None,
    **others: Any,
) -> Options:
    from restorecli.training.config import load_preset
    from restorecli.training.options import Options

    config = load_preset(preset)
    config = config.with_overrides(_overrides(config, settings, numbers))
    if config.task != task:
        raise UsageError(f"--preset {preset} is for {config.task}, but the folders are for {task}")
    return Options(
        config=config,
        val=None if val is None else _two_folders(val),
        time_limit=None if time_limit is None else quantities.duration(time_limit),
        **others,
    )


def _two_folders(text: str) -> tuple[Path, Path]:
    """``INPUT:TARGET`` as two folders; a colon may also be part of a name."""
    parts = text.split(":")
    for cut in range(1, len(parts)):
        first, second = Path(":".join(parts[:cut])), Path(":".join(parts[cut:]))
        if os.path.isdir(first) and os.path.isdir(second):
            return first, second
    raise UsageError(f"--val must be INPUT:TARGET, two folders that are there, not {text!r}")


def _learn(options: Options, console: Console, *, dry_run: bool) -> int:
    from restorecli.training.estimate import describe
    from restorecli.training.loop import train as run

    if dry_run:
        console.result(describe(options).rstrip("\n"))
        return 0
    # Of several processes the first one alone tells of events.
    first = os.environ.get("RANK", "0") == "0"
    with console.progress(options.config.steps, "steps") if first else nullcontext(Progress(None, None)) as bar:
        outcome = run(options, lambda event: _show(event, console, bar))
    if outcome.report:
        console.note(outcome.report)
    if first:
        console.result(str(outcome.weights))
    return 0


def _show(event: Event, console: Console, bar: Progress) -> None:
    # A length in epochs is one in steps only when the folders have been looked into.
    bar.step(event.step, event.steps)
    figures = [f"{name} {value:.4g}" for name, value in event.values.items()]
    speed = f"{event.speed:.3g} photos/s" if event.speed else ""
    if event.kind == "step":
        bar.figures(speed, figures)
    # The bar says how far a run is; where there is none (in a log file), a line does.
    silent = {"pulse", *(["step"] if sys.stderr.isatty() else []), *([] if console.verbose else ["checkpoint"])}
    if event.kind not in silent:
        said = "  ".join(part for part in (event.message, speed, *figures) if part)
        console.note(f"step {event.step}/{event.steps}  {event.kind}  {said}".rstrip())
