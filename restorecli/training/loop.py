"""The training loop, in reading order."""

from __future__ import annotations

import copy
import functools
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from restorecli import __version__
from restorecli.errors import PhotoError, TrainingError, UsageError
from restorecli.hardware import flushed_denormals, usable_cores
from restorecli.models.generators import Generator, build_generator
from restorecli.models.resnet import ResNet
from restorecli.models.unet import UNet
from restorecli.photo import write_bytes_atomic
from restorecli.photo.atomic import remove_remains
from restorecli.training.balance import Balance
from restorecli.training.calibration import activation_ranges, shown
from restorecli.training.checkpoint import read_checkpoint, restore_modules, save_checkpoint
from restorecli.training.config import TrainConfig, config_from_toml, flat
from restorecli.training.cyclegan import placed
from restorecli.training.data import Batches, batches, moved, unpaired_step
from restorecli.training.devices import choose_device, choose_dtype, device_memory, dtype_name
from restorecli.training.examination import Examination, Paired, Unpaired
from restorecli.training.folders import Folders, length_of, open_folders
from restorecli.training.journal import Journal
from restorecli.training.mechanics import Mechanics
from restorecli.training.methods import build_branch
from restorecli.training.muon import build_optimiser
from restorecli.training.occupied import alone_in
from restorecli.training.options import Event, Options, Outcome
from restorecli.training.processes import Processes
from restorecli.training.standing import Standing, Stopwatch
from restorecli.training.step import Players, compile_players, compiling, follow, photos_of, set_rates, take_step
from restorecli.weights import load_network, ranges, resolve, save_network

FREE_TO_CHANGE = (
    "steps", "epochs", "log_every", "checkpoint_every", "sample_every", "validate_every", "optimiser.accumulate",
    "data.cache_mb",
)  # fmt: skip
"""Fields that a run may be resumed with other values of: they change how long and how often, not what is learnt."""

ECHO = 5.0
"""Seconds within which a Ctrl-C comes twice where a launcher started several processes: the terminal sends it to all of
them, and so does the launcher once more."""


def train(options: Options, on_event: Callable[[Event], None]) -> Outcome:
    """Train, or resume, until the steps are done or the time is over.

    Raises :class:`TrainingError` when the run cannot start or go on (its last checkpoint is then as it was),
    :class:`BackendError` when the device or precision is not there, :class:`WeightsError` when the weights to
    fine-tune cannot be had. :class:`KeyboardInterrupt`, also for a SIGTERM, comes after the step that it fell into and
    a checkpoint; a second one at once. In several processes (see :mod:`restorecli.training.processes`) each calls
    this, and the first one writes.
    """
    try:
        # TF32 would turn fp32 into something else without a word.
        with ExitStack() as entered, device_memory(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return _train(options, on_event, entered)
    except (PhotoError, OSError) as error:
        raise TrainingError(f"cannot go on: {error}; the last checkpoint is intact", kind="unwritable") from error
    except RuntimeError as error:
        # The only sign that PyTorch gives of it.
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            f"a process that makes batches has died ({str(error).splitlines()[0]}): run the same command to go on, "
            "with fewer --workers where memory ran out, and in a container with more shared memory (--shm-size)",
            kind="workers",
        ) from error


def _train(options: Options, on_event: Callable[[Event], None], entered: ExitStack) -> Outcome:
    began = time.monotonic()
    processes = Processes(options.device)
    torch.manual_seed(options.config.seed)
    options, restorer, start = with_start(options)
    device = processes.device or choose_device(options.device)
    dtype = choose_dtype(options.precision, device)
    folders = open_folders(options)
    own = options.config.optimiser.accumulate
    groups = own * processes.count
    options = replace(options, config=length_of(options.config, folders, groups))
    config = options.config
    data = Batches(
        config, folders.degraded, folders.clear, range(own * processes.rank, own * (processes.rank + 1)), groups
    )
    tell = on_event if processes.first else _nobody
    _make_folder(options.run)
    _enter(options.run, processes, entered, device)
    for folder in (options.run, options.run / "checkpoint", options.run / "samples"):
        remove_remains(folder)
    checkpoint = options.run / "checkpoint" / "last.safetensors"

    # The players: the generator that restores, its moving average, and the unpaired branch from its first step on.
    restorer = placed(restorer.train(), device)
    scaler = torch.amp.GradScaler(device.type) if dtype == torch.float16 else None
    players = Players(
        restorer,
        copy.deepcopy(restorer).eval().requires_grad_(False),
        build_optimiser(restorer, config.optimiser),
        Mechanics(config.optimiser.clip, processes, scaler),
        Balance(config.unpaired.balance, config.unpaired.balance_every),
    )
    standing = Standing(_examination(options, folders), options.run, guarded=options.start_from is not None)
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    step, known = 0, -1
    if checkpoint.exists():
        tensors, facts = read_checkpoint(checkpoint)
        _refuse_other_run(config, start, groups, bool(folders.pairs), facts, checkpoint)
        step = known = int(facts["step"])
        if facts["branch"]:
            players.branch = build_branch(config, restorer, device, players.mechanics)
        restore_modules(tensors, players.modules(), players.optimisers())
        del tensors
        if step > config.steps:
            raise TrainingError(
                f"{checkpoint} has {step} steps, more than the {config.steps} asked for: "
                "give as many --steps, or another --out",
                kind="checkpoint",
            )
        if scaler is not None and facts.get("scaler"):
            scaler.load_state_dict(facts["scaler"])
        players.balance.norms = facts.get("balance", [])
        sums, counts = facts.get("sums", {}), facts.get("counts", {})
        standing.load(facts.get("standing", {}), step)
    saved = step
    if processes.differ(step, device):
        raise TrainingError(
            f"the processes find checkpoints of other steps in {options.run}: it must be one folder for all of them",
            kind="checkpoint",
        )
    journal = None
    if processes.first:
        write_bytes_atomic(config.to_toml().encode(), options.run / "config.toml", overwrite=True)
        journal = Journal(options.run, known)
    ranks = f", {processes.count} processes" if processes.count > 1 else ""
    board = "" if journal is None or journal.has_board else '; no TensorBoard events: pip install "restorecli[train]"'
    tell(Event("start", step, config.steps, f"{device.type}, {dtype_name(dtype)}{ranks}, {data.summary()}{board}"))
    for warning in (*folders.warnings, *config.warnings()):
        tell(Event("warning", step, config.steps, warning))
    if options.compile:
        compile_players(players)

    def save() -> None:
        if journal is None:
            return
        facts = {
            "step": step,
            "branch": players.branch is not None,
            "config": config.to_toml(),
            "version": __version__,
            "groups": groups,
            "val": bool(folders.pairs),
            "start": start,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "balance": players.balance.norms,
            "sums": sums,
            "counts": counts,
            "standing": standing.facts(),
        }
        nonlocal saved
        # Also when it fails: what failed once is not tried again.
        saved = step
        save_checkpoint(checkpoint, players.modules(), players.optimisers(), facts)
        if standing.guarded:
            # What is given back is never worse than what was started from, also when the run stops early.
            write_bytes_atomic(standing.file.read_bytes(), options.run / "generator.safetensors", overwrite=True)
        else:
            save_weights(options.run / "generator.safetensors")
        tell(Event("checkpoint", step, config.steps, str(checkpoint)))

    @functools.cache
    def calibration() -> list[np.ndarray]:
        return [*shown(folders.degraded), *shown(folders.clear)]

    def save_weights(path: Path) -> None:
        # Weights are passed on to others, whom this machine's folders do not concern.
        public = replace(config, data=replace(config.data, rgbd=Path(config.data.rgbd).name))
        extra = {"preset": public.to_toml(), "steps": str(step), "version": __version__, "data": _data(options, data)}
        if start:
            extra["start"] = f"{Path(str(options.start_from)).name} (SHA-256 {start})"
        extra |= ranges.to_metadata(activation_ranges(players.average, calibration(), device))
        save_network(path, players.average, players.average.descriptor(config.task), extra)

    def examine() -> None:
        if journal is None or standing.examination is None:
            return
        scores = standing.examination.measure(players.average, device, dtype)
        best = standing.improves(scores)
        if best:
            save_weights(standing.file)
        standing.take(step, scores, best=best)
        journal.log(step, scores, 4)
        tell(Event("validation", step, config.steps, values=scores))

    broken: set[str] = set()
    whole = True
    interrupted, restore_interrupts = _defer_interrupts(ECHO if processes.count > 1 else 0)
    since = Stopwatch()
    try:
        # A stop may have come between a step and its validation.
        unmeasured = (standing.measured or 0) < step
        if (standing.guarded and not standing.best) or (unmeasured and validated(config, step)):
            examine()
        waited = time.perf_counter()
        for made in batches(data, step, _workers(options, device), device):
            since.waiting += time.perf_counter() - waited
            late = options.time_limit is not None and time.monotonic() - began > options.time_limit
            if processes.any(late, device):
                break
            if processes.any(interrupted(), device):
                raise KeyboardInterrupt
            fresh = {reason for batch in made for reason in batch.broken} - broken
            for reason in sorted(fresh):
                tell(Event("warning", step, config.steps, f"passed over: {reason}"))
            broken |= fresh
            if players.branch is None and unpaired_step(config, step):
                players.branch = build_branch(config, players.restorer, device, players.mechanics)
                if options.compile:
                    compile_players(players)
            set_rates(config, step, players)

            whole = False
            with (
                flushed_denormals() if device.type == "cpu" else nullcontext(),
                compiling() if options.compile else nullcontext(),
            ):
                values = take_step(config, step, [moved(one, device) for one in made], players, dtype, data)
            step += 1
            follow(players.average, players.restorer, min(config.optimiser.ema, step / (step + 10)))
            whole = True
            since.photos += groups * photos_of(config, step - 1)
            tell(Event("pulse", step, config.steps))

            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value
                counts[name] = counts.get(name, 0) + 1
            if step % config.log_every == 0 or step == config.steps:
                means = _means(sums, counts, processes, device)
                sums, counts = {}, {}
                speed = since.read()
                if journal is not None:
                    journal.log(step, means)
                    journal.speed(step, speed)
                tell(Event("step", step, config.steps, values=means, speed=speed["photos_per_second"]))
            if validated(config, step):
                examine()
            # The last step's checkpoint is the one below.
            if step % config.checkpoint_every == 0 and step < config.steps:
                save()
            if journal is not None and (step % config.sample_every == 0 or step == config.steps):
                journal.sheet(step, players.average, moved(made[0], device), data, device)
            waited = time.perf_counter()
        save()
    except BaseException as error:
        # Of half a step, which a second Ctrl-C leaves, some players have learnt and others not: it is not kept. Nor is
        # a start that was not measured yet: there is no best to give back.
        asked = isinstance(error, KeyboardInterrupt)
        if whole and (asked or step > saved) and (standing.best or not standing.guarded):
            # Whatever else ended the run is what is to be told.
            with nullcontext() if asked else suppress(PhotoError, OSError):
                save()
        raise
    finally:
        restore_interrupts()
        if journal is not None:
            journal.close()
    finished = step >= config.steps
    if broken:
        tell(Event("warning", step, config.steps, f"{len(broken)} photos could not be used and were passed over"))
    tell(Event("stop", step, config.steps, "done" if finished else "time limit: run the same command to go on"))
    return Outcome(step, finished, options.run / "generator.safetensors", standing.report(step))


def validated(config: TrainConfig, step: int) -> bool:
    """Whether the weights are measured after so many steps."""
    return step % config.validate_every == 0 or step == config.steps


def _examination(options: Options, folders: Folders) -> Examination | None:
    if folders.pairs:
        return Paired(folders.pairs, options.config.task)
    if options.start_from is not None:
        return Unpaired(folders.held_degraded, folders.held_clear)
    return None


def with_start(options: Options) -> tuple[Options, Generator, str]:
    """The generator at the start of a new run (identity, or the weights to fine-tune), the options with its shape (what
    is fine-tuned keeps the shape it has, whatever the preset says), and the checksum of those weights or nothing."""
    config = options.config
    if options.start_from is None:
        shape = config.generator if config.architecture == "unet" else config.resnet
        return options, build_generator(config.architecture, vars(shape)), ""
    weights = resolve(options.start_from, config.task)
    restorer = load_network(weights)
    if isinstance(restorer, UNet):
        config = replace(config, architecture="unet", generator=restorer.config)
    elif isinstance(restorer, ResNet):
        config = replace(config, architecture="resnet", resnet=restorer.config)
    else:
        raise TrainingError(f"{weights.path} holds a {type(restorer).__name__}, which cannot be fine-tuned")
    problems = config.problems()
    if problems:
        raise UsageError(f"the preset does not fit the generator of {weights.path}: {'; '.join(problems)}")
    digest = hashlib.sha256(weights.path.read_bytes()).hexdigest()
    return replace(options, config=config), restorer.requires_grad_(True), digest


def _refuse_other_run(
    config: TrainConfig, start: str, groups: int, val: bool, facts: dict[str, Any], checkpoint: Path
) -> None:
    try:
        saved = flat(config_from_toml(str(facts["config"]), str(checkpoint)))
    except UsageError as error:
        raise TrainingError(f"{error}: it is of another version; choose another --out", kind="checkpoint") from error
    changed = [name for name, value in flat(config).items() if saved[name] != value and name not in FREE_TO_CHANGE]
    if changed:
        raise TrainingError(
            f"{checkpoint} belongs to another configuration ({', '.join(changed)} changed): "
            "give the same options as before, or another --out",
            kind="checkpoint",
        )
    if facts.get("start", start) != start:
        was, now = ("weights with SHA-256 " + s[:12] if s else "no weights" for s in (facts["start"], start))
        raise TrainingError(
            f"{checkpoint} belongs to a run that started from {was}, not from {now}: "
            "give the same --from as before, or another --out",
            kind="checkpoint",
        )
    # Without pairs, photos of both folders were held out and measured on, which would now be learnt from; the best so
    # far was found by other scores.
    if start and facts.get("val", val) != val:
        was, now = ("with", "without") if facts["val"] else ("without", "with")
        raise TrainingError(
            f"{checkpoint} belongs to a run {was} --val, not {now}: give it as before, or another --out",
            kind="checkpoint",
        )
    if facts.get("groups", groups) != groups:
        raise TrainingError(
            f"{checkpoint} belongs to a run with {facts['groups']} groups of crops a step, not {groups}: "
            "processes times optimiser.accumulate must stay the same",
            kind="checkpoint",
        )


def _enter(run: Path, processes: Processes, entered: ExitStack, device: torch.device) -> None:
    """Keep other runs out of the folder; where that fails, all processes are told, and the first one says why."""
    refused: TrainingError | None = None
    if processes.first:
        try:
            entered.enter_context(alone_in(run))
        except TrainingError as error:
            refused = error
    if processes.any(refused is not None, device):
        raise refused or TrainingError("the first process cannot begin, and says why", kind="occupied")


def _make_folder(run: Path) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"cannot make {run} ({error.strerror}): choose another --out", kind="unwritable") from error
    if not os.access(run, os.W_OK):
        raise TrainingError(f"cannot write to {run}: choose another --out", kind="unwritable")


def _data(options: Options, data: Batches) -> str:
    """What a run learnt from, for others: the folders' names without their paths, and how many photos they hold."""
    return f"{options.degraded.resolve().name} and {options.clear.resolve().name}: {data.summary()}"


def _defer_interrupts(echo: float) -> tuple[Callable[[], bool], Callable[[], None]]:
    """Put the first Ctrl-C, SIGTERM (a machine is taken away) or SIGHUP (its terminal is) off until the step is whole;
    the second one acts at once, and a step that it breaks off is not kept. What comes within ``echo`` seconds of the
    first is the same one. What the process was told to ignore it goes on ignoring.

    Returns what tells whether there was one, and what puts the old handlers back.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: False, lambda: None
    found: list[float] = []
    handled = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in handled}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            # None: set by no Python code, which could not put it back either.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def remember(number: int, _: object) -> None:
        found.append(time.monotonic())
        if found[-1] - found[0] >= echo and len(found) > 1:
            restore()
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, remember)
    return lambda: bool(found), restore


def _means(
    sums: dict[str, float], counts: dict[str, int], processes: Processes, device: torch.device
) -> dict[str, float]:
    """The mean of every loss over the steps that had it, and over the processes."""
    means = torch.tensor([sums[name] / counts[name] for name in sums], dtype=torch.float64)
    if processes.count > 1:
        shared = means.float().to(device)
        processes.average([shared])
        means = shared.cpu()
    return dict(zip(sums, means.tolist(), strict=True))


def _nobody(_: Event) -> None:
    """Only the first process speaks."""


def _workers(options: Options, device: torch.device) -> int:
    if options.workers is not None:
        return options.workers
    if device.type == "cuda":
        return min(8, usable_cores())
    # One renders while the step computes; more would take the cores from it.
    return 1 if usable_cores() > 1 else 0
